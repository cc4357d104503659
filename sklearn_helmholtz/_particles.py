"""Phases of several particles a row, see :mod:`._phases` for those of one state.

- reweighted wake: several recognised particles a row, weighted by
  p(x, s) / q(s | x), teach both networks (Bornschein & Bengio 2015);
- refined wake: one of these particles, drawn by weight, teaches both after some
  moves towards the posterior.
"""

from itertools import pairwise

import numpy as np

from ._moves import refine
from ._numerics import normalised_weights
from ._phases import Regression, explanations, lessons, prior_regression
from ._random import choose, uniforms


def reweighted_wake(
    machine,
    x,
    rng,
    scratch,
    weight,
    n_particles,
    recognition_share,
    *,
    informed=False,
):
    """Yield regressions of both networks on weighted recognised particles.

    The first recognition layer's product with x is computed once a row; each
    later one once a particle.

    Parameters
    ----------
    machine, x, rng, scratch, weight
        As for :func:`._phases.wake`.

    n_particles : int
        Particles a row, K.

    recognition_share : float
        Factor of the recognition network's regressions; 0 leaves them out.

    informed : bool, default=False
        As for :func:`._phases.wake`.
    """
    # The weights are known only when all residuals are; so two rounds over the layers.
    states, logits, log_w = _particles(machine, x, rng, scratch, n_particles)
    prior, top = machine.generative[-1], states[-1]
    log_w += prior.units.log_prob(top, prior.bias)
    residuals, informations = [], []
    for index, (child, parent) in enumerate(pairwise(states)):
        layer = machine.top_down[index]
        above = _particles_logits(layer, index, parent, scratch)
        log_prob, residual = layer.units.log_prob_and_residual(child, above)
        log_w += log_prob
        if informed:
            mean = child - residual
            informations.append(layer.units.information(mean))
        residuals.append(residual)
    w = normalised_weights(log_w, axis=0)
    w *= weight
    w = w.astype(x.dtype, copy=False)[..., None]
    for index, (residual, parent) in enumerate(zip(residuals, states[1:], strict=True)):
        information = informations[index] * w if informed else None
        layer = machine.top_down[index]
        found = _weighted(layer, index, parent, residual, w, information, weight)
        yield found
        if index < len(machine.autoregressive):
            # All particles of a row share x, their child and here their parent.
            rest = residual.sum(0), None, information.sum(0) if informed else None
            yield Regression("autoregressive", index, x, *rest, found.n_linear_parents)
    total = w.sum()
    mean = np.dot(w.ravel(), _flat(top)) / total
    yield prior_regression(machine, mean, total, informed)
    if recognition_share:
        w *= x.dtype.type(recognition_share)
        yield from _recognition_regressions(machine, states, logits, w, informed)


def refined_wake(
    machine,
    x,
    rng,
    scratch,
    weight,
    n_particles,
    recognition_share,
    n_moves,
    *,
    informed=False,
):
    """Yield regressions of both networks on one particle a row, moved.

    The particle is drawn by weight from n_particles recognised ones, and makes
    n_moves moves in every layer.

    Parameters
    ----------
    machine, x, rng, scratch, weight, n_particles, recognition_share, informed
        As for :func:`reweighted_wake`.

    n_moves : int
        See :func:`._moves.refine`.
    """
    particles, _, log_w = _particles(machine, x, rng, scratch, n_particles)
    log_joint, squares = _log_joint(machine, particles, scratch, weight)
    log_w += log_joint
    rows = np.arange(x.shape[0])
    odds = uniforms(rng, rows.shape)
    chosen = choose(normalised_weights(log_w, axis=0), odds), rows
    states = [x, *(layer[chosen] for layer in particles[1:])]
    refine(machine, states, rng, n_moves)
    for found in explanations(machine, states, scratch, weight, informed):
        if found.squares is not None:
            found = found._replace(squares=_mixed(found.squares, squares))
        yield found
    if recognition_share:
        weight = weight * recognition_share
        yield from lessons(machine, states, scratch, weight, informed)


def _log_joint(machine, states, scratch, weight):
    """Return log p(x, s) of particles, (n_particles, n_rows), and visible squares."""
    prior = machine.generative[-1]
    total, squares = prior.units.log_prob(states[-1], prior.bias), None
    for index, (child, parent) in enumerate(pairwise(states)):
        layer = machine.top_down[index]
        logits = _particles_logits(layer, index, parent, scratch)
        total = total + layer.units.log_prob(child, logits)
        if layer.units.variance is not None:
            residual = layer.units.residual(child, logits, out=logits)
            squares = _alike(residual, weight)
    return total, squares


def _particles_logits(layer, index, parent, scratch):
    """Return the logits of states `index` of particles, given those above them."""
    n_particles, n_rows, _ = parent.shape
    shape = n_particles * n_rows, layer.bias.shape[0]
    out = scratch(("residual", index), shape)
    return layer.logits(_flat(parent), out=out).reshape(n_particles, n_rows, -1)


def _particles(machine, x, rng, scratch, n_particles):
    """Return states (x first), their logits, and -log q(s | x) of each particle."""
    n_rows = x.shape[0]
    states, all_logits = [x], []
    log_w = np.zeros((n_particles, n_rows))
    for index, layer in enumerate(machine.recognition):
        shape = n_particles, n_rows, layer.bias.shape[0]
        if index == 0:
            out = scratch(("logits", index), (n_rows, shape[-1]))
            logits = layer.logits(x, out=out)
        else:
            out = scratch(("logits", index), (n_particles * n_rows, shape[-1]))
            logits = layer.logits(_flat(states[-1]), out=out).reshape(shape)
        drawn = scratch(("particles", index), shape)
        machine.draw(index, logits, rng, shape, out=drawn)
        logits = machine.with_lateral(index, logits, drawn)
        log_w -= layer.units.log_prob(drawn, logits)
        states.append(drawn)
        all_logits.append(logits)
    return states, all_logits, log_w


def _alike(residual, weight):
    """Return units' mean squared residual over all particles alike."""
    return np.einsum("krj,krj->j", residual, residual) * (weight / len(residual))


def _mixed(by_weight, alike):
    """Return what variances follow: squared residuals half by weight and half alike.

    By weight they are those of the best of a row's particles. Where a column takes few
    values, that fits it ever more closely, and the variance shrinks until each particle
    that does not costs thousands of nats. Alike they hold what recognition does not
    know as well, and it stays vague where columns depend on each other closely.
    """
    return (by_weight + alike) / 2


def _weighted(layer, index, parent, residual, w, information, weight):
    """Return the generative regression of particles with weights w, `weight` a row."""
    squares = None
    if layer.units.variance is not None:
        by_weight = np.einsum("krj,krj,kr->j", residual, residual, w[..., 0])
        squares = _mixed(by_weight, _alike(residual, weight))
    residual *= w
    if information is not None:
        information = _flat(information)
    rest = _flat(residual), squares, information, layer.units.n_linear_parents
    return Regression("generative", index, _flat(parent), *rest)


def _recognition_regressions(machine, states, logits, w, informed):
    """Yield the recognition network's regressions on the particles."""
    for index, layer in enumerate(machine.recognition):
        means = layer.units.mean(logits[index], out=logits[index])
        information = layer.units.information(means) * w if informed else None
        residual = (states[index + 1] - means) * w
        flat = _flat(residual), None, _flat(information) if informed else None
        if index == 0:
            # All particles of a row share the parent x.
            rest = residual.sum(0), None, information.sum(0) if informed else None
            yield Regression("recognition", 0, states[0], *rest)
        else:
            yield Regression("recognition", index, _flat(states[index]), *flat)
        if machine.lateral:
            yield Regression("lateral", index, _flat(states[index + 1]), *flat)


def _flat(states):
    """Return (n_particles, n_rows, n) as (n_particles * n_rows, n)."""
    return states.reshape(-1, states.shape[-1])
