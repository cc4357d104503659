"""Units that see those before them, against loops and against their own kind."""

import numpy as np
import oracles
import pytest
from helpers import binary_rows, nothing_but_overflow, random_machine, stream
from scipy.stats import chisquare, multivariate_normal

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._belief_network import Layer, down_mean
from sklearn_helmholtz._in_turn import Autoregressive
from sklearn_helmholtz._units import Bernoulli, Gaussian

N_UNITS = 5
KINDS = [Bernoulli(), Gaussian(np.linspace(0.2, 2, N_UNITS))]


def autoregressive(kind, seed=0):
    """Return units of a kind with normal weights above the diagonal."""
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.normal(size=(N_UNITS, N_UNITS)), 1)
    return Autoregressive(kind, Layer(weights, rng.normal(size=N_UNITS), kind))


def some_states(kind, shape, seed=1):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 2, shape).astype(float)
        if kind.binary
        else rng.normal(size=shape)
    )


def full_logits(units, states, logits):
    """Return the logits with what is sent, by a loop over rows and units."""
    found = np.array(np.broadcast_to(logits, states.shape))
    for place in np.ndindex(states.shape[:-1]):
        oracles.add_those_before(
            found[place], states[place], units.lateral.weights, units.lateral.bias
        )
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("known", [False, True])
def test_functions_are_the_kinds_own_at_the_logits_with_what_is_sent(kind, known):
    units = autoregressive(kind)
    states = some_states(kind, (6, N_UNITS))
    logits = np.random.default_rng(2).normal(size=states.shape)
    full, before = full_logits(units, states, logits), logits.copy()
    if known:
        units = units.given(states)
        np.testing.assert_allclose(units.mean(logits), kind.mean(full.copy()))
    np.testing.assert_allclose(
        units.log_prob(states, logits), kind.log_prob(states, full)
    )
    residual = kind.residual(states, full)
    np.testing.assert_allclose(units.residual(states, logits), residual)
    mean = states - residual
    np.testing.assert_allclose(units.information(mean), kind.information(mean))
    np.testing.assert_array_equal(logits, before)
    log_prob, found = units.log_prob_and_residual(states, logits)
    assert found is logits
    np.testing.assert_allclose(log_prob, kind.log_prob(states, full))
    np.testing.assert_allclose(found, residual)


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_of_pairs_is_that_of_every_pair(kind):
    units = autoregressive(kind)
    states = some_states(kind, (4, N_UNITS))
    logits = np.random.default_rng(2).normal(size=(7, N_UNITS))
    expected = [units.log_prob(states, np.tile(row, (4, 1))) for row in logits]
    np.testing.assert_allclose(units.log_prob_of_pairs(logits)(states), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_means_in_turn_see_the_means_before_them(kind):
    units = autoregressive(kind)
    logits = np.random.default_rng(2).normal(size=(3, N_UNITS))
    out = np.empty_like(logits)
    assert units.mean(logits, out=out) is out
    for row, means in zip(logits, out, strict=True):
        expected = row.copy()
        oracles.add_those_before(
            expected, means, units.lateral.weights, units.lateral.bias
        )
        np.testing.assert_allclose(means, kind.mean(expected))


def test_gaussian_draws_have_the_moments_of_a_loop_over_units():
    """At 4.5 standard errors."""
    units, n_rows = autoregressive(KINDS[1]), 40_000
    logits = np.tile(np.linspace(-1, 1, N_UNITS), (n_rows, 1))
    drawn = units.sample(logits, stream(), logits.shape)
    mean, covariance = np.zeros(N_UNITS), np.zeros((N_UNITS, N_UNITS))
    for j in range(N_UNITS):
        sent = units.lateral.weights[:j, j]
        mean[j] = logits[0, j] + units.lateral.bias[j] + mean[:j] @ sent
        covariance[:j, j] = covariance[j, :j] = covariance[:j, :j] @ sent
        covariance[j, j] = units.units.variance[j] + sent @ covariance[:j, :j] @ sent
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn.mean(axis=0) - mean) < 4.5 * spread / n_rows**0.5).all()
    found = np.cov(drawn.T) / np.outer(spread, spread)
    expected = covariance / np.outer(spread, spread)
    error = np.sqrt((1 + expected**2) / n_rows)
    assert (np.abs(found - expected) < 4.5 * error).all()


@pytest.mark.parametrize("kind", KINDS)
def test_fillings_keep_what_is_seen_and_follow_those_before(kind):
    """Missing units alone at the end are draws from the layer itself."""
    units, n_rows = autoregressive(kind), 4000
    states = np.tile(some_states(kind, (1, N_UNITS)), (n_rows, 1))
    missing = np.zeros(states.shape, dtype=bool)
    missing[:, -1] = True
    logits = np.zeros((2, *states.shape))
    filled = units.fill_in(logits, states, missing, stream())
    np.testing.assert_array_equal(
        filled[..., :-1], np.broadcast_to(states[:, :-1], (2, n_rows, N_UNITS - 1))
    )
    mean = units.given(states).mean(logits[0])[0, -1]
    last = filled[..., -1].ravel()
    assert abs(last.mean() - mean) < 4.5 * last.std() / last.size**0.5
    assert last.std() > 0


MISSING = np.array([True, False, True, True, False])


def given_seen(units, states, logits):
    """Return all fillings of one row, and their chances given its seen units."""
    rows = np.tile(states, (2 ** MISSING.sum(), 1))
    rows[:, MISSING] = list(oracles.all_states(MISSING.sum()))
    chances = np.exp(units.log_prob(rows, np.broadcast_to(logits, rows.shape)))
    return rows, chances / chances.sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_a_sweep_leaves_the_conditional_of_missing_units_as_it_is(scale, dtype):
    """Started in it; tested at the level 1e-4."""
    units, n_rows = autoregressive(KINDS[0]), 20_000
    units = Autoregressive(units.units, units.lateral.map(lambda a: scale * a))
    rng = np.random.default_rng(3)
    logits = rng.normal(size=N_UNITS)
    rows, chances = given_seen(units, rng.integers(0, 2, N_UNITS).astype(float), logits)
    states = rng.choice(rows, n_rows, p=chances).astype(dtype)
    units = Autoregressive(units.units, units.lateral.map(lambda a: a.astype(dtype)))
    given = np.tile(logits.astype(dtype), (n_rows, 1)), states.copy()
    missing = np.tile(MISSING, (n_rows, 1))
    found = units.redraw(states, given[0], missing, stream())
    np.testing.assert_array_equal(states, given[1])
    np.testing.assert_array_equal(found[:, ~MISSING], states[:, ~MISSING])
    counts = (found[:, None] == rows).all(axis=2).sum(axis=0)
    likely = chances * n_rows > 5
    rest = max(chances[~likely].sum(), 1e-9) * n_rows
    assert counts[~likely].sum() <= rest + 5 * rest**0.5 + 5
    expected = chances[likely] * counts[likely].sum() / chances[likely].sum()
    assert chisquare(counts[likely], expected).pvalue > 1e-4


def test_a_single_missing_unit_is_drawn_given_all_others_wherever_it_started():
    units, n_rows = autoregressive(KINDS[0]), 20_000
    logits = np.zeros((n_rows, N_UNITS))
    for unit in range(N_UNITS - 1):
        both = np.tile(some_states(KINDS[0], (1, N_UNITS)), (2, 1))
        both[:, unit] = 0, 1
        chances = np.exp(units.log_prob(both, logits[:2]))
        chance = chances[1] / chances.sum()
        missing = np.zeros((n_rows, N_UNITS), dtype=bool)
        missing[:, unit] = True
        for start in both:
            found = units.redraw(np.tile(start, (n_rows, 1)), logits, missing, stream())
            error = (chance * (1 - chance) / n_rows) ** 0.5
            assert abs(found[:, unit].mean() - chance) < 4.5 * error


@pytest.mark.parametrize("child", [0.0, 1.0])
@pytest.mark.parametrize("weight", [-300.0, -40.0, 40.0, 300.0])
def test_a_sweep_is_right_where_chances_are_within_rounding_of_0_or_1(weight, child):
    """Of the child, which is seen: even if its parent is on, and certain if not."""
    n_rows, unit = 20_000, Bernoulli()
    weights = np.array([[0.0, weight], [0.0, 0.0]])
    units = Autoregressive(unit, Layer(weights, np.zeros(2), unit))
    surprise = units.log_prob(
        np.array([[1, child], [0, child]]), np.array([0, -weight])
    )
    logits = np.tile([surprise[1] - surprise[0] + 1, -weight], (n_rows, 1))
    rows = np.tile([0.0, child], (n_rows, 1))
    missing = np.tile([True, False], (n_rows, 1))
    with nothing_but_overflow():
        found = units.redraw(rows, logits, missing, stream())[:, 0].mean()
    expected = 1 / (1 + np.exp(-1))
    assert abs(found - expected) < 4.5 * (expected * (1 - expected) / n_rows) ** 0.5


def test_a_sweep_leaves_alone_what_fillings_draw_exactly():
    """Rows whose missing units have none after them that is seen."""
    units = autoregressive(KINDS[0])
    states = some_states(KINDS[0], (3, N_UNITS))
    missing = np.zeros(states.shape, dtype=bool)
    missing[1, 2:], missing[2] = True, True
    found = units.redraw(states, np.zeros(states.shape), missing, stream())
    np.testing.assert_array_equal(found, states)


@pytest.mark.parametrize("kind", KINDS)
def test_seen_units_weigh_as_much_as_without_the_missing_after_them(kind):
    units = autoregressive(kind)
    states = some_states(kind, (6, N_UNITS))
    logits = np.random.default_rng(2).normal(size=(3, *states.shape))
    missing = np.zeros(states.shape, dtype=bool)
    missing[:, [0, 3]] = True
    found = units.log_prob_of_seen(states, logits, missing)
    assert found.shape == (3, 6)
    each = [
        units.log_prob(states[:, :stop], logits[..., :stop])
        for units, stop in ((shortened(units, n), n) for n in range(1, N_UNITS + 1))
    ]
    parts = np.diff(each, axis=0, prepend=0)
    off = found - parts[[1, 2, 4]].sum(axis=0)
    np.testing.assert_allclose(off, off[0, 0])


def shortened(units, n_units):
    """Return the first units alone."""
    kind = units.units
    if not kind.binary:
        kind = Gaussian(kind.variance[:n_units])
    part = slice(n_units)
    weights, bias, _ = units.lateral
    return Autoregressive(kind, Layer(weights[part, part], bias[part], kind))


# ------------------------------------------------------------------ the estimator


def chained(n_rows=600, n_units=8, seed=0):
    """Return rows where every bit is the one before it, but for one time in ten."""
    flips = np.random.default_rng(seed).random((n_rows, n_units)) < 0.1
    flips[:, 0] = np.random.default_rng(seed + 1).random(n_rows) < 0.5
    return (np.cumsum(flips, axis=1) % 2).astype(float)


@pytest.mark.parametrize("direction", ["plain", "centred", "natural"])
@pytest.mark.parametrize("n_moves", [0, 2])
def test_chains_of_bits_are_learned_to_their_entropy(direction, n_moves):
    machine = HelmholtzMachine(
        (1,),
        autoregressive=True,
        direction=direction,
        n_moves=n_moves,
        max_iter=100,
        random_state=0,
    ).fit(chained())
    entropy = np.log(2) - 7 * (0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    X = chained(2000, seed=2)
    found = -machine.exact_log_likelihood(X).mean()
    # Some 20 parameters from 600 rows cost about 20 / 1200 nats; rows not seen
    # spread by 1.8 nats.
    assert abs(found - entropy) < 0.15
    without = HelmholtzMachine((1,), max_iter=100, random_state=0).fit(chained())
    assert -without.exact_log_likelihood(X).mean() > found + 0.5


def test_correlated_columns_are_learned_from_a_few_hundred_rows():
    """Independent given the layer above, columns of 300 rows are dreamt with 0.66."""
    covariance = np.full((6, 6), 0.9) + 0.1 * np.eye(6)
    normal = multivariate_normal(np.zeros(6), covariance)
    train, test = (
        normal.rvs(n, random_state=seed) for seed, n in enumerate((300, 1000))
    )
    settings = {"max_iter": 60, "random_state": 0}
    machine = HelmholtzMachine((10,), autoregressive=True, **settings).fit(train)
    # 27 parameters from 300 rows cost about 27 / 600 nats.
    assert machine.score(test) > normal.logpdf(test).mean() - 0.15
    dreamt = np.corrcoef(machine.sample(4000, random_state=0).T)
    np.testing.assert_allclose(dreamt, covariance, atol=0.05)


def test_gaussian_chains_are_learned_to_their_entropy():
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(4000, 6))
    X = np.cumsum(steps, axis=1)  # a random walk: the exact density is known
    machine = HelmholtzMachine(
        (1,), autoregressive=True, direction="natural", max_iter=30, random_state=0
    ).fit(X[:2000])
    entropy = 0.5 * 6 * np.log(2 * np.pi * np.e)
    found = -machine.exact_log_likelihood(X[2000:]).mean()
    assert abs(found - entropy) < 0.1
    drawn = machine.sample(4000, random_state=0)
    error = 4.5 * np.sqrt(2 / 4000)  # of a correlation, at most
    assert np.abs(np.corrcoef(drawn.T) - np.corrcoef(X.T)).max() < error


def test_weights_among_visible_units_are_strictly_upper_triangular():
    machine = HelmholtzMachine((3,), autoregressive=True, max_iter=2, random_state=0)
    weights = machine.fit(binary_rows()).autoregressive_coef_
    assert weights.shape == (machine.n_features_in_,) * 2
    assert (np.tril(weights) == 0).all()
    assert (np.triu(weights, 1) != 0).any()


def test_sampled_means_are_those_given_the_drawn_units_before():
    machine = HelmholtzMachine((3,), autoregressive=True, max_iter=5, random_state=0)
    machine.fit(binary_rows())
    x, hidden = machine.sample_states(20, random_state=0)
    logits = hidden @ machine.generative_coefs_[0] + machine.generative_intercepts_[0]
    logits += x @ machine.autoregressive_coef_ + machine.autoregressive_intercept_
    np.testing.assert_allclose(
        machine.sample(20, mean=True, random_state=0), 1 / (1 + np.exp(-logits))
    )


def test_codes_come_back_as_means_in_turn():
    machine = random_machine((4, 3), autoregressive=True)
    codes = np.random.default_rng(0).random((2, 3))
    logits = codes @ machine.generative[0].weights + machine.generative[0].bias
    expected = machine.top_down[0].units.mean(logits)
    np.testing.assert_allclose(down_mean(machine.top_down[:1], codes), expected)


def test_shared_weights_have_no_place_for_them():
    machine = HelmholtzMachine(
        autoregressive=True, learning_rule="contrastive-divergence"
    )
    with pytest.raises(ValueError, match="autoregressive=False"):
        machine.fit(binary_rows())
    assert not hasattr(machine, "visible_")
