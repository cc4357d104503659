"""Moves of hidden states towards the posterior, one unit of a layer at a time.

Metropolis-Hastings with proposals that look ahead (locally informed, Zanella 2020):
the unit to flip is drawn with probability proportional to exp(gain / 2), where the
gain is what the flip adds to log p(x, s), to second order. All units' gains are two
matrix products (Grathwohl et al. 2021 take the first order), and acceptance makes
them exact.
"""

from typing import NamedTuple

import numpy as np

from ._random import HALF_RANGE


class _View(NamedTuple):
    """States, and what can be seen from them.

    Parameters
    ----------
    states : ndarray of shape (n_rows, n_units)

    logits : ndarray of shape (n_rows, n_children)
        Of the layer below.

    log_prob : ndarray of shape (n_rows,)
        log p(child | states).

    slope, curve : ndarray of shape (n_rows, n_units)
        The first two terms of what flips add to log_prob, for a flip upwards.
    """

    states: np.ndarray
    logits: np.ndarray
    log_prob: np.ndarray
    slope: np.ndarray
    curve: np.ndarray

    def take(self, other, rows):
        """Become another view in some rows."""
        for mine, theirs in zip(self, other, strict=True):
            mine[rows] = theirs[rows]


class Chain:
    """A Markov chain a row, over the states of one hidden layer given the others.

    It leaves p(child | states)^power p(states | the layer above) as it is.

    Parameters
    ----------
    layer : Layer
        The generative layer below, that of the child.

    child : ndarray of shape (n_rows, n_children)

    states : ndarray of shape (n_rows, n_units)
        Where it starts; changed in place.

    prior_logits : ndarray of shape (n_rows, n_units) or (1, n_units)
        The states' logits, given the layer above.

    power : float, default=1.0
        How much the child counts.
    """

    def __init__(self, layer, child, states, prior_logits, power=1.0):
        self.layer = layer
        self.child = child
        self.prior_logits = np.broadcast_to(prior_logits, states.shape)
        self.power = power
        weights = layer.weights * layer.units.precision
        self._slopes = weights.T
        self._curves = (0.5 * weights * layer.weights).T
        self._rows = np.arange(len(states))
        self.view = self._look(states, layer.logits(states))

    def move(self, rng):
        """Propose one flip a row, and make those that are accepted."""
        here, rows = self.view, self._rows
        chosen = self._log_choice(here)
        odds, acceptance = _uniforms(rng, (len(rows), 2)).T
        unit = _draw(np.exp(chosen), odds)
        flip = 1 - 2 * here.states[rows, unit]
        states = here.states.copy()
        states[rows, unit] += flip
        logits = self.layer.weights[unit]
        logits *= flip[:, None]
        logits += here.logits
        there = self._look(states, logits)
        back = self._log_choice(there)
        gain = self.power * (there.log_prob - here.log_prob)
        gain += flip * self.prior_logits[rows, unit]
        gain += back[rows, unit] - chosen[rows, unit]
        here.take(there, np.flatnonzero(np.log(acceptance) < gain))

    def _look(self, states, logits):
        units = self.layer.units
        log_prob, residual = units.log_prob_and_residual(self.child, logits.copy())
        slope = residual @ self._slopes
        information = units.information(None, mean=self.child - residual)
        return _View(states, logits, log_prob, slope, information @ self._curves)

    def _log_choice(self, view):
        """Return the log-probabilities of choosing each unit to flip."""
        half = view.slope * self.power
        half += self.prior_logits
        half *= 1 - 2 * view.states
        half -= self.power * view.curve
        half *= 0.5
        half -= half.max(axis=1, keepdims=True)
        half -= np.log(np.exp(half).sum(axis=1, keepdims=True))
        return half


def refine(machine, states, rng, n_moves):
    """Move the hidden states of rows towards p(s | x), in place.

    Parameters
    ----------
    machine : Machine

    states : list of ndarray
        Bottom-up, x first.

    rng : Stream

    n_moves : int
        Proposed flips a row and layer, of which there is a round bottom-up.
    """
    parents = [*states[2:], None]
    for index, parent in enumerate(parents):
        prior_logits = machine.generative[index + 1].logits(parent)
        layer = machine.generative[index]
        chain = Chain(layer, states[index], states[index + 1], prior_logits)
        for _ in range(n_moves):
            chain.move(rng)


def pick(log_weights, rng):
    """Return a particle's position for every row, drawn by weight.

    Parameters
    ----------
    log_weights : ndarray of shape (n_particles, n_rows)
    rng : Stream
    """
    weights = np.exp(log_weights - log_weights.max(axis=0))
    odds = _uniforms(rng, (weights.shape[1], 1))[:, 0]
    return _draw(weights.T, odds)


def _draw(weights, odds):
    """Return a position for every row, with probability proportional to its weight."""
    sums = np.cumsum(weights, axis=1)
    below = sums <= odds[:, None] * sums[:, -1:]
    return np.minimum(below.sum(axis=1), weights.shape[1] - 1)


def _uniforms(rng, shape):
    """Return draws in (0, 1), float64."""
    return (rng.bits(shape) + (HALF_RANGE + 0.5)) / (2 * HALF_RANGE)
