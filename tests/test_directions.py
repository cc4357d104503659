"""Directions against loops and laws of their own."""

import math

import numpy as np
import oracles
import pytest
from helpers import plain, random_machine, stream

from sklearn_helmholtz._belief_network import Layer, Machine, Scratch
from sklearn_helmholtz._directions import Centred, Gradient, Natural, Plain
from sklearn_helmholtz._learning_rules import Regression, sleep
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
    moved = direction.averages["recognition"][0]
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
    direction = kind(kind.initial_averages(random_machine((5, 3))))
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
    centres = Centred.initial_averages(random_machine((5, 3)))
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


def informed_regression(seed=0, n_rows=20, n_parents=5):
    """Return a regression that carries information, and its layer."""
    rng = np.random.default_rng(seed)
    layer = Layer(rng.normal(size=(n_parents, 3)), rng.normal(size=3), Bernoulli())
    parent = rng.integers(0, 2, (n_rows, n_parents)).astype(float)
    child = rng.integers(0, 2, (n_rows, 3)).astype(float)
    weight = rng.dirichlet(np.ones(n_rows))[:, None]
    logits = layer.logits(parent)
    residual = (child - layer.units.mean(logits)) * weight
    information = layer.units.information(logits) * weight
    return Regression("recognition", 0, parent, residual, None, information), layer


def natural_step(regressions, layer, *, rate=1.0, damping=0.0, network="recognition"):
    """Return the natural direction of regressions, by default undamped."""
    direction = Natural(Natural.initial_averages(Machine((layer,), (layer,), (layer,))))
    direction.rate, direction.damping = rate, damping
    gradient = direction.gradient(layer)
    for place, each in enumerate(regressions):
        direction.accumulate(each, gradient, Scratch(float), first=place == 0)
    direction.precondition(network, 0, gradient)
    return gradient


def test_fisher_blocks_are_the_derivatives_of_the_gradient():
    each, layer = informed_regression()
    gradient = Natural.gradient(layer)
    Natural().accumulate(each, gradient, Scratch(float), first=True)
    joint = np.column_stack([each.parent, np.ones(len(each.parent))])
    step = 1e-6
    for unit in range(3):
        for place in range(6):
            moved = layer.weights.copy(), layer.bias.copy()
            (moved[0][:, unit] if place < 5 else moved[1][unit : unit + 1])[
                place % 5
            ] += step
            before = layer.units.mean(layer.logits(each.parent))[:, unit]
            after = layer.units.mean(Layer(*moved, layer.units).logits(each.parent))
            weight = (
                each.information / layer.units.information(layer.logits(each.parent))
            )[:, unit]
            fall = joint.T @ (weight * (after[:, unit] - before)) / step
            np.testing.assert_allclose(
                gradient.curvature[0][unit][:, place], fall, atol=1e-6
            )


def test_dreamt_fisher_blocks_approach_enumeration():
    # F_j = E_p[v_j s s^T], the dream's states enumerated; n = 40,000 dreams and
    # entries below 1/4: five standard errors are below 0.00625.
    machine = random_machine((4, 3, 2), seed=3)
    table = [
        ([x, *hidden], math.exp(oracles.log_joint(plain(machine), x, hidden)))
        for x in oracles.all_states(4)
        for hidden in oracles.hidden_states(plain(machine))
    ]
    n_rows = 40_000
    regressions = sleep(
        machine, n_rows, stream(1), Scratch(float), 1 / n_rows, informed=True
    )
    for index, each in enumerate(regressions):
        layer = machine.recognition[index]
        gradient = Natural.gradient(layer)
        Natural().accumulate(each, gradient, Scratch(float), first=True)
        expected = np.zeros_like(gradient.curvature[0])
        for states, chance in table:
            parent = np.array([*states[index], 1.0])
            v = layer.units.information(layer.logits(parent[None, :-1]))[0]
            expected += chance * v[:, None, None] * np.outer(parent, parent)
        np.testing.assert_allclose(gradient.curvature[0], expected, atol=0.00625)


@pytest.mark.parametrize("blocks", [True, False])
def test_natural_steps_do_not_depend_on_how_parents_are_coded(blocks, monkeypatch):
    # A parent written as 1 - s, or as 3 s, asks for the same change of logits.
    if not blocks:
        monkeypatch.setattr("sklearn_helmholtz._directions.LARGEST_BLOCKS", 0)
    each, layer = informed_regression(n_rows=60)
    other = each._replace(
        parent=np.column_stack([1 - each.parent[:, :2], 3 * each.parent[:, 2:]])
    )
    changes = []
    for one in (each, other):
        step = natural_step([one], layer)
        changes.append(one.parent @ step.weights + step.bias)
    np.testing.assert_allclose(*changes)


def test_factored_and_exact_agree_where_information_is_one_number_a_unit(monkeypatch):
    each, layer = informed_regression(n_rows=60)
    information = np.broadcast_to([0.1, 0.2, 0.25], each.information.shape) / 60
    each = each._replace(information=information)
    exact = natural_step([each], layer)
    monkeypatch.setattr("sklearn_helmholtz._directions.LARGEST_BLOCKS", 0)
    factored = natural_step([each], layer)
    np.testing.assert_allclose(exact.weights, factored.weights)
    np.testing.assert_allclose(exact.bias, factored.bias)


@pytest.mark.parametrize("blocks", [True, False])
def test_natural_lateral_steps_keep_to_units_before(blocks, monkeypatch):
    if not blocks:
        monkeypatch.setattr("sklearn_helmholtz._directions.LARGEST_BLOCKS", 0)
    each, layer = informed_regression(n_parents=3)
    each = each._replace(network="lateral")
    layer = layer._replace(weights=np.triu(layer.weights, 1))
    direction = Natural(Natural.initial_averages(Machine((layer,), (layer,), (layer,))))
    gradient = direction.gradient(layer)
    direction.accumulate(each, gradient, Scratch(float), first=True)
    gradient.weights[...] = np.triu(gradient.weights, 1)
    direction.precondition("lateral", 0, gradient)
    assert (np.tril(gradient.weights) == 0).all()
    assert (np.triu(gradient.weights, 1) != 0).sum() == 3


def test_prior_takes_the_newton_step_of_its_bias():
    rng = np.random.default_rng(0)
    bias = rng.normal(size=3)
    layer = Layer(np.zeros((0, 3)), bias, Bernoulli())
    v = layer.units.information(bias)
    residual = rng.normal(size=(10, 3))
    each = Regression(
        "generative", 0, None, residual, None, np.broadcast_to(v / 10, (10, 3))
    )
    step = natural_step([each], layer, network="generative")
    np.testing.assert_allclose(step.bias, residual.sum(axis=0) / v)
