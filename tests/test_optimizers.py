"""Optimisers equal their published recurrences; schedules fall from one."""

import numpy as np
import pytest
from helpers import random_machine

from sklearn_helmholtz._belief_network import Layer, Scratch
from sklearn_helmholtz._directions import Plain
from sklearn_helmholtz._gradient import Gradient
from sklearn_helmholtz._optimizers import OPTIMIZERS, SCHEDULES, SGD, Adam
from sklearn_helmholtz._phases import Regression
from sklearn_helmholtz._units import Gaussian

#: Layers of one block of values and of several.
SIZES = pytest.mark.parametrize("sizes", [(3, 5), (700, 301)])


@SIZES
def test_sgd_is_heavy_ball_momentum(sizes):
    layer = random_machine(sizes).generative[0]
    optimizer, velocity = SGD(0.9), 0.0
    state = optimizer.initial_state(layer)
    for seed, rate in enumerate((0.1, 0.2, 0.05)):
        gradient = Gradient.like(layer)
        given = np.random.default_rng(seed).normal(size=gradient.weights.shape)
        gradient.weights[:], gradient.bias[:] = given, given[0]
        step = optimizer.prepare(gradient, state, rate)
        velocity = 0.9 * velocity + rate * given
        np.testing.assert_allclose(step.weights, velocity)
        np.testing.assert_allclose(step.bias, velocity[0])


@SIZES
def test_parts_of_steps_do_not_go_on_with_the_velocity_of_whole_ones(sizes):
    layer, optimizer = random_machine(sizes).generative[0], SGD(0.9)
    state = optimizer.initial_state(layer)
    for velocity in state["velocity"]:
        velocity += 1
    # Longer steps again leave it as it is: what few rows say is not made large.
    for part, expected in ((0.5, 0.5), (0.1, 0.1), (0.1, 0.1), (1.0, 0.1), (0.5, 0.05)):
        optimizer.begin(state, part)
        for velocity in state["velocity"]:
            np.testing.assert_allclose(velocity, expected)


@SIZES
def test_regressions_added_to_the_velocity_make_the_same_step(sizes):
    layer = random_machine(sizes).generative[0]
    optimizer, rate, scratch = SGD(0.9), 0.3, Scratch(float)
    at_once, in_parts = (optimizer.initial_state(layer) for _ in range(2))
    rng = np.random.default_rng(0)
    for _ in range(3):
        total = Gradient.like(layer)
        running = optimizer.running(Gradient.like(layer), in_parts)
        for first in (True, False):
            parent, residual = rng.random((4, sizes[1])), rng.normal(size=(4, sizes[0]))
            for gradient, factor in ((total, 1), (running, rate)):
                given = Regression("generative", 0, parent, factor * residual)
                Plain().accumulate(given, gradient, scratch, first=first)
        expected = optimizer.prepare(total, at_once, rate)
        found = optimizer.prepare(running, in_parts, 1.0)
        np.testing.assert_allclose(found.weights, expected.weights)
        np.testing.assert_allclose(found.bias, expected.bias)
        assert found.bias is not in_parts["velocity"][1]


@SIZES
def test_adam_is_algorithm_1(sizes):
    layer = random_machine(sizes).generative[0]
    optimizer = Adam(0.9)
    state = optimizer.initial_state(layer)
    mean = square = 0.0
    for t in range(1, 6):
        gradient = Gradient.like(layer)
        given = np.random.default_rng(t).normal(size=gradient.weights.shape)
        gradient.weights[:], gradient.bias[:] = given, given[0]
        step = optimizer.prepare(gradient, state, 0.01)
        mean = 0.9 * mean + 0.1 * given
        square = 0.999 * square + 0.001 * given**2
        root = np.sqrt(square / (1 - 0.999**t)) + 1e-8
        expected = 0.01 * mean / (1 - 0.9**t) / root
        np.testing.assert_allclose(step.weights, expected)
        np.testing.assert_allclose(step.bias, expected[0])


@pytest.mark.parametrize("part", [1.0, 0.01])
def test_a_part_of_a_minibatch_moves_a_variance_by_that_part(part):
    layer = Layer(np.zeros((2, 1)), np.zeros(1), Gaussian(np.ones(1)))
    step = Gradient(np.zeros((2, 1)), np.zeros(1), np.zeros(2))
    SGD.apply(layer, step, np.array([5.0]), part)
    np.testing.assert_allclose(layer.units.variance, 1 + 0.05 * part * 4)


def test_apply_adds_the_step_and_moves_the_variance_between_its_bounds():
    units = Gaussian(np.array([1.0, 1.0, 1e-6]))
    layer = Layer(np.ones((5, 3)), np.ones(3), units)
    step = Gradient.like(layer)
    step.weights[:], step.bias[:] = 0.5, -0.5
    SGD(0.9).apply(layer, step, np.array([2.0, 1.0, 0.0]))
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


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_preparing_a_step_keeps_dtype_and_leaves_the_parameters_alone(kind, dtype):
    layer = random_machine((3, 5), dtype=dtype).generative[0]
    before = layer.weights.copy(), layer.bias.copy()
    optimizer = OPTIMIZERS[kind](0.9)
    state = optimizer.initial_state(layer)
    gradient = Gradient.like(layer)
    gradient.weights[:], gradient.bias[:] = 1.0, -1.0
    step = optimizer.prepare(gradient, state, 0.1)
    assert step.weights.dtype == step.bias.dtype == dtype
    np.testing.assert_array_equal(layer.weights, before[0])
    np.testing.assert_array_equal(layer.bias, before[1])
    # Ascent: a first step goes where the gradient points.
    assert (step.weights > 0).all()
    assert (step.bias < 0).all()


def test_both_optimisers_climb_to_the_top_of_a_concave_function():
    target = np.linspace(-1, 1, 15).reshape(5, 3)
    for kind, rate in (("sgd", 0.05), ("adam", 0.05)):
        layer = random_machine((3, 5)).generative[0]
        optimizer = OPTIMIZERS[kind](0.9)
        state = optimizer.initial_state(layer)
        for number in range(800):
            gradient = Gradient.like(layer)
            gradient.weights[:] = target - layer.weights
            gradient.bias[:] = -layer.bias
            step = optimizer.prepare(gradient, state, rate * (1 - number / 800))
            optimizer.apply(layer, step, None)
        np.testing.assert_allclose(layer.weights, target, atol=1e-3)
        np.testing.assert_allclose(layer.bias, 0, atol=1e-3)
