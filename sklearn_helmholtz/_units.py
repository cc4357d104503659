"""Units: what one layer's states are, given the linear predictor from its parent.

A unit type knows eight functions of the logits ``a`` (for Gaussian units the
mean) and nothing of weights: ``mean``, ``sample``, ``log_prob``, ``log_prob_of_pairs``,
``residual``, ``log_prob_and_residual``, ``information`` and ``given``; ``map``, which
applies a function to the units' own arrays; and five facts: ``binary``, ``factorial``,
``n_linear_parents``, ``precision`` and ``variance``. A new type is a class with these.
"""

import numpy as np
from scipy.spatial.distance import cdist

from ._numerics import one_plus_exp, sigmoid, softplus_sum
from ._random import FULL_RANGE, NOISE_RANGE

#: What no variance of real units falls below, as a part of the data's own.
LEAST_VARIANCE = 1e-6


def threshold(logits, noise, out=None):
    """Return 1 with probability sigmoid(logits), else 0.

    With u uniform in (0, 1), u (1 + exp(a)) > 1 has probability sigmoid(a).

    Parameters
    ----------
    logits : ndarray
        Broadcasts against `noise`.

    noise : ndarray of the logits' dtype
        See :mod:`._random`; it is used up.

    out : ndarray, default=None
        Takes the states; may be `logits`.
    """
    fits = out is not None and out.shape == logits.shape
    one_plus = one_plus_exp(logits, out=out if fits else None)
    return is_on(one_plus, noise, out=noise if out is None else out)


def is_on(one_plus, noise, out):
    """Return the same into `out`, given ``one_plus_exp(logits)``."""
    noise *= one_plus
    return np.greater(noise, NOISE_RANGE, out=out)


def threshold_level(logits):
    """Return above what number bits turn a unit on: 2^32 / (1 + exp(a))."""
    level = one_plus_exp(logits)
    return np.divide(FULL_RANGE, level, out=level)


class Bernoulli:
    """Binary units: s = 1 with probability sigmoid(a).

    Parameters
    ----------
    grey : bool, default=True
        Whether states may also be means of binary ones, in (0, 1).
    """

    #: Whether states are 0 or 1.
    binary = True
    #: Whether a layer's units are independent given their parents.
    factorial = True
    #: How many regressions teach a mean that is linear in its parents; 0 for other
    #: units. Steps of those that there are may be too long.
    n_linear_parents = 0
    #: A learned variance a unit, of shape (n_units,), where there is one.
    variance = None
    #: The derivative of log_prob to the logits is the residual times this.
    precision = 1.0

    def __init__(self, *, grey=True):
        self.grey = grey

    def mean(self, logits, out=None):
        """Return sigmoid(a)."""
        return sigmoid(logits, out=out)

    def sample(self, logits, rng, shape, out=None):
        """Return binary states of the given shape."""
        return threshold(logits, rng.noise(shape, logits.dtype), out=out)

    def log_prob(self, states, logits):
        """Return log p(s) = sum_j s_j a_j - log(1 + exp(a_j)), in nats a row.

        States in (0, 1) give the expected value over binary states that have
        them as means.
        """
        if logits.ndim < states.ndim:  # shared by many states
            return self._log_prob_of_many(states, logits)
        signs, rest = self._signs(states)
        # Large temporaries may each be memory fresh from the system.
        out = signs if signs.shape == logits.shape else None
        log_prob = -softplus_sum(np.multiply(signs, logits, out=out))
        return log_prob if rest is None else log_prob + np.vecdot(rest, logits)

    def _log_prob_of_many(self, states, logits):
        """Return log p of states with leading axes more than their logits.

        Less what the likelier states have, so that nothing large cancels.
        """
        likelier = (logits > 0).astype(logits.dtype)
        return np.vecdot(states - likelier, logits) - softplus_sum(-np.abs(logits))

    def _signs(self, states):
        """Return the signs d of what logits cost, and what is left of grey states.

        With r = round(s): d = 1 - 2 r, and s - r or None;
        log p(s) = (s - r) a - softplus(d a).
        """
        on, rest = states, None
        if self.grey:
            on = (states > 0.5).astype(states.dtype)
            rest = states - on
            rest = rest if rest.any() else None
        signs = np.multiply(on, -2, out=on if self.grey else None)
        signs += 1
        return signs, rest

    def log_prob_of_pairs(self, logits):
        """Return what gives log p of rows of states under every row of logits.

        From states of shape (n, n_units) it gives (n_logits, n): one product, and one
        softplus for each logit, however often it is called.
        """
        normaliser = softplus_sum(logits)[:, None]
        return lambda states: np.dot(logits, states.T) - normaliser

    def residual(self, states, logits, out=None):
        """Return states - mean, the derivative of log_prob to the logits."""
        mean = self.mean(logits, out=out)
        return np.subtract(states, mean, out=out)

    def log_prob_and_residual(self, states, logits):
        """Return both, at the price of one; the residual takes the logits' place.

        With d and r as in `_signs`, p(r) = 1 / g where g = 1 + exp(d a), and
        r - mean = d / g - d.
        """
        signs, rest = self._signs(states)
        linear = 0 if rest is None else np.vecdot(rest, logits)
        logits *= signs
        one_plus = one_plus_exp(logits)
        log_prob = linear - softplus_sum(logits, one_plus)
        residual = np.divide(signs, one_plus, out=logits)
        residual -= signs
        if rest is not None:
            residual += rest
        return log_prob, residual

    def information(self, mean):
        """Return how fast the expected residual falls as a rises: the variance."""
        return mean * (1 - mean)

    def given(self, states):
        """Return units that know what states are asked for: no matter to these."""
        return self

    def map(self, function):
        """Return the units with a function of each of their arrays: they have none."""
        return self


#: Hidden units, whose states are always drawn.
HIDDEN = Bernoulli(grey=False)


class Gaussian:
    """Real units: s is normal about a with one variance a unit.

    Parameters
    ----------
    variance : ndarray of shape (n_units,)

    least : float or ndarray of shape (n_units,), default=LEAST_VARIANCE
        What no variance may fall below.
    """

    binary = False
    factorial = True
    n_linear_parents = 1

    def __init__(self, variance, least=LEAST_VARIANCE):
        self.variance = variance
        self.least = least

    @property
    def precision(self):
        """What turns a residual into the derivative of log_prob to the logits."""
        return 1 / self.variance

    def _log_normaliser(self):
        """Return the sum over units of log(2 pi variance), in float64."""
        return np.log(2 * np.pi * self.variance.astype(np.float64)).sum()

    def mean(self, logits, out=None):
        """Return a itself."""
        if out is None or out is logits:
            return logits
        np.copyto(out, logits)
        return out

    def sample(self, logits, rng, shape, out=None):
        """Return states of the given shape, normal about a."""
        noise = rng.normals(shape, logits.dtype)
        noise *= np.sqrt(self.variance)
        return np.add(logits, noise, out=out)

    def log_prob(self, states, logits):
        """Return the log density of every row, in nats."""
        precision = 1 / self.variance
        squares = np.square(states - logits)
        return -0.5 * (squares @ precision + self._log_normaliser())

    def log_prob_of_pairs(self, logits):
        """Return what gives log p of rows of states under every row of logits."""
        scale, normaliser = 1 / np.sqrt(self.variance), self._log_normaliser()
        whitened = logits * scale

        def log_prob(states):
            distances = cdist(whitened, states * scale, "sqeuclidean")
            return -0.5 * (distances + normaliser)

        return log_prob

    def residual(self, states, logits, out=None):
        """Return states - mean: the derivative to the mean, times the variance.

        The mean's Fisher information is 1 / variance, so this is its natural
        gradient: a step in it is the same whatever the variance has become.
        """
        return np.subtract(states, logits, out=out)

    def log_prob_and_residual(self, states, logits):
        """Return both; the residual takes the logits' place."""
        log_prob = self.log_prob(states, logits)
        return log_prob, self.residual(states, logits, out=logits)

    def information(self, mean):
        """Return how fast the residual falls as a rises: by as much."""
        return np.ones_like(mean)

    def given(self, states):
        """Return units that know what states are asked for: no matter to these."""
        return self

    def map(self, function):
        """Return the units with a function of each of their arrays."""
        return Gaussian(function(self.variance), self.least)
