"""Properties of every public method, over settings and data that hypothesis finds.

No allowed setting and no finite data may give a NaN, an infinity or a warning
(but for a ConvergenceWarning), and the methods' laws hold for whatever machine
came of it. The searches are derandomised, so that every run is the same; those
marked slow look at more than 2,000 cases.
"""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import share_all_work
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.exceptions import ConvergenceWarning

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._learning_rules import LEARNING_RULES

QUICK = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=2000)
FEW = settings(QUICK, max_examples=25)
MANY = settings(QUICK, max_examples=300)


def usual_or_any(usual, low, high, **ends):
    """Return a strategy of usual values and of all floats between two."""
    return st.one_of(st.sampled_from(usual), st.floats(low, high, **ends))


SETTINGS = {
    "hidden_layer_sizes": st.lists(st.integers(1, 20), min_size=1, max_size=3),
    "resample": st.booleans(),
    "learning_rule": st.sampled_from(sorted(LEARNING_RULES)),
    "n_particles": st.integers(1, 20),
    "wake_share": usual_or_any([0, 0.5, 1, 3], 0, 1e300),
    "sleep_share": usual_or_any([0, 0.5, 1, 3], 0, 1e300),
    "n_moves": st.integers(0, 3),
    "lateral": st.booleans(),
    "autoregressive": st.booleans(),
    "direction": st.sampled_from(["plain", "centred", "natural"]),
    "optimizer": st.sampled_from(["sgd", "adam"]),
    "learning_rate": usual_or_any([1e-4, 0.01, 0.3, 1.0, 3.0], 1e-300, 1e300),
    "momentum": usual_or_any([0, 0.9], 0, 1, exclude_max=True),
    "learning_rate_schedule": st.sampled_from(["constant", "linear", "invscaling"]),
    "alpha": usual_or_any([0, 1e-4, 0.1, 10], 0, 1e300),
    "initial_activity": usual_or_any(
        [0.1, 0.5], 0, 1, exclude_min=True, exclude_max=True
    ),
    "batch_size": st.integers(1, 60),
    "max_iter": st.integers(1, 3),
    "tol": st.one_of(st.none(), st.floats(0, 1e300)),
    "n_iter_no_change": st.integers(1, 3),
    "early_stopping": st.booleans(),
    "validation_fraction": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "code": st.sampled_from(["all", "top", 0, -1]),
    "n_score_samples": st.integers(1, 30),
    "warm_start": st.booleans(),
    "shuffle": st.booleans(),
    "n_jobs": st.sampled_from([None, 1, 2]),
    "random_state": st.integers(0, 2**32 - 1),
}

#: Values of the data, by kind; the scale is drawn apart.
VALUES = {
    "binary": st.sampled_from([0.0, 1.0]),
    "grey": st.floats(0, 1),
    "real": st.floats(-100, 100),
    "counts": st.integers(0, 10**9).map(float),
    "constant": st.just(-7.0),
    "zeros": st.just(0.0),
    "ones": st.just(1.0),
    "outliers": st.sampled_from([0.5, 0.5, 0.5, 1e12]),
    "any magnitude": st.floats(-1e300, 1e300),
}


@st.composite
def datasets(draw, kinds=tuple(VALUES)):
    """Return rows: dense or CSR, float32 or float64, of any finite size."""
    kind = draw(st.sampled_from(kinds))
    shape = draw(st.integers(1, 25)), draw(st.integers(1, 8))
    X = draw(arrays(float, shape, elements=VALUES[kind]))
    if kind == "real":
        X = X * draw(st.sampled_from([1.0, 1e300 / 100, 1e-300]))
    if np.abs(X).max() < 1e30 and draw(st.booleans()):
        X = X.astype(np.float32)
    return sp.csr_array(X) if draw(st.booleans()) else X


@st.composite
def machines(draw):
    """Return an estimator with any allowed settings."""
    chosen = draw(st.fixed_dictionaries({}, optional=SETTINGS))
    if chosen.get("learning_rule") == "contrastive-divergence":
        # The natural direction is refused there, and so are units in turn.
        chosen["direction"] = draw(st.sampled_from(["plain", "centred"]))
        chosen["autoregressive"] = False
    return HelmholtzMachine(**chosen)


def fitted(machine, X):
    """Return the machine after a fit; None where no row would be left to train on."""
    try:
        return machine.fit(X)
    except ValueError as error:
        if "train set will be empty" not in str(error):
            raise
        return None


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


# ------------------------------------------------------------- finite and silent


def every_method_is_finite(machine, X):
    if fitted(machine, X) is None:
        return
    n_rows = X.shape[0]
    results = results_of(machine, X)
    assert_finite(results, machine)
    assert 0 <= results["transform"].min() <= results["transform"].max() <= 1
    assert results["transform"].shape == (n_rows, machine._n_features_out)
    assert len(machine.get_feature_names_out()) == machine._n_features_out
    assert results["reconstruct"].shape == X.shape
    try:
        machine.partial_fit(X)
    except ValueError as error:
        if "diverged" not in str(error):
            raise
    assert_finite(results_of(machine, X), machine)


DENSITIES = "score_samples", "score", "log_likelihood", "annealed", "exact"


def assert_finite(results, machine):
    """Assert that there is no NaN and no infinity.

    But for a Gaussian machine's log density of rows that it was not trained on:
    one may be so far off that float64 has no number for it but -inf.
    """
    far_off = machine.early_stopping and machine.visible_ == "gaussian"
    for name, result in results.items():
        if far_off and name in DENSITIES:
            result = np.maximum(result, np.finfo(float).min)
        assert np.isfinite(result).all(), name


def results_of(machine, X):
    """Return what every method of a fitted machine gives, and its parameters."""
    log_likelihood, size = machine.log_likelihood(
        X, 7, random_state=1, return_effective_sample_size=True
    )
    assert ((size == 0) == (log_likelihood == -np.inf)).all()
    assert ((size == 0) | (size >= 1 - 1e-9) & (size <= 7 + 1e-9)).all()
    dense = X.toarray() if sp.issparse(X) else X
    holes = np.where(np.arange(X.shape[1]) % 2, np.nan, dense)
    results = {
        "transform": machine.transform(X),
        "annealed": machine.annealed_log_likelihood(X, 2, 5, 1),
        "impute": machine.impute(holes, n_iter=2, n_particles=2, random_state=0),
        "reconstruct": machine.reconstruct(X),
        "score_samples": machine.score_samples(X),
        "score": machine.score(X),
        "log_likelihood": log_likelihood,
        "sample": machine.sample(5, random_state=0),
        "sample, mean": machine.sample(3, mean=True),
        "curve": machine.free_energy_curve_,
    }
    for level, states in enumerate(machine.sample_states(3)):
        results[f"states {level}"] = states
    for name in ("generative", "recognition"):
        for level in range(len(machine.recognition_intercepts_)):
            results[f"{name} {level}"] = getattr(machine, f"{name}_coefs_")[level]
            bias = getattr(machine, f"{name}_intercepts_")[level]
            results[f"{name} bias {level}"] = bias
    sizes = [len(bias) for bias in machine.recognition_intercepts_]
    if max(a + b for a, b in zip(sizes, [*sizes[1:], 0], strict=True)) <= 12:
        results["exact"] = machine.exact_log_likelihood(X)
    return results


@QUICK
@given(machines(), datasets())
def test_every_method_gives_finite_numbers_silently(machine, X):
    every_method_is_finite(machine, X)


@pytest.mark.slow
@LONG
@given(machines(), datasets())
def test_every_method_gives_finite_numbers_silently_in_many_cases(machine, X):
    every_method_is_finite(machine, X)


# --------------------------------------------------------------- laws of methods


def small_machine(draw):
    """Return a fitted machine with small layers, and its rows."""
    X = draw(datasets(("binary", "grey", "real")))
    machine = draw(machines()).set_params(
        hidden_layer_sizes=draw(st.lists(st.integers(1, 5), min_size=1, max_size=2)),
        early_stopping=False,
        learning_rate=0.3,
        momentum=0.5,
        optimizer="sgd",
        alpha=0.01,
        wake_share=1.0,
        sleep_share=1.0,
        code="all",
    )
    return machine.fit(X), X


def rows_are_on_their_own(data):
    """Check that a row's codes and scores depend on the row alone, dense or sparse."""
    machine, X = small_machine(data.draw)
    order = data.draw(st.permutations(range(X.shape[0])))
    other = sp.csr_array(X)[order] if isinstance(X, np.ndarray) else X.toarray()[order]
    for method in ("score_samples", "transform", "log_likelihood"):
        whole = getattr(machine, method)(X)
        np.testing.assert_allclose(
            getattr(machine, method)(other), whole[order], rtol=1e-4, atol=1e-4
        )


def exact_lies_above_and_sums_to_one(data):
    """Check the exact likelihood against its bounds and, binary, its sum."""
    machine, X = small_machine(data.draw)
    exact = machine.exact_log_likelihood(X)
    bound = machine.log_likelihood(X, 300)
    # log-mean-exp overshoots by log(c) with probability at most 1 / c (Markov).
    assert (bound - exact < np.log(1e7)).all()
    if machine.visible_ == "bernoulli":
        n_features = X.shape[1]
        codes = np.arange(2**n_features)[:, None] >> np.arange(n_features) & 1
        total = np.exp(machine.exact_log_likelihood(codes.astype(float))).sum()
        np.testing.assert_allclose(total, 1, rtol=1e-3)


def samples_repeat_and_have_the_shape(data):
    """Check that dreams follow from their seed and lie where data lies."""
    machine, X = small_machine(data.draw)
    n, seed = data.draw(st.integers(1, 30)), data.draw(st.integers(0, 2**32 - 1))
    rows = machine.sample(n, random_state=seed)
    states = machine.sample_states(n, random_state=seed)
    np.testing.assert_array_equal(rows, machine.sample(n, random_state=seed))
    np.testing.assert_array_equal(rows, states[0])
    assert rows.shape == (n, X.shape[1])
    assert [layer.shape[1] for layer in states[1:]] == machine.hidden_layer_sizes
    hidden = np.concatenate([layer.ravel() for layer in states[1:]])
    assert np.isin(hidden, [0, 1]).all()
    if machine.visible_ == "bernoulli":
        assert np.isin(rows, [0, 1]).all()
        means = machine.sample(n, mean=True, random_state=seed)
        assert ((means >= 0) & (means <= 1)).all()


def fit_is_a_function_of_data_and_settings(data):
    """Check that two fits agree, whatever the threads, and warm starts add up."""
    machine, X = small_machine(data.draw)
    again = HelmholtzMachine(**machine.get_params()).set_params(n_jobs=2)
    with pytest.MonkeyPatch.context() as patch:
        share_all_work(patch)
        again.fit(X)
    for name in ("generative_coefs_", "recognition_intercepts_"):
        for a, b in zip(getattr(machine, name), getattr(again, name), strict=True):
            if machine.random_state is not None:
                np.testing.assert_array_equal(a, b)
    n_iter = machine.n_iter_
    try:
        machine.partial_fit(X)
    except ValueError as error:
        if "diverged" not in str(error):
            raise
        n_iter -= 1  # the call was undone
    assert machine.n_iter_ == n_iter + 1


LAWS = [
    rows_are_on_their_own,
    exact_lies_above_and_sums_to_one,
    samples_repeat_and_have_the_shape,
    fit_is_a_function_of_data_and_settings,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_holds_for_every_machine(law):
    FEW(given(st.data())(law))()


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_holds_for_every_machine_of_many(law):
    MANY(given(st.data())(law))()


# ---------------------------------------------------------------- extreme logits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "kind", [{}, {"lateral": True}, {"lateral": True, "autoregressive": True}], ids=str
)
@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("size", [1e4, 1e6])
def test_extreme_logits_are_scored_coded_and_trained_silently(
    size, visible, kind, dtype
):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (40, 6)).astype(dtype)
    machine = HelmholtzMachine(
        (4, 3), visible=visible, max_iter=1, random_state=0, **kind
    ).fit(X)
    for name in ("generative_intercepts_", "recognition_intercepts_"):
        for bias in getattr(machine, name):
            bias[...] = rng.choice([-size, size], len(bias))
    for result in results_of(machine, X).values():
        assert np.isfinite(result).all()
    machine.set_params(warm_start=True).fit(X)
    assert np.isfinite(machine.score(X))


def test_free_energies_of_many_rows_are_averaged_without_loss():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (3000, 30)).astype(np.float32)
    machine = HelmholtzMachine((5,), max_iter=1, random_state=0).fit(X)
    scores = machine.score_samples(X)
    assert scores.dtype == np.float64
    assert machine.score(X) == pytest.approx(float(np.sum(scores)) / 3000, rel=1e-14)
    # Location and scale of many rows far from zero: sums are in float64.
    far = (rng.normal(size=(200_000, 2)) + 1e4).astype(np.float32)
    machine = HelmholtzMachine((2,), max_iter=1, batch_size=10_000, random_state=0)
    machine.set_params(n_score_samples=1).fit(far)
    np.testing.assert_allclose(machine.location_, far.mean(axis=0, dtype=float))
    np.testing.assert_allclose(machine.scale_, far.std(axis=0, dtype=float), rtol=1e-5)
