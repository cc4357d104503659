"""The estimator: what a scikit-learn user may count on."""

import pickle
import warnings

import joblib
import numpy as np
import oracles
import pytest
import skops.io
from helpers import LISTS, SMALL, binary_rows, parameters, share_all_work
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_helmholtz import HelmholtzMachine

# ------------------------------------------------------------------ going on


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


CONTRAST = "contrastive-divergence"

#: Whether a machine has taken a change between fits.
TAKEN = {
    ("optimizer", "sgd", "adam"): lambda m: "mean" in m._memory["generative"][0],
    ("optimizer", "adam", "sgd"): lambda m: "velocity" in m._memory["generative"][0],
    ("direction", "plain", "centred"): lambda m: m._averages is not None,
    ("direction", "centred", "natural"): lambda m: isinstance(
        m._averages["generative"][0], dict
    ),
    ("direction", "natural", "centred"): lambda m: (
        not isinstance(m._averages["generative"][0], dict)
    ),
    ("direction", "centred", "plain"): lambda m: m._averages is None,
    ("lateral", False, True): lambda m: hasattr(m, "lateral_coefs_"),
    ("lateral", True, False): lambda m: not hasattr(m, "lateral_coefs_"),
    ("autoregressive", False, True): lambda m: hasattr(m, "autoregressive_coef_"),
    ("autoregressive", True, False): lambda m: not hasattr(m, "autoregressive_coef_"),
    ("visible", "bernoulli", "gaussian"): lambda m: m.visible_ == "gaussian",
    ("visible", "gaussian", "bernoulli"): lambda m: m.visible_ == "bernoulli",
    ("visible", "gaussian", "auto"): lambda m: m.visible_ == "gaussian",
    ("learning_rule", "wake-sleep", CONTRAST): lambda m: np.array_equal(
        m.generative_coefs_[0], m.recognition_coefs_[0].T
    ),
    ("learning_rule", CONTRAST, "wake-sleep"): lambda m: (
        not np.array_equal(m.generative_coefs_[0], m.recognition_coefs_[0].T)
    ),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("change", TAKEN, ids=str)
def test_change_between_fits_is_taken_or_refused_by_name(change, method):
    parameter, old, new = change
    X = binary_rows()
    machine = HelmholtzMachine(warm_start=True, **SMALL, **{parameter: old}).fit(X)
    machine.set_params(**{parameter: new})
    refusal = ""
    try:
        getattr(machine, method)(X)
    except ValueError as error:
        refusal = str(error)
    assert parameter in refusal or TAKEN[change](machine)


# ------------------------------------------------------------- codes and dreams


def test_code_names_the_layers_and_their_columns():
    X = binary_rows()
    machine = HelmholtzMachine(code="all", **SMALL).fit(X)
    every = machine.transform(X)
    layers = {0: every[:, :6], 1: every[:, 6:], -1: every[:, 6:], "top": every[:, 6:]}
    for code, expected in layers.items():
        machine.set_params(code=code)
        np.testing.assert_array_equal(machine.transform(X), expected)
        assert machine.get_feature_names_out().tolist() == [
            f"helmholtzmachine{place}" for place in range(expected.shape[1])
        ]
        assert machine.inverse_transform(machine.transform(X)).shape == X.shape
    for code in (2, -3, "bottom", None):
        machine.set_params(code=code)
        for method in (machine.transform, machine.inverse_transform):
            with pytest.raises(ValueError, match="not the index of a hidden layer"):
                method(X)
        with pytest.raises(ValueError, match="not the index of a hidden layer"):
            machine.get_feature_names_out()
    machine.set_params(code=2)
    for method in (machine.fit, machine.partial_fit):
        with pytest.raises(ValueError, match="not the index of a hidden layer"):
            method(X)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("place", [0, 700, 2999])
def test_every_block_of_rows_to_code_is_looked_at(place, n_jobs, monkeypatch):
    share_all_work(monkeypatch)
    X = binary_rows(3000)
    machine = HelmholtzMachine(n_jobs=n_jobs, visible="bernoulli", **SMALL).fit(X)
    usual = machine.transform(X)
    X[place] = np.where(X[place] > 0, np.nextafter(1, 2), -1e-17)
    np.testing.assert_array_equal(machine.transform(X), usual)
    for value, words in ((1.5, "to 1.5"), (np.nan, "NaN"), (-np.inf, "infinity")):
        X[place, 3] = value
        with pytest.raises(ValueError, match=words):
            machine.transform(X)


def test_codes_are_of_the_layers_that_there_are_not_of_those_asked_for_since():
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL).fit(X)
    expected = machine.set_params(code=1).transform(X)
    for sizes in ((6,), (4, 3, 2)):
        found = machine.set_params(hidden_layer_sizes=sizes).transform(X)
        np.testing.assert_array_equal(found, expected)


def test_scores_take_a_positive_number_of_particles():
    machine = HelmholtzMachine(**SMALL).fit(binary_rows())
    with pytest.raises(ValueError, match="n_score_samples"):
        machine.set_params(n_score_samples=0).score(binary_rows())


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("autoregressive", [False, True])
def test_fitted_attributes_are_the_model_that_codes_and_scores(
    gaussian, lateral, autoregressive
):
    X = np.random.default_rng(0).normal(3, 2, (230, 3)) if gaussian else binary_rows()
    settings = SMALL | {
        "hidden_layer_sizes": (3, 2),
        "lateral": lateral,
        "autoregressive": autoregressive,
    }
    machine = HelmholtzMachine(**settings).fit(X)
    table, rows, shift = as_table(machine), X[:4], 0.0
    if gaussian:
        rows = (rows - machine.location_) / machine.scale_
        shift = np.log(machine.scale_).sum()
    expected = [oracles.log_evidence(table, x) - shift for x in rows]
    np.testing.assert_allclose(machine.exact_log_likelihood(X[:4]), expected)
    # Many particles; level |z| < 4.5, and log-weights here spread by below 2 nats.
    machine.set_params(n_score_samples=20_000)
    bound = [-oracles.free_energy(table, x) - shift for x in rows]
    np.testing.assert_allclose(
        machine.score_samples(X[:4]), bound, atol=9 / 20_000**0.5
    )
    if not lateral:
        means = rows[0]
        for weights, bias in table["recognition"]:
            logits = oracles.linear(means, weights, bias)
            means = [oracles.sigmoid(a) for a in logits]
        top = machine.set_params(code="top").transform(X[:1])[0]
        np.testing.assert_allclose(top, means)


def as_table(machine):
    """Return the public attributes as the oracles' dict."""
    coefs, top = machine.generative_coefs_, machine.generative_intercepts_[-1]
    coefs = [*coefs, np.zeros((0, len(top)))]
    table = {
        "generative": list(zip(coefs, machine.generative_intercepts_, strict=True)),
        "recognition": list(
            zip(
                machine.recognition_coefs_, machine.recognition_intercepts_, strict=True
            )
        ),
    }
    if machine.lateral:
        pairs = zip(machine.lateral_coefs_, machine.lateral_intercepts_, strict=True)
        table["lateral"] = list(pairs)
    if machine.autoregressive:
        table["autoregressive"] = (
            machine.autoregressive_coef_,
            machine.autoregressive_intercept_,
        )
    if machine.visible_ == "gaussian":
        table["variance"] = machine.variance_
    return table


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_beyond_the_largest_number_are_that_number(dtype):
    """Rasters have it where there is no data."""
    X = np.random.default_rng(0).normal(size=(100, 4)).astype(dtype)
    X[:20] = -np.finfo(dtype).max
    machine = HelmholtzMachine((3,), max_iter=2, random_state=0).fit(X)
    dreams = machine.sample(2000, random_state=0)
    assert dreams.dtype == dtype
    assert np.abs(dreams).max() == np.finfo(dtype).max


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
@pytest.mark.parametrize("kind", ["lateral", "autoregressive", None])
def test_machine_survives_pickle_joblib_and_skops(gaussian, kind, tmp_path):
    X = binary_rows() * (3 if gaussian else 1)
    machine = HelmholtzMachine(**SMALL, **({kind: True} if kind else {})).fit(X)
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
