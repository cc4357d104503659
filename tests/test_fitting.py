"""The run of a fit: watched, stopped, interrupted, and never half done."""

import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from helpers import Callback, binary_rows, parameters, share_all_work
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._fitting import spread
from sklearn_helmholtz._parallel import one_blas_thread, workers
from sklearn_helmholtz._watch import Watch

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 5, "random_state": 0}


class Hook(Callback):
    """A callback that calls a function after every epoch."""

    def __init__(self, function):
        self.function = function
        self.n_epochs = 0
        self.torn_down = 0

    def setup(self, estimator, context):
        self.n_epochs = 0

    def teardown(self, estimator, context):
        self.torn_down += 1

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        if context.task_name == "epoch":
            self.n_epochs += 1
            return self.function(self.n_epochs, fitted_estimator, X)
        return False


def raise_at(epoch, error):
    def function(n_epochs, fitted, X):
        if n_epochs == epoch:
            raise error

    return Hook(function)


# -------------------------------------------------------------------- callbacks


def test_callback_that_returns_true_stops_the_fit():
    hook = Hook(lambda n_epochs, fitted, X: n_epochs == 2)
    machine = HelmholtzMachine(**SMALL).set_callbacks(hook).fit(binary_rows())
    assert machine.n_iter_ == 2
    assert len(machine.free_energy_curve_) == 2
    assert hook.torn_down == 1
    # Rates and learned priors depend on how many epochs there are to be.
    settings = SMALL | {"learning_rate_schedule": "constant", "alpha": 1e-3}
    short = HelmholtzMachine(**settings | {"max_iter": 2})
    long = HelmholtzMachine(**settings)
    np.testing.assert_array_equal(
        parameters(short.fit(binary_rows())),
        parameters(long.set_callbacks(hook).fit(binary_rows())),
    )


def test_callbacks_get_a_usable_machine_of_their_epoch():
    scores = []

    def keep(n_epochs, fitted, X):
        scores.append(fitted.score(X))
        fitted.sample(2)
        fitted.partial_fit(X)  # must not disturb the fit that goes on

    X, hook = binary_rows(), Hook(keep)
    watched = HelmholtzMachine(**SMALL).set_callbacks(hook).fit(X)
    np.testing.assert_array_equal(
        parameters(watched), parameters(HelmholtzMachine(**SMALL).fit(X))
    )
    assert hook.torn_down == 1  # by the fit alone
    assert scores[-1] == pytest.approx(watched.score(X))
    assert len(set(scores)) == 5


def test_a_machine_that_a_callback_has_kept_goes_on_after_the_fit():
    kept, X = [], binary_rows()

    def keep(n_epochs, fitted, X):
        kept.append(fitted)

    machine = HelmholtzMachine(**SMALL).set_callbacks(Hook(keep), ProgressBar()).fit(X)
    alone = HelmholtzMachine(**SMALL).fit(X)
    assert kept[-1].partial_fit(X).n_iter_ == machine.n_iter_ + 1
    np.testing.assert_array_equal(
        parameters(kept[-1]), parameters(alone.partial_fit(X))
    )


def test_a_first_fit_under_way_is_not_fitted():
    class Early(Hook):
        def on_fit_task_begin(self, estimator, context):
            with pytest.raises(NotFittedError):
                estimator.transform(X)

    X, hook = binary_rows(), Early(lambda *_: False)
    assert HelmholtzMachine(**SMALL).set_callbacks(hook).fit(X).transform(X).size
    assert hook.n_epochs == SMALL["max_iter"]


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_what_the_user_makes_of_floating_point_errors_is_no_matter(visible):
    X = binary_rows()
    far = X if visible == "bernoulli" else 1e3 * X
    with np.errstate(all="raise"):
        machine = HelmholtzMachine(**SMALL, visible=visible).fit(X).partial_fit(X)
        for name in "score_samples", "log_likelihood", "transform", "reconstruct":
            assert np.isfinite(getattr(machine, name)(far)).all()
        with pytest.raises(FloatingPointError):
            np.exp(np.array([-1e3]))


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "rule", "n_epochs"),
    [
        (60, 1, "wake-sleep", 50),
        (10, 1, "wake-sleep", 100),
        (31, 3, "wake-sleep", 91),
        (4, 1, "wake-sleep", 200),
        (4, 1, "contrastive-divergence", 50),
    ],
)
def test_few_rows_get_more_epochs(n_rows, batch_size, rule, n_epochs):
    planned = []

    class Ask(Hook):
        def setup(self, estimator, context):
            planned.append(context.max_subtasks)

    machine = HelmholtzMachine((3,), batch_size=batch_size, learning_rule=rule)
    machine.set_callbacks(Ask(lambda *_: False)).fit(binary_rows(n_rows, 4))
    assert machine.n_iter_ == n_epochs
    assert planned == [n_epochs]
    machine.set_params(warm_start=True).fit(binary_rows(n_rows, 4))
    assert len(machine.free_energy_curve_) == 2 * n_epochs


def test_scoring_monitor_logs_a_score_an_epoch():
    monitor = ScoringMonitor(scoring=None)
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL).set_callbacks(monitor).fit(X)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 5
    assert rows[-1]["score"] == pytest.approx(machine.score(X))


def test_progress_bar_works_alone_and_in_pipeline_and_search(capfd):
    X, y = binary_rows(60), np.arange(60) % 2
    HelmholtzMachine(**SMALL).set_callbacks(ProgressBar()).fit(X)
    assert "HelmholtzMachine - fit" in capfd.readouterr().out
    pipeline = make_pipeline(HelmholtzMachine(**SMALL), LogisticRegression())
    pipeline.set_callbacks(ProgressBar()).fit(X, y)
    out = capfd.readouterr().out
    assert "Pipeline - fit" in out
    assert "HelmholtzMachine - fit" in out
    search = GridSearchCV(
        make_pipeline(HelmholtzMachine(**SMALL), LogisticRegression()),
        {"helmholtzmachine__hidden_layer_sizes": [(3,), (6, 4)]},
        cv=2,
        n_jobs=2,
    )
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    out = capfd.readouterr().out
    assert "GridSearchCV - fit" in out
    # Two settings x two folds and the refit, each with the machine's own bar.
    assert len(re.findall("Pipeline - fit #", out)) >= 5
    assert len(re.findall("HelmholtzMachine - fit", out)) >= 5


def test_scoring_monitor_works_in_a_pipeline_and_under_search():
    X, y = binary_rows(60), np.arange(60) % 2
    for n_jobs in (1, 2):
        monitor = ScoringMonitor(scoring=None)
        machine = HelmholtzMachine(**SMALL).set_callbacks(monitor)
        search = GridSearchCV(
            make_pipeline(machine, LogisticRegression()),
            {"logisticregression__C": [1, 10]},
            cv=2,
            n_jobs=n_jobs,
        ).fit(X, y)
        assert search.best_estimator_[0].n_iter_ == 5
        runs = monitor.get_logs(select="all")
        logged = [row for run in runs for row in run.data]
        # Two settings x two folds and the refit, five epochs each.
        assert sum(row["task_name"] == "epoch" for row in logged) == 25


# ----------------------------------------------------------------- stopping


def test_early_stopping_keeps_the_best_state():
    X = binary_rows(300)
    machine = HelmholtzMachine(
        early_stopping=True,
        n_iter_no_change=3,
        learning_rate_schedule="constant",
        **SMALL | {"max_iter": 200},
    ).fit(X)
    curve = machine.validation_free_energy_curve_
    assert len(curve) == len(machine.free_energy_curve_) == machine.n_iter_ < 200
    assert np.argmin(curve) == len(curve) - 1 - 3
    kept = []
    hook = Hook(lambda n, fitted, X: kept.append(parameters(fitted)))
    machine.set_callbacks(hook).fit(X)
    np.testing.assert_array_equal(parameters(machine), kept[np.argmin(curve)])


@pytest.mark.parametrize("rate", [0.1, 30.0])
def test_a_warm_start_keeps_what_it_goes_on_from_unless_it_gets_better(rate):
    """The rows kept back are the same ones, so the curves of both go together."""
    settings = SMALL | {"max_iter": 20, "learning_rate": 0.3}
    machine = HelmholtzMachine(early_stopping=True, warm_start=True, **settings)
    before = parameters(machine.fit(binary_rows(300)))
    kept = []
    hook = Hook(lambda n, fitted, X: kept.append(parameters(fitted)))
    machine.set_params(max_iter=3, learning_rate=rate).set_callbacks(hook)
    machine.fit(binary_rows(300))
    curve = machine.validation_free_energy_curve_
    first, then = np.split(np.array(curve), [20])
    assert len(then) == 3
    assert (min(then) < min(first)) == (rate == 0.1)
    expected = kept[np.argmin(then)] if rate == 0.1 else before
    np.testing.assert_array_equal(parameters(machine), expected)


def test_curves_have_an_entry_an_epoch_whenever_rows_were_kept_back():
    machine = HelmholtzMachine(warm_start=True, **SMALL | {"max_iter": 2})
    for early_stopping in (False, True, False, True):
        machine.set_params(early_stopping=early_stopping).fit(binary_rows())
    curve = machine.validation_free_energy_curve_
    assert len(curve) == len(machine.free_energy_curve_) == machine.n_iter_ == 8
    np.testing.assert_array_equal(np.isfinite(curve), np.tile([0, 0, 1, 1], 2))


def test_early_stopping_trains_even_if_a_row_kept_back_never_has_a_density():
    X = np.random.default_rng(0).normal(size=(230, 9))
    _, kept_back = train_test_split(np.arange(230), test_size=0.1, random_state=0)
    X[kept_back[0]] = 1e200
    settings = SMALL | {"visible": "gaussian", "max_iter": 4}
    machine = HelmholtzMachine(early_stopping=True, **settings).fit(X)
    assert np.isinf(machine.validation_free_energy_curve_).all()
    assert machine.components_.any()


def test_early_stopping_chooses_the_units_from_all_rows():
    X = np.tile([0.0, 1.0], (200, 4))
    for outlier in (0, 77, 199):
        Y = X.copy()
        Y[outlier, 3] = 2.5
        machine = HelmholtzMachine(early_stopping=True, **SMALL).fit(Y)
        assert machine.visible_ == "gaussian"


@pytest.mark.parametrize("stop", [{"early_stopping": True}, {"tol": 1e-3}], ids=str)
def test_a_fit_of_few_rows_is_not_stopped_amid_the_bump_that_it_begins_with(stop):
    """With ten epochs of patience it ends at the eleventh, no better than its start."""
    X = (load_digits().data > 8)[:400].astype(float)
    train, test = X[:200], X[200:]
    machine = HelmholtzMachine(random_state=0, **stop).fit(train)
    assert machine.n_iter_ > 100
    mean = (train.sum(axis=0) + 0.5) / 201
    independent = (test @ np.log(mean) + (1 - test) @ np.log1p(-mean)).mean()
    assert machine.score(test) > independent + 2


@pytest.mark.parametrize(("n_rows", "patience"), [(1, 200), (118, 100), (1901, 10)])
def test_auto_waits_for_ten_epochs_or_two_hundred_minibatches(n_rows, patience):
    given = HelmholtzMachine(tol=0.0)._stopping(300, n_rows)
    assert given == {"tol": 0.0, "patience": patience, "most_epochs": 300}
    given = HelmholtzMachine(tol=0.0, n_iter_no_change=7)._stopping(300, n_rows)
    assert given["patience"] == 7
    assert HelmholtzMachine()._stopping(300, n_rows)["patience"] is None


def test_tol_stops_when_the_free_energy_no_longer_improves():
    settings = SMALL | {"max_iter": 200}
    machine = HelmholtzMachine(tol=0.5, n_iter_no_change=2, **settings)
    assert machine.fit(binary_rows()).n_iter_ == 3
    machine = HelmholtzMachine(tol=None, **SMALL).fit(binary_rows())
    assert machine.n_iter_ == 5
    assert not hasattr(machine, "validation_free_energy_curve_")


@pytest.mark.parametrize("lateral", [False, True])
def test_recognition_that_nothing_teaches_stays_as_it_was(lateral):
    settings = SMALL | {"wake_share": 0, "sleep_share": 0, "lateral": lateral}
    short = HelmholtzMachine(**settings | {"max_iter": 1}).fit(binary_rows())
    long = HelmholtzMachine(**settings).fit(binary_rows())
    for a, b in zip(short.recognition_coefs_, long.recognition_coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(short.components_, long.components_)


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["binary", "gaussian"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_no_learning_rate_leaves_a_nan(rate, kind, optimizer):
    X = binary_rows()
    if kind == "gaussian":
        X = np.random.default_rng(0).normal(0, 5, (230, 9)) + 20 * X
    machine = HelmholtzMachine(learning_rate=rate, optimizer=optimizer, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(X)
    assert np.isfinite(parameters(machine)).all()
    assert np.isfinite(machine.score(X))


def test_diverging_fit_warns_and_keeps_the_last_sound_parameters():
    X = np.random.default_rng(0).normal(size=(300, 9))
    machine = HelmholtzMachine(learning_rate=1e4, **SMALL)
    with pytest.warns(ConvergenceWarning, match="learning_rate"):
        machine.fit(X)
    assert np.isfinite(parameters(machine)).all()
    assert machine.n_iter_ == len(machine.free_energy_curve_) < 5
    machine = HelmholtzMachine(**SMALL).fit(X).set_params(learning_rate=1e4)
    with pytest.raises(ValueError, match="learning_rate"):
        train_until_it_raises(machine, X)
    assert np.isfinite(parameters(machine)).all()


def train_until_it_raises(machine, X):
    for _ in range(20):
        machine.partial_fit(X)


def test_verbose_prints_an_aligned_line_an_epoch(capsys):
    HelmholtzMachine(verbose=1, early_stopping=True, **SMALL).fit(binary_rows())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
    for word in ("epoch", "free energy", "validation", "rows/s", "s left"):
        assert all(word in line for line in lines)


# ------------------------------------------------------------- all or nothing


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("hook"), MemoryError(), SystemExit()])
def test_fit_that_raises_leaves_the_estimator_as_it_was(fitted, error):
    machine = HelmholtzMachine(**SMALL)
    X = binary_rows()
    if fitted:
        machine.fit(X)
    hook = raise_at(2, error)
    machine.set_callbacks(hook)
    before = dict(vars(machine))
    weights = parameters(machine) if fitted else None
    with pytest.raises(type(error)):
        machine.fit(binary_rows(n_features=7))
    assert hook.torn_down == 1
    assert vars(machine) == before
    if fitted:
        np.testing.assert_array_equal(parameters(machine), weights)
        assert machine.transform(X).shape == (230, 10)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_data_changes_no_attribute(method):
    machine = HelmholtzMachine(**SMALL).fit(binary_rows())
    before = dict(vars(machine))
    bad = [np.full((3, 9), np.nan), np.full((3, 9), np.inf), np.empty((0, 9))]
    if method == "partial_fit":
        bad += [binary_rows(n_features=4), 7 * binary_rows()]
    for X in bad:
        with pytest.raises(ValueError, match=r".+"):
            getattr(machine, method)(X)
        assert vars(machine) == before


def test_interrupted_fit_keeps_the_epochs_done():
    X = binary_rows()
    settings = SMALL | {"learning_rate_schedule": "constant", "alpha": 1e-3}
    machine = HelmholtzMachine(**settings)
    machine.set_callbacks(raise_at(2, KeyboardInterrupt()))
    with pytest.warns(UserWarning, match="interrupted"):
        machine.fit(X)
    assert machine.n_iter_ == 2
    two = HelmholtzMachine(**settings | {"max_iter": 2}).fit(X)
    np.testing.assert_array_equal(parameters(machine), parameters(two))


def test_interrupt_after_the_last_epoch_keeps_them_all():
    class AtTheEnd(Hook):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "fit":
                assert fitted_estimator.n_iter_ == 5
                raise KeyboardInterrupt

    machine = HelmholtzMachine(**SMALL).set_callbacks(AtTheEnd(None))
    with pytest.warns(UserWarning, match="interrupted"):
        machine.fit(binary_rows())
    assert machine.n_iter_ == len(machine.free_energy_curve_) == 5
    whole = HelmholtzMachine(**SMALL).fit(binary_rows())
    np.testing.assert_array_equal(parameters(machine), parameters(whole))


def test_error_gives_a_random_stream_its_place_back():
    stream = np.random.RandomState(3)
    machine = HelmholtzMachine(**SMALL | {"random_state": stream})
    place = stream.get_state()[1:3]
    machine.set_callbacks(raise_at(2, RuntimeError("hook")))
    with pytest.raises(RuntimeError, match="hook"):
        machine.fit(binary_rows())
    assert stream.get_state()[2] == place[1]
    np.testing.assert_array_equal(stream.get_state()[1], place[0])


# ------------------------------------------------------------------- threads


def test_blas_limit_is_restored_and_no_thread_outlives_the_call(monkeypatch):
    share_all_work(monkeypatch)
    # Where BLAS has one thread from the start, no limit would show.
    with threadpool_limits(2, user_api="blas"):
        before, alive = threadpool_info(), threading.active_count()
        machine = HelmholtzMachine(n_jobs=2, **SMALL).fit(binary_rows())
        machine.transform(binary_rows(5000))
        assert (threadpool_info(), threading.active_count()) == (before, alive)
        machine.set_callbacks(raise_at(1, RuntimeError("hook")))
        with pytest.raises(RuntimeError, match="hook"):
            machine.fit(binary_rows())
        assert (threadpool_info(), threading.active_count()) == (before, alive)


def test_blas_limit_is_shared_and_the_last_to_leave_restores_it():
    with threadpool_limits(2, user_api="blas"):
        before = threadpool_info()
        with one_blas_thread() as outer:
            inside = threadpool_info()
            with one_blas_thread() as inner:
                assert inner == max(1, outer // 2)
            assert threadpool_info() == inside
        assert threadpool_info() == before


def test_workers_pass_on_errors_after_all_calls_have_ended():
    ended = []

    def fail():
        raise RuntimeError("first")

    with workers(2) as team:
        assert team.run([lambda: 1, lambda: 2]) == [1, 2]
        with pytest.raises(RuntimeError, match="first"):
            team.run([fail, lambda: ended.append(1)])
        with pytest.raises(RuntimeError, match="first"):
            team.run([lambda: ended.append(2), fail])
    assert sorted(ended) == [1, 2]


def test_fits_at_once_in_threads_equal_fits_one_after_another(monkeypatch):
    share_all_work(monkeypatch)
    X = binary_rows()

    def fit(seed):
        settings = SMALL | {"random_state": seed}
        return parameters(HelmholtzMachine(n_jobs=2, **settings).fit(X))

    alone = [fit(seed) for seed in range(6)]
    before = threadpool_info()
    with ThreadPoolExecutor(4) as executor:
        together = list(executor.map(fit, range(6)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert threadpool_info() == before


#: Numbers that float16 and uint8 hold, as long as nothing is added to them.
NUMBERS = {
    "learning_rate": 0.25,
    "momentum": 0.5,
    "alpha": 2**-7,
    "initial_activity": 0.25,
    "wake_share": 0.5,
    "sleep_share": 0.75,
    "n_particles": 5,
    "batch_size": 100,
    "max_iter": 2,
}


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"learning_rule": "wake-sleep", "learning_rate_schedule": "linear"},
        {"learning_rule": "contrastive-divergence"},
        {"learning_rate_schedule": "invscaling", "n_moves": 2},
        {"direction": "natural", "shuffle": False},
        {"optimizer": "adam"},
        {"alpha": "evidence", "early_stopping": True, "validation_fraction": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "kinds", [{float: np.float64, int: np.int64}, {float: np.float16, int: np.uint8}]
)
def test_numpys_numbers_as_parameters_give_the_weights_of_pythons(kinds, dtype, other):
    # With NumPy's float64, products of single precision would be double.
    X = np.repeat(binary_rows(n_features=60, dtype=dtype), 2, axis=0)
    python = HelmholtzMachine((40, 20), random_state=0, **NUMBERS | other)
    numbers = {
        name: kinds[type(value)](value)
        for name, value in python.get_params().items()
        if name in NUMBERS and type(value) in kinds
    }
    both = [python, clone(python).set_params(**numbers)]
    np.testing.assert_array_equal(*(parameters(each.fit(X)) for each in both))
    np.testing.assert_array_equal(*(parameters(each.partial_fit(X)) for each in both))


# ----------------------------------------------------------- what reaches the caller


@pytest.mark.parametrize("method", ["fit", "resume"])
def test_warnings_point_at_the_line_that_called(method):
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL, learning_rate=1e300)
    if method == "resume":
        kept = []
        hook = Hook(lambda n_epochs, fitted, X: kept.append(fitted))
        HelmholtzMachine(**SMALL).set_callbacks(hook).fit(X)
        machine = kept[1].set_params(learning_rate=1e300)
    with pytest.warns(ConvergenceWarning, match="diverged") as caught:
        getattr(machine, method)(X)
    assert caught[0].filename == __file__


def test_a_first_call_of_partial_fit_that_diverges_does_not_say_that_it_kept_anything():
    machine = HelmholtzMachine(**SMALL, learning_rate=1e300)
    with pytest.raises(ValueError, match="diverged, and the call is undone"):
        machine.partial_fit(binary_rows())
    assert not hasattr(machine, "n_iter_")


@pytest.mark.parametrize("early_stopping", [False, True])
def test_callbacks_get_the_data_as_the_user_gave_it(early_stopping):
    X = pd.DataFrame(binary_rows(), columns=list("abcdefghi"))
    seen = []
    hook = Hook(lambda n_epochs, fitted, X: seen.append((X, fitted.score(X))))
    machine = HelmholtzMachine(early_stopping=early_stopping, **SMALL)
    machine.set_callbacks(hook).fit(X)
    for rows, _ in seen:
        assert list(rows.columns) == list(X.columns)
        assert len(rows) == (0.9 if early_stopping else 1) * len(X)


@pytest.mark.parametrize(
    "kind",
    [
        sp.coo_matrix,
        sp.coo_array,
        sp.bsr_array,
        sp.csr_array,
        list,
        pl.DataFrame,
        lambda X: tuple(map(tuple, X)),
    ],
)
def test_callbacks_get_a_part_of_whatever_fit_takes(kind):
    seen = []
    hook = Hook(lambda n_epochs, fitted, X: seen.append(fitted.score(X)))
    machine = HelmholtzMachine(early_stopping=True, **SMALL).set_callbacks(hook)
    machine.fit(kind(binary_rows()))
    assert np.isfinite(seen).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_learning_rate_is_too_small(dtype):
    X = binary_rows().astype(dtype)
    machine = HelmholtzMachine(**SMALL, learning_rate=5e-324).fit(X)
    still = HelmholtzMachine(**SMALL, learning_rate=1e-20).fit(X)
    for one, other in zip(parameters(machine), parameters(still), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-15)


@pytest.mark.parametrize("n_rows", [1, 3, 1000, 1001, 1999, 2000, 4000, 10**6, 10**9])
def test_rows_that_are_watched_are_some_of_every_kind_that_takes_turns(n_rows):
    positions = spread(n_rows)
    assert len(positions) == min(n_rows, 1000)
    assert (np.diff(positions) > 0).all()
    assert positions[0] >= 0
    assert positions[-1] < n_rows
    for n_kinds in range(2, 12) if n_rows >= 1000 else []:
        counts = np.bincount(positions % n_kinds, minlength=n_kinds)
        np.testing.assert_allclose(counts, 1000 / n_kinds, rtol=0.4)


@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize("goes_on", [False, True])
def test_epochs_are_held_against_the_best_of_all(keep_best, goes_on):
    """And what they began with against what is kept of them; it sets no patience."""
    state = SimpleNamespace(is_sound=lambda: True)
    stop = {"tol": 0.0, "patience": 3, "most_epochs": 9}
    watch = Watch(state, keep_best=keep_best, goes_on=goes_on, **stop)
    watch.begin(lambda: (2.0, 2.0))
    watch._spare = SimpleNamespace(take=lambda other: None)
    energies, kept = [5.0, 1.0, 3.0, 2.0, 1.5], []
    while not watch.is_over:
        watch.secure()
        energy = energies[watch.n_epochs]
        watch.record(lambda energy=energy: (energy, energy))
        kept.append(watch.kept is state)
    assert watch.n_epochs == 5
    best = [not goes_on, True, False, False, False]
    assert kept == (best if keep_best else [True] * 5)
