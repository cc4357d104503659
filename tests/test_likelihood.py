"""Laws of free energy, importance-weighted and exact likelihoods."""

import itertools
import tracemalloc

import numpy as np
import oracles
import pytest
from helpers import MACHINES, plain, random_machine, share_all_work, some_rows

from sklearn_helmholtz import HelmholtzMachine, _enumeration, _likelihood
from sklearn_helmholtz._belief_network import Layer
from sklearn_helmholtz._data import Rows
from sklearn_helmholtz._enumeration import exact_log_likelihood
from sklearn_helmholtz._likelihood import (
    draw,
    estimate,
    estimate_rows,
    in_draw_precision,
    log_weights,
    pool,
)
from sklearn_helmholtz._numerics import softplus_sum
from sklearn_helmholtz._parallel import workers
from sklearn_helmholtz._random import RowNoise, as_noise, row_keys
from sklearn_helmholtz._units import Bernoulli, threshold


@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
def test_joint_of_the_generative_model_sums_to_one(sizes, kind):
    if "gaussian" in kind:
        # One visible unit, integrated over more than ten standard deviations.
        machine = random_machine((1, *sizes[1:]), **kind)
        grid = np.linspace(-25, 25, 5001)
        density = np.exp(exact_log_likelihood(machine, grid[:, None]))
        assert np.trapezoid(density, grid) == pytest.approx(1)
        return
    machine = random_machine(sizes, **kind)
    rows = np.array(oracles.all_states(sizes[0]))
    assert np.exp(exact_log_likelihood(machine, rows)).sum() == pytest.approx(1)


@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
def test_exact_likelihood_equals_the_sum_by_plain_loops(sizes, kind):
    machine = random_machine(sizes, **kind)
    rows = some_rows(machine)
    expected = [oracles.log_evidence(plain(machine), x) for x in rows]
    np.testing.assert_allclose(exact_log_likelihood(machine, rows), expected)
    np.testing.assert_allclose(
        exact_log_likelihood(machine, rows, block_bits=1), expected
    )


def test_enumeration_takes_as_many_exponentials_of_logits_for_any_rows(monkeypatch):
    taken = []

    def counted(a):
        taken[-1] += a.size
        return softplus_sum(a)

    monkeypatch.setattr("sklearn_helmholtz._units.softplus_sum", counted)
    monkeypatch.setattr(_enumeration, "BLOCK_PAIRS", 16)  # 8 rows at once
    machine = random_machine((6, 4, 2))
    for n_rows in (1, 50):
        taken.append(0)
        exact_log_likelihood(machine, np.zeros((n_rows, 6)), block_bits=1)
    assert taken[0] == taken[1] > 0


def log_weights_of_all_states(machine, x, monkeypatch):
    """Return the package's log p(x, s) - log q(s | x) of every s, none sampled."""
    states = oracles.hidden_states(plain(machine))
    layers = [np.array(layer)[:, None] for layer in zip(*states, strict=True)]
    monkeypatch.setattr(_likelihood, "draw", lambda machine, index, *_: layers[index])
    first = machine.recognition[0].logits(x[None])
    noise = RowNoise(row_keys(x[None]), range(len(states)))
    return log_weights(machine, x[None], first, noise)[:, 0]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
def test_log_weight_of_every_state_equals_the_plain_loops(
    sizes, kind, grey, monkeypatch
):
    machine = random_machine(sizes, **kind)
    table = plain(machine)
    for x in some_rows(machine, n_rows=3):
        x = np.abs(x - 0.3) if grey else x
        expected = [
            oracles.log_joint(table, x, s) - oracles.log_recognition(table, x, s)
            for s in oracles.hidden_states(table)
        ]
        found = log_weights_of_all_states(machine, x, monkeypatch)
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
def test_recognition_distribution_sums_to_one(sizes, kind, monkeypatch):
    machine = random_machine(sizes, **kind)
    x = some_rows(machine, n_rows=1)[0]
    joint = [
        oracles.log_joint(plain(machine), x, s)
        for s in oracles.hidden_states(plain(machine))
    ]
    log_q = joint - log_weights_of_all_states(machine, x, monkeypatch)
    assert oracles.log_sum(log_q) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
def test_mean_log_weight_is_the_negative_free_energy(sizes, kind):
    # Level: |z| < 4.5 for 35 estimates, false alarm below 3e-4 in all.
    machine = random_machine(sizes, **kind)
    n_particles = 20_000
    for x in some_rows(machine):
        many = estimate(machine, np.tile(x, (1, 1)), n_particles)
        exact = -oracles.free_energy(plain(machine), x)
        spread = log_weight_spread(machine, x)
        error = spread / np.sqrt(n_particles) + 1e-9
        assert abs(many.mean_log_weight[0] - exact) < 4.5 * error


def log_weight_spread(machine, x):
    """Return the standard deviation of log p(x, s) - log q(s | x) under q."""
    table = plain(machine)
    logs, chances = [], []
    for s in oracles.hidden_states(table):
        log_q = oracles.log_recognition(table, x, s)
        chances.append(np.exp(log_q))
        logs.append(oracles.log_joint(table, x, s) - log_q)
    mean = np.dot(chances, logs)
    return np.sqrt(np.dot(chances, np.square(np.array(logs) - mean)))


@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
def test_gap_of_the_bound_is_the_divergence_of_q_from_the_posterior(sizes, kind):
    # Level: |z| < 4.5 for 14 estimates, false alarm below 1e-4 in all.
    machine = random_machine(sizes, **kind)
    n_particles = 20_000
    for x in some_rows(machine, n_rows=2):
        bound = estimate(machine, x[None], n_particles).mean_log_weight[0]
        gap = exact_log_likelihood(machine, x[None])[0] - bound
        error = log_weight_spread(machine, x) / np.sqrt(n_particles) + 1e-9
        expected = oracles.divergence_from_posterior(plain(machine), x)
        assert expected > 10 * error  # the test has something to measure
        assert abs(gap - expected) < 4.5 * error


@pytest.mark.parametrize("gaussian", [False, True])
def test_weights_have_no_variance_where_q_is_the_posterior(gaussian):
    machine = random_machine((5, 1), seed=3, gaussian=gaussian)
    visible, prior = machine.generative
    theta = visible.weights[0]
    if gaussian:
        phi = theta / visible.units.variance
        shift = -np.sum((theta + 2 * visible.bias) * phi) / 2
    else:
        phi = theta
        shift = np.sum(
            np.logaddexp(0, visible.bias) - np.logaddexp(0, visible.bias + theta)
        )
    posterior = Layer(phi[:, None], prior.bias + shift, Bernoulli())
    machine = machine._replace(recognition=(posterior,))
    rows = some_rows(machine, n_rows=20)
    found = estimate(machine, rows, 50)
    exact = exact_log_likelihood(machine, rows)
    np.testing.assert_allclose(found.mean_log_weight, exact, rtol=1e-12)
    np.testing.assert_allclose(found.log_likelihood, exact, rtol=1e-12)
    np.testing.assert_allclose(found.effective_sample_size, 50, rtol=1e-9)


@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
def test_bound_rises_with_particles_and_exact_likelihood_lies_above(sizes, kind):
    machine = random_machine(sizes, scale=0.5, **kind)
    rows = some_rows(machine, n_rows=12)
    exact = exact_log_likelihood(machine, rows).mean()
    runs = {
        k: np.mean([estimate(machine, rows, k, seed=s)[0].mean() for s in range(200)])
        for k in (1, 3, 10, 100)
    }
    many = estimate(machine, rows, 30_000)
    for few, more in itertools.pairwise(runs.values()):
        assert few < more
    assert runs[10] < exact
    # The estimates' own error, from the spread of their weights; |z| < 4.5.
    error = np.mean(1 / np.sqrt(many.effective_sample_size))
    assert abs(many.log_likelihood.mean() - exact) < 4.5 * error
    assert error < 0.03


def test_estimates_in_chunks_of_particles_equal_one_pass(monkeypatch):
    machine = random_machine((4, 3, 2))
    rows = some_rows(machine)
    whole = estimate(machine, rows, 37)
    monkeypatch.setattr("sklearn_helmholtz._likelihood.BLOCK_STATES", 10)
    for one, other in zip(whole, estimate(machine, rows, 37), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_estimates_of_many_particles_keep_float32s_digits():
    values = np.array([-182.3, -5e3, -1e5], np.float32)  # whatever the other rows have

    def weigh_some(particles):
        return np.tile(values, (len(particles), 1))

    found = pool(weigh_some, 3, 300_000)
    np.testing.assert_allclose(found.mean_log_weight, values.astype(float), rtol=1e-12)
    np.testing.assert_allclose(found.log_likelihood, values.astype(float), rtol=1e-12)


def test_rows_block_by_block_score_as_at_once():
    machine = random_machine((4, 3, 2))
    rows = np.random.default_rng(0).integers(0, 2, (700, 4)).astype(float)
    with workers(1) as team:
        for seed in (0, 5):
            found = estimate_rows(machine, Rows(rows), 3, team, seed)
            for one, other in zip(found, estimate(machine, rows, 3, seed), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12)


def test_seeds_give_independent_noise():
    machine = random_machine((4, 3))
    rows = np.array(oracles.all_states(4))
    runs = np.array([estimate(machine, rows, 1, seed=s)[0] for s in range(400)])
    runs = runs - runs.mean(axis=0)
    correlation = (runs[1:] * runs[:-1]).mean() / runs.var()
    # 16 rows x 399 pairs: a standard error of about 0.0125.
    assert abs(correlation) < 0.06


@pytest.mark.parametrize("grey", [0.1, 0.5, 0.9])
def test_grey_row_bounds_the_expected_likelihood_of_its_binary_rows(grey):
    machine = random_machine((4, 3))
    rng = np.random.default_rng(0)
    x = np.clip(grey + rng.normal(0, 0.1, 4), 0, 1)
    rows = np.array(oracles.all_states(4))
    chances = np.prod(np.where(rows == 1, x, 1 - x), axis=1)
    expected = chances @ exact_log_likelihood(machine, rows)
    exact = exact_log_likelihood(machine, x[None])[0]
    assert exact == pytest.approx(oracles.log_evidence(plain(machine), x))
    assert exact <= expected
    assert -oracles.free_energy(plain(machine), x) <= exact


def test_float32_machine_scores_like_its_float64_twin():
    X = np.random.default_rng(0).integers(0, 2, (200, 12)).astype(np.float32)
    machine = HelmholtzMachine((8, 4), max_iter=10, random_state=0).fit(X)
    found = machine.score_samples(X)
    twin = HelmholtzMachine((8, 4)).fit(X.astype(float))
    for name in ("generative_coefs_", "generative_intercepts_"):
        setattr(twin, name, [a.astype(float) for a in getattr(machine, name)])
    for name in ("recognition_coefs_", "recognition_intercepts_"):
        setattr(twin, name, [a.astype(float) for a in getattr(machine, name)])
    np.testing.assert_allclose(found, twin.score_samples(X), rtol=1e-5)


@pytest.mark.parametrize("n_particles", [1, 3])
@pytest.mark.parametrize("index", [0, 1])
def test_float32_draws_do_not_depend_on_the_rounding_of_logits(index, n_particles):
    machine = random_machine((50, 40, 20), dtype=np.float32)
    rng = np.random.default_rng(0)
    size = machine.recognition[index].weights.shape[0]
    shape = (3000, size) if index == 0 else (n_particles, 3000, size)
    parent = rng.integers(0, 2, shape).astype(np.float32)
    noise = RowNoise(row_keys(rng.random((3000, 50))), range(n_particles))
    bits = noise.bits(len(machine.recognition[index].bias), index)
    logits = parent @ machine.recognition[index].weights
    logits += machine.recognition[index].bias
    moved = logits + rng.uniform(-5e-4, 5e-4, logits.shape).astype(np.float32)
    np.testing.assert_array_equal(
        draw(machine, index, parent, logits, bits),
        draw(machine, index, parent, moved, bits),
    )
    # The law has something to do: without care some of these draws flip.
    found = [threshold(a, as_noise(bits, a.dtype)) for a in (logits, moved)]
    flips = found[0] != found[1]
    assert flips.any()


def test_lateral_side_is_scored_in_float64():
    narrow = random_machine((3, 2), lateral=True, dtype=np.float32)
    wide = in_draw_precision(narrow)
    for layer in (*wide.recognition, *wide.lateral):
        assert layer.weights.dtype == layer.bias.dtype == np.float64
    for one, other in zip(wide.lateral, narrow.lateral, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.bias, other.bias)
    assert wide.generative is narrow.generative
    factorial = random_machine((3, 2))
    assert in_draw_precision(factorial) is factorial


def test_too_large_a_machine_is_refused_by_name_of_the_way_out():
    X = np.random.default_rng(0).integers(0, 2, (20, 5)).astype(float)
    machine = HelmholtzMachine((15, 8), max_iter=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match="Use log_likelihood"):
        machine.exact_log_likelihood(X)


def test_scores_do_not_depend_on_the_threads(monkeypatch):
    share_all_work(monkeypatch)
    X = np.random.default_rng(0).integers(0, 2, (900, 12)).astype(np.float32)
    machine = HelmholtzMachine((8, 4), max_iter=2, random_state=0).fit(X)
    for method in ("score_samples", "log_likelihood", "exact_log_likelihood"):
        one, two, three = (
            getattr(machine.set_params(n_jobs=n), method)(X) for n in (1, 2, 3)
        )
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("method", ["score_samples", "log_likelihood"])
def test_memory_of_scores_grows_neither_with_particles_nor_with_rows(method):
    X = np.random.default_rng(0).integers(0, 2, (3000, 100)).astype(np.float32)
    machine = HelmholtzMachine((60, 30), max_iter=1, n_jobs=1, random_state=0).fit(X)

    def peak(n_rows, n_particles):
        machine.set_params(n_score_samples=n_particles)
        extra = () if method == "score_samples" else (n_particles,)
        tracemalloc.start()
        getattr(machine, method)(X[:n_rows], *extra)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few = peak(600, 10)
    assert peak(50, 2000) < 2 * few
    # Three estimates of eight bytes a row are the results themselves.
    assert peak(3000, 10) < 2 * few + 3000 * 3 * 8


def test_enumeration_ends_at_its_limit_of_bits():
    x = np.zeros((1, 1))
    for sizes in ((1, 20), (1, 12, 8)):
        assert np.isfinite(exact_log_likelihood(random_machine(sizes), x)).all()
    for sizes in ((1, 21), (1, 12, 9), (1, 3, 12, 9)):
        with pytest.raises(ValueError, match="this machine has 21"):
            exact_log_likelihood(random_machine(sizes), x)


def test_one_particle_counts_as_one():
    x = np.eye(4)
    found = estimate(random_machine((4, 3)), x, 1)
    np.testing.assert_array_equal(found.effective_sample_size, 1.0)
