"""Checkpoints: whole on disk, and a resumed fit is the unbroken one to the bit."""

import os
import pickle
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import Callback, binary_rows, parameters
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from sklearn_helmholtz import Checkpoint, HelmholtzMachine
from sklearn_helmholtz._checkpoint import write
from sklearn_helmholtz._fitted import attributes, state_of

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 6, "random_state": 0}

SETTINGS = {
    "defaults": {},
    "wake-sleep": {"learning_rule": "wake-sleep", "shuffle": False},
    "adam": {"optimizer": "adam", "learning_rate": 0.01, "direction": "plain"},
    "invscaling": {"learning_rate_schedule": "invscaling", "n_jobs": 2},
    "natural": {"direction": "natural"},
    "lateral": {"lateral": True, "alpha": 0.01},
    "autoregressive": {"autoregressive": True},
    "gaussian": {"visible": "gaussian", "learning_rate": 0.1},
    "auto": {"max_iter": "auto", "learning_rule": "contrastive-divergence"},
    "tol": {"tol": 100.0, "n_iter_no_change": 4},
    "early stopping": {
        "early_stopping": True,
        "n_iter_no_change": 4,
        "learning_rate_schedule": "constant",
        "max_iter": 40,
    },
}


class Break(Exception):
    """Ends a fit in mid-training."""


class BreakAfter(Callback):
    """Callback that raises at the beginning of an epoch."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch" and context.task_id == self.n_epochs:
            raise Break


def broken_off(machine, X, path, n_epochs):
    """Fit with checkpoints, break off after some epochs, return the loaded machine."""
    machine.set_callbacks(Checkpoint(path), BreakAfter(n_epochs))
    with pytest.raises(Break):
        machine.fit(X)
    return Checkpoint.load(path)


def assert_same(one, other):
    """Assert that two machines are the same to the last bit."""
    assert plain_state(one) == plain_state(other)


def plain_state(machine):
    """Return all fitted state as lists that do not share arrays."""
    found = {k: v for k, v in vars(machine).items() if k.endswith("_")}
    return as_bytes(found | attributes(state_of(machine)))


def as_bytes(tree):
    if isinstance(tree, np.ndarray):
        return tree.dtype.str, tree.shape, tree.tobytes()
    if isinstance(tree, dict):
        return [(key, as_bytes(tree[key])) for key in sorted(tree)]
    if isinstance(tree, np.random.Generator):
        return as_bytes(tree.bit_generator.state)
    if isinstance(tree, list | tuple):
        return [as_bytes(value) for value in tree]
    return repr(tree)


# ---------------------------------------------------------------------- resume


@pytest.mark.parametrize("n_epochs", [1, 3])
@pytest.mark.parametrize("name", SETTINGS)
def test_resumed_fit_is_the_unbroken_one_to_the_last_bit(name, n_epochs, tmp_path):
    settings = SMALL | SETTINGS[name]
    X = binary_rows(dtype=np.float32)
    whole = HelmholtzMachine(**settings).fit(X)
    machine = broken_off(
        HelmholtzMachine(**settings), X, tmp_path / "machine.pickle", n_epochs
    )
    assert machine.n_iter_ == len(machine.free_energy_curve_) == n_epochs
    assert np.isfinite(machine.score(X))
    assert_same(machine.resume(X), whole)
    assert not hasattr(machine, "_unfinished")


@pytest.mark.parametrize(("n_epochs", "found"), [(9, 9), (2, 3)])
def test_resumed_fit_has_the_epochs_that_it_is_given_since(n_epochs, found, tmp_path):
    X = binary_rows()
    machine = broken_off(HelmholtzMachine(**SMALL), X, tmp_path / "machine.pickle", 3)
    machine.set_params(max_iter=n_epochs).resume(X)
    assert machine.n_iter_ == len(machine.free_energy_curve_) == found


@pytest.mark.parametrize("make", [lambda: None, lambda: np.random.RandomState(3)])
def test_validation_rows_are_kept_back_again_whatever_the_random_state(make, tmp_path):
    settings = SMALL | SETTINGS["early stopping"] | {"random_state": make()}
    X = binary_rows()
    machine = HelmholtzMachine(**settings).set_callbacks(
        Checkpoint(tmp_path / "machine.pickle"), BreakAfter(2)
    )
    np.random.seed(7)  # noqa: NPY002
    with pytest.raises(Break):
        machine.fit(X)
    machine = Checkpoint.load(tmp_path / "machine.pickle").resume(X)
    np.random.seed(7)  # noqa: NPY002
    whole = HelmholtzMachine(**settings | {"random_state": make()}).fit(X)
    assert_same(machine, whole)


def test_resumed_fit_may_break_off_and_be_resumed_again(tmp_path):
    X, path = sp.csr_array(binary_rows()), tmp_path / "machine.pickle"
    machine = broken_off(HelmholtzMachine(**SMALL), X, path, 1)
    machine.set_callbacks(Checkpoint(path), BreakAfter(2))
    with pytest.raises(Break):
        machine.resume(X)
    assert machine.n_iter_ == 1
    machine = Checkpoint.load(path)
    assert machine.n_iter_ == 3
    assert_same(machine.resume(X), HelmholtzMachine(**SMALL).fit(X))


def test_resumed_warm_start_counts_the_epochs_before(tmp_path):
    X, settings = binary_rows(), SMALL | {"warm_start": True, "early_stopping": True}
    whole = HelmholtzMachine(**settings).fit(X).fit(X)
    machine = HelmholtzMachine(**settings).fit(X)
    machine = broken_off(machine, X, tmp_path / "machine.pickle", 4)
    assert machine.n_iter_ == len(machine.validation_free_energy_curve_) == 10
    assert_same(machine.resume(X), whole)


def test_checkpoint_of_the_last_epoch_resumes_to_the_end(tmp_path):
    path = tmp_path / "machine.pickle"
    for changes in SETTINGS.values():
        settings = SMALL | changes
        whole = HelmholtzMachine(**settings).set_callbacks(Checkpoint(path, every=100))
        whole.fit(binary_rows())
        assert_same(Checkpoint.load(path).resume(binary_rows()), whole)


def test_resume_needs_an_unfinished_fit_and_its_data(tmp_path):
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL)
    with pytest.raises(ValueError, match="no unfinished fit"):
        machine.resume(X)
    machine = broken_off(machine, X, tmp_path / "machine.pickle", 2)
    before = dict(vars(machine))
    for other in (X[:-1], 1 - X, sp.csr_array(1 - X)):
        with pytest.raises(ValueError, match="differs from the rows"):
            machine.resume(other)
        assert vars(machine) == before
    with pytest.raises(ValueError, match="features"):
        machine.resume(X[:, 1:])
    machine.partial_fit(X)
    with pytest.raises(ValueError, match="no unfinished fit"):
        machine.resume(X)
    machine = Checkpoint.load(tmp_path / "machine.pickle").fit(X)
    assert_same(machine, HelmholtzMachine(**SMALL).fit(X))


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_layer_sizes": (5,)},
        {"visible": "gaussian"},
        {"lateral": True},
        {"autoregressive": True},
        {"learning_rule": "contrastive-divergence"},
        {"early_stopping": True},
        {"code": 7},
    ],
    ids=str,
)
def test_resume_refuses_what_the_fit_cannot_go_on_as(changes, tmp_path):
    machine = broken_off(
        HelmholtzMachine(**SMALL), binary_rows(), tmp_path / "machine.pickle", 2
    ).set_params(**changes)
    before = dict(vars(machine))
    with pytest.raises(ValueError, match=r"go on|unfinished fit|not the index"):
        machine.resume(binary_rows())
    assert vars(machine) == before


def with_explicit_zeros(X):
    places = sp.coo_array(np.ones_like(X))
    return sp.csr_array((X.ravel(), places.coords), X.shape)


def with_long_indices(X):
    found = sp.csr_array(X)
    found.indices, found.indptr = found.indices.astype("q"), found.indptr.astype("q")
    return found


@pytest.mark.parametrize("before", [np.array, sp.csr_matrix])
@pytest.mark.parametrize(
    "after",
    [
        np.array,
        np.negative,
        np.asfortranarray,
        sp.csr_array,
        sp.csc_matrix,
        with_explicit_zeros,
        with_long_indices,
    ],
)
def test_resume_takes_the_same_rows_in_any_container(before, after, tmp_path):
    X = binary_rows()
    there = -X if after is np.negative else X  # with zeros that are negative
    machine = HelmholtzMachine(**SMALL)
    machine = broken_off(machine, before(X), tmp_path / "machine.pickle", 2)
    assert_same(machine.resume(after(there)), HelmholtzMachine(**SMALL).fit(X))


def test_resume_keeps_back_the_rows_that_the_fit_kept_back(tmp_path):
    machine = HelmholtzMachine(**SMALL, early_stopping=True)
    machine = broken_off(machine, binary_rows(), tmp_path / "machine.pickle", 2)
    machine.set_params(validation_fraction=0.5)
    with pytest.raises(ValueError, match="keep back other rows"):
        machine.resume(binary_rows())
    machine.set_params(validation_fraction=0.1).resume(binary_rows())


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"optimizer": "sgd"}, {"optimizer": "adam"}),
        ({"optimizer": "adam"}, {"optimizer": "sgd"}),
        ({"direction": "centred"}, {"direction": "natural"}),
        ({"direction": "natural"}, {"direction": "plain"}),
        ({"direction": "plain"}, {"direction": "centred"}),
        ({}, {"learning_rate": 0.01, "batch_size": 30, "alpha": 0.1}),
    ],
    ids=str,
)
def test_resume_goes_on_with_other_ways_to_learn(
    before, after, early_stopping, tmp_path
):
    machine = HelmholtzMachine(**SMALL, early_stopping=early_stopping, **before)
    machine = broken_off(machine, binary_rows(), tmp_path / "machine.pickle", 2)
    middle = parameters(machine)
    machine.set_params(**after).resume(binary_rows())
    assert machine.n_iter_ == 6
    # The best state may have been before.
    assert early_stopping or not np.array_equal(parameters(machine), middle)
    assert np.isfinite(machine.score(binary_rows()))
    machine.set_params(warm_start=True).fit(binary_rows())  # and so does a warm start


def test_resume_stops_as_the_parameters_say_now(tmp_path):
    machine = HelmholtzMachine(**SMALL | {"max_iter": 40})
    machine = broken_off(machine, binary_rows(), tmp_path / "machine.pickle", 2)
    machine.set_params(tol=100.0, n_iter_no_change=3).resume(binary_rows())
    assert machine.n_iter_ < 10


def test_checkpoint_of_a_diverged_epoch_is_the_machine_that_the_fit_keeps(tmp_path):
    X = np.random.default_rng(0).normal(size=(300, 9))
    path = tmp_path / "machine.pickle"
    machine = HelmholtzMachine(learning_rate=1e4, **SMALL)
    with pytest.warns(ConvergenceWarning):
        machine.set_callbacks(Checkpoint(path)).fit(X)
    loaded = Checkpoint.load(path)
    np.testing.assert_array_equal(parameters(loaded), parameters(machine))
    assert loaded.n_iter_ == machine.n_iter_ < 6
    assert loaded.score(X) == machine.score(X)
    loaded.set_params(learning_rate=0.01).resume(X)
    assert loaded.n_iter_ == 6
    assert loaded.score(X) > machine.score(X)


@pytest.mark.parametrize("rule", ["wake-sleep", "contrastive-divergence"])
def test_a_fit_that_diverged_at_once_may_be_resumed_with_a_smaller_rate(rule, tmp_path):
    path = tmp_path / "machine.pickle"
    machine = HelmholtzMachine(learning_rate=1e200, learning_rule=rule, **SMALL)
    with pytest.warns(ConvergenceWarning):
        machine.set_callbacks(Checkpoint(path)).fit(binary_rows())
    machine = Checkpoint.load(path).set_params(learning_rate=0.1).resume(binary_rows())
    assert machine.n_iter_ == 6
    assert machine.components_.any()


def test_epochs_without_improvement_count_from_the_last_change_of_the_rule(tmp_path):
    # With tol=1 none of them improves: 20 of a patience of 30, and then 25 of 25.
    settings = SMALL | {"max_iter": 60, "tol": 1.0, "n_iter_no_change": 30}
    machine = HelmholtzMachine(**settings, learning_rate=1e-9)
    machine = broken_off(machine, binary_rows(), tmp_path / "machine.pickle", 20)
    machine.set_params(n_iter_no_change=25).resume(binary_rows())
    assert machine.n_iter_ == 45


def test_rows_of_another_number_are_other_rows(tmp_path):
    # All rows are alike, so that the 1,000 that are compared are the same.
    X = np.ones((3000, 4))
    machine = broken_off(HelmholtzMachine(**SMALL), X, tmp_path / "machine.pickle", 2)
    with pytest.raises(ValueError, match="X differs"):
        machine.resume(X[:2000])


#: Trains with checkpoints, slowly, as the one that is killed.
PROGRAM = """
    import sys, time
    import numpy as np
    from sklearn_helmholtz import Checkpoint, HelmholtzMachine

    class Slow:
        def setup(self, estimator, context): pass
        teardown = on_fit_task_begin = setup
        def on_fit_task_end(self, estimator, context):
            time.sleep(0.05)

    X = np.load(sys.argv[1])
    machine = HelmholtzMachine((12, 5), max_iter=60, random_state=5)
    machine.set_callbacks(Checkpoint(sys.argv[2]), Slow()).fit(X)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("delay", [0.0, 0.13, 0.41])
def test_killed_process_is_gone_on_with_to_the_same_weights(delay, tmp_path):
    X, path = binary_rows(), tmp_path / "machine.pickle"
    np.save(tmp_path / "rows.npy", X)
    program = textwrap.dedent(PROGRAM)
    arguments = [sys.executable, "-c", program, tmp_path / "rows.npy", path]
    process = subprocess.Popen(arguments)
    try:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(delay)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    machine = Checkpoint.load(path)
    assert 1 <= machine.n_iter_ < 60
    whole = HelmholtzMachine((12, 5), max_iter=60, random_state=5)
    assert_same(machine.resume(X), whole.fit(X))


# ------------------------------------------------------------------- the file


def test_file_is_written_when_it_is_due(tmp_path):
    path, seen = tmp_path / "machine.pickle", []

    class Look(BreakAfter):
        def on_fit_task_end(self, estimator, context):
            if path.exists():
                seen.append(Checkpoint.load(path).n_iter_)

    machine = HelmholtzMachine(**SMALL | {"max_iter": 5})
    machine.set_callbacks(Checkpoint(path, every=2), Look(99)).fit(binary_rows())
    # After epochs 2, 3, 4, 5 and at the end of the fit.
    assert seen == [2, 2, 4, 5, 5]
    assert os.listdir(tmp_path) == ["machine.pickle"]


def test_file_holds_no_callbacks_and_can_be_loaded_as_any_pickle(tmp_path):
    path = str(tmp_path / "machine.pickle")
    machine = HelmholtzMachine(**SMALL)
    machine.set_callbacks(ScoringMonitor(scoring=None), Checkpoint(path))
    machine.fit(binary_rows())
    with Path(path).open("rb") as file:
        loaded = pickle.load(file)
    assert not hasattr(loaded, "_skl_callbacks")
    assert type(loaded.score(binary_rows())) is float
    np.testing.assert_array_equal(parameters(loaded), parameters(machine))


def test_checkpoints_are_written_inside_a_pipeline(tmp_path):
    path = tmp_path / "machine.pickle"
    machine = HelmholtzMachine(**SMALL).set_callbacks(Checkpoint(path))
    make_pipeline(machine, "passthrough").fit(binary_rows())
    assert Checkpoint.load(path).n_iter_ == 6


def test_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write(path, b"old")

    def fail(*arguments):
        raise OSError("disk full")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="full"):
                write(path, b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "other")
        write(path, b"new")
    assert path.read_bytes() == b"new"


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def note(*arguments, real=real, name=name):
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, note)
    write(tmp_path / "file", b"content")
    assert calls == ["fsync", "replace", "fsync"]


posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077], ids=oct)
def test_new_file_has_the_mode_that_open_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        write(tmp_path / "file", b"content")
        (tmp_path / "other").write_bytes(b"content")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file") == mode_of(tmp_path / "other") == 0o666 & ~umask


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444], ids=oct)
def test_file_keeps_its_mode_and_shows_its_content_to_nobody_else(
    tmp_path, monkeypatch, mode
):
    path, real, seen = tmp_path / "file", os.fsync, []
    path.write_bytes(b"old")
    path.chmod(mode)

    def note(handle):
        seen.extend(mode_of(name) for name in tmp_path.iterdir())
        return real(handle)

    monkeypatch.setattr(os, "fsync", note)
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode_of(path) == mode
    assert set(seen) == {mode}


@posix
@pytest.mark.parametrize("there", [True, False])
def test_write_goes_through_symbolic_links(tmp_path, there):
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    target = folder / "target"
    if there:
        target.write_bytes(b"old")
    (tmp_path / "between").symlink_to(target)
    link.symlink_to("between")
    write(link, b"new")
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() == link.read_bytes() == b"new"
    assert sorted(os.listdir(folder)) == ["target"]
    assert sorted(os.listdir(tmp_path)) == ["between", "folder", "link"]


@posix
def test_folder_of_a_links_target_must_exist(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "file")
    machine = HelmholtzMachine(**SMALL).set_callbacks(Checkpoint(tmp_path / "link"))
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        machine.fit(binary_rows())
    assert not hasattr(machine, "n_iter_")


def test_write_that_fails_breaks_the_fit_off_and_changes_nothing(tmp_path, monkeypatch):
    machine = HelmholtzMachine(**SMALL)
    machine.set_callbacks(Checkpoint(tmp_path / "machine.pickle"))
    before = dict(vars(machine))

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        machine.fit(binary_rows())
    assert vars(machine) == before


def test_wrong_use_is_refused_before_training(tmp_path):
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL)
    for every in (0, 1.5):
        machine.set_callbacks(Checkpoint(tmp_path / "file", every=every))
        with pytest.raises(ValueError, match="every"):
            machine.fit(X)
    machine.set_callbacks(Checkpoint(tmp_path / "nowhere" / "file"))
    with pytest.raises(FileNotFoundError, match="no folder"):
        machine.fit(X)
    for folder in (tmp_path, str(tmp_path)):
        machine.set_callbacks(Checkpoint(folder))
        with pytest.raises(IsADirectoryError, match="is a folder"):
            machine.fit(X)
    assert not hasattr(machine, "n_iter_")
    with pytest.raises(TypeError, match="resume"):
        Checkpoint(tmp_path / "file").setup(LinearRegression(), None)
    write(tmp_path / "other", pickle.dumps(HelmholtzMachine()))
    with pytest.raises(ValueError, match="no unfinished fit"):
        Checkpoint.load(tmp_path / "other")
    for content in (b"", b"no pickle", pickle.dumps(HelmholtzMachine())[:-9]):
        write(tmp_path / "other", content)
        with pytest.raises(ValueError, match="holds no checkpoint"):
            Checkpoint.load(tmp_path / "other")
