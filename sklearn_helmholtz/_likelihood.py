"""Likelihoods: free energy and importance-weighted estimates.

All of them come from the log-weights of particles s ~ q(. | x),

    log w = log p(x, s) - log q(s | x):

their mean estimates -F(x), the log of the mean of w estimates log p(x) from
below, and both meet where q is the true posterior: there log w = log p(x) for
every s, with no variance at all. (An analytic entropy of q would lose that.)

A draw is a comparison, and a logit that moves by float32's rounding with the
shape of the block it is computed in would now and then flip a unit, and with it
the score of a row that did not change. So a float32 machine's close draws are
decided again in float64 (all of them where a unit sees others in its layer).
"""

from typing import NamedTuple

import numpy as np

from ._belief_network import work_of
from ._numerics import without_nan
from ._parallel import raise_if_unwanted
from ._random import FULL_RANGE, RowNoise, as_noise, row_keys
from ._units import threshold, threshold_level

#: States (particles x rows) that are in work at once; bounds the memory.
BLOCK_STATES = 512
#: Draws are close where sigmoid(a) and the uniform differ by this; far more than
#: float32's rounding of any sensible logit.
_CLOSE = 2.0**-12


class Estimate(NamedTuple):
    """Importance-weighted estimates for some rows.

    Parameters
    ----------
    log_likelihood : ndarray of shape (n_rows,), nats
        log of the mean weight; a lower bound on log p(x) in expectation.

    mean_log_weight : ndarray of shape (n_rows,), nats
        The negative free energy.

    effective_sample_size : ndarray of shape (n_rows,)
        (sum w)^2 / sum w^2, between 1 and the number of particles; 0 where
        all weights are.
    """

    log_likelihood: np.ndarray
    mean_log_weight: np.ndarray
    effective_sample_size: np.ndarray


def in_draw_precision(machine):
    """Return the machine in the precision that its draws need.

    Lateral draws build on each other, so that side is in float64 throughout.
    """
    if not machine.lateral:
        return machine
    in_float64 = wide(machine)
    return machine._replace(
        recognition=in_float64.recognition, lateral=in_float64.lateral
    )


def log_weights(machine, x, first_logits, noise):
    """Return log p(x, s) - log q(s | x) of particles, (n_particles, n_rows).

    Parameters
    ----------
    machine : Machine
        As :func:`in_draw_precision` gives it.

    x : ndarray of shape (n_rows, n_features)

    first_logits : ndarray of shape (n_rows, n_units)
        The first recognition layer's logits, which all particles share.

    noise : RowNoise
    """

    def sample(index, states, logits):
        bits = noise.bits(logits.shape[-1], index)
        return draw(machine, index, states, logits, bits)

    return weigh(machine, x, first_logits, sample)


def weigh(machine, x, first_logits, sample, log_prob_of_data=None):
    """Return the log-weights of the particles that `sample` gives.

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)
    first_logits : ndarray of shape (n_rows, n_units)

    sample : callable
        Gives states index + 1 of all particles from (index, states below,
        logits).

    log_prob_of_data : callable, default=None
        Gives log p of x, or of a part of it, from (visible layer, its logits).
    """
    dtype = machine.dtype
    logits = first_logits
    child = x
    total = 0.0
    states = x
    for index, layer in enumerate(machine.recognition):
        if index:
            logits = layer.logits_of_particles(states)
        states = sample(index, states, logits)
        logits = machine.with_lateral(index, logits, states)
        total = total - layer.units.log_prob(states, logits)
        parent = states.astype(dtype, copy=False)
        below = machine.top_down[index]
        given = below.logits_of_particles(parent)
        if index == 0 and log_prob_of_data is not None:
            total = total + log_prob_of_data(below, given)
        else:
            total = total + below.units.log_prob(child, given)
        child = parent
    prior = machine.generative[-1]
    return total + prior.units.log_prob(child, prior.bias)


def draw(machine, index, parent, logits, bits):
    """Return states index + 1 drawn from q, decided as float64 logits would.

    Parameters
    ----------
    machine : Machine
    index : int
    parent : ndarray of shape (n_rows, n_parents) or (n_particles, n_rows, n_parents)
    logits : ndarray
        The layer's logits given the parent.

    bits : ndarray of uint32, shape (n_particles, n_rows, n_units)
        That float32 holds.
    """
    if machine.lateral:
        return machine.draw_in_turn(index, logits, bits)
    if logits.dtype != np.float32:
        return threshold(logits, as_noise(bits, logits.dtype))
    margin = bits.astype(np.float32)
    margin -= threshold_level(logits)
    states = (margin > 0).astype(np.float32)
    close = np.flatnonzero(np.abs(margin, out=margin) < _CLOSE * FULL_RANGE)
    close = np.unravel_index(close, margin.shape)  # sooner than nonzero's own way
    layer = machine.recognition[index]
    rows = parent[close[-2]] if parent.ndim == 2 else parent[close[:-1]]
    weights = layer.weights.T[close[-1]].astype(np.float64)
    exact = np.vecdot(rows.astype(np.float64), weights) + layer.bias[close[-1]]
    states[close] = threshold(exact, as_noise(bits[close], exact.dtype))
    return states


def estimate(machine, x, n_particles, seed=0):
    """Return the :class:`Estimate` of rows from n_particles each.

    Streams over particles: memory is that of `BLOCK_STATES` states whatever
    their number.

    Parameters
    ----------
    machine : Machine
        As :func:`in_draw_precision` gives it.

    x : ndarray of shape (n_rows, n_features)
    n_particles : int
    seed : int
        Another value gives independent noise.
    """
    keys = row_keys(x)
    first = machine.recognition[0]
    first_logits = first.logits(x.astype(first.weights.dtype, copy=False))

    def weigh_some(particles):
        noise = RowNoise(keys, particles, seed)
        return log_weights(machine, x, first_logits, noise)

    return pool(weigh_some, len(x), n_particles)


def pool(weigh_some, n_rows, n_particles):
    """Return the :class:`Estimate` of rows from the log-weights of their particles.

    Parameters
    ----------
    weigh_some : callable
        Gives the log-weights, (n_particles, n_rows), of a range of particles.

    n_rows, n_particles : int
    """
    step = max(1, BLOCK_STATES // n_rows)
    running = np.full(n_rows, np.finfo(np.float64).min), 0.0, 0.0, 0.0
    for start in range(0, n_particles, step):
        raise_if_unwanted()
        particles = range(start, min(start + step, n_particles))
        # In float32, sums over many particles would lose a digit a decade.
        found = weigh_some(particles).astype(np.float64, copy=False)
        running = _merge(running, without_nan(found))
    top, total, squares, plain = running
    # No particle gives a density above 0 to a row that is too far off: there,
    # with no weight at all, the effective sample size is 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        return Estimate(
            log_likelihood=top + np.log(total / n_particles),
            mean_log_weight=plain / n_particles,
            effective_sample_size=np.divide(
                np.square(total), squares, out=np.zeros_like(total), where=squares > 0
            ),
        )


def estimate_rows(
    machine, rows, n_particles, team, seed=0, *, block_states=BLOCK_STATES
):
    """Return the :class:`Estimate` of many rows, block by block.

    Parameters
    ----------
    machine : Machine
    rows : Rows
    n_particles : int
    team : Workers
    seed : int

    block_states : int
        States that are in work at once, a thread.
    """
    machine = in_draw_precision(machine)

    def score(x):
        return estimate(machine, x, n_particles, seed)

    # There are three times as many calls into NumPy for as much work as elsewhere.
    layers = *machine.recognition, *machine.generative
    work = rows.n_rows * n_particles * work_of(layers) / 3
    return estimate_in_blocks(
        score, rows, n_particles, team, block_states=block_states, work=work
    )


def estimate_in_blocks(
    score, rows, n_particles, team, *, block_states=BLOCK_STATES, work=np.inf
):
    """Return the :class:`Estimate` of rows that `score` gives block by block."""
    found = Estimate(*np.empty((3, rows.n_rows)))

    def score_part(part):
        block = score(rows.take(part))
        for whole, values in zip(found, block, strict=True):
            whole[part] = values

    size = max(1, block_states // n_particles, block_states // 16)
    team.map_blocks(score_part, rows.blocks(size), work)
    return found


def _merge(running, chunk):
    """Add a chunk of log-weights to (maximum, sum w, sum w^2, sum log w).

    The sums of weights are relative to the maximum.
    """
    top, total, squares, plain = running
    new_top = np.maximum(top, chunk.max(axis=0))
    shrink = np.exp(top - new_top)
    weights = np.exp(chunk - new_top)
    return (
        new_top,
        total * shrink + weights.sum(axis=0),
        squares * np.square(shrink) + np.square(weights).sum(axis=0),
        plain + chunk.sum(axis=0),
    )


def wide(machine):
    """Return the machine with everything in float64."""
    return machine.map(lambda array: array.astype(np.float64))
