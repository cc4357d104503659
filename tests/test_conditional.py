"""Filling in: the chain's stationary distribution is the model's conditional.

The tests of draws are chi-square tests at level 1e-3, each with a fixed seed.
"""

import numpy as np
import oracles
import pytest
from helpers import binary_rows, plain, random_machine, stream
from scipy.stats import chisquare, kstest, norm
from sklearn.datasets import load_digits

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._belief_network import Layer
from sklearn_helmholtz._conditional import completions, fill_in
from sklearn_helmholtz._missing import rows_at_once
from sklearn_helmholtz._units import Bernoulli

LEVEL = 1e-3
N_CHAINS = 8000
X = np.array([1.0, 0.0, 1.0, 0.0])
MISSING = np.array([True, False, False, True])


def completed(values):
    """Return X with the missing units at the given values."""
    row = X.copy()
    row[MISSING] = values
    return row.tolist()


def joint_table(machine):
    """Return {(missing values, hidden states): p(both | seen)}, by enumeration."""
    table = {}
    for values in oracles.all_states(MISSING.sum()):
        for hidden in oracles.hidden_states(machine):
            states = values, tuple(hidden)
            table[states] = oracles.log_joint(machine, completed(values), hidden)
    total = oracles.log_sum(list(table.values()))
    return {states: np.exp(value - total) for states, value in table.items()}


def missing_table(machine):
    """Return {missing values: p(missing | seen)}."""
    found = dict.fromkeys(oracles.all_states(MISSING.sum()), 0.0)
    for (values, _), chance in joint_table(machine).items():
        found[values] += chance
    return found


def p_value(drawn, table):
    """Return the chi-square p-value of the rows' missing units against a table."""
    codes = drawn[:, MISSING] @ [2, 1]
    counts = np.bincount(codes.astype(int), minlength=len(table))
    return chisquare(counts, np.array(list(table.values())) * len(drawn)).pvalue


def tiled():
    """Return the row and its mask, once a chain."""
    return np.tile(X, (N_CHAINS, 1)), np.tile(MISSING, (N_CHAINS, 1))


KINDS = [
    {},
    {"lateral": True},
    {"autoregressive": True},
    {"lateral": True, "autoregressive": True},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("n_particles", [2, 6])
def test_one_step_leaves_the_conditional_as_it_is(n_particles, kind):
    """Started in it: so no burn-in hides a wrong weight."""
    machine = random_machine([4, 3, 2], seed=3, scale=1.5, **kind)
    table = joint_table(plain(machine))
    states, chances = list(table), np.array(list(table.values()))
    rng = np.random.default_rng(0)
    places = rng.choice(len(states), size=N_CHAINS, p=chances / chances.sum())
    hidden = [
        np.array([states[place][1][level] for place in places]) for level in range(2)
    ]
    rows, missing = tiled()
    rows[missing] = np.ravel([states[place][0] for place in places])
    chain = completions(machine, rows, missing, stream(1), n_particles, hidden=hidden)
    drawn, _ = next(chain)
    assert p_value(drawn, missing_table(plain(machine))) > LEVEL


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_from_dreams_the_chain_reaches_the_conditional(kind):
    machine = random_machine([4, 3, 2], seed=3, scale=1.5, **kind)
    drawn = fill_in(machine, *tiled(), stream(2), n_iter=15, n_particles=6, mean=False)
    assert p_value(drawn, missing_table(plain(machine))) > LEVEL


@pytest.mark.parametrize("kind", [{}, {"autoregressive": True}], ids=str)
def test_in_few_steps_the_chain_goes_from_one_cluster_to_the_other(kind):
    """Recognition is certain of a row's cluster, and never proposes the other."""
    machine = random_machine([4, 1], scale=0.3, **kind)
    down, up = machine.generative[0], machine.recognition[0]
    down.weights[:], down.bias[:] = 12.0, -6.0
    up.weights[:], up.bias[:] = 10.0, -20.0
    rows, missing = tiled()
    missing[:] = True
    start = [np.ones((N_CHAINS, 1))]
    chain = completions(machine, rows, missing, stream(5), 6, hidden=start)
    for _ in range(6):
        drawn, _ = next(chain)
    top = machine.generative[1].bias.item()
    expected = N_CHAINS / (1 + np.exp([top, -top]))
    on = (drawn.mean(axis=1) > 0.5).sum()
    assert chisquare([N_CHAINS - on, on], expected).pvalue > LEVEL


def test_without_resampling_it_does_not():
    """The power of the tests above."""
    machine = random_machine([4, 3, 2], seed=3, scale=1.5)
    drawn = fill_in(machine, *tiled(), stream(2), n_iter=30, n_particles=1, mean=False)
    # The one particle, the present one, never moves: these are dreams.
    assert p_value(drawn, missing_table(plain(machine))) < LEVEL


@pytest.mark.parametrize("kind", [{}, {"autoregressive": True}], ids=str)
def test_means_are_those_of_the_conditional(kind):
    """At 4 standard errors over the rows."""
    machine = random_machine([4, 3, 2], seed=3, scale=1.5, **kind)
    rows, missing = (values[:2000] for values in tiled())
    filled = fill_in(
        machine, rows, missing, stream(3), n_iter=60, n_particles=6, mean=True
    )
    table = missing_table(plain(machine))
    expected = np.sum([np.multiply(v, p) for v, p in table.items()], axis=0)
    found = filled[:, MISSING]
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - expected) < 4 * error).all()
    np.testing.assert_array_equal(filled[:, ~MISSING], rows[:, ~MISSING])


@pytest.mark.parametrize("kind", [{}, {"autoregressive": True}], ids=str)
def test_gaussian_units_follow_the_conditional_mixture(kind):
    """Kolmogorov-Smirnov against the exact distribution function."""
    machine = random_machine([3, 2, 2], seed=5, gaussian=True, **kind)
    row, missing = np.array([0.3, -0.8, 0.0]), np.array([False, False, True])
    weights, bias = machine.generative[0][:2]
    variance = machine.generative[0].units.variance
    log_chances, means = [], []
    for hidden in oracles.hidden_states(plain(machine)):
        mean = np.array(hidden[0]) @ weights + bias
        for beside in machine.autoregressive:
            mean = mean + beside.bias + row @ beside.weights
        # With the missing value at its mean its density is the same for all.
        filled = [row[0], row[1], mean[2]]
        log_chances.append(oracles.log_joint(plain(machine), filled, hidden))
        means.append(mean[2])
    chances = np.exp(np.array(log_chances) - oracles.log_sum(log_chances))

    def distribution(values):
        values = np.asarray(values)[:, None]
        return norm.cdf(values, means, np.sqrt(variance[2])) @ chances

    n = 5000
    drawn = fill_in(
        machine,
        np.tile(row, (n, 1)),
        np.tile(missing, (n, 1)),
        stream(0),
        n_iter=40,
        n_particles=6,
        mean=False,
    )
    assert kstest(drawn[:, 2], distribution).pvalue > LEVEL


def conditional_normals(machine, row, missing):
    """Return chances and means of the missing units, a hidden state, and covariance."""
    beside, seen = machine.autoregressive[0], ~missing
    mixing = np.linalg.inv(np.eye(len(missing)) - np.triu(beside.weights, 1))
    covariance = (mixing.T * machine.generative[0].units.variance) @ mixing
    within = covariance[np.ix_(seen, seen)]
    across = covariance[np.ix_(missing, seen)] @ np.linalg.inv(within)
    log_chances, means = [], []
    for hidden in oracles.hidden_states(plain(machine)):
        sent = np.array(hidden[0]) @ machine.generative[0].weights
        mean = (sent + machine.generative[0].bias + beside.bias) @ mixing
        away = row[seen] - mean[seen]
        # Of the density at the mean, the normaliser is the same for all states.
        at_mean = oracles.log_joint(plain(machine), mean.tolist(), hidden)
        log_chances.append(at_mean - 0.5 * away @ np.linalg.solve(within, away))
        means.append(mean[missing] + across @ away)
    chances = np.exp(np.array(log_chances) - oracles.log_sum(log_chances))
    inside = covariance[np.ix_(missing, missing)]
    return chances, np.array(means), inside - across @ covariance[np.ix_(seen, missing)]


@pytest.mark.parametrize("noise", [1.0, 0.05])
def test_real_units_that_see_each_other_follow_their_joint_normal(noise):
    """Missing ones before seen ones: means within 5 standard errors, and covariances.

    With little noise no draw in the order of the columns would meet the seen ones.
    """
    machine = random_machine([4, 2, 2], seed=6, gaussian=True, autoregressive=True)
    machine.generative[0].units.variance[...] = np.square(noise)
    row, missing = np.array([0.0, 0.0, -0.4, 0.9]), np.array([True, True, False, False])
    chances, means, inside = conditional_normals(machine, row, missing)
    expected = chances @ means
    spread = inside + np.cov(means.T, aweights=chances, ddof=0)
    deviation = np.sqrt(np.diag(spread))
    rows = np.tile(row, (4000, 1)), np.tile(missing, (4000, 1))
    for mean in (False, True):
        found = fill_in(machine, *rows, stream(0), n_iter=40, n_particles=6, mean=mean)
        np.testing.assert_allclose(found[:, ~missing], rows[0][:, ~missing])
        error = np.abs(found[:, missing].mean(axis=0) - expected)
        assert (error < 5 * deviation / np.sqrt(len(found))).all()
        if not mean:
            away = np.cov(found[:, missing].T) - spread
            assert (np.abs(away) < 0.15 * np.outer(deviation, deviation)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_correlated_columns_are_filled_in_as_their_normal_has_it(dtype):
    """Before a seen twin: nearly as well as by the density that rows are drawn from."""
    rng = np.random.default_rng(0)
    twins = rng.normal(size=(600, 3))
    X = np.hstack([twins, twins + 0.1 * rng.normal(size=(600, 3))]).astype(dtype)
    machine = HelmholtzMachine(
        (20, 8), autoregressive=True, max_iter=100, random_state=0
    )
    machine.fit(X[:500])
    holes = X[500:].copy()
    holes[:, :3] = np.nan
    filled = machine.impute(holes, mean=True, n_iter=20, random_state=0)
    assert filled.dtype == dtype
    error = np.sqrt(np.square(filled - X[500:])[:, :3].mean())
    assert error < 0.13


def test_many_patterns_of_many_columns_are_filled_in_some_rows_at_a_time():
    machine = random_machine([300, 2], gaussian=True, autoregressive=True)
    missing = np.zeros((5, 300), bool)
    missing[3, :200] = True
    assert rows_at_once(machine, missing, 1000) == 2**23 // 200**2
    assert rows_at_once(machine, missing[:3], 1000) == 1000
    assert rows_at_once(random_machine([4, 2]), missing, 1000) == 1000


# ------------------------------------------------------------------ the method


def test_seen_values_stay_and_none_is_missing():
    rng = np.random.default_rng(0)
    X = rng.normal(5, 3, (60, 4)).astype(np.float32)
    machine = HelmholtzMachine((3,), max_iter=3, random_state=0).fit(X)
    holes = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    for mean in (False, True):
        filled = machine.impute(holes, mean=mean, n_iter=5, random_state=0)
        assert np.isfinite(filled).all()
        assert filled.dtype == X.dtype
        seen = ~np.isnan(holes)
        np.testing.assert_array_equal(filled[seen], X[seen])
    again = machine.impute(holes, mean=True, n_iter=5, random_state=0)
    np.testing.assert_array_equal(filled, again)


def test_threads_do_not_change_what_is_filled_in():
    rows = binary_rows(600, 5)
    rows[:, 0] = np.nan
    machine = HelmholtzMachine((3,), max_iter=2, random_state=0)
    machine.fit(np.nan_to_num(rows))
    one = machine.set_params(n_jobs=1).impute(rows, n_iter=3, random_state=0)
    two = machine.set_params(n_jobs=2).impute(rows, n_iter=3, random_state=0)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("method", ["fit", "transform", "score_samples"])
def test_elsewhere_a_missing_value_is_an_error(method):
    rows = binary_rows(50, 5)
    machine = HelmholtzMachine((3,), max_iter=2, random_state=0).fit(rows)
    rows[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        getattr(machine, method)(rows)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([[np.inf, 0, 0]], {}, "infinity"),
        ([[2, np.nan, 0]], {}, r"need values in \[0, 1\]"),
        ([[np.nan, 0]], {}, "features"),
        ([[np.nan, 0, 0]], {"n_iter": 0}, "n_iter"),
        ([[np.nan, 0, 0]], {"n_particles": 1}, "n_particles"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(rows, options, message):
    machine = HelmholtzMachine((3,), visible="bernoulli", max_iter=2)
    machine.fit(binary_rows(50, 3))
    with pytest.raises(ValueError, match=message):
        machine.impute(rows, **options)


def test_half_a_digit_is_filled_in_better_than_by_the_mean():
    X = load_digits().data / 16
    train, test = X[:1500], X[1500:1560]
    machine = HelmholtzMachine((40, 20), max_iter=30, random_state=0).fit(train)
    holes = test.copy()
    holes[:, 32:] = np.nan
    filled = machine.impute(holes, mean=True, n_iter=120, random_state=0)
    error = np.square(filled - test)[:, 32:].mean()
    by_mean = np.square(train.mean(axis=0) - test)[:, 32:].mean()
    assert error < 0.8 * by_mean


def test_twins_fill_each_other_in_whichever_comes_first():
    """What is seen of the one may come twenty columns after the missing other."""
    rng = np.random.default_rng(0)
    one = (rng.random((1100, 20)) < 0.3).astype(float)
    other = np.where(rng.random(one.shape) < 0.02, 1 - one, one)
    X = np.hstack([one, other])
    machine = HelmholtzMachine((50, 20), autoregressive=True, random_state=0)
    machine.fit(X[:1000])
    for missing in (slice(0, 20), slice(20, None)):
        held_out = X[1000:].copy()
        held_out[:, missing] = np.nan
        filled = machine.impute(held_out, random_state=0)
        wrong = filled[:, missing] != X[1000:, missing]
        # Draws are, of the best model, in 4 percent of places.
        assert wrong.mean() < 0.06


def test_jump_does_not_look_at_the_present_filling():
    """Recognition that would give the present state away: chi-square."""

    def layer(weights, bias):
        return Layer(np.array(weights), np.array(bias), Bernoulli())

    machine = random_machine((4, 1))._replace(
        generative=(
            layer([[-6.0, 0.0, 0.0, -6.0]], [4.0, 0.0, 0.0, 4.0]),
            layer(np.zeros((0, 1)), [-0.5]),
        ),
        recognition=(layer([[2.25], [0.0], [0.0], [2.25]], [-0.6]),),
    )
    table = joint_table(plain(machine))
    states, chances = list(table), np.array(list(table.values()))
    places = np.random.default_rng(0).choice(len(states), size=N_CHAINS, p=chances)
    rows, missing = tiled()
    rows[missing] = np.ravel([states[place][0] for place in places])
    hidden = [np.array([states[place][1][0] for place in places])]
    drawn, _ = next(completions(machine, rows, missing, stream(1), 2, hidden=hidden))
    assert p_value(drawn, missing_table(plain(machine))) > LEVEL
