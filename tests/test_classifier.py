"""The generative classifier: Bayes' rule on densities over one measure."""

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from helpers import Callback, binary_rows, parameters
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_helmholtz import Checkpoint, HelmholtzClassifier, HelmholtzMachine

TINY = HelmholtzMachine((4, 2), max_iter=3)


def binary_classes(n_rows=150, n_features=6, n_classes=3, seed=0):
    """Return binary rows whose features' means differ from class to class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_rows) % n_classes
    means = rng.random((n_classes, n_features))
    return (rng.random((n_rows, n_features)) < means[y]).astype(float), y


def classifier(machine=TINY, **options):
    """Return a small classifier with a fixed seed."""
    return HelmholtzClassifier(machine, random_state=0, **options)


# ------------------------------------------------------------------ Bayes' rule


def test_probabilities_are_bayes_rule_on_exact_likelihoods():
    """5,000 particles a row: the estimate's own error is below 0.02 nats."""
    X, y = binary_classes()
    fitted = classifier(n_score_samples=5000).fit(X, y)
    X = X[:40]
    exact = [machine.exact_log_likelihood(X) for machine in fitted.estimators_]
    joint = np.exp(np.transpose(exact)) * np.exp(fitted.class_log_prior_)
    expected = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(X), expected, atol=0.02)
    np.testing.assert_allclose(
        fitted.score_samples(X), np.log(joint.sum(axis=1)), atol=0.02
    )


def test_log_probabilities_and_labels_follow_from_probabilities():
    X, y = binary_classes()
    labels = np.array(["c", "a", "b"])[y]
    fitted = classifier().fit(X, labels)
    chances = fitted.predict_proba(X)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    np.testing.assert_allclose(np.log(chances), fitted.predict_log_proba(X), rtol=1e-6)
    assert fitted.classes_.tolist() == ["a", "b", "c"]
    assert (fitted.predict(X) == fitted.classes_[chances.argmax(axis=1)]).all()
    assert fitted.score(X, labels) == (fitted.predict(X) == labels).mean()


def test_decisions_are_log_odds_of_two_classes_and_log_probabilities_of_more():
    X, y = binary_classes()
    fitted = classifier().fit(X, y)
    decisions = fitted.decision_function(X)
    np.testing.assert_array_equal(decisions, fitted.predict_log_proba(X))
    two = classifier().fit(X[y < 2], y[y < 2])
    log_odds = np.diff(two.predict_log_proba(X))[:, 0]
    np.testing.assert_array_equal(two.decision_function(X), log_odds)


def test_calibration_by_temperature_lowers_the_log_loss_of_sure_classifiers():
    """The temperature and the losses are of rows that no machine was fitted to."""
    X, y = load_digits(n_class=4, return_X_y=True)
    X = X / 16
    sure = classifier(HelmholtzMachine((20,), max_iter=10)).fit(X[::3], y[::3])
    calibrated = CalibratedClassifierCV(FrozenEstimator(sure), method="temperature")
    calibrated.fit(X[1::3], y[1::3])
    rest, labels = X[2::3], y[2::3]
    losses = [log_loss(labels, m.predict_proba(rest)) for m in (sure, calibrated)]
    assert losses[1] < losses[0]


def test_a_rows_probabilities_depend_on_the_row_alone():
    X, y = binary_classes()
    fitted = classifier().fit(X, y)
    whole = fitted.predict_log_proba(X)
    alone = np.vstack([fitted.predict_log_proba(row[None]) for row in X[:20]])
    np.testing.assert_allclose(whole[:20], alone, rtol=1e-12)
    backwards = fitted.predict_log_proba(X[::-1])
    np.testing.assert_allclose(whole, backwards[::-1], rtol=1e-12)


def test_the_machine_of_a_class_is_the_one_fitted_to_its_rows():
    X, y = binary_classes()
    fitted = HelmholtzClassifier(clone(TINY).set_params(random_state=3)).fit(X, y)
    for k, machine in enumerate(fitted.estimators_):
        own = clone(TINY).set_params(random_state=3).fit(X[y == k])
        np.testing.assert_array_equal(parameters(machine), parameters(own))


@pytest.mark.parametrize(
    "values", [[0.6, 0.6], [2.0, -1.5], [0.5, 0.5]], ids=["above 1", "within", "grey"]
)
def test_duplicates_of_a_sparse_array_count_as_their_sum(values):
    places = np.repeat(np.arange(40) % 3, 2)
    data = np.tile(values, 40), places, np.arange(0, 81, 2)
    X, y = sp.csr_array(data, shape=(40, 3)), np.arange(40) % 2
    found, expected = classifier().fit(X, y), classifier().fit(X.toarray(), y)
    assert found.visible_ == expected.visible_
    for one, other in zip(found.estimators_, expected.estimators_, strict=True):
        np.testing.assert_array_equal(parameters(one), parameters(other))
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_fit_that_raises_leaves_the_classifier_as_it_was(method):
    X, y = binary_classes()
    fresh = classifier(priors=[1, 1])
    options = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    with pytest.raises(ValueError, match="priors"):
        getattr(fresh, method)(X, y, **options)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    rng = np.random.RandomState(0)
    fitted = classifier().set_params(random_state=rng).fit(X, y)
    before, place = dict(vars(fitted)), rng.get_state()[2]
    with pytest.raises(ValueError, match="priors"):
        getattr(fitted.set_params(priors=[1, 1]), method)(X, y)
    with pytest.raises(ValueError, match=r"features|infinity"):
        getattr(fitted, method)(np.full((150, 5), np.inf), y)
    fitted.set_params(priors=None)
    assert vars(fitted) == before
    assert rng.get_state()[2] == place
    fitted.predict(X)


# ---------------------------------------------------------------------- priors


def test_priors_shift_log_odds_by_their_own():
    X, y = binary_classes()
    X, y = X[: 60 + 30], np.r_[np.zeros(60, int), np.ones(30, int)]
    counted = classifier().fit(X, y)
    np.testing.assert_allclose(np.exp(counted.class_log_prior_), [2 / 3, 1 / 3])
    even = classifier(priors="uniform").fit(X, y)
    given = classifier(priors=[1, 3]).fit(X, y)
    np.testing.assert_allclose(np.exp(given.class_log_prior_), [1 / 4, 3 / 4])

    def log_odds(fitted):
        return np.subtract(*fitted.predict_log_proba(X).T)

    np.testing.assert_allclose(log_odds(counted) - log_odds(even), np.log(2))
    np.testing.assert_allclose(log_odds(given) - log_odds(even), -np.log(3))


def test_a_class_of_prior_zero_is_never_chosen():
    X, y = binary_classes()
    fitted = classifier(priors=[0, 1, 1]).fit(X, y)
    assert (fitted.predict_proba(X)[:, 0] == 0).all()
    assert 0 not in fitted.sample(50, random_state=0)[1]


@pytest.mark.parametrize("priors", [None, "uniform", [1, 2, 7]])
def test_a_class_without_rows_has_no_prior(priors):
    X, y = binary_classes()
    some = y < 2
    fitted = classifier(HelmholtzMachine((3,), visible="gaussian"), priors=priors)
    fitted.partial_fit(X[some], y[some], classes=[0, 1, 2])
    prior = np.exp(fitted.class_log_prior_)
    assert prior[2] == 0
    assert prior.sum() == pytest.approx(1)
    far_off = np.full((1, 6), 1e200)
    np.testing.assert_allclose(fitted.predict_proba(far_off), prior[None])
    assert 2 not in fitted.sample(50, random_state=0)[1]
    fitted.partial_fit(X, y)
    assert fitted.class_log_prior_[2] > -np.inf


def test_priors_of_classes_without_rows_alone_are_refused():
    X, y = binary_classes()
    fitted = classifier(priors=[0, 0, 1])
    with pytest.raises(ValueError, match="rows so far"):
        fitted.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])


@pytest.mark.parametrize(
    "priors",
    [
        [1, 1],
        [1, -1, 1],
        [0, 0, 0],
        [1, np.inf, 1],
        ["a", "b", "c"],
        {0: 1, 1: 1, 2: 1},
    ],
)
def test_priors_that_are_none_are_refused(priors):
    X, y = binary_classes()
    with pytest.raises(ValueError, match="priors"):
        classifier(priors=priors).fit(X, y)


# --------------------------------------------------------------- one measure


def test_all_classes_take_the_units_that_all_rows_need():
    """One class alone lies in [0, 1]; a mass and a density would not compare."""
    X = np.r_[binary_rows(60, 4), 3 + binary_rows(60, 4, seed=1)]
    y = np.repeat([0, 1], 60)
    fitted = classifier().fit(X, y)
    assert [machine.visible_ for machine in fitted.estimators_] == ["gaussian"] * 2
    assert fitted.score(X, y) == 1


def test_gaussian_classes_standardise_alike():
    X, y = make_blobs(200, 3, centers=4, random_state=0)
    fitted = classifier().fit(X, y)
    np.testing.assert_allclose(fitted.location_, X.mean(axis=0))
    np.testing.assert_allclose(fitted.scale_, X.std(axis=0))
    for machine in fitted.estimators_:
        np.testing.assert_array_equal(machine.location_, fitted.location_)
        np.testing.assert_array_equal(machine.scale_, fitted.scale_)


def test_class_densities_integrate_to_one_in_the_units_of_the_data():
    """On a grid, to the grid's error: one measure, the data's own, for all."""
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(0, 1, 80), rng.normal(40, 10, 80)][:, None]
    y = np.repeat([0, 1], 80)
    fitted = HelmholtzClassifier(
        HelmholtzMachine((3,), max_iter=20), random_state=0, n_score_samples=50
    ).fit(X, y)
    grid, step = np.linspace(-60, 120, 2001, retstep=True)
    log_joint = fitted.predict_joint_log_proba(grid[:, None])
    mass = np.exp(log_joint).sum(axis=0) * step
    np.testing.assert_allclose(mass, [0.5, 0.5], atol=0.02)


def test_probabilities_do_not_depend_on_the_units_of_the_data():
    """A constant column within one class included; powers of two are exact."""
    X, y = make_blobs(150, 3, centers=3, random_state=1)
    X[y == 0, 1] = 2.0
    factors = np.array([1024.0, 0.25, 8.0])
    small, large = classifier().fit(X, y), classifier().fit(X * factors, y)
    np.testing.assert_allclose(
        small.predict_log_proba(X),
        large.predict_log_proba(X * factors),
        rtol=1e-6,
        atol=1e-12,
    )
    shift = np.log(factors).sum()
    np.testing.assert_allclose(
        small.score_samples(X) - shift, large.score_samples(X * factors), rtol=1e-6
    )


def test_a_constant_column_of_a_class_has_no_infinite_density():
    X, y = make_blobs(150, 3, centers=3, random_state=1)
    X[y == 0, 1] = 2.0
    fitted = classifier().fit(X, y)
    assert np.isfinite(fitted.predict_joint_log_proba(X)).all()


def mixed_classes(n_rows, seed=0):
    """Return rows of three real and five binary columns, for two classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n_rows)
    real = rng.normal(0.7 * y[:, None], 1, (n_rows, 3))
    binary = rng.random((n_rows, 5)) < 0.3 + 0.3 * y[:, None]
    return np.column_stack([real, binary]), y


@pytest.mark.parametrize("code", [(0, 1), (5, 905)])
def test_binary_columns_beside_real_ones_do_not_decide(code):
    """A machine that finds their two values has no density without bound there."""
    X, y = mixed_classes(3000)
    X[:, 3:] = np.where(X[:, 3:], code[1], code[0])
    train, test = (X[:1000], y[:1000]), (X[1000:], y[1000:])
    fitted = HelmholtzClassifier(random_state=0).fit(*train)
    for k, machine in enumerate(fitted.estimators_):
        of_class = train[0][train[1] == k, 3:].var(axis=0) / train[0][:, 3:].var(axis=0)
        assert (machine.variance_[3:] > 0.99 * of_class).all()
    # Of 2,000 rows: a standard error of 0.01 each, most of it in common.
    assert fitted.score(*test) > GaussianNB().fit(*train).score(*test) - 0.02


@pytest.mark.parametrize("value", [0.01, 0.5, 0.99])
def test_one_odd_cell_of_binary_columns_does_not_decide(value):
    X, y = mixed_classes(3000)
    X[0, 3:] = value
    fitted = HelmholtzClassifier(random_state=0).fit(X[:1000], y[:1000])
    clean = GaussianNB().fit(X[1:1000], y[1:1000])
    # As above.
    others = X[1000:], y[1000:]
    assert fitted.score(*others) > clean.score(*others) - 0.02


def test_a_binary_column_that_is_the_class_decides():
    """Beside many that say nothing: a variance as of rounding is small enough."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=1400)
    X = np.column_stack([y, rng.normal(size=(1400, 20))])
    fitted = HelmholtzClassifier(random_state=0).fit(X[:400], y[:400])
    assert fitted.score(X[400:], y[400:]) > 0.98


def test_a_column_constant_in_training_tells_nothing_of_the_class():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 30])
    X = np.column_stack([rng.normal(y[:, None], 1, (330, 4)), np.full(330, 2.0)])
    machine = HelmholtzMachine((4, 2), max_iter=30)
    fitted = classifier(machine, n_score_samples=200).fit(X, y)
    other = X.copy()
    other[:, 4] = 3.0
    # As other rows, these are scored with other noise.
    np.testing.assert_allclose(
        fitted.decision_function(other), fitted.decision_function(X), atol=0.3
    )


def test_columns_without_repeated_values_may_have_any_variance():
    """A first block of a few real rows says nothing of steps between values."""
    X, y = mixed_classes(200)
    fitted = classifier().partial_fit(X[:2, :3], y[:2], classes=[0, 1])
    fitted.partial_fit(X[:, :3], y)
    for machine in fitted.estimators_:
        assert (machine._least_variance == np.float64(1e-6)).all()


def test_pipelines_a_class_are_refused():
    """Each would scale its class by itself."""
    X, y = binary_classes()
    with pytest.raises(ValueError, match="estimator"):
        HelmholtzClassifier(make_pipeline(MinMaxScaler(), TINY)).fit(X, y)


# ------------------------------------------------------- blocks of rows, in turn


def test_partial_fit_trains_each_machine_on_its_rows():
    X, y = binary_classes()
    fitted = classifier(clone(TINY).set_params(batch_size=10))
    fitted.partial_fit(X[:75], y[:75], classes=[0, 1, 2]).partial_fit(X[75:], y[75:])
    assert fitted.class_count_.tolist() == [50, 50, 50]
    for k, machine in enumerate(fitted.estimators_):
        own = clone(machine).partial_fit(X[:75][y[:75] == k])
        own.partial_fit(X[75:][y[75:] == k])
        np.testing.assert_array_equal(parameters(machine), parameters(own))


def test_a_class_not_seen_yet_has_probability_zero_and_may_come_later():
    X, y = make_blobs(90, 3, centers=3, random_state=0)
    fitted = classifier()
    fitted.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert fitted.estimators_[2] is None
    assert (fitted.predict_proba(X)[:, 2] == 0).all()
    assert 2 not in fitted.sample(30, random_state=0)[1]
    with pytest.raises(ValueError, match="No row of class 2"):
        fitted.sample(1, y=2)
    fitted.partial_fit(X[y == 2], y[y == 2])
    assert (fitted.predict_proba(X)[:, 2] > 0).any()


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_classes_that_come_later_standardise_by_all_rows_until_then(kind):
    X, y = make_blobs(90, 3, centers=3, random_state=0)
    X[:, 1] = y  # which is constant in each class
    fitted, until = classifier(), []
    for block in ([0], [0, 1], [2], [0, 2]):
        rows = np.isin(y, block)
        until.append(X[rows])
        fitted.partial_fit(kind(X[rows]), y[rows], classes=[0, 1, 2])
    for machine, n_blocks in zip(fitted.estimators_, (1, 2, 3), strict=True):
        seen = np.vstack(until[:n_blocks])
        spread = seen.std(axis=0)
        np.testing.assert_allclose(machine.location_, seen.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(machine.scale_, np.where(spread, spread, 1))
    np.testing.assert_array_equal(fitted.scale_, fitted.estimators_[2].scale_)


def test_densities_of_machines_with_their_own_units_compare():
    X, y = make_blobs(90, 3, centers=3, random_state=0)
    fitted = classifier()
    for k in range(3):
        fitted.partial_fit(X[y == k], y[y == k], classes=[0, 1, 2])
    expected = [machine.log_likelihood(X, 100) for machine in fitted.estimators_]
    found = fitted.predict_joint_log_proba(X) - fitted.class_log_prior_
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-12)


def test_classes_in_order_are_learned_nearly_as_well_as_shuffled_ones():
    """Accuracy 0.85, and 0.88 shuffled; by one class's location and scale 0.70."""
    X, y = load_digits(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:1200], order[1200:]
    train = train[np.argsort(y[train], kind="stable")]
    fitted = HelmholtzClassifier(random_state=0)
    for start in range(0, 1200, 200):
        rows = train[start : start + 200]
        fitted.partial_fit(X[rows], y[rows], classes=range(10))
    assert fitted.score(X[test], y[test]) > 0.8


def test_partial_fit_refuses_missing_other_and_unknown_classes():
    X, y = binary_classes()
    fitted = classifier()
    with pytest.raises(ValueError, match="first call"):
        fitted.partial_fit(X, y)
    fitted.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="differs"):
        fitted.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="not among"):
        fitted.partial_fit(X, y + 1)


def test_a_failed_partial_fit_leaves_all_as_it_was():
    X, y = binary_classes()
    fitted = classifier().fit(X, y)
    before = [parameters(machine).copy() for machine in fitted.estimators_]
    spoilt = X.copy()
    spoilt[y == 2] += 5  # outside [0, 1]: the last machine refuses
    with pytest.raises(ValueError, match="Bernoulli"):
        fitted.partial_fit(spoilt, y)
    assert fitted.class_count_.tolist() == [50, 50, 50]
    for old, machine in zip(before, fitted.estimators_, strict=True):
        np.testing.assert_array_equal(old, parameters(machine))


def test_a_fit_forgets_the_one_before():
    X, y = make_blobs(90, 6, centers=3, random_state=0)
    fitted = classifier().fit(X, y)
    binary, labels = binary_classes()
    fitted.fit(binary, labels)
    assert not hasattr(fitted, "location_")
    other = classifier().fit(binary, labels)
    np.testing.assert_array_equal(
        fitted.predict_proba(binary), other.predict_proba(binary)
    )


# ------------------------------------------------------------ jobs and seeds


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_the_result_does_not_depend_on_the_number_of_jobs(backend):
    X, y = binary_classes()
    one = classifier().fit(X, y)
    with joblib.parallel_config(backend=backend):
        two = classifier(n_jobs=2).fit(X, y)
    for first, second in zip(one.estimators_, two.estimators_, strict=True):
        np.testing.assert_array_equal(parameters(first), parameters(second))


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_scikit_learns_configuration_holds_for_every_machine(backend, n_jobs):
    X, y = binary_classes()
    # A value that only validation minds.
    odd = classifier(clone(TINY).set_params(shuffle=1), n_jobs=n_jobs)
    plain = classifier().fit(X, y)
    with joblib.parallel_config(backend=backend):
        with pytest.raises(ValueError, match="shuffle"):
            odd.fit(X, y)
        with config_context(skip_parameter_validation=True):
            odd.fit(X, y)
    for one, other in zip(plain.estimators_, odd.estimators_, strict=True):
        np.testing.assert_array_equal(parameters(one), parameters(other))


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_filters_of_warnings_hold_for_every_machine(n_jobs):
    diverging = classifier(clone(TINY).set_params(learning_rate=1e300), n_jobs=n_jobs)
    with pytest.raises(ConvergenceWarning):
        diverging.fit(*binary_classes())
    assert not hasattr(diverging, "classes_")


def test_machines_have_their_own_seeds():
    X = binary_rows(40)
    fitted = classifier().fit(np.r_[X, X], np.repeat([0, 1], 40))
    first, second = fitted.estimators_
    assert not np.allclose(parameters(first), parameters(second))


def test_sparse_rows_give_what_dense_ones_give():
    X, y = binary_classes()
    dense, sparse = classifier().fit(X, y), classifier().fit(sp.csr_array(X), y)
    np.testing.assert_allclose(
        dense.predict_proba(X), sparse.predict_proba(sp.csr_array(X)), rtol=1e-6
    )


# ---------------------------------------------------------- dreams, rejection


def test_samples_are_of_the_classes_asked_for():
    X, y = make_blobs(200, 2, centers=[[0, 0], [30, 30]], random_state=0)
    fitted = classifier().fit(X, np.array(["low", "high"])[y])
    rows, labels = fitted.sample(30, y="high", random_state=0)
    assert set(labels) == {"high"}
    assert (rows.mean(axis=0) > 15).all()
    wanted = np.array(["low", "high"] * 10)
    rows, labels = fitted.sample(20, y=wanted, random_state=0)
    assert (labels == wanted).all()
    assert (fitted.predict(rows) == wanted).all()
    again, _ = fitted.sample(20, y=wanted, random_state=0)
    np.testing.assert_array_equal(rows, again)
    means, _ = fitted.sample(20, y=wanted, mean=True, random_state=0)
    assert not np.array_equal(means, rows)
    np.testing.assert_allclose(means, rows, atol=15)


def test_dates_are_labels_in_any_unit():
    X, y = binary_classes()
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8[D]")[y]
    fitted = classifier().partial_fit(X, days, classes=np.unique(days))
    fitted.partial_fit(X, days.astype("M8[ns]"))
    np.testing.assert_array_equal(fitted.class_count_, 2 * np.bincount(y))


def test_labels_that_no_class_has_are_refused_whatever_their_kind():
    X, y = binary_classes()
    fitted = classifier().fit(X, np.array(["a", "b", "c"], dtype=object)[y])
    for label in ("d", 1):
        with pytest.raises(ValueError, match="not among the classes"):
            fitted.sample(y=label)


def test_samples_of_a_seed_leave_numpys_own_generator_alone():
    X, y = binary_classes()
    fitted = classifier().fit(X, y)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fitted.sample(3, random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_sampled_classes_follow_the_prior():
    """Two-sided at 4 standard errors of a share over 2,000 draws."""
    X, y = binary_classes()
    fitted = classifier(priors=[1, 2, 7]).fit(X, y)
    _, labels = fitted.sample(2000, random_state=0)
    shares = np.bincount(labels) / 2000
    prior = np.array([0.1, 0.2, 0.7])
    assert (np.abs(shares - prior) < 4 * np.sqrt(prior * (1 - prior) / 2000)).all()


def test_rows_of_no_class_score_below_almost_all_rows_of_the_classes():
    X, y = load_digits(n_class=3, return_X_y=True)
    X = X / 16
    fitted = classifier(HelmholtzMachine((20,), max_iter=10)).fit(X[::2], y[::2])
    threshold = np.quantile(fitted.score_samples(X[1::2]), 0.01)
    shuffled = np.random.default_rng(0).permuted(X[:100], axis=1)
    assert (fitted.score_samples(shuffled) < threshold).all()


def test_rows_too_far_off_for_any_density_get_the_prior():
    X, y = make_blobs(90, 3, centers=3, random_state=0)
    fitted = classifier(priors=[1, 2, 1]).fit(X, y)
    chances = fitted.predict_proba(np.full((1, 3), 1e200))
    np.testing.assert_allclose(chances, [[0.25, 0.5, 0.25]])


def test_before_fit_there_is_no_prediction():
    with pytest.raises(NotFittedError):
        classifier().predict([[0.0]])


# ------------------------------------------------------------ machines by themselves


def test_a_classes_machine_that_is_fitted_anew_knows_nothing_of_the_others():
    X, y = make_blobs(60, 3, random_state=0)
    machine = classifier(HelmholtzMachine((3,), max_iter=2)).fit(X, y).estimators_[0]
    machine.fit(1000 * X + 5)
    np.testing.assert_allclose(machine.location_, (1000 * X + 5).mean(axis=0))
    assert machine.fit(binary_rows()).visible_ == "bernoulli"


class Interrupt(Callback):
    """A callback that is an interrupt after the second epoch of the second fit."""

    n_epochs = 0

    def on_fit_task_end(self, estimator, context):
        Interrupt.n_epochs += context.task_name == "epoch"
        if Interrupt.n_epochs == TINY.max_iter + 2:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_no_classifier_of_machines_trained_for_unequal_times():
    X, y = binary_classes()
    Interrupt.n_epochs = 0
    fitted = classifier(clone(TINY).set_callbacks(Interrupt()))
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X, y)
    assert not hasattr(fitted, "estimators_")
    assert Interrupt.n_epochs == TINY.max_iter + 2


@pytest.mark.parametrize("classes", [[0, 1, np.nan], [0, 1, 2.5]])
def test_classes_are_labels(classes):
    X, y = binary_classes(n_classes=2)
    with pytest.raises(ValueError, match=r"NaN|Unknown label type"):
        classifier().partial_fit(X, y, classes=classes)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_one_classs_machine_says_which_it_is(n_jobs):
    X = binary_rows()
    y = np.array(["some"] * (len(X) - 1) + ["lone"])
    machine = clone(TINY).set_params(early_stopping=True)
    with pytest.raises(ValueError, match="the 1 rows of class lone"):
        classifier(machine, n_jobs=n_jobs).fit(X, y)


def test_no_estimator_stands_for_the_documented_machine():
    expected = HelmholtzMachine((50, 20), alpha=1e-3, max_iter=100).get_params()
    assert HelmholtzClassifier()._machine().get_params() == expected


@pytest.mark.parametrize("given", [None, HelmholtzMachine((3,), alpha=0.5, max_iter=1)])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_without_an_estimator_gaussian_machines_have_defaults_of_their_own(
    given, method
):
    X, y = binary_rows(40), np.arange(40) % 2
    of_real = ("auto" if method == "fit" else 0.03), True
    for spread, expected in ((1, (1e-3, False)), (3, of_real)):
        classifier = HelmholtzClassifier(given)
        more = {"classes": [0, 1]} if method == "partial_fit" else {}
        getattr(classifier, method)(spread * X, y, **more)
        for machine in classifier.estimators_:
            found = machine.alpha, machine.autoregressive
            assert found == (expected if given is None else (0.5, False))


def test_more_rows_tell_classes_apart_by_what_correlations_leave_over():
    """Accuracy 0.8; 0.4 with a penalty that many rows have like few. `LDA`: 0.9."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    spreads = np.geomspace(1, 0.01, 10)
    shifts = np.zeros((3, 10))
    shifts[1, 9] = shifts[2, 8] = 3  # in spreads of the narrowest directions
    y = np.arange(1500) % 3
    X = ((rng.normal(size=(1500, 10)) + shifts[y]) * spreads) @ axes.T
    X /= X.std(axis=0)
    found = HelmholtzClassifier(random_state=0).fit(X[:900], y[:900])
    assert found.score(X[900:], y[900:]) > 0.7


def test_classes_that_differ_in_how_columns_depend_on_each_other_are_told_apart():
    """Accuracy 0.94; 0.84 with columns that are independent given the layer above."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(3, 4, 20))
    y = np.arange(330) % 3
    X = np.einsum("rf,rfc->rc", rng.normal(size=(330, 4)), loadings[y])
    X += 0.5 * rng.normal(size=X.shape)
    fitted = HelmholtzClassifier(random_state=0).fit(X[:30], y[:30])
    assert fitted.score(X[30:], y[30:]) > 0.88


def test_masked_labels_are_refused():
    X, y = binary_classes()
    with pytest.raises(ValueError, match="y is a masked array"):
        classifier().fit(X, np.ma.masked_array(y, y == 1))


def test_priors_are_shares_of_all_rows_so_far():
    X, y = binary_classes(90, n_classes=2)
    fitted = classifier().partial_fit(X[:60], y[:60], classes=[0, 1])
    fitted.partial_fit(X[60:], np.ones(30, dtype=int))
    np.testing.assert_allclose(np.exp(fitted.class_log_prior_), [1 / 3, 2 / 3])


def test_a_checkpoint_of_a_classes_machine_is_one_of_a_machine(tmp_path):
    X, y = binary_classes()
    path = tmp_path / "machine.pickle"
    classifier(clone(TINY).set_callbacks(Checkpoint(path))).fit(X, y)
    alone = clone(TINY).set_callbacks(Checkpoint(tmp_path / "other.pickle")).fit(X)
    assert set(vars(Checkpoint.load(path))) <= set(
        vars(Checkpoint.load(tmp_path / "other.pickle"))
    )
    assert alone.n_iter_ == TINY.max_iter


class Names(Callback):
    """A callback that notes the estimator and the name of each task that ends."""

    max_propagation_depth = None

    def __init__(self):
        self.log = []
        self.n_open = 0

    def setup(self, estimator, context):
        self.n_open += 1

    def teardown(self, estimator, context):
        self.n_open -= 1

    def on_fit_task_end(self, estimator, context):
        names = context.source_task_name, context.task_name
        self.log.append((type(estimator).__name__, *names))


def test_callbacks_see_the_fit_of_each_class():
    X, y = binary_classes(n_classes=2)
    names = Names()
    fitted = classifier(clone(TINY)).set_callbacks(names).fit(X, y)
    machine, n_epochs = "HelmholtzMachine", TINY.max_iter
    expected = []
    for label in (0, 1):
        expected += [(machine, None, "epoch")] * n_epochs
        expected.append((machine, f"class {label}", "fit"))
    assert names.log == [*expected, ("HelmholtzClassifier", None, "fit")]
    assert names.n_open == 0
    alone = classifier(clone(TINY)).fit(X, y)
    np.testing.assert_array_equal(fitted.predict_proba(X), alone.predict_proba(X))
    assert set(vars(fitted.estimators_[0])) == set(vars(alone.estimators_[0]))


def test_callbacks_are_torn_down_when_a_classs_fit_fails():
    X, y = binary_classes(n_classes=2)
    y[:-1] = 0
    names = Names()
    failing = classifier(clone(TINY).set_params(early_stopping=True))
    before = set(vars(failing.set_callbacks(names)))
    with pytest.raises(ValueError, match="the 1 rows of class 1"):
        failing.fit(X, y)
    assert names.n_open == 0
    assert set(vars(failing)) == before


def test_rows_that_are_clipped_are_told_of_once():
    X, y = binary_classes()
    fitted = classifier().fit(X, y)
    with pytest.warns(UserWarning, match="it is clipped") as found:
        chances = fitted.predict_proba(1.5 * X)
    assert len(found) == 1
    np.testing.assert_array_equal(chances, fitted.predict_proba(X))


def test_classes_of_unequal_precision_are_scored_each_in_its_own():
    X, y = binary_classes(n_classes=2)
    fitted = classifier().partial_fit(X[y == 0], y[y == 0], classes=[0, 1])
    fitted.partial_fit(X[y == 1].astype(np.float32), y[y == 1])
    found = fitted.predict_joint_log_proba(X)
    for k, machine in enumerate(fitted.estimators_):
        expected = machine.log_likelihood(X, 100) + fitted.class_log_prior_[k]
        np.testing.assert_array_equal(found[:, k], expected)


@pytest.mark.parametrize(("n_samples", "y"), [(1, [0, 1]), (3, [0, 1]), (2, [[0, 1]])])
def test_rows_are_drawn_of_one_class_or_of_one_each(n_samples, y):
    fitted = classifier().fit(*binary_classes())
    with pytest.raises(ValueError, match="y must be one label, or one for each"):
        fitted.sample(n_samples, y=y)


def test_a_number_of_particles_that_was_set_badly_is_named():
    X, y = binary_classes()
    fitted = classifier().fit(X, y).set_params(n_score_samples=0)
    with pytest.raises(ValueError, match="n_score_samples must be a positive"):
        fitted.predict(X)
