"""Directions against loops and laws of their own."""

import numpy as np
import pytest
from helpers import random_machine

from sklearn_helmholtz._belief_network import Layer, Scratch
from sklearn_helmholtz._directions import Centred, Gradient, Plain
from sklearn_helmholtz._learning_rules import Regression
from sklearn_helmholtz._units import Bernoulli


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
    direction = Centred({"recognition": [each.parent.mean(axis=0)]})
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


def two_regressions():
    """Return regressions of one layer with parents of different means."""
    one, other = regression(0), regression(1)
    # As recognised and dreamt rows have: at the start of training, above all.
    return one, other._replace(parent=other.parent * [1, 0, 1, 0, 1])


def centred_step(regressions, centres):
    """Return the step that the direction makes of regressions."""
    direction = Centred(centres)
    gradient = empty_gradient()
    for place, each in enumerate(regressions):
        direction.accumulate(each, gradient, Scratch(float), first=place == 0)
    direction.finish("recognition", 0, gradient)
    return gradient


@pytest.mark.parametrize("seen", [False, True])
def test_all_regressions_of_a_layer_are_centred_on_one_point(seen):
    # Whatever the centre c, plain gradients of W and b' in a = (s - c) W + b'
    # are S - c R and R, with S the sum of outer products and R of residuals.
    each = two_regressions()
    centres = Centred.initial_centres(random_machine((5, 3)))
    if seen:
        centres["recognition"][0] = np.random.default_rng(2).random(5)
    step = centred_step(each, centres)
    outer = sum(one.parent.T @ one.residual for one in each)
    residual = sum(one.residual.sum(axis=0) for one in each)
    c = ((outer - step.weights) / residual).T
    np.testing.assert_allclose(c, np.tile(c[0], (3, 1)), atol=1e-10)
    np.testing.assert_allclose(step.bias, residual - c[0] @ step.weights, atol=1e-10)


def test_centre_runs_after_the_parents_of_all_regressions():
    each = two_regressions()
    centre = np.random.default_rng(2).random(5)
    centres = {"recognition": [centre.copy()]}
    centred_step(each, centres)
    mean = np.vstack([one.parent for one in each]).mean(axis=0)
    moved = centre + Centred.rate * (mean - centre)
    np.testing.assert_allclose(centres["recognition"][0], moved)
