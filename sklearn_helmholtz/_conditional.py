"""Filling in: missing visible units given the seen ones, by a Markov chain.

The chain goes on hidden states s and has p(s | seen) as its stationary
distribution, whatever the recognition network is worth. A step has two moves.

- Local: draw the missing units from p(x | s), which are independent given the
  first hidden layer, then s from p(s | x).
- Jump: s from p(s | seen) with the missing units summed out, from proposals
  that do not know the present state.

Either draws s by iterated sampling importance resampling [1]: the present
state and K - 1 draws from q(. | row) are weighted by target / q, and one of them
is taken in proportion to its weight. That leaves the target as it is for every
row that q may be given; the local move gives it the row as it is filled in now,
the jump one filled in from a fresh dream.

.. [1] C. Andrieu, A. Lee and M. Vihola, "Uniform ergodicity of the iterated
   conditional SMC and geometric ergodicity of particle Gibbs samplers",
   Bernoulli 24, 842-872, 2018.
"""

from itertools import islice

import numpy as np

from ._belief_network import Scratch, down_pass
from ._likelihood import weigh
from ._numerics import normalised_weights
from ._random import choose, uniforms


def fill_in(machine, x, missing, rng, *, n_iter, n_particles, mean):
    """Return rows with their missing units filled in after n_iter steps.

    Parameters
    ----------
    machine, x, missing, rng, n_particles
        As for :func:`completions`.

    n_iter : int

    mean : bool
        Whether to average the means over the second half of the steps, or to
        return the last draw.
    """
    chain = completions(machine, x, missing, rng, n_particles)
    if not mean:
        return next(islice(chain, n_iter - 1, None))[0]
    total = np.zeros(x.shape)
    for _, means in islice(chain, n_iter // 2, n_iter):
        total += means
    return total / (n_iter - n_iter // 2)


def completions(machine, x, missing, rng, n_particles, hidden=None):
    """Yield one state of the chain after another, without end.

    Parameters
    ----------
    machine : Machine

    x : ndarray of shape (n_rows, n_features)
        The rows; what stands at missing places does not matter.

    missing : ndarray of bool, shape (n_rows, n_features)
    rng : Stream

    n_particles : int
        K, the present state included.

    hidden : list of ndarray, default=None
        The hidden states to start from, bottom-up; those of dreams by default.

    Yields
    ------
    drawn, mean : ndarray of shape (n_rows, n_features)
        The rows with missing units drawn, and with their means, given the
        present hidden states.
    """
    visible = machine.generative[0]
    if hidden is None:
        hidden = _dream(machine, len(x), rng)[1:]
    while True:
        jumped = np.where(missing, _dream(machine, len(x), rng)[0], x)
        hidden = _move(machine, jumped, hidden, rng, n_particles, unseen=missing)
        logits = visible.logits(hidden[0])
        drawn = np.where(missing, visible.units.sample(logits, rng, x.shape), x)
        hidden = _move(machine, drawn, hidden, rng, n_particles)
        logits = visible.logits(hidden[0])
        drawn = np.where(missing, visible.units.sample(logits, rng, x.shape), x)
        yield drawn, np.where(missing, visible.units.mean(logits, out=logits), x)


def _dream(machine, n_rows, rng):
    """Return a dream's states, bottom-up, in arrays of their own."""
    return down_pass(machine.generative, n_rows, rng, Scratch(machine.dtype))


def _move(machine, x, hidden, rng, n_particles, unseen=None):
    """Return hidden states after one draw among them and K - 1 others.

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)
        The row that the recognition network sees.

    hidden : list of ndarray of shape (n_rows, n_units)
    rng : Stream
    n_particles : int

    unseen : ndarray of bool, shape (n_rows, n_features), default=None
        Values of x that are not part of the target's condition.
    """
    particles = []

    def sample(index, states, logits):
        bits = rng.bits((n_particles, len(x), logits.shape[-1]))
        drawn = machine.draw(index, logits, bits)
        drawn[0] = hidden[index]
        particles.append(drawn)
        return drawn

    first_logits = machine.recognition[0].logits(x)
    log_w = weigh(machine, x, first_logits, sample, unseen)
    odds = uniforms(rng, (len(x),))
    chosen = choose(normalised_weights(log_w, axis=0), odds)
    return [drawn[chosen, np.arange(len(x))] for drawn in particles]
