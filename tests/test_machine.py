"""The estimator: what a scikit-learn user may count on."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import skops.io
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._training import Step

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 3, "random_state": 0}
LISTS = (
    "generative_coefs_",
    "generative_intercepts_",
    "recognition_coefs_",
    "recognition_intercepts_",
)


def binary_rows(n_rows=230, n_features=9, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (n_rows, n_features)).astype(dtype)


def parameters(machine):
    """Return all parameters as one vector."""
    return np.concatenate([a.ravel() for name in LISTS for a in getattr(machine, name)])


# ------------------------------------------------------------- visible units


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
    machine = HelmholtzMachine(**SMALL).fit(abs(X) / 4)
    for method in (machine.transform, machine.score, machine.partial_fit):
        with pytest.raises(ValueError, match="from -2 to 3"):
            method(X)


def test_rounding_errors_outside_the_unit_interval_are_cut_off():
    X = np.random.default_rng(0).normal(size=(50, 5))
    scaled = MinMaxScaler().fit_transform(X)
    scaled[0, 0], scaled[1, 1] = 1 + 2e-16, -2e-16
    machine = HelmholtzMachine(**SMALL).fit(scaled)
    assert machine.visible_ == "bernoulli"
    inside = np.clip(scaled, 0, 1)
    np.testing.assert_allclose(
        machine.score_samples(scaled), machine.score_samples(inside)
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


@pytest.mark.parametrize("values", [0.0, 1.0, 7.0, -3.5])
def test_constant_data_gives_finite_scores(values):
    X = np.full((40, 3), values)
    machine = HelmholtzMachine(**SMALL).fit(X)
    assert np.isfinite(machine.score(X))
    assert np.isfinite(machine.transform(X)).all()
    np.testing.assert_allclose(machine.sample(5, mean=True), X[:5], atol=0.05)


@pytest.mark.parametrize("grey", [False, True])
def test_resampling_is_for_grey_rows_alone(grey):
    X = binary_rows() * (0.5 if grey else 1.0)
    one, other = (
        HelmholtzMachine(resample=resample, **SMALL).fit(X)
        for resample in (False, True)
    )
    assert np.array_equal(parameters(one), parameters(other)) == (not grey)


def test_resampled_bits_have_the_grey_values_as_means(monkeypatch):
    X = np.tile([0.0, 0.1, 0.5, 0.9, 1.0], (4000, 1)).astype(np.float32)
    seen = []
    load = Step._load

    def watched(self, *arguments):
        x = load(self, *arguments)
        seen.append(x.copy())
        return x

    monkeypatch.setattr(Step, "_load", watched)
    HelmholtzMachine((2,), max_iter=5, random_state=0).fit(X)
    bits = np.concatenate(seen)
    assert set(np.unique(bits)) == {0.0, 1.0}
    p = X[0].astype(float)
    # Level: |z| < 4.5; exactly where a value is 0 or 1.
    error = 4.5 * np.sqrt(p * (1 - p) / len(bits))
    assert (np.abs(bits.mean(axis=0, dtype=float) - p) <= error).all()
    assert not np.array_equal(seen[0], seen[40])


# ---------------------------------------------------------- sparse, dtypes


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    "kind", [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_array]
)
def test_sparse_rows_give_what_dense_rows_give(kind, index_dtype):
    dense = binary_rows() * (np.random.default_rng(1).random((230, 9)) < 0.5)
    X = kind(dense)
    if hasattr(X, "indices"):
        X.indices = X.indices.astype(index_dtype)
        X.indptr = X.indptr.astype(index_dtype)
    machine = HelmholtzMachine(**SMALL).fit(dense)
    other = HelmholtzMachine(**SMALL).fit(X)
    np.testing.assert_array_equal(parameters(machine), parameters(other))
    for method in ("transform", "score_samples", "reconstruct", "exact_log_likelihood"):
        np.testing.assert_array_equal(
            getattr(machine, method)(dense), getattr(machine, method)(X)
        )


def test_sparse_rows_are_never_densified_as_a_whole(monkeypatch):
    X = sp.random_array((5000, 50), density=0.05, format="csr", rng=0)
    X.data[:] = 1
    most = []
    kind = type(X)
    original = kind.toarray

    def watched(self, *args, **kwargs):
        most.append(self.shape[0])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, "toarray", watched)
    machine = HelmholtzMachine(**SMALL).fit(X)
    machine.partial_fit(X)
    machine.transform(X)
    machine.score_samples(X)
    machine.log_likelihood(X[:50], 3)
    assert max(most) < 5000


def test_duplicate_and_explicit_zero_entries_mean_what_scipy_means():
    data, rows, columns = [1.0, 0.5, 0.5, 0.0], [0, 1, 1, 2], [0, 1, 1, 2]
    pointer = np.searchsorted(rows, range(4))
    X = sp.csr_array((data, columns, pointer), shape=(3, 3))
    before = X.copy()
    machine = HelmholtzMachine(**SMALL).fit(X)
    assert machine.visible_ == "bernoulli"
    np.testing.assert_array_equal(machine.transform(X), machine.transform(X.toarray()))
    assert X.nnz == before.nnz


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64])
def test_integers_and_booleans_are_float64_rows(dtype):
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL).fit(X.astype(dtype))
    np.testing.assert_array_equal(
        parameters(machine), parameters(HelmholtzMachine(**SMALL).fit(X))
    )


# ------------------------------------------------------ same seed, same weights


@pytest.mark.parametrize("rule", ["wake-sleep", "reweighted-wake-sleep"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_depend_on_the_seed_and_not_on_the_threads(rule, dtype, monkeypatch):
    monkeypatch.setattr("sklearn_helmholtz._fitting._SMALL_STEP", 0)
    X = binary_rows(dtype=dtype)
    fits = [
        HelmholtzMachine(learning_rule=rule, n_jobs=n, **SMALL).fit(X)
        for n in (1, 1, 2, 3, None)
    ]
    for machine in fits[1:]:
        np.testing.assert_array_equal(parameters(machine), parameters(fits[0]))
        np.testing.assert_array_equal(machine.transform(X), fits[0].transform(X))
        np.testing.assert_array_equal(
            machine.sample(3000, random_state=1), fits[0].sample(3000, random_state=1)
        )
    other = clone(fits[0]).set_params(random_state=1).fit(X)
    assert not np.array_equal(parameters(other), parameters(fits[0]))


@pytest.mark.parametrize("rule", ["wake-sleep", "reweighted-wake-sleep"])
def test_one_pass_of_fit_equals_partial_fit(rule):
    X = binary_rows()
    settings = SMALL | {"max_iter": 1, "shuffle": False, "learning_rule": rule}
    one = HelmholtzMachine(learning_rate_schedule="constant", **settings).fit(X)
    other = HelmholtzMachine(**settings).partial_fit(X)
    np.testing.assert_array_equal(parameters(one), parameters(other))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_partial_fit_in_pieces_equals_partial_fit_at_once(optimizer):
    X = binary_rows(300)
    start = HelmholtzMachine(batch_size=50, optimizer=optimizer, **SMALL).fit(X)
    whole, pieces = (pickle.loads(pickle.dumps(start)) for _ in range(2))
    whole.partial_fit(X)
    for first in (0, 100, 200):
        assert pieces.partial_fit(X[first : first + 100]) is pieces
    np.testing.assert_array_equal(parameters(whole), parameters(pieces))


def test_warm_start_goes_on_and_cold_start_forgets():
    X = binary_rows()
    machine = HelmholtzMachine(warm_start=True, **SMALL).fit(X)
    before = parameters(machine)
    machine.fit(X)
    assert machine.n_iter_ == 6
    assert len(machine.free_energy_curve_) == 6
    assert not np.array_equal(before, parameters(machine))
    with pytest.raises(ValueError, match="start anew"):
        machine.set_params(hidden_layer_sizes=(3,)).fit(X)
    machine.set_params(hidden_layer_sizes=(6, 4), warm_start=False).fit(X)
    np.testing.assert_array_equal(before, parameters(machine))


# ------------------------------------------------------------- codes and dreams


def test_code_names_the_layers_and_their_columns():
    X = binary_rows()
    machine = HelmholtzMachine(code="all", **SMALL).fit(X)
    every = machine.transform(X)
    layers = {0: every[:, :6], 1: every[:, 6:], -1: every[:, 6:], "top": every[:, 6:]}
    for code, expected in layers.items():
        machine.set_params(code=code)
        np.testing.assert_array_equal(machine.transform(X), expected)
        assert len(machine.get_feature_names_out()) == expected.shape[1]
        assert machine.inverse_transform(machine.transform(X)).shape == X.shape
    for code in (2, -3):
        with pytest.raises(ValueError, match="not the index of a hidden layer"):
            machine.set_params(code=code).transform(X)


def test_lowest_codes_decide_the_inverse():
    X = binary_rows()
    machine = HelmholtzMachine(code="all", **SMALL).fit(X)
    codes = machine.transform(X)
    low = machine.set_params(code=0).inverse_transform(codes[:, :6])
    np.testing.assert_array_equal(
        machine.set_params(code="all").inverse_transform(codes), low
    )
    np.testing.assert_array_equal(machine.reconstruct(X), low)
    with pytest.raises(ValueError, match="3 columns, but the codes"):
        machine.inverse_transform(codes[:, :3])


def test_reconstruction_beats_the_mean_row():
    X = (load_digits().data > 7).astype(np.float32)
    machine = HelmholtzMachine((60,), max_iter=20, random_state=0).fit(X)
    error = np.square(machine.reconstruct(X) - X).mean()
    assert error < 0.5 * np.square(X.mean(axis=0) - X).mean()


def test_sample_repeats_with_an_int_and_differs_without():
    machine = HelmholtzMachine(**SMALL).fit(binary_rows())
    one = machine.sample(20, random_state=3)
    assert one.shape == (20, 9)
    assert set(np.unique(one)) <= {0.0, 1.0}
    np.testing.assert_array_equal(one, machine.sample(20, random_state=3))
    assert not np.array_equal(machine.sample(20), machine.sample(20))
    x, low, top = machine.sample_states(20, random_state=3)
    np.testing.assert_array_equal(x, one)
    assert low.shape == (20, 6)
    assert top.shape == (20, 4)
    means = machine.sample(20, mean=True, random_state=3)
    assert ((means > 0) & (means < 1)).all()
    for bad in (0, -1, 2.0, "3"):
        with pytest.raises(ValueError, match="positive integer"):
            machine.sample(bad)


def test_score_is_the_mean_and_a_python_float():
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL).fit(X)
    assert type(machine.score(X)) is float
    assert machine.score(X) == pytest.approx(machine.score_samples(X).mean())
    assert machine.score(X, np.zeros(len(X))) == machine.score(X)


def test_more_particles_tighten_log_likelihood_of_a_fitted_machine():
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL).fit(X)
    exact = machine.exact_log_likelihood(X).mean()
    many, ess = machine.log_likelihood(X, 500, return_effective_sample_size=True)
    assert machine.score(X) < many.mean()
    assert many.mean() == pytest.approx(exact, abs=0.02)
    assert ((ess >= 1) & (ess <= 500)).all()
    one = machine.log_likelihood(X, 10, random_state=0)
    np.testing.assert_array_equal(one, machine.log_likelihood(X, 10, random_state=0))
    assert not np.array_equal(one, machine.log_likelihood(X, 10, random_state=1))


# ----------------------------------------------------- pipelines, persistence


def test_machine_works_in_a_pipeline_under_grid_search():
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    pipeline = make_pipeline(
        MinMaxScaler(clip=True),
        HelmholtzMachine(max_iter=5, random_state=0),
        LogisticRegression(C=10, max_iter=500),
    )
    grid = {"helmholtzmachine__hidden_layer_sizes": [(5,), (100,), (60, 20)]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert search.best_params_["helmholtzmachine__hidden_layer_sizes"] != (5,)
    own = GridSearchCV(
        HelmholtzMachine(max_iter=30, random_state=0),
        {"hidden_layer_sizes": [(1,), (40, 20)]},
        cv=2,
    )
    assert own.fit(X > 8).best_params_ == {"hidden_layer_sizes": (40, 20)}


def test_gaussian_machine_works_after_a_standard_scaler():
    X = np.random.default_rng(0).normal(5, 3, (100, 4))
    model = make_pipeline(StandardScaler(), HelmholtzMachine(**SMALL)).fit(X)
    assert model.transform(X).shape == (100, 10)


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("lateral", [False, True])
def test_machine_survives_pickle_joblib_and_skops(gaussian, lateral, tmp_path):
    X = binary_rows() * (3 if gaussian else 1)
    machine = HelmholtzMachine(lateral=lateral, **SMALL).fit(X)
    skops.io.dump(machine, tmp_path / "machine.skops")
    trusted = skops.io.get_untrusted_types(file=tmp_path / "machine.skops")
    assert all(name.startswith(("sklearn_helmholtz", "numpy.")) for name in trusted)
    joblib.dump(machine, tmp_path / "machine.joblib")
    copies = [
        pickle.loads(pickle.dumps(machine)),
        joblib.load(tmp_path / "machine.joblib", mmap_mode="r"),
        skops.io.load(tmp_path / "machine.skops", trusted=trusted),
    ]
    expected = clone(machine).fit(X).partial_fit(X)
    for other in copies:
        np.testing.assert_array_equal(other.transform(X), machine.transform(X))
        np.testing.assert_array_equal(other.score_samples(X), machine.score_samples(X))
        # Training goes on from copies: the loaded arrays may be read-only.
        other.partial_fit(X)
        np.testing.assert_array_equal(parameters(other), parameters(expected))


def test_components_are_the_visible_side_generative_weights():
    machine = HelmholtzMachine(**SMALL).fit(binary_rows())
    assert machine.components_ is machine.generative_coefs_[0]
    assert machine.components_.shape == (6, 9)
    shapes = {name: [a.shape for a in getattr(machine, name)] for name in LISTS}
    assert shapes == {
        "generative_coefs_": [(6, 9), (4, 6)],
        "generative_intercepts_": [(9,), (6,), (4,)],
        "recognition_coefs_": [(9, 6), (6, 4)],
        "recognition_intercepts_": [(6,), (4,)],
    }


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("hidden_layer_sizes", (5, 0), "hidden_layer_sizes must be > 0"),
        ("hidden_layer_sizes", (), "one or more integers"),
        ("hidden_layer_sizes", (2.5,), "one or more integers"),
        ("code", 7, "not the index of a hidden layer"),
    ],
)
def test_wrong_sizes_and_codes_say_what_is_allowed(parameter, value, message):
    with pytest.raises(ValueError, match=message):
        HelmholtzMachine(**{parameter: value}).fit(binary_rows())


def test_wrong_parameter_is_refused_in_scikit_learns_words():
    with pytest.raises(InvalidParameterError, match=r"'momentum' parameter .* must be"):
        HelmholtzMachine(momentum=1.0).fit(binary_rows())


def test_fit_is_silent_on_sound_data():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HelmholtzMachine(**SMALL).fit(binary_rows(dtype=np.float32))
