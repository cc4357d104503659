"""Visible units of which some are missing, given the hidden states, in closed form.

Where units are independent given these, or jointly normal, the missing ones can be
summed out and drawn. Binary units that see each other have no such form.
"""

import numpy as np
import scipy.linalg

#: Values that rows worked on at once may need, beyond themselves, for their patterns of
#: what is missing.
_PATTERN_VALUES = 2**23


def rows_at_once(machine, missing, most):
    """Return how many rows are to be filled in at once, `most` at most.

    Parameters
    ----------
    machine : Machine
    missing : ndarray of bool, shape (n_rows, n_features)
    most : int
    """
    if not _is_jointly_normal(machine.top_down[0].units):
        return most
    largest = int(missing.sum(axis=1).max(initial=1))
    return max(1, min(most, _PATTERN_VALUES // largest**2))


class Independent:
    """Visible units that are independent given hidden states, some of them missing.

    Parameters
    ----------
    units : Bernoulli or Gaussian
    missing : ndarray of bool, shape (n_rows, n_features)
    """

    def __init__(self, units, missing):
        self.units = units
        self.missing = missing

    def log_prob_of_seen(self, x, logits):
        """Return log p(seen | s) up to a constant a row; uses the logits up.

        Parameters
        ----------
        x : ndarray of shape (n_rows, n_features)
        logits : ndarray of shape (..., n_rows, n_features)
        """
        # Any value will do that is the same for all particles.
        np.copyto(logits, x, where=self.missing)
        return self.units.log_prob(x, logits)

    def filled(self, x, logits, rng):
        """Return rows with the missing units drawn given s, and with their means."""
        drawn = np.where(self.missing, self.units.sample(logits, rng, x.shape), x)
        return drawn, np.where(self.missing, self.units.mean(logits, out=logits), x)


class JointlyNormal:
    """The same for real visible units that see each other, of rows x.

    With W = 1 - V their noise is x W - a, so that the precision of x, given s, is
    P = W D^-1 W^T with the noises' variances D. For each pattern of what is missing, m,
    the inverse factor of P_mm is kept.
    """

    def __init__(self, units, x, missing):
        self.units = units
        self.seen = np.where(missing, 0, x)
        self.given_seen = units.given(self.seen)
        self.precision = units.precision.astype(np.float64)
        self.matrix = np.eye(len(self.precision)) - units.lateral.weights
        scaled = self.matrix * np.sqrt(self.precision)
        patterns, which = np.unique(missing, axis=0, return_inverse=True)
        self.parts = []
        for number in np.flatnonzero(patterns.any(axis=1)):
            places = np.flatnonzero(patterns[number])
            # Of columns that nearly determine each other, P_mm itself may be singular.
            factor = np.linalg.qr(scaled[places].T, mode="r")
            eye = np.eye(len(places))
            root = scipy.linalg.solve_triangular(factor, eye, trans="T")
            rows = np.flatnonzero(which.ravel() == number)
            self.parts.append((np.ix_(rows, places), root))

    def log_prob_of_seen(self, x, logits):
        """Return log p(seen | s) up to a constant a row.

        That of the missing units at their means differs by a constant.
        """
        return self.units.log_prob(self._expected(x, logits), logits)

    def filled(self, x, logits, rng):
        """Return rows with the missing units drawn given s, and with their means."""
        mean = self._expected(x, logits)
        drawn, noise = mean.copy(), rng.normals(x.shape, x.dtype)
        for at, root in self.parts:
            drawn[at] += noise[at] @ root
        return drawn, mean

    def _expected(self, x, logits):
        """Return rows with the missing units at their means, given s and the seen."""
        noise = self.given_seen.residual(self.seen, logits).astype(np.float64)
        slope = (noise * self.precision) @ self.matrix.T
        found = np.broadcast_to(x, slope.shape).copy()
        for at, root in self.parts:
            found[..., *at] = -(slope[..., *at] @ root.T) @ root
        return found


def given_hidden(units, x, missing):
    """Return what is known in closed form of visible units, or None.

    Parameters
    ----------
    units : Bernoulli, Gaussian or Autoregressive

    x : ndarray of shape (n_rows, n_features)
        The rows, whatever stands at missing places.

    missing : ndarray of bool, shape (n_rows, n_features)
    """
    if _is_jointly_normal(units):
        return JointlyNormal(units, x, missing)
    return Independent(units, missing) if units.factorial else None


def _is_jointly_normal(units):
    """Return whether units are real and see each other."""
    return not (units.factorial or units.binary)
