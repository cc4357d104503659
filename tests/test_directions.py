"""Directions against loops and laws of their own."""

import math

import numpy as np
import oracles
import pytest
from helpers import plain, random_machine, stream

from sklearn_helmholtz._belief_network import Layer, Machine, Scratch, down_pass
from sklearn_helmholtz._directions import (
    Centred,
    Natural,
    Plain,
    _solve,
    longest_parents,
)
from sklearn_helmholtz._gradient import Gradient
from sklearn_helmholtz._penalties import Fixed
from sklearn_helmholtz._phases import Regression, sleep
from sklearn_helmholtz._units import Bernoulli


def regression(seed=0, n_rows=20, squares=None, scale=1.0, n_parents=5):
    rng = np.random.default_rng(seed)
    parent = scale * rng.integers(0, 2, (n_rows, n_parents)).astype(float)
    residual = rng.normal(size=(n_rows, 3)) / n_rows
    n_linear = 0 if squares is None else 2
    return Regression(
        "recognition", 0, parent, residual, squares, n_linear_parents=n_linear
    )


def empty_gradient(n_parents=5):
    return Gradient.like(Layer(np.zeros((n_parents, 3)), np.zeros(3), Bernoulli()))


# Of many parents a product is added in blocks.
@pytest.mark.parametrize("n_parents", [5, 64, 150])
def test_plain_direction_is_the_sum_of_outer_products(n_parents):
    one, other = (regression(seed, n_parents=n_parents) for seed in (0, 1))
    gradient = empty_gradient(n_parents)
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


@pytest.mark.parametrize("keep", [0.0, 0.9])
@pytest.mark.parametrize("make", [Plain, Centred])
def test_regressions_are_only_read_and_linear_ones_of_many_parents_are_tamed(
    make, keep
):
    # Two regressions may share a residual: a layer's on those above and beside it.
    each = regression(squares=np.ones(3), scale=10.0)
    before = each.residual.copy(), each.parent.copy()
    direction = make({"recognition": [np.full(5, 2.0)]})
    gradient = empty_gradient()
    gradient.weights[...], gradient.bias[...], gradient.keep = 1.0, 1.0, keep
    direction.accumulate(each, gradient, Scratch(float), first=True)
    np.testing.assert_array_equal(each.residual, before[0])
    np.testing.assert_array_equal(each.parent, before[1])
    parent = each.parent - (2.0 if make is Centred else 0.0)
    curvature = np.mean(np.square(parent).sum(axis=1)) + (make is Plain)
    scale = 0.5 / curvature  # one of two regressions
    expected = keep + scale * parent.T @ each.residual
    np.testing.assert_allclose(gradient.weights, expected)
    expected = keep + scale * each.residual.sum(axis=0)
    np.testing.assert_allclose(gradient.bias, expected)


@pytest.mark.parametrize("make", [Plain, Centred])
@pytest.mark.parametrize(
    ("network", "shared", "is_tamed"),
    [
        ("recognition", False, True),
        ("lateral", False, True),
        ("recognition", True, False),
        ("generative", False, False),
    ],
)
def test_steps_of_units_with_very_many_parents_are_shorter_if_they_recognise(
    make, network, shared, is_tamed
):
    n_parents = 2000
    each = regression(n_parents=n_parents, scale=2.0)
    each = each._replace(network=network, shared=shared)
    gradient = empty_gradient(n_parents)
    asked = []

    def longest_of(parents):
        asked.append(parents)
        return 70

    direction = make({network: [np.full(n_parents, 1.0)]}, longest_of)
    direction.accumulate(each, gradient, Scratch(float), first=True)
    assert asked == [n_parents] * is_tamed
    parent = each.parent - (1.0 if make is Centred else 0.0)
    length = np.mean(np.square(parent).sum(axis=1))
    longest = 70 if make is Centred else 700
    assert length > longest
    scale = longest / length if is_tamed else 1
    np.testing.assert_allclose(gradient.weights, scale * parent.T @ each.residual)
    np.testing.assert_allclose(gradient.bias, scale * each.residual.sum(axis=0))


def test_the_longest_parents_follow_the_rows_that_there_are_to_learn_from():
    assert longest_parents(784, 500, 100) == pytest.approx(0.3 * 100 * 500 / 784)
    assert longest_parents(784, 500, 20) == pytest.approx(0.3 * 20 * 500 / 784)
    twice = longest_parents(784, 500, 100, factor=2.0)
    assert twice == pytest.approx(2 * longest_parents(784, 500, 100))
    # Between what saturates no unit, and what keeps next to no noise.
    assert longest_parents(784, 50_000, 100) == 100
    assert longest_parents(10_000, 100, 100) == pytest.approx(10)
    # Of a stream it is not known how many rows there are to be.
    assert longest_parents(784) == longest_parents(10_000) == 30


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


@pytest.mark.parametrize("kind", [Plain, Centred])
def test_biases_that_add_up_to_one_linear_mean_share_its_step(kind):
    each = regression(squares=np.ones(3), scale=0.0)  # one of two such regressions
    gradient = empty_gradient()
    direction = kind({"recognition": [np.zeros(5)]})
    direction.accumulate(each, gradient, Scratch(float), first=True)
    np.testing.assert_allclose(gradient.bias, each.residual.sum(axis=0) / 2)


@pytest.mark.parametrize("has_parent", [True, False])
@pytest.mark.parametrize("kind", [Plain, Centred, Natural])
def test_regressions_of_parts_add_up_to_that_of_all_rows(kind, has_parent):
    each, layer = informed_regression()
    if not has_parent:
        each = each._replace(parent=None)
        layer = layer._replace(weights=layer.weights[:0])
    direction = kind({"recognition": [np.full(5, 0.3)]})

    def collected(*parts):
        gradient = direction.gradient(layer)
        for rows in parts:
            arrays = {
                name: getattr(each, name)[rows]
                for name in ("parent", "residual", "information")
                if getattr(each, name) is not None
            }
            how = {"first": rows is parts[0], "share": len(arrays["residual"]) / 20}
            direction.accumulate(
                each._replace(**arrays), gradient, Scratch(float), **how
            )
        return gradient.arrays()

    whole, *parts = slice(0, 20), slice(0, 7), slice(7, 20)
    found, expected = collected(*parts), collected(whole)
    np.testing.assert_allclose(expected[1], each.residual.sum(axis=0))
    assert len(expected) == (5 if kind is Natural else 3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other)


def test_merged_gradients_are_sums():
    one, other = empty_gradient(), empty_gradient()
    for value, gradient in ((1.0, one), (3.0, other)):
        for array in gradient.arrays():
            array[:] = value
        gradient.share = value
    merged = Gradient.merge([one, other])
    assert merged is one
    assert all((array == 4).all() for array in merged.arrays())
    assert merged.share == 4


@pytest.mark.parametrize("n_first", [1, 8, 16])
def test_centre_moves_the_same_however_lanes_share_the_rows(n_first):
    awake, asleep = two_regressions()
    n_rows = len(awake.parent)

    def part(rows):
        taken = awake._replace(parent=awake.parent[rows], residual=awake.residual[rows])
        return taken, len(taken.parent) / n_rows

    def moved(lanes):
        direction = Centred({"recognition": [np.full(5, 0.3)]})
        found = [empty_gradient() for _ in lanes]
        for gradient, regressions in zip(found, lanes, strict=True):
            for place, (each, share) in enumerate(regressions):
                how = {"first": place == 0, "share": share}
                direction.accumulate(each, gradient, Scratch(float), **how)
        direction.finish("recognition", 0, Gradient.merge(found))
        return direction.averages["recognition"][0]

    means = (awake.parent.mean(axis=0) + asleep.parent.mean(axis=0)) / 2
    expected = 0.3 + Centred.rate * (means - 0.3)
    first, rest = part(slice(0, n_first)), part(slice(n_first, None))
    asleep = asleep, 1.0
    for lanes in (
        [[(awake, 1.0), asleep]],
        [[first], [rest, asleep]],
        [[asleep, first, rest]],
    ):
        np.testing.assert_allclose(moved(lanes), expected)


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
    information = layer.units.information(layer.units.mean(logits)) * weight
    return Regression("recognition", 0, parent, residual, None, information), layer


NO_PENALTY = Fixed(0)


def natural_step(
    regressions,
    layer,
    *,
    damping=0.0,
    network="recognition",
    penalty=NO_PENALTY,
    rate=1.0,
):
    """Return the first natural direction of regressions, by default undamped."""
    direction = Natural(Natural.initial_averages(Machine(*[(layer,)] * 4)))
    direction.damping = damping
    gradient = direction.gradient(layer)
    for place, each in enumerate(regressions):
        direction.accumulate(each, gradient, Scratch(float), first=place == 0)
    direction.precondition(network, 0, gradient, penalty, rate)
    return gradient


def fisher_block(each, unit):
    """Return E[v_j s s^T] of one unit over a regression's rows, by a loop."""
    total = 0.0
    for parent, information in zip(each.parent, each.information, strict=True):
        s = np.append(1.0, parent)
        total = total + information[unit] * np.outer(s, s)
    return total


def test_fisher_blocks_are_the_derivatives_of_the_gradient():
    # This is what information means: the gradient falls by F_j times a step.
    each, layer = informed_regression()
    joint = np.column_stack([np.ones(len(each.parent)), each.parent])
    weight = each.information / layer.units.information(
        layer.units.mean(layer.logits(each.parent))
    )
    step = 1e-6
    for place in range(6):
        moved = np.vstack([layer.bias, layer.weights])
        moved[place] += step
        after = layer.units.mean(joint @ moved)
        before = layer.units.mean(layer.logits(each.parent))
        falls = joint.T @ (weight * (after - before)) / step
        for unit in range(3):
            block = fisher_block(each, unit)
            np.testing.assert_allclose(block[:, place], falls[:, unit], atol=1e-6)


def test_natural_direction_solves_each_units_fisher_block_where_they_are_alike():
    # Information that is one number a unit makes the factored form exact.
    each, layer = informed_regression(n_rows=60)
    information = np.broadcast_to([0.1, 0.2, 0.25], each.information.shape) / 60
    each = each._replace(information=information)
    step = natural_step([each], layer)
    joint = np.column_stack([np.ones(len(each.parent)), each.parent])
    for unit in range(3):
        solved = np.append(step.bias[unit], step.weights[:, unit])
        expected = joint.T @ each.residual[:, unit]
        np.testing.assert_allclose(fisher_block(each, unit) @ solved, expected)


def test_dreamt_curvature_approaches_enumeration():
    # n = 40,000 dreams and entries below 1/4: five standard errors are below
    # 5 * 0.25 / sqrt(n) = 0.00625.
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
        moments, information = 0.0, 0.0
        for states, chance in table:
            s = np.array([1.0, *states[index]])
            v = layer.units.information(layer.units.mean(layer.logits(s[None, 1:])))[0]
            moments = moments + chance * v.mean() * np.outer(s, s)
            information = information + chance * v
        for found, expected in zip(
            gradient.curvature, (moments, information), strict=True
        ):
            np.testing.assert_allclose(found, expected, atol=0.00625)


def test_natural_steps_do_not_depend_on_how_parents_are_coded():
    # A parent written as 1 - s, or as 3 s, asks for the same change of logits.
    each, layer = informed_regression(n_rows=60)
    other = each._replace(
        parent=np.column_stack([1 - each.parent[:, :2], 3 * each.parent[:, 2:]])
    )
    changes = []
    for one in (each, other):
        step = natural_step([one], layer)
        changes.append(one.parent @ step.weights + step.bias)
    np.testing.assert_allclose(*changes)


def test_natural_lateral_steps_keep_to_units_before():
    each, layer = informed_regression(n_parents=3)
    step = natural_step([each._replace(network="lateral")], layer, network="lateral")
    assert (np.tril(step.weights) == 0).all()
    assert (np.triu(step.weights, 1) != 0).sum() == 3


@pytest.mark.parametrize("network", ["lateral", "autoregressive"])
def test_natural_steps_of_units_in_turn_solve_the_blocks_of_those_before(network):
    # Parents that go together: what later ones know would change the step.
    each, layer = informed_regression(n_rows=60, n_parents=3)
    each.parent[:, 1:] = each.parent[:, :1] + 0.1 * each.parent[:, 1:]
    information = np.broadcast_to([0.1, 0.2, 0.25], each.information.shape) / 60
    each = each._replace(information=information, network=network)
    step = natural_step([each], layer, network=network)
    joint = np.column_stack([np.ones(len(each.parent)), each.parent])
    for unit in range(3):
        seen = slice(0, unit + 1)  # the bias, and the units before
        solved = np.append(step.bias[unit], step.weights[:unit, unit])
        expected = joint[:, seen].T @ each.residual[:, unit]
        np.testing.assert_allclose(
            fisher_block(each, unit)[seen, seen] @ solved, expected
        )


def test_natural_direction_asks_for_the_strength_of_its_own_layers_penalty():
    strengths = np.array([0.1, 1.0, 0.0, 3.0, 0.5])

    class Penalty(Fixed):
        def strength(self, network, number):
            return strengths if (network, number) == ("recognition", 0) else 0.0

    each, layer = informed_regression()
    how = {"damping": 0.1, "penalty": Penalty(0.0), "rate": 0.5}
    step = natural_step([each], layer, **how)
    information = each.information.sum(axis=0) + 0.1
    rows = np.hstack([np.ones((20, 1)), each.parent])
    share = each.information.mean(axis=1, keepdims=True)
    matrix = (share * rows).T @ rows / share.sum() + 0.1 * np.eye(6)
    matrix[1:, 1:] += np.diag(0.5 * strengths / information.min())
    expected = np.linalg.solve(matrix, rows.T @ each.residual) / information
    np.testing.assert_allclose(np.vstack([step.bias, step.weights]), expected)


@pytest.mark.parametrize("alpha", [0.01, 1.0, 100.0])
def test_natural_pull_of_a_penalty_is_no_more_than_the_weights(alpha):
    # A parent that is never on, and children that are always: nothing else holds them.
    each, layer = informed_regression(n_parents=3)
    each.parent[:, 1] = 0.0
    each = each._replace(
        residual=0 * each.residual, information=1e-6 * each.information
    )
    direction = Natural(Natural.initial_averages(Machine(*[(layer,)] * 4)))
    step = direction.gradient(layer)
    direction.accumulate(each, step, Scratch(float), first=True)
    penalty = Fixed(alpha)
    penalty.pull("recognition", 0, layer.weights, step.weights)
    direction.precondition("recognition", 0, step, penalty, 1.0)
    pulled = np.linalg.norm(step.weights, axis=0)
    assert (pulled < np.linalg.norm(layer.weights, axis=0)).all()


def test_running_curvature_is_the_mean_of_the_first_minibatches():
    direction = Natural()
    each, layer = informed_regression()
    direction.averages = {
        "recognition": [
            Natural.initial_averages(Machine((layer,), (layer,), (layer,)))[
                "recognition"
            ][0]
        ]
    }
    found = []
    for seed in range(3):
        each, _ = informed_regression(seed)
        gradient = direction.gradient(layer)
        direction.accumulate(each, gradient, Scratch(float), first=True)
        found.append([value.copy() for value in gradient.curvature])
        direction.precondition("recognition", 0, gradient, Fixed(0), 1.0)
    averages = direction.averages["recognition"][0]
    for place, name in enumerate(("moments", "information")):
        mean = sum(values[place] for values in found) / 3
        np.testing.assert_allclose(averages[name], mean)


def test_prior_takes_the_newton_step_of_its_bias():
    rng = np.random.default_rng(0)
    bias = rng.normal(size=3)
    layer = Layer(np.zeros((0, 3)), bias, Bernoulli())
    v = layer.units.information(layer.units.mean(bias))
    residual = rng.normal(size=(10, 3))
    each = Regression(
        "generative", 0, None, residual, None, np.broadcast_to(v / 10, (10, 3))
    )
    step = natural_step([each], layer, network="generative")
    np.testing.assert_allclose(step.bias, residual.sum(axis=0) / v)


def test_curvature_that_overflowed_gives_no_number():
    # No error amid an epoch: at its end the fit is found to have diverged.
    each, layer = informed_regression()
    with np.errstate(invalid="ignore"):
        each = each._replace(parent=each.parent * np.inf)
        step = natural_step([each], layer)
    assert np.isnan(step.weights).all()
    indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])  # as rounding may leave it
    assert np.isnan(_solve(indefinite, np.ones((2, 1)), in_turn=False)).all()


def test_natural_direction_is_damped_on_both_sides():
    each, layer = informed_regression(n_rows=60)
    step = natural_step([each], layer, damping=0.1)
    joint = np.column_stack([np.ones(60), each.parent])
    weight = each.information.mean(axis=1)
    moments = (joint.T * weight) @ joint / weight.sum() + 0.1 * np.eye(6)
    information = each.information.sum(axis=0) + 0.1
    expected = np.linalg.solve(moments, joint.T @ each.residual) / information
    np.testing.assert_allclose(np.vstack([step.bias, step.weights]), expected)


def test_centres_start_at_the_mean_states_of_dreams_without_weights():
    machine = random_machine((4, 3, 2), lateral=True, autoregressive=True)
    for network in machine:
        for layer in network:
            layer.weights[...] = 0
    machine.autoregressive[0].bias[...] = 0
    states = down_pass(machine.top_down, 40_000, stream(), Scratch(float))
    means = [layer.mean(axis=0) for layer in states]
    expected = {
        "generative": [*means[1:], []],
        "recognition": means[:-1],
        "lateral": means[1:],
        "autoregressive": means[:1],
    }
    found = Centred.initial_averages(machine)
    for network, centres in expected.items():
        for one, other in zip(found[network], centres, strict=True):
            # Five standard errors are 5 * 0.5 / sqrt(40,000).
            np.testing.assert_allclose(one, other, atol=0.0125)
