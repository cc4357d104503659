"""Units that see the states of those before them in their layer.

Unit j's logit is a_j + c_j + sum over i < j of s_i V_ij, with V strictly upper
triangular: the layer is no product of independent units, and still its probability is
one product with V away. In the recognition network that is a better q; for the
visible units it is a better p(x | s) (Gregor et al. 2014).
"""

import numpy as np
import scipy.linalg

from ._numerics import sigmoid

_LATERAL_BLOCK = 16
#: No weight counts as larger; exp of it is still finite.
_LARGEST = 700.0


def threshold_in_turn(logits, lateral, bits):
    """Return states drawn one unit after another, each seeing those before it.

    Unit j is on with probability sigmoid(a_j + sum over i < j of s_i V_ij).
    Units are taken in blocks: earlier blocks reach a block through one matrix
    product, and only inside the block does one unit wait for another.

    Parameters
    ----------
    logits : ndarray
        Broadcasts against `bits`.

    lateral : ndarray of shape (n_units, n_units)
        V; only what stands above the diagonal is read.

    bits : ndarray of uint32, shape (..., n_units)
        See :mod:`._random`.
    """
    n_units = bits.shape[-1]
    noise = _logistic(bits, logits.dtype)
    margins = np.ascontiguousarray((logits - noise).reshape(-1, n_units).T)
    states = np.empty_like(margins)
    for start in range(0, n_units, _LATERAL_BLOCK):
        stop = min(start + _LATERAL_BLOCK, n_units)
        if start:
            margins[start:stop] += lateral[:start, start:stop].T @ states[:start]
        for unit in range(start, stop):
            if unit > start:
                margins[unit] += lateral[start:unit, unit] @ states[start:unit]
            np.greater(margins[unit], 0, out=states[unit])
    return np.ascontiguousarray(states.T).reshape(bits.shape)


def _logistic(bits, dtype):
    """Return noise that lies below a with probability sigmoid(a)."""
    # u (1 + exp(a)) > 1 exactly where -logit(u) < a. The integers keep 1 - u exact:
    # less than 0, they go on from 2^32.
    noise = np.negative(bits).astype(dtype)
    noise /= bits.astype(dtype)
    return np.log(noise, out=noise)


def means_in_turn(units, logits, lateral):
    """Return means where unit j's logit gets the means of the units before it."""
    means = np.empty_like(logits)
    for unit in range(logits.shape[1]):
        sent = means[:, :unit] @ lateral[:unit, unit]
        means[:, unit] = units.mean(logits[:, unit] + sent)
    return means


class Autoregressive:
    """Units of a kind that see the states of those before them.

    Parameters
    ----------
    units : Bernoulli or Gaussian
        What they are, given all that they see.

    lateral : Layer
        From the units to those after them: V and c.

    sent : ndarray of shape (n_rows, n_units), default=None
        What the states send, where only these will be asked for; see :meth:`given`.
    """

    factorial = False

    def __init__(self, units, lateral, sent=None):
        self.units = units
        self.lateral = lateral
        self.sent = sent

    @property
    def binary(self):
        """Whether states are 0 or 1."""
        return self.units.binary

    @property
    def n_linear_parents(self):
        """How many regressions teach a linear mean: one from above, one lateral."""
        return 2 * self.units.n_linear_parents

    @property
    def variance(self):
        """The units' variance, where they have one."""
        return self.units.variance

    @property
    def precision(self):
        """What turns a residual into the derivative of log_prob to the logits."""
        return self.units.precision

    def given(self, states):
        """Return units that compute but once what these states send."""
        return type(self)(self.units, self.lateral, self._sent(states))

    def _sent(self, states):
        """Return what units get from the states before them, bias included."""
        if self.sent is not None:
            return self.sent
        return self.lateral.logits_of_particles(states)

    def mean(self, logits, out=None):
        """Return the means given the states, or given the means of those before."""
        if self.sent is not None:
            return self.units.mean(np.add(logits, self.sent, out=out), out=out)
        weights, bias, _ = self.lateral
        means = means_in_turn(self.units, logits + bias, weights)
        return placed(means, out)

    def sample(self, logits, rng, shape, out=None):
        """Return states of the given shape, drawn one unit after another."""
        weights, bias, _ = self.lateral
        logits = logits + bias
        if self.binary:
            drawn = threshold_in_turn(logits, weights, rng.bits(shape))
        else:
            # s = a + s V + noise, all units at once.
            drawn = self.units.sample(logits, rng, shape)
            matrix = np.eye(len(bias), dtype=drawn.dtype) - weights
            drawn = scipy.linalg.solve_triangular(
                matrix, drawn.T, trans="T", check_finite=False
            ).T
        return placed(drawn, out)

    def fill_in(self, logits, states, missing, rng):
        """Return states with the missing ones drawn in turn, given those before.

        Those after do not count: draws are from the layer's conditional only once
        they are weighted with :meth:`log_prob_of_seen`.

        Parameters
        ----------
        logits : ndarray of shape (..., n_rows, n_units)
        states : ndarray of shape (n_rows, n_units)
        missing : ndarray of bool, shape (n_rows, n_units)
        rng : Stream
        """
        weights, bias, _ = self.lateral
        logits = logits + bias
        if self.binary:
            noise = _logistic(rng.bits(logits.shape), logits.dtype)
        else:
            noise = self.units.sample(np.zeros_like(logits), rng, logits.shape)
        filled = np.empty_like(logits)
        for unit in range(len(bias)):
            a = logits[..., unit] + filled[..., :unit] @ weights[:unit, unit]
            drawn = a > noise[..., unit] if self.binary else a + noise[..., unit]
            filled[..., unit] = np.where(missing[:, unit], drawn, states[:, unit])
        return filled

    def redraw(self, states, logits, missing, rng):
        """Return states with the missing ones drawn in turn, each given all others.

        Of binary units: a sweep of Gibbs sampling, which leaves the layer's conditional
        as it is. Rows whose missing ones all come after those seen are left alone.

        Unit j has the logit of its parents, and of its children k > j the sum of
        s_k V_jk less what log(1 + exp(a_k)) grows by as j turns on. For V_jk > 0 that
        is log(1 + p_k (exp(V_jk) - 1)), with p_k the child's chance while j is off;
        else, with -V_jk and the chance while j is on, what it falls by.

        Parameters
        ----------
        states : ndarray of shape (n_rows, n_units)
        logits : ndarray of shape (n_rows, n_units)
        missing : ndarray of bool, shape (n_rows, n_units)
        rng : Stream
        """
        a = np.add(logits, self._sent(states), dtype=np.float64)
        noise = _logistic(rng.bits(states.shape), a.dtype)
        states = states.copy()
        missing = missing & _is_before_seen(missing)[:, None]
        for unit in np.flatnonzero(missing.any(axis=0)):
            rows, children = missing[:, unit], slice(unit + 1, None)
            sent = self.lateral.weights[unit, children].astype(a.dtype)
            after = a[rows, children] - np.outer(states[rows, unit], sent)
            odds = a[rows, unit] + states[rows, children] @ sent
            chances = sigmoid(after + np.minimum(sent, 0))
            gain = np.expm1(np.minimum(np.abs(sent), _LARGEST))
            odds -= np.log1p(chances * gain) @ np.sign(sent)
            drawn = odds > noise[rows, unit]
            a[rows, children] = after + np.outer(drawn, sent)
            states[rows, unit] = drawn
        return states

    def log_prob_of_seen(self, states, logits, missing):
        """Return log p of the units not missing, given those before; in nats a row.

        Up to a constant, the same for all states and logits.
        """
        logits = np.where(missing, 0, logits + self._sent(states))
        return self.units.log_prob(np.where(missing, 0, states), logits)

    def log_prob(self, states, logits):
        """Return log p(s), in nats a row."""
        return self.units.log_prob(states, logits + self._sent(states))

    def log_prob_of_pairs(self, logits):
        """Return what gives log p of rows of states under every row of logits."""

        def log_prob(states):
            pairs = zip(states, self._sent(states), strict=True)
            found = [self.units.log_prob(row, logits + sent) for row, sent in pairs]
            return np.stack(found, axis=1)

        return log_prob

    def residual(self, states, logits, out=None):
        """Return states - mean, the mean given the states before."""
        logits = np.add(logits, self._sent(states), out=out)
        return self.units.residual(states, logits, out=logits)

    def log_prob_and_residual(self, states, logits):
        """Return both, at the price of one; the residual takes the logits' place."""
        logits += self._sent(states)
        return self.units.log_prob_and_residual(states, logits)

    def information(self, mean):
        """Return how fast the expected residual falls as a rises."""
        return self.units.information(mean)


def _is_before_seen(missing):
    """Return which rows have a missing unit that comes before one that is not."""
    seen = ~missing
    last_seen = missing.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)
    mixed = missing.any(axis=1) & seen.any(axis=1)
    return mixed & (missing.argmax(axis=1) < last_seen)


def placed(values, out):
    """Return values, copied into `out` where there is one."""
    if out is None:
        return values
    np.copyto(out, values)
    return out
