"""Units: draws follow the means, densities and residuals follow each other."""

import itertools
import warnings

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from helpers import SMALL, nothing_but_overflow, share_all_work, stream
from scipy.special import expit
from scipy.stats import kstest, norm
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_helmholtz import HelmholtzClassifier, HelmholtzMachine
from sklearn_helmholtz._in_turn import threshold_in_turn
from sklearn_helmholtz._parallel import quiet
from sklearn_helmholtz._random import FULL_RANGE, as_noise
from sklearn_helmholtz._units import (
    HIDDEN,
    Bernoulli,
    Gaussian,
    threshold,
)

LOGITS = np.array([-4.0, -1.0, 0.0, 0.5, 3.0])


@pytest.fixture(autouse=True)
def _silent_as_in_a_fit():
    with quiet():
        yield


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("in_turn", [False, True])
def test_draws_are_on_with_probability_sigmoid(in_turn, dtype):
    shape = 200_000, 5
    logits = LOGITS.astype(dtype)
    if in_turn:
        lateral = np.zeros((5, 5), dtype)
        states = threshold_in_turn(logits, lateral, stream().bits(shape))
    else:
        states = threshold(logits, stream().noise(shape, dtype))
    assert states.dtype == dtype
    p = expit(LOGITS)
    z = (states.mean(axis=0, dtype=float) - p) / np.sqrt(p * (1 - p) / len(states))
    assert np.abs(z).max() < norm.isf(1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_decide_every_draw(dtype):
    ends = np.array([[1] * 2, [2**32 - 1] * 2], dtype=np.uint32)
    logits = np.array([-1e4, 1e4], dtype)
    lateral = np.zeros((2, 2), dtype)
    with nothing_but_overflow():
        for states in (
            threshold(logits, as_noise(ends, dtype)),
            threshold_in_turn(logits, lateral, ends),
        ):
            np.testing.assert_array_equal(states, [[0, 1], [0, 1]])


@pytest.mark.parametrize("bits", [1, 3, 1000, 2**31, 2**32 - 5, 2**32 - 1])
def test_draw_is_on_where_the_logit_exceeds_minus_that_of_its_uniform(bits):
    u = bits / 2**32
    logit = np.log1p(-u) - np.log(u)
    both = np.full((2, 1), bits, dtype=np.uint32)
    logits = np.array([[logit - 1e-6], [logit + 1e-6]])
    for states in (
        threshold(logits, as_noise(both, float)),
        threshold_in_turn(logits, np.zeros((1, 1)), both),
    ):
        np.testing.assert_array_equal(states, [[0], [1]])


def test_threshold_takes_the_logits_place_or_leaves_them():
    logits = np.tile(LOGITS, (4, 1))
    noise = stream().noise((3, 4, 5), float)
    expected = threshold(logits, noise.copy())
    out = np.empty((3, 4, 5))
    assert threshold(logits, noise.copy(), out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(logits, np.tile(LOGITS, (4, 1)))
    assert threshold(logits, noise[0], out=logits) is logits
    np.testing.assert_array_equal(logits, expected[0])


def test_bernoulli_log_prob_equals_the_plain_sum():
    states = np.array([[0, 1, 1, 0, 1], [0.2, 0.5, 1, 0, 0.9]])
    expected = [oracles.log_bernoulli(row, LOGITS) for row in states]
    np.testing.assert_allclose(Bernoulli().log_prob(states, LOGITS), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_prob_is_exact_in_its_digits_for_sure_states(dtype):
    # What is left of certainty, -1e-5 of logits of 1e4, is not lost to cancellation.
    logits = np.array([[12.0, -12.0], [1e4, -1e4], [1e4, -1e4]], dtype)
    states = np.array([[1, 0], [1, 0], [0, 0]], dtype)
    found = Bernoulli().log_prob(states, logits)
    np.testing.assert_allclose(found, [-2 * np.exp(-12), 0, -1e4], rtol=1e-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("units", [Bernoulli(), Gaussian(np.full(40, 0.3, np.float32))])
def test_both_at_once_are_log_prob_and_residual(units, grey, dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 20, (3, 5, 40)).astype(dtype)
    logits[0, 0] = 1e3
    states = rng.uniform(size=(5, 40))
    states = (states if grey else states.round()).astype(dtype)
    expected = units.log_prob(states, logits), units.residual(states, logits)
    with nothing_but_overflow():
        log_prob, residual = units.log_prob_and_residual(states, logits)
    assert residual is logits
    assert residual.dtype == dtype
    tolerance = 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(log_prob, expected[0], rtol=tolerance)
    np.testing.assert_allclose(residual, expected[1], atol=tolerance)


def test_hidden_units_differ_in_that_they_are_never_grey():
    rng = np.random.default_rng(0)
    logits, states = rng.normal(0, 20, (3, 5, 40)), rng.integers(0, 2, (5, 40)) * 1.0
    for states_of in (states, np.tile(states, (3, 1, 1))):
        np.testing.assert_array_equal(
            HIDDEN.log_prob(states_of, logits), Bernoulli().log_prob(states_of, logits)
        )
        both = HIDDEN, Bernoulli()
        found = [u.log_prob_and_residual(states_of, logits.copy()) for u in both]
        np.testing.assert_array_equal(found[0][0], found[1][0])
        np.testing.assert_array_equal(found[0][1], found[1][1])


def test_gaussian_log_prob_equals_the_plain_sum():
    variance = np.array([0.1, 1.0, 2.0, 5.0, 0.5])
    states = np.random.default_rng(0).normal(size=(4, 5))
    expected = [oracles.log_normal(row, LOGITS, variance) for row in states]
    found = Gaussian(variance).log_prob(states, np.tile(LOGITS, (4, 1)))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("units", [Bernoulli(), Gaussian(np.linspace(1e-6, 3, 40))])
def test_log_prob_of_pairs_is_that_of_every_pair(units, grey):
    rng = np.random.default_rng(0)
    logits, states = rng.normal(0, 20, (7, 40)), rng.uniform(size=(5, 40))
    logits[0] = 1e4
    states = states if grey else states.round()
    expected = [units.log_prob(states, np.tile(row, (5, 1))) for row in logits]
    with nothing_but_overflow():
        found = units.log_prob_of_pairs(logits)(states)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("units", [Bernoulli(), Gaussian(np.array([0.3, 2.0]))])
def test_residual_is_the_slope_of_log_prob_in_the_units_metric(units):
    states, logits, step = np.array([[1.0, 0.0]]), np.array([[0.4, -0.7]]), 1e-6
    residual = units.residual(states, logits)
    information = 1.0 if units.binary else 1 / units.variance
    for j in range(2):
        move = np.eye(2)[j] * step
        ends = [units.log_prob(states, logits + s * move)[0] for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert (residual * information)[0, j] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gaussian_draws_are_normal_about_the_mean(dtype):
    variance = np.array([0.1, 1.0, 5.0], dtype)
    mean = np.array([-3.0, 0.0, 100.0], dtype)
    draws = Gaussian(variance).sample(mean[None], stream(), (20_000, 3))
    assert draws.dtype == dtype
    for j in range(3):
        # Level 1e-4 each, fixed seed.
        law = norm(mean[j], np.sqrt(variance[j])).cdf
        assert kstest(draws[:, j].astype(float), law).pvalue > 1e-4


@pytest.mark.parametrize("units", [Bernoulli(), Gaussian(np.array([0.3, 2.0]))])
def test_out_takes_the_result_and_inputs_stay_as_they_were(units):
    logits, states = np.array([[0.4, -0.7]]), np.array([[1.0, 0.0]])
    before = logits.copy(), states.copy()
    for call in (
        lambda out=None: units.mean(logits, out=out),
        lambda out=None: units.residual(states, logits, out=out),
        lambda out=None: units.sample(logits, stream(), (1, 2), out=out),
    ):
        out = np.full((1, 2), np.nan)
        assert call(out) is out
        np.testing.assert_array_equal(out, call())
        np.testing.assert_array_equal(logits, before[0])
        np.testing.assert_array_equal(states, before[1])


def test_units_in_turn_see_the_states_before_them():
    # Two blocks and more, against a loop over units.
    n_rows, n_units = 200, 37
    rng = np.random.default_rng(0)
    lateral = rng.normal(size=(n_units, n_units))  # only above the diagonal counts
    logits = rng.normal(size=(n_rows, n_units))
    bits = stream().bits((n_rows, n_units))
    found = threshold_in_turn(logits, lateral, bits)
    uniform = 1 - bits / FULL_RANGE
    states = np.zeros((n_rows, n_units))
    for j in range(n_units):
        a = logits[:, j] + states[:, :j] @ lateral[:j, j]
        states[:, j] = uniform[:, j] < expit(a)
    np.testing.assert_array_equal(found, states)


# ------------------------------------------- the estimator's visible units


def test_auto_takes_bernoulli_in_the_unit_interval_and_gaussian_else():
    X = np.random.default_rng(0).random((30, 4))
    assert HelmholtzMachine(**SMALL).fit(X).visible_ == "bernoulli"
    assert HelmholtzMachine(**SMALL).fit(X > 0.5).visible_ == "bernoulli"
    assert HelmholtzMachine(**SMALL).fit(X * 1.01 + 0.1).visible_ == "gaussian"
    machine = HelmholtzMachine(visible="gaussian", **SMALL).fit(X)
    assert machine.visible_ == "gaussian"
    assert not hasattr(machine.fit(X).set_params(visible="auto").fit(X), "variance_")


@pytest.mark.parametrize("sparse", [False, True])
def test_bernoulli_outside_the_unit_interval_names_the_range_and_the_way_out(sparse):
    X = np.array([[0.0, 3.0], [-2.0, 1.0]])
    X = sp.csr_array(X) if sparse else X
    with pytest.raises(ValueError, match=r"from -2 to 3.*MinMaxScaler.*gaussian"):
        HelmholtzMachine(visible="bernoulli", **SMALL).fit(X)
    machine = HelmholtzMachine(visible="bernoulli", **SMALL).fit(abs(X) / 4)
    for method in (machine.transform, machine.score, machine.partial_fit):
        with pytest.raises(ValueError, match="from -2 to 3"):
            method(X)


def outside():
    """Return rows in [0, 1], and others some of which are not."""
    X = np.array([[0.0, 3.0], [-2.0, 1.0]])
    return abs(X) / 4, X


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_outside_units_that_auto_chose_are_clipped_with_a_warning(sparse):
    fitted_on, X = outside()
    machine = HelmholtzMachine(**SMALL).fit(fitted_on)
    given = sp.csr_array(X) if sparse else X
    inside = np.clip(X, 0, 1)
    for method in (machine.transform, machine.score_samples, machine.log_likelihood):
        with pytest.warns(UserWarning, match=r"from -2 to 3; it is clipped.*clip=True"):
            found = method(given)
        np.testing.assert_array_equal(found, method(inside))
    rows = np.where(X == 3, np.nan, X)
    with pytest.warns(UserWarning, match="from -2 to 1; it is clipped"):
        machine.impute(rows)


@pytest.mark.parametrize("kind", ["machine", "pipeline", "classifier"])
def test_warning_of_clipped_rows_points_at_the_line_that_called(kind):
    fitted_on, X = outside()
    machine = HelmholtzMachine(**SMALL)
    model = {
        "machine": machine,
        "pipeline": make_pipeline(MinMaxScaler(), machine),
        "classifier": HelmholtzClassifier(machine),
    }[kind]
    model.fit(fitted_on, [0, 1])
    with pytest.warns(UserWarning, match="it is clipped") as caught:
        model.score_samples(X)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_coding_of_clipped_rows_warns_once_in_the_callers_thread(n_jobs, monkeypatch):
    share_all_work(monkeypatch)
    fitted_on, _ = outside()
    machine = HelmholtzMachine(n_jobs=n_jobs, **SMALL).fit(fitted_on)
    rows = np.random.default_rng(0).random((3000, 2))
    rows[0] = 3  # the caller's thread does not code the first block
    with pytest.warns(UserWarning, match="it is clipped") as caught:
        codes = machine.transform(rows)
    assert [warning.filename for warning in caught] == [__file__]
    np.testing.assert_array_equal(codes, machine.transform(np.minimum(rows, 1)))
    rows[-1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        machine.transform(rows)


def test_rows_outside_the_units_are_no_rows_to_train_on():
    fitted_on, X = outside()
    machine = HelmholtzMachine(warm_start=True, **SMALL).fit(fitted_on)
    for method in (machine.partial_fit, machine.fit):
        with pytest.raises(ValueError, match=r"from -2 to 3\. Scale"):
            method(X)


@pytest.mark.parametrize("model", [HelmholtzMachine, HelmholtzClassifier])
def test_a_scaler_before_the_machine_survives_cross_validation(model):
    X, y = load_iris(return_X_y=True)
    machine = HelmholtzMachine(**SMALL)
    last = machine if model is HelmholtzMachine else model(machine)
    rest = [LogisticRegression()] if model is HelmholtzMachine else []
    pipeline = make_pipeline(MinMaxScaler(), last, *rest)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*it is clipped")
        scores = cross_val_score(pipeline, X, y, error_score="raise")
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("dtypes", list(itertools.product("fd", repeat=2)))
def test_rounding_outside_the_unit_interval_is_clipped_in_any_dtype(dtypes):
    # A float32 scaler's, too, whose codes become float64 on their way, and back.
    rng = np.random.default_rng(0)
    fitted_on, given = (rng.random((50, 5)).astype(dtype) for dtype in dtypes)
    for X in (fitted_on, given):
        X[0, 0], X[1, 1] = 1 + 3e-7, -3e-7
    machine = HelmholtzMachine(**SMALL).fit(fitted_on)
    assert machine.visible_ == "bernoulli"
    inside = np.clip(given, 0, 1)
    np.testing.assert_allclose(
        machine.score_samples(given), machine.score_samples(inside)
    )


def test_gaussian_machine_does_not_depend_on_location_and_scale():
    X = np.random.default_rng(0).normal(size=(200, 5)) @ np.diag([1, 2, 3, 1e-3, 50])
    machine = HelmholtzMachine(**SMALL).fit(X)
    moved = HelmholtzMachine(**SMALL).fit(1000 * X + 5)
    Y = X[:50]
    np.testing.assert_allclose(
        machine.transform(Y), moved.transform(1000 * Y + 5), rtol=1e-6
    )
    gap = machine.score_samples(Y) - moved.score_samples(1000 * Y + 5)
    np.testing.assert_allclose(gap, 5 * np.log(1000), rtol=1e-8)
    np.testing.assert_allclose(
        moved.sample(4, random_state=0), 1000 * machine.sample(4, random_state=0) + 5
    )


def test_gaussian_machine_learns_the_noise_of_its_data():
    rng = np.random.default_rng(0)
    noise = np.array([0.1, 0.3, 1.0])
    cause = rng.integers(0, 2, (3000, 1))
    X = cause * [3.0, -2.0, 1.0] + rng.normal(0, 1, (3000, 3)) * noise
    machine = HelmholtzMachine(2, max_iter=30, random_state=0).fit(X)
    learned = np.sqrt(machine.variance_) * machine.scale_
    np.testing.assert_allclose(learned, noise, rtol=0.15)
    # The exact density of this mixture, to its own sampling error.
    means = np.array([[0.0, 0.0, 0.0], [3.0, -2.0, 1.0]])
    logs = [
        -0.5 * np.square((X - m) / noise).sum(axis=1) - np.log(noise).sum()
        for m in means
    ]
    truth = np.logaddexp(*logs) - np.log(2) - 1.5 * np.log(2 * np.pi)
    assert machine.exact_log_likelihood(X).mean() > truth.mean() - 0.1


def test_gaussian_machine_speaks_in_the_units_of_its_data():
    X = np.random.default_rng(0).normal(size=(200, 4))
    machine = HelmholtzMachine(**SMALL).fit(X)
    moved = HelmholtzMachine(**SMALL).fit(1000 * X + 5)
    np.testing.assert_allclose(
        moved.reconstruct(1000 * X + 5), 1000 * machine.reconstruct(X) + 5, rtol=1e-6
    )
    np.testing.assert_allclose(
        moved.sample(9, mean=True, random_state=1),
        1000 * machine.sample(9, mean=True, random_state=1) + 5,
        rtol=1e-6,
    )


def test_density_of_a_gaussian_machine_integrates_to_one():
    X = np.random.default_rng(0).normal([-40.0], 30, (300, 1))
    X[::2] += 200
    machine = HelmholtzMachine(**SMALL).fit(X)
    grid = np.linspace(-1500, 1700, 20_001)
    density = np.exp(machine.exact_log_likelihood(grid[:, None]))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("dtype", "far"), [(np.float64, 1e30), (np.float64, 1e200), (np.float32, 1e30)]
)
def test_row_that_is_too_far_off_for_a_density_scores_no_nan(dtype, far):
    X = np.random.default_rng(0).normal(size=(100, 4)).astype(dtype)
    machine = HelmholtzMachine(**SMALL).fit(X)
    rows = np.vstack([X[:3], np.full((1, 4), far, dtype)])
    for method in ("score_samples", "log_likelihood", "exact_log_likelihood"):
        values = getattr(machine, method)(rows)
        assert np.isfinite(values[:3]).all()
        assert values[3] < -1e50 or values[3] == -np.inf
    value, size = machine.log_likelihood(rows, return_effective_sample_size=True)
    assert size[3] == 0 if value[3] == -np.inf else size[3] >= 1


@pytest.mark.parametrize("values", [0.0, 1.0, 7.0, -3.5])
def test_constant_data_gives_finite_scores(values):
    X = np.full((40, 3), values)
    machine = HelmholtzMachine(**SMALL | {"max_iter": 20}).fit(X)
    assert np.isfinite(machine.score(X))
    assert np.isfinite(machine.transform(X)).all()
    found = machine.sample(5, mean=True, random_state=0)
    np.testing.assert_allclose(found, X[:5], atol=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("autoregressive", [False, True])
def test_rows_as_far_as_numbers_go_have_no_density(dtype, autoregressive):
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(dtype)
    machine = HelmholtzMachine(autoregressive=autoregressive, **SMALL).fit(X)
    X[1, 2] = -np.finfo(dtype).max
    for name in ("score_samples", "log_likelihood"):
        found = getattr(machine, name)(X[:3])
        np.testing.assert_array_equal(np.isneginf(found), [False, True, False])
    exact = machine.exact_log_likelihood(X[:3])  # in float64
    np.testing.assert_array_equal(exact < -1e50, [False, True, False])


def test_log_probabilities_of_many_sure_units_lose_nothing_in_float32():
    rng = np.random.default_rng(0)
    logits = rng.choice([-200.0, 200.0], size=(3, 5000)).astype(np.float32)
    states = (logits > 0) ^ (rng.random((4, 3, 5000)) < 1e-3)
    states = states.astype(np.float32)
    expected = Bernoulli().log_prob(states.astype(float), logits.astype(float))
    np.testing.assert_allclose(
        Bernoulli().log_prob(states, logits), expected, rtol=1e-6
    )


def test_variances_fall_to_what_one_row_more_leaves_them():
    X = np.tile([[0.0, 10.0], [10.0, 0.0]], (100, 1))
    machine = HelmholtzMachine(
        (2,), visible="gaussian", max_iter=300, batch_size=20, random_state=0
    ).fit(X)
    assert 1 / 201 <= machine.variance_.min() < 1.1 / 201
