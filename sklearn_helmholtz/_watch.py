"""A watch on training: curves, the last and the best state, when to stop."""

import copy

import numpy as np


class Watch:
    """Follows the free energy from epoch to epoch, and keeps a state that is whole.

    Training changes `state` in place. `kept` is the state to keep, whatever
    happens: `state` itself where it is that one, from an epoch's end to the
    beginning of the next; a copy of it while an epoch is under way.

    Parameters
    ----------
    state : TrainingState
        The state before the first epoch.

    keep_best : bool
        Watch the validation free energy, and keep the state that had the best.

    tol, patience, most_epochs
        When to stop, see :meth:`stop_when`, which changes that later.

    goes_on : bool, default=False
        Whether the first state is one to keep, too, if it is the best: not so if it is
        a new one.
    """

    def __init__(self, state, *, keep_best, tol, patience, most_epochs, goes_on=False):
        self.keep_best = keep_best
        self.goes_on = goes_on
        self.tol, self.patience, self.most_epochs = tol, patience, most_epochs
        self.curve = []
        self.validation_curve = []
        self.diverged = False
        self.state = self.kept = state
        self._spare = None
        #: The lowest of the epochs' free energies, and that of a first state to keep.
        self._lowest = self._first = np.inf
        self._n_stale = 0

    def begin(self, evaluate):
        """Take in the state before the first epoch, if that is one to keep.

        Patience does not begin with it: at first a rate that starts anew takes the
        parameters away from where the last one, in falling, left them.

        Parameters
        ----------
        evaluate : callable
            As for :meth:`record`.
        """
        if self.keep_best and self.goes_on and not self.n_epochs:
            _, self._first = evaluate()

    def stop_when(self, *, tol, patience, most_epochs):
        """Say when to stop, from here on.

        Parameters
        ----------
        tol : float
            An improvement, in nats, must be larger to count.

        patience : int or None
            Stop after so many epochs without improvement; None never stops.

        most_epochs : int
            Stop after so many in any case.
        """
        if (tol, patience) != (self.tol, self.patience):
            self._n_stale = 0  # it was counted by another rule
        self.tol, self.patience, self.most_epochs = tol, patience, most_epochs

    @property
    def n_epochs(self):
        """Epochs done, the diverged one not counted."""
        return len(self.curve)

    @property
    def is_over(self):
        """Whether all epochs are done, patience has run out or training diverged."""
        stale = self.patience is not None and self._n_stale >= self.patience
        return stale or self.diverged or self.n_epochs >= self.most_epochs

    def copy(self):
        """Return an independent copy."""
        found = copy.copy(self)
        if self.kept is self.state:
            found._spare = None  # out of date
        return copy.deepcopy(found)

    def secure(self):
        """Copy the state to keep if it is the one that training is to change.

        Into the same arrays every time: until all of them are copied, the state
        itself is whole, and the one that is kept.
        """
        if self.kept is not self.state:
            return
        if self._spare is None:
            self._spare = self.state.without_memory()
        else:
            self._spare.take(self.state)
        self.kept = self._spare

    def record(self, evaluate):
        """Take in the state after an epoch, whole or, if interrupted, not at all.

        Parameters
        ----------
        evaluate : callable
            Returns the free energies of training and validation rows, the
            second None where there are none.
        """
        energy, validation = evaluate() if self.state.is_sound() else (np.nan, None)
        if not np.isfinite(energy):
            self.diverged = True
            return
        watched = validation if self.keep_best else energy
        improved = watched < self._lowest - self.tol
        news = {
            "curve": [*self.curve, energy],
            "_n_stale": 0 if improved else self._n_stale + 1,
            "_lowest": min(watched, self._lowest),
        }
        if validation is not None:
            news["validation_curve"] = [*self.validation_curve, validation]
        # Where no row kept back has ever had a density, the last state is as good.
        best = min(self._lowest, self._first)
        if watched < best or best == np.inf or not self.keep_best:
            news["kept"] = self.state
        # One call into C, which no signal can cut in two.
        vars(self).update(news)
