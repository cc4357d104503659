"""Filling in: missing visible units given the seen ones, by a Markov chain.

The chain goes on hidden states s and has p(s | seen) as its stationary
distribution, whatever the recognition network is worth. A step has three moves.

- Anew: s from p(s | seen) with the missing units summed out, from dreams. Where little
  is seen many of them will do, which takes the chain from one cluster to another.
- Local: draw the missing units from p(x | s), which are independent given the
  first hidden layer, then s from p(s | x).
- Jump: s from p(s | seen), too, from proposals of the recognition network that do
  not know the present state.

All of them draw s by iterated sampling importance resampling [1]: the present
state and K - 1 draws from q(. | row), or from p(s), are weighted by target / proposal,
and one of them is taken in proportion to its weight. That leaves the target as it is
for every row that q may be given; the local move gives it the row as it is filled in
now, the jump one filled in from a fresh dream.

Visible units that see those before them are not independent given s. Real ones are
jointly normal, so that their conditional has a closed form, too. With binary ones, a
particle of the first and of the last move has a filling of its own, drawn unit after
unit, and the target / proposal is p(s) / q(s), or 1, times the probability of the seen
units given those before them. The local move chooses among fillings in the same way,
and then draws the missing units once more, each given all others: where units that are
seen come after many missing ones, no filling but the present one has any weight.

.. [1] C. Andrieu, A. Lee and M. Vihola, "Uniform ergodicity of the iterated
   conditional SMC and geometric ergodicity of particle Gibbs samplers",
   Bernoulli 24, 842-872, 2018.
"""

from itertools import islice

import numpy as np

from ._belief_network import Scratch, down_pass
from ._likelihood import weigh
from ._missing import given_hidden
from ._numerics import normalised_weights
from ._parallel import raise_if_unwanted
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
        The rows. What stands at missing places matters only with `hidden`, and
        where visible units see each other.

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
        present hidden states. Both are the draws where binary visible units see
        each other.
    """
    visible = machine.top_down[0]
    given = given_hidden(visible.units, x, missing)
    if hidden is None:
        dream, *hidden = _dream(machine.top_down, len(x), rng)
        x = np.where(missing, dream, x)
    while True:
        raise_if_unwanted()
        seen = _Seen(x, missing, rng, given)
        x, hidden = _anew(machine, seen, hidden, n_particles)
        jumped = np.where(missing, _dream(machine.top_down, len(x), rng)[0], x)
        seen = _Seen(x, missing, rng, given)
        x, hidden = _jump(machine, jumped, seen, hidden, n_particles)
        if given:
            x, _ = given.filled(x, visible.logits(hidden[0]), rng)
        hidden = _chosen(*_proposed(machine, x, hidden, rng, n_particles), rng)
        if given:
            x, mean = given.filled(x, visible.logits(hidden[0]), rng)
        else:
            x = mean = _refilled(visible, x, hidden, missing, rng, n_particles)
        yield x, mean


def _refilled(visible, x, hidden, missing, rng, n_particles):
    """Return rows with the missing units drawn anew given the hidden states.

    Among the present and new fillings, and then each given all others. For binary
    visible units that see each other, and so those that are seen, too.
    """
    logits = np.broadcast_to(visible.logits(hidden[0]), (n_particles, *x.shape))
    filled = visible.units.fill_in(logits, x, missing, rng)
    filled[0] = x
    log_w = visible.units.log_prob_of_seen(filled, logits, missing)
    x = _chosen(log_w, [filled], rng)[0]
    return visible.units.redraw(x, logits[0], missing, rng)


def _dream(layers, n_rows, rng):
    """Return a dream's states, bottom-up, in arrays of their own.

    Those that the topmost generative layers, or all of them, give.
    """
    return down_pass(layers, n_rows, rng, Scratch(layers[0].bias.dtype))


def _jump(machine, jumped, seen, hidden, n_particles):
    """Return rows and hidden states after a move that sums missing units out.

    Where that sum has no closed form, each particle brings its own filling.

    Parameters
    ----------
    machine : Machine

    jumped : ndarray of shape (n_rows, n_features)
        The rows that the recognition network sees.

    seen : _Seen
    hidden : list of ndarray of shape (n_rows, n_units)
    n_particles : int
    """
    log_w, particles = _proposed(machine, jumped, hidden, seen.rng, n_particles, seen)
    return seen.chosen(log_w, particles)


def _anew(machine, seen, hidden, n_particles):
    """Return rows and hidden states after such a move whose proposals are dreams."""
    n_rows = len(seen.x)
    dreams = _dream(machine.generative[1:], n_particles * n_rows, seen.rng)
    particles = [drawn.reshape(n_particles, n_rows, -1) for drawn in dreams]
    for drawn, present in zip(particles, hidden, strict=True):
        drawn[0] = present
    visible = machine.top_down[0]
    log_w = seen(visible, visible.logits_of_particles(particles[0]))
    return seen.chosen(log_w, particles)


class _Seen:
    """The log-probability of the seen units, the missing ones summed out.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        The rows as they are filled in now.

    missing : ndarray of bool, shape (n_rows, n_features)
    rng : Stream

    given : Independent, JointlyNormal or None
        None if the sum has no closed form.
    """

    def __init__(self, x, missing, rng, given):
        self.x, self.missing, self.rng, self.given = x, missing, rng, given
        self.fillings = []

    def __call__(self, visible, logits):
        """Return it for particles with these logits, which are used up."""
        x, missing = self.x, self.missing
        if self.given:
            return self.given.log_prob_of_seen(x, logits)
        filled = visible.units.fill_in(logits, x, missing, self.rng)
        filled[0] = x
        self.fillings.append(filled)
        return visible.units.log_prob_of_seen(filled, logits, missing)

    def chosen(self, log_w, particles):
        """Return the rows and hidden states of one particle a row, by weight."""
        n_fillings = len(self.fillings)
        found = _chosen(log_w, [*self.fillings, *particles], self.rng)
        return (found[0] if n_fillings else self.x), found[n_fillings:]


def _proposed(machine, x, hidden, rng, n_particles, log_prob_of_data=None):
    """Return log-weights and states of the present hidden states and K - 1 others.

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)
        The row that the recognition network sees.

    hidden : list of ndarray of shape (n_rows, n_units)
    rng : Stream
    n_particles : int

    log_prob_of_data : callable, default=None
        See :func:`._likelihood.weigh`.
    """
    particles = []

    def sample(index, states, logits):
        shape = n_particles, len(x), logits.shape[-1]
        drawn = machine.draw(index, logits, rng, shape)
        drawn[0] = hidden[index]
        particles.append(drawn)
        return drawn

    first_logits = machine.recognition[0].logits(x)
    return weigh(machine, x, first_logits, sample, log_prob_of_data), particles


def _chosen(log_w, particles, rng):
    """Return one of the particles for each row, drawn by weight."""
    n_rows = log_w.shape[1]
    odds = uniforms(rng, (n_rows,))
    chosen = choose(normalised_weights(log_w, axis=0), odds)
    return [drawn[chosen, np.arange(n_rows)] for drawn in particles]
