"""Laws of the moves towards the posterior, held to enumeration.

Statistical tests have fixed seeds and a level of 0.001, or of four standard errors.
"""

import numpy as np
import oracles
import pytest
from helpers import (
    binary_rows,
    parameters,
    plain,
    random_machine,
    share_all_work,
    some_rows,
    stream,
    with_parameter,
)
from scipy.special import expit
from scipy.stats import chisquare

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._belief_network import Scratch
from sklearn_helmholtz._enumeration import binary_states
from sklearn_helmholtz._moves import Chain, refine
from sklearn_helmholtz._numerics import normalised_weights
from sklearn_helmholtz._particles import refined_wake
from sklearn_helmholtz._random import choose, uniforms

LEVEL = 0.001
N_ROWS = 8000
CASES = [
    ({}, 1.0),
    ({}, 0.4),
    ({"gaussian": True}, 1.0),
    ({"gaussian": True}, 0.3),
]


def some_row(machine):
    return some_rows(machine, seed=3, n_rows=1)[0]


def target(machine, x, prior_logits, power):
    """Return the chain's stationary probability of every state, by plain loops."""
    table = plain(machine)
    weights, bias = table["generative"][0]
    log_p = []
    for state in binary_states(len(prior_logits)):
        logits = oracles.linear(state, weights, bias)
        if "variance" in table:
            log_child = oracles.log_normal(x, logits, table["variance"])
        else:
            log_child = oracles.log_bernoulli(x, logits)
        log_prior = oracles.log_bernoulli(state, prior_logits)
        log_p.append(power * log_child + log_prior)
    p = np.exp(np.array(log_p) - max(log_p))
    return p / p.sum()


def counts(states):
    codes = (states @ 2 ** np.arange(states.shape[1])).astype(int)
    return np.bincount(codes, minlength=2 ** states.shape[1])


def chain_from(machine, x, states, prior_logits, power):
    child = np.tile(x, (len(states), 1))
    return Chain(machine.generative[0], child, states, prior_logits[None], power)


@pytest.mark.parametrize(("kind", "power"), CASES)
@pytest.mark.parametrize("n_moves", [1, 5])
def test_moves_leave_the_posterior_as_it_is(kind, power, n_moves):
    machine = random_machine((5, 3), seed=2, **kind)
    x, prior_logits = some_row(machine), np.array([0.5, -1.0, 0.2])
    p = target(machine, x, prior_logits, power)
    expected = np.round(p * N_ROWS).astype(int)
    states = np.repeat(binary_states(3), expected, axis=0)
    chain = chain_from(machine, x, states, prior_logits, power)
    for _ in range(n_moves):
        chain.move(stream(n_moves))
    assert chisquare(counts(states), p * len(states)).pvalue > LEVEL


@pytest.mark.parametrize(("kind", "power"), CASES)
def test_moves_reach_the_posterior_from_anywhere(kind, power):
    machine = random_machine((5, 3), seed=2, **kind)
    x, prior_logits = some_row(machine), np.array([0.5, -1.0, 0.2])
    states = np.zeros((N_ROWS, 3))
    chain = chain_from(machine, x, states, prior_logits, power)
    rng = stream(1)
    for _ in range(60):
        chain.move(rng)
    p = target(machine, x, prior_logits, power)
    assert chisquare(counts(states), p * N_ROWS).pvalue > LEVEL


@pytest.mark.parametrize("sizes", [(4, 3), (4, 2, 2), (3, 2, 2, 1)])
def test_rounds_through_the_layers_reach_the_posterior(sizes):
    machine = random_machine(sizes, seed=5)
    x = some_row(machine)
    states = [np.tile(x, (N_ROWS, 1)), *(np.zeros((N_ROWS, n)) for n in sizes[1:])]
    rng = stream(2)
    for _ in range(40):
        refine(machine, states, rng, 3)
    table = plain(machine)
    log_p = np.array(
        [oracles.log_joint(table, x, hidden) for hidden in oracles.hidden_states(table)]
    )
    p = np.exp(log_p - log_p.max())
    # The loops count as binary numbers do whose first digit is the highest.
    found = counts(np.hstack(states[1:])[:, ::-1])
    assert chisquare(found, p / p.sum() * N_ROWS).pvalue > LEVEL


@pytest.mark.parametrize(
    ("gaussian", "scale", "tolerance"), [(True, 1.0, 1e-12), (False, 0.01, 1e-6)]
)
def test_gains_of_flips_are_right_to_second_order(gaussian, scale, tolerance):
    machine = random_machine((6, 4), seed=1, gaussian=gaussian, scale=scale)
    layer, states = machine.generative[0], binary_states(4)
    child = np.tile(some_row(machine), (len(states), 1))
    view = Chain(layer, child, states, np.zeros((1, 4))).view
    for unit in range(4):
        flip = 1 - 2 * states[:, unit]
        flipped = states.copy()
        flipped[:, unit] += flip
        after = layer.units.log_prob(child, layer.logits(flipped))
        expected = view.gain[:, unit]
        np.testing.assert_allclose(after - view.log_prob, expected, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_chain_keeps_follows_its_states(dtype):
    machine = random_machine((7, 5), seed=4, dtype=dtype)
    rng = np.random.default_rng(0)
    states = rng.integers(0, 2, (50, 5)).astype(dtype)
    child = rng.integers(0, 2, (50, 7)).astype(dtype)
    prior_logits = machine.generative[1].bias[None]
    chain = Chain(machine.generative[0], child, states, prior_logits)
    draws = stream()
    for _ in range(30):
        chain.move(draws)
    afresh = Chain(machine.generative[0], child, states, prior_logits)
    assert chain.view.states is states
    for kept, expected in zip(chain.view, afresh.view, strict=True):
        assert kept.dtype == dtype
        np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-4)


def test_particles_are_picked_by_weight():
    p = np.array([0.1, 0.6, 0.05, 0.25])
    log_weights = np.tile(np.log(p)[:, None] + 800.0, (1, N_ROWS))
    weights = normalised_weights(log_weights, axis=0)
    chosen = choose(weights, uniforms(stream(), (N_ROWS,)))
    found = np.bincount(chosen, minlength=4)
    assert chisquare(found, p * N_ROWS).pvalue > LEVEL


def test_every_rows_particle_is_picked_by_its_own_weights():
    # Of states that q takes for equally likely, one explains a row by far the best:
    # however improbable the row is beside others.
    machine, n_particles = random_machine((400, 3), scale=20.0), 5
    for which in ("weights", "bias"):
        flat = np.zeros_like(getattr(machine.recognition[0], which))
        machine = with_parameter(machine, "recognition", 0, which, flat)
    states = binary_states(3)
    likely = (states[5] @ machine.generative[0].weights > 0).astype(float)
    rows = np.array([likely, 1 - likely])
    regressions = refined_wake(
        machine,
        np.tile(rows, (N_ROWS // 2, 1)),
        stream(),
        Scratch(float),
        1.0,
        n_particles,
        0.0,
        0,
    )
    picked = next(regressions).parent.reshape(-1, 2, 3)
    for number, x in enumerate(rows):
        log_p = [oracles.log_joint(plain(machine), x, [state]) for state in states]
        assert np.diff(np.sort(log_p))[-1] > 20
        best = (picked[:, number] == states[np.argmax(log_p)]).all(axis=1)
        among = 1 - (7 / 8) ** n_particles
        spread = np.sqrt(among * (1 - among) / len(best))
        assert abs(best.mean() - among) < 4 * spread


def evidence_gradient(machine, x, level):
    """Return the derivative of log p(x) to a generative bias, by differences."""
    bias = machine.generative[level].bias
    slopes = []
    for unit in range(len(bias)):
        values = []
        for sign in (1, -1):
            moved = bias.copy()
            moved[unit] += sign * 1e-5
            other = with_parameter(machine, "generative", level, "bias", moved)
            values.append(oracles.log_evidence(plain(other), x))
        slopes.append((values[0] - values[1]) / 2e-5)
    return np.array(slopes)


@pytest.mark.parametrize(
    ("sizes", "n_particles"),
    # Through two layers there is but one round: there, more particles to start from.
    [((4, 3), 1), ((4, 3), 3), ((4, 2, 2), 300)],
)
def test_refined_update_is_the_gradient_of_the_evidence(sizes, n_particles):
    machine = random_machine(sizes, seed=6)
    x, n_rows = some_row(machine), 5000
    regressions = refined_wake(
        machine,
        np.tile(x, (n_rows, 1)),
        stream(),
        Scratch(float),
        1.0,
        n_particles,
        0.0,
        40,
    )
    levels = 0
    for regression in regressions:
        assert regression.network == "generative"
        levels += 1
        expected = evidence_gradient(machine, x, regression.layer)
        found = regression.residual.sum(axis=0) / n_rows
        spread = regression.residual.std(axis=0)
        if regression.parent is None:  # one row: the mean of 0 or 1, less the prior's
            on = found + expit(machine.generative[-1].bias)
            spread = np.sqrt(on * (1 - on))
        assert (np.abs(found - expected) < 4 * spread / n_rows**0.5).all()
    assert levels == len(sizes)


def test_refined_wake_teaches_every_network_that_has_a_share():
    machine = random_machine((5, 4, 3), lateral=True, autoregressive=True)
    x = np.random.default_rng(0).integers(0, 2, (6, 5)).astype(float)
    found = [
        regression[:2]
        for regression in refined_wake(
            machine, x, stream(), Scratch(float), 1 / 6, 2, 0.5, 1
        )
    ]
    assert len(found) == len(set(found))
    recognition = {(n, i) for n in ("recognition", "lateral") for i in range(2)}
    generative = {("generative", i) for i in range(3)} | {("autoregressive", 0)}
    assert set(found) == recognition | generative


@pytest.mark.parametrize("kind", ["bernoulli", "grey", "gaussian"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_with_moves_is_the_same_in_any_number_of_threads(kind, dtype, monkeypatch):
    share_all_work(monkeypatch)
    X = binary_rows(120, 8, dtype)
    if kind == "grey":
        X = X * dtype(0.8)
    if kind == "gaussian":
        X = X * dtype(3) - 1 + np.arange(8, dtype=dtype)
    settings = {"n_moves": 3, "max_iter": 3, "random_state": 0}
    one, two = (HelmholtzMachine((6, 4), n_jobs=n, **settings).fit(X) for n in (1, 2))
    np.testing.assert_array_equal(parameters(one), parameters(two))
    assert one.components_.dtype == dtype
    assert np.isfinite(one.score(X))


def test_moves_raise_the_likelihood_where_recognition_is_no_help():
    """Recognition that learns nothing: only moves can find the causes."""
    rng = np.random.default_rng(0)
    causes = rng.random((600, 3)) < 0.5
    X = np.repeat(causes, 4, axis=1).astype(float)
    settings = {
        "wake_share": 0.0,
        "sleep_share": 0.0,
        "n_particles": 1,
        "max_iter": 30,
        "random_state": 0,
    }
    still, moved = (
        HelmholtzMachine((4,), n_moves=n, **settings)
        .fit(X)
        .exact_log_likelihood(X)
        .mean()
        for n in (0, 20)
    )
    assert moved > still + 1.0
    assert moved > -3 * np.log(2) - 1.5  # the rows' entropy is 3 bits
