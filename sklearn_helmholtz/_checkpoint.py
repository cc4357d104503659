"""Checkpoints: a fit on disk after every epoch, whole whatever happens."""

import copy
import os
import pickle
import secrets
import stat
from pathlib import Path
from typing import Any

from ._input import positive

#: What ties a machine to the run that it comes from.
_TIES = (
    "_in_callback",
    "_skl_callbacks",
    "_skl_callbacks_to_teardown",
    "_callback_fit_ctx",
    "_parent_callback_ctx",
)
#: What comes of loading a file that is no pickle, or one of what is not there.
_NO_PICKLE = (
    *(pickle.UnpicklingError, EOFError, ImportError),
    *(AttributeError, LookupError, TypeError, ValueError),
)
#: What opens a file that must not be there yet.
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)


class Checkpoint:
    """Callback that writes a fit to disk while it runs, so that none of it is lost.

    The file is there as a whole or not at all, even if the process or the
    machine dies while it is written: it is written under another name beside
    the old one, brought to the disk, and then renamed. A kill at that moment
    leaves the unfinished file, `path` with digits and ``.tmp`` after it, behind. A
    file that is there keeps its permissions, a new one gets those that the process
    gives to any; where `path` is a symbolic link, the file that it leads to is written.

    The file is a pickle of the machine as it is after the epoch, ready to
    code and score, together with all that its fit needs to go on: the
    optimiser's memory, the random streams, the place in the learning rate's
    schedule and in early stopping. Callbacks are not in it.

    Parameters
    ----------
    path : str or path-like
        Where to. The folder must exist. Fits of copies of one machine, as in
        a search over parameters, all write to this one file.

    every : int, default=1
        Write after every so many epochs, and after the last that `max_iter`, `tol`
        and `early_stopping` allow. One that another callback or an interrupt makes
        the last is written only if it is its turn.

    See Also
    --------
    HelmholtzMachine.resume : Finishes the fit.

    Notes
    -----
    Loading a pickle runs what is in it: load none that you do not trust.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_helmholtz import Checkpoint, HelmholtzMachine
    >>> X = load_digits().data / 16
    >>> path = Path(tempfile.mkdtemp()) / "machine.pickle"
    >>> machine = HelmholtzMachine((20,), max_iter=4, random_state=0)
    >>> machine = machine.set_callbacks(Checkpoint(path, every=2)).fit(X)

    Had the process died in the third epoch:

    >>> machine = Checkpoint.load(path).resume(X)
    >>> machine.n_iter_
    4
    """

    def __init__(self, path, *, every=1) -> None:
        self.path = path
        self.every = every

    def setup(self, estimator, context) -> None:
        """Refuse estimators whose fit cannot be resumed, and bad settings.

        Parameters
        ----------
        estimator : HelmholtzMachine
            The machine that is fitted.

        context : sklearn.callback.CallbackContext
            The task of the fit.

        Raises
        ------
        TypeError
            If the estimator has no method `resume`.

        ValueError
            If `every` is no positive integer.

        FileNotFoundError
            If the folder of `path` does not exist.

        IsADirectoryError
            If `path` is itself a folder.
        """
        if not hasattr(estimator, "resume"):
            raise TypeError(
                f"{type(estimator).__name__} has no method resume, so there is no use "
                "in checkpoints of it. Set the callback on a HelmholtzMachine."
            )
        positive("every", self.every)
        path = Path(self.path).resolve()
        if not path.parent.is_dir():
            raise FileNotFoundError(f"There is no folder {path.parent}.")
        if path.is_dir():
            raise IsADirectoryError(f"path must be that of a file; {path} is a folder.")

    def teardown(self, estimator, context) -> None:
        """Do nothing; part of the callbacks' protocol.

        Parameters
        ----------
        estimator : HelmholtzMachine
            The machine that is fitted.

        context : sklearn.callback.CallbackContext
            The task of the fit.
        """

    def on_fit_task_begin(self, estimator, context) -> None:
        """Do nothing; part of the callbacks' protocol.

        Parameters
        ----------
        estimator : HelmholtzMachine
            The machine that is fitted.

        context : sklearn.callback.CallbackContext
            The task of the fit.
        """

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None) -> None:
        """Write the machine down after an epoch whose turn it is.

        Parameters
        ----------
        estimator : HelmholtzMachine
            The machine that is fitted.

        context : sklearn.callback.CallbackContext
            The task of the fit.

        fitted_estimator : HelmholtzMachine, default=None
            The machine as it is after the task.
        """
        if context.task_name != "epoch" or fitted_estimator is None:
            return
        watch = fitted_estimator._unfinished.watch
        if watch.is_over or watch.n_epochs % self.every == 0:
            write(self.path, pickle.dumps(untied(fitted_estimator)))

    @staticmethod
    def load(path) -> Any:
        """Return the machine of a checkpoint, its fit unfinished.

        Parameters
        ----------
        path : str or path-like
            A file that a Checkpoint wrote. It is a pickle, and loading it runs
            what is in it: load none that you do not trust.

        Returns
        -------
        machine : HelmholtzMachine
            As it was after the last epoch that was written down.

        Raises
        ------
        FileNotFoundError
            If there is no such file.

        ValueError
            If the file holds something else.
        """
        with Path(path).open("rb") as file:
            try:
                machine = pickle.load(file)
            except _NO_PICKLE as error:
                raise ValueError(f"{path} holds no checkpoint: {error}") from error
        if not hasattr(machine, "_unfinished"):
            raise ValueError(f"{path} holds no unfinished fit.")
        return machine


def untied(machine):
    """Return a copy without what belongs to the run that it comes from."""
    machine = copy.copy(machine)
    for name in _TIES:
        vars(machine).pop(name, None)
    return machine


def write(path, content):
    """Write bytes to a file, so that it holds the old or the new ones as a whole."""
    path = Path(path).resolve()
    name = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    mode = _mode(path)
    try:
        # From the beginning nobody can read the new file who cannot read the old one.
        handle = os.open(name, _NEW_FILE, 0o666 if mode is None else mode)
        with os.fdopen(handle, "wb") as file:
            # The umask may have taken some away. Not all file systems know chmod.
            if mode not in (None, _mode(name)):
                name.chmod(mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    _bring_to_disk(path.parent)


def _mode(path):
    """Return the permissions of a file, None if there is no such file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def _bring_to_disk(folder):
    """Bring a folder's names to the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
