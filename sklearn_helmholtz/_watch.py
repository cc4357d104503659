"""A watch on training: curves, the last and the best state, when to stop."""

import copy

import numpy as np


class Watch:
    """Follows the free energy from epoch to epoch.

    Parameters
    ----------
    state : TrainingState
        The state before the first epoch; train on a copy of it.

    tol : float
        An improvement, in nats, must be larger to count.

    patience : int or None
        Stop after so many epochs without improvement; None never stops.

    keep_best : bool
        Watch the validation free energy, and keep the state that had the best.
    """

    def __init__(self, state, *, tol, patience, keep_best):
        self.tol = tol
        self.patience = patience
        self.keep_best = keep_best
        self.curve = []
        self.validation_curve = []
        self.diverged = False
        self.last = self.best = state
        self._lowest = np.inf
        self._n_stale = 0

    @property
    def n_epochs(self):
        """Epochs done, the diverged one not counted."""
        return len(self.curve)

    @property
    def result(self):
        """The state to keep."""
        return self.best if self.keep_best else self.last

    @property
    def is_over(self):
        """Whether patience has run out or training diverged."""
        stale = self.patience is not None and self._n_stale >= self.patience
        return stale or self.diverged

    def copy(self):
        """Return a copy that later epochs leave alone."""
        return copy.copy(self)

    def record(self, state, evaluate):
        """Take in the state after an epoch, whole or, if interrupted, not at all.

        Parameters
        ----------
        state : TrainingState

        evaluate : callable
            Returns the free energies of training and validation rows, the
            second None where there are none.
        """
        energy, validation = evaluate() if state.is_sound() else (np.nan, None)
        if not np.isfinite(energy):
            self.diverged = True
            return
        watched = validation if self.keep_best else energy
        improved = watched < self._lowest - self.tol
        news = {
            "last": state.copy(),
            "curve": [*self.curve, energy],
            "_n_stale": 0 if improved else self._n_stale + 1,
        }
        if validation is not None:
            news["validation_curve"] = [*self.validation_curve, validation]
        if watched < self._lowest:
            news |= {"_lowest": watched, "best": news["last"]}
        # One call into C, which no signal can cut in two.
        vars(self).update(news)
