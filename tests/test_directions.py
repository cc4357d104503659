"""Directions and optimisers against loops and laws of their own."""

import numpy as np
import pytest
from helpers import random_machine

from sklearn_helmholtz._belief_network import Layer, Scratch
from sklearn_helmholtz._directions import Centred, Gradient, Plain
from sklearn_helmholtz._learning_rules import Regression
from sklearn_helmholtz._optimizers import SCHEDULES, SGD, Adam, apply
from sklearn_helmholtz._units import Bernoulli, Gaussian


def regression(seed=0, n_rows=20, squares=None, scale=1.0):
    rng = np.random.default_rng(seed)
    parent = scale * rng.integers(0, 2, (n_rows, 5)).astype(float)
    residual = rng.normal(size=(n_rows, 3)) / n_rows
    return Regression("recognition", 0, parent, residual, squares)


def empty_gradient():
    return Gradient.like(Layer(np.zeros((5, 3)), np.zeros(3), Bernoulli()))


def test_plain_direction_is_the_sum_of_outer_products():
    one, other = regression(0), regression(1)
    gradient = empty_gradient()
    Plain().accumulate(one, gradient, Scratch(float), first=True)
    Plain().accumulate(other, gradient, Scratch(float), first=False)
    expected = sum(
        np.outer(parent, residual)
        for each in (one, other)
        for parent, residual in zip(each.parent, each.residual, strict=True)
    )
    np.testing.assert_allclose(gradient.weights, expected)
    expected = one.residual.sum(axis=0) + other.residual.sum(axis=0)
    np.testing.assert_allclose(gradient.bias, expected)


def test_centred_step_is_the_plain_step_in_centred_coordinates():
    # With a = (s - c) W + b', plain gradients of W and b' for the stored
    # b = b' - c W.
    each = regression()
    centre = np.random.default_rng(2).random(5)
    direction = Centred({"recognition": [centre.copy()]})
    gradient = empty_gradient()
    direction.accumulate(each, gradient, Scratch(float), first=True)
    expected = (each.parent - centre).T @ each.residual
    np.testing.assert_allclose(gradient.weights, expected)
    direction.finish("recognition", 0, gradient)
    np.testing.assert_allclose(
        gradient.bias, each.residual.sum(axis=0) - centre @ expected
    )
    moved = direction.centres["recognition"][0]
    np.testing.assert_allclose(
        moved, centre + Centred.rate * (each.parent.mean(axis=0) - centre)
    )


def test_centred_weights_leave_the_mean_logit_to_the_bias():
    each = regression()
    direction = Centred(Centred.initial_centres(random_machine((5, 3))))
    gradient = empty_gradient()
    direction.accumulate(each, gradient, Scratch(float), first=True)
    direction.finish("recognition", 0, gradient)
    step = each.parent @ gradient.weights + gradient.bias
    np.testing.assert_allclose(step.mean(axis=0), each.residual.sum(axis=0))


@pytest.mark.parametrize("kind", [Plain, Centred])
def test_gaussian_steps_are_shorter_than_stability_asks(kind):
    # One step of rate 1 on many parents must not overshoot the least squares.
    each = regression(squares=np.ones(3), scale=10.0)
    parent, target = each.parent, each.residual * len(each.residual)
    direction = kind(kind.initial_centres(random_machine((5, 3))))
    gradient = empty_gradient()
    direction.accumulate(each, gradient, Scratch(float), first=True)
    gradient.bias[:] = 0
    direction.finish("recognition", 0, gradient)
    after = target - (parent @ gradient.weights + gradient.bias)
    assert (np.square(after).sum(axis=0) < np.square(target).sum(axis=0)).all()


def test_merged_gradients_are_sums_with_the_mean_parent():
    one, other = empty_gradient(), empty_gradient()
    for value, gradient in ((1.0, one), (3.0, other)):
        gradient.weights[:], gradient.bias[:], gradient.parent[:] = (value,) * 3
    merged = Gradient.merge([one, other])
    assert merged is one
    assert (merged.weights == 4).all()
    assert (merged.bias == 4).all()
    assert (merged.parent == 2).all()


def test_sgd_is_heavy_ball_momentum():
    layer = random_machine((3, 5)).generative[0]
    optimizer, velocity = SGD(0.9), 0.0
    state = optimizer.initial_state(layer)
    for seed, rate in enumerate((0.1, 0.2, 0.05)):
        gradient = Gradient.like(layer)
        given = np.random.default_rng(seed).normal(size=gradient.weights.shape)
        gradient.weights[:], gradient.bias[:] = given, seed
        optimizer.prepare(gradient, state, rate)
        velocity = 0.9 * velocity + given
        np.testing.assert_allclose(gradient.weights, rate * velocity)


def test_adam_is_algorithm_1():
    layer = random_machine((3, 5)).generative[0]
    optimizer = Adam(0.9)
    state = optimizer.initial_state(layer)
    mean = square = 0.0
    for t in range(1, 6):
        gradient = Gradient.like(layer)
        given = np.random.default_rng(t).normal(size=gradient.weights.shape)
        gradient.weights[:], gradient.bias[:] = given, 1.0
        optimizer.prepare(gradient, state, 0.01)
        mean = 0.9 * mean + 0.1 * given
        square = 0.999 * square + 0.001 * given**2
        root = np.sqrt(square / (1 - 0.999**t)) + 1e-8
        np.testing.assert_allclose(gradient.weights, 0.01 * mean / (1 - 0.9**t) / root)


def test_apply_adds_the_step_and_moves_the_variance_between_its_bounds():
    units = Gaussian(np.array([1.0, 1.0, 1e-6]))
    layer = Layer(np.ones((5, 3)), np.ones(3), units)
    step = empty_gradient()
    step.weights[:], step.bias[:] = 0.5, -0.5
    apply(layer, step, np.array([2.0, 1.0, 0.0]), floor=1e-6)
    assert (layer.weights == 1.5).all()
    assert (layer.bias == 0.5).all()
    assert 1 < units.variance[0] < 2
    assert units.variance[1] == 1
    assert units.variance[2] == 1e-6


def test_schedules_start_at_one_and_never_rise():
    for name, schedule in SCHEDULES.items():
        rates = [schedule(epoch / 10, epoch) for epoch in range(10)]
        assert rates[0] == 1
        assert all(np.diff(rates) <= 0)
        assert (rates[-1] < 1) == (name != "constant")
    assert SCHEDULES["linear"](0.75, 3) == 0.25
    assert SCHEDULES["invscaling"](0.75, 3) == 0.5
