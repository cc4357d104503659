"""Moves of hidden states towards the posterior, one unit of a layer at a time.

Metropolis-Hastings with proposals that look ahead (locally informed, Zanella 2020):
the unit to flip is drawn with probability proportional to exp(gain / 2), where the
gain is what the flip adds to log p(x, s), to second order. All units' gains are two
matrix products (Grathwohl et al. 2021 take the first order), and acceptance makes
them exact.
"""

from typing import NamedTuple

import numpy as np

from ._random import choose, uniforms


class _View(NamedTuple):
    """States, and what can be seen from them.

    Parameters
    ----------
    states : ndarray of shape (n_rows, n_units)

    logits : ndarray of shape (n_rows, n_children)
        Of the layer below.

    log_prob : ndarray of shape (n_rows,)
        log p(child | states).

    gain : ndarray of shape (n_rows, n_units)
        What each unit's flip adds to the target's logarithm, to second order.

    log_choice : ndarray of shape (n_rows, n_units)
        The log-probability of proposing each unit's flip.
    """

    states: np.ndarray
    logits: np.ndarray
    log_prob: np.ndarray
    gain: np.ndarray
    log_choice: np.ndarray

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
        Exponent of p(child | states).
    """

    def __init__(self, layer, child, states, prior_logits, power=1.0):
        self.layer = layer
        self._units = layer.units.given(child)
        self.child = child
        self.prior_logits = np.broadcast_to(prior_logits, states.shape)
        self.power = power
        weights = layer.weights * layer.units.precision
        self._slopes = weights.T
        self._curves = (0.5 * weights * layer.weights).T
        self._rows = np.arange(len(states))
        self.view = self._look(states, layer.logits(states))

    def move(self, rng, n_moves=1):
        """Propose one flip a row, n_moves times, and make those that are accepted."""
        for _ in range(n_moves):
            self._move(rng)

    def _move(self, rng):
        here, rows = self.view, self._rows
        odds, acceptance = uniforms(rng, (len(rows), 2)).T
        unit = choose(np.exp(here.log_choice).T, odds)
        flip = 1 - 2 * here.states[rows, unit]
        states = here.states.copy()
        states[rows, unit] += flip
        logits = self.layer.weights[unit]
        logits *= flip[:, None]
        logits += here.logits
        there = self._look(states, logits)
        gain = self.power * (there.log_prob - here.log_prob)
        gain += flip * self.prior_logits[rows, unit]
        gain += there.log_choice[rows, unit] - here.log_choice[rows, unit]
        here.take(there, np.flatnonzero(np.log(acceptance) < gain))

    def _look(self, states, logits):
        units = self._units
        log_prob, residual = units.log_prob_and_residual(self.child, logits.copy())
        information = units.information(self.child - residual)
        gain = self.power * (residual @ self._slopes)
        gain += self.prior_logits
        gain *= 1 - 2 * states
        gain -= self.power * (information @ self._curves)
        half = 0.5 * gain
        half -= half.max(axis=1, keepdims=True)
        half -= np.log(np.exp(half).sum(axis=1, keepdims=True))
        return _View(states, logits, log_prob, gain, half)


def prior_logits(layers, states, index):
    """Return the logits of hidden states given those above them.

    Parameters
    ----------
    layers : tuple of Layer
        The generative network.

    states : list of ndarray
        Bottom-up, x first.

    index : int
        Of the states; 1 is the first hidden layer.
    """
    above = states[index + 1] if index + 1 < len(states) else None
    return layers[index].logits(above)


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
    layers = machine.top_down
    for index in range(1, len(states)):
        child, own = states[index - 1 : index + 1]
        prior = prior_logits(layers, states, index)
        Chain(layers[index - 1], child, own, prior).move(rng, n_moves)
