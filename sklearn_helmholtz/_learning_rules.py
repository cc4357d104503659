"""Learning rules: which states, with which weights, regress which network.

Every update of a Helmholtz machine is a weighted regression of a child layer
on its parent. A phase is a generator of such regressions for some rows:

- wake: states recognised from data teach the generative network
  (Hinton et al. 1995);
- sleep: states dreamt by the generative network teach the recognition network
  (Hinton et al. 1995);
- reweighted wake: several recognised particles a row, weighted by
  p(x, s) / q(s | x), teach both (Bornschein & Bengio 2015);
- refined wake: one of these particles, drawn by weight, teaches both after some
  moves towards the posterior;
- contrast: states recognised from data teach the generative network, and what
  it makes of them, one layer down, teaches the recognition network. With
  weights in common that is contrastive divergence (Hinton 2002).

Its caller must use a regression before it asks for the next: they share
arrays.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ._belief_network import BOTTOM_UP, TOP_DOWN, down_pass, up_pass
from ._moves import refine
from ._numerics import column_mean, normalised_weights
from ._random import choose, uniforms


class Regression(NamedTuple):
    """One weighted regression of a child layer on its parent; only to be read.

    Parameters
    ----------
    network : {"generative", "recognition", "lateral", "autoregressive"}
        Which network it teaches.

    layer : int
        The layer's index in that network.

    parent : ndarray of shape (n_rows, n_parents) or None
        None for the prior, which has no parent.

    residual : ndarray of shape (n_rows, n_units), or (1, n_units)
        weight * (child - mean(parent @ weights + bias)); the weights sum to
        the rule's share over all rows of a minibatch. Without a parent the mean is
        one for all rows, and one row holds the sum over them.

    squares : ndarray of shape (n_units,) or None
        The weighted mean of the squared residual, for units with a variance.

    information : ndarray of the residual's shape or None
        weight * the units' Fisher information, where the direction asks for it.

    linear : int
        Where the mean is a linear function of the parent, among how many parents
        that teach at once; else 0.
    """

    network: str
    layer: int
    parent: np.ndarray | None
    residual: np.ndarray
    squares: np.ndarray | None = None
    information: np.ndarray | None = None
    linear: int = 0


def wake(machine, x, rng, scratch, weight, *, informed=False):
    """Yield the generative network's regressions on recognised states.

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)
    rng : Stream
    scratch : Scratch
    weight : float
        Every row's weight, one over the rows of the whole minibatch.

    informed : bool, default=False
        Whether regressions carry the units' information.
    """
    states = up_pass(machine, x, rng, scratch)
    yield from _explanations(machine, states, scratch, weight, informed)


def _explanations(machine, states, scratch, weight, informed):
    """Yield the generative network's regressions on states, one a row."""
    for index, (child, parent) in enumerate(pairwise(states)):
        out = scratch(("residual", index), child.shape)
        logits = machine.generative[index].logits(parent, out=out)
        found = _generative(machine, index, logits, parent, child, weight, informed)
        yield found
        if index < len(machine.autoregressive):
            yield found._replace(network="autoregressive", parent=child, squares=None)
    top = states[-1]
    yield _prior(machine, column_mean(top), weight * len(top), informed)


def sleep(machine, n_rows, rng, scratch, weight, *, informed=False):
    """Yield the recognition network's regressions on n_rows dreamt states."""
    states = down_pass(machine.top_down, n_rows, rng, scratch)
    yield from _lessons(machine, states, scratch, weight, informed)


def _lessons(machine, states, scratch, weight, informed):
    """Yield the recognition network's regressions on states, one a row."""
    for index, (parent, child) in enumerate(pairwise(states)):
        yield from _recognition(
            machine, index, parent, child, weight, scratch, informed
        )


def contrast(machine, x, rng, scratch, weight, *, informed=False):
    """Yield both networks' regressions between recognised states and their echoes.

    An echo is what the generative network makes of recognised states, one layer
    down; the recognition network learns to tell them from it.

    Parameters
    ----------
    machine, x, rng, scratch, weight, informed
        As for :func:`wake`.
    """
    states = up_pass(machine, x, rng, scratch)
    for index, (child, parent) in enumerate(pairwise(states)):
        layer = machine.generative[index]
        out = scratch(("residual", index), child.shape)
        logits = layer.logits(parent, out=out)
        echo = scratch(("echo", index), child.shape)
        echo = layer.units.sample(logits, rng, child.shape, out=echo)
        yield _generative(machine, index, logits, parent, child, weight, informed)
        yield from _recognition(machine, index, echo, parent, weight, scratch, informed)
    yield _prior(machine, column_mean(states[-1]), weight * len(x), informed)


def _recognition(machine, index, parent, child, weight, scratch, informed):
    """Yield the regressions of states index + 1 on those below, and beside, them."""
    layer = machine.recognition[index]
    logits = layer.logits(parent, out=scratch(("residual", index), child.shape))
    logits = machine.with_lateral(index, logits, child)
    residual = layer.units.residual(child, logits, out=logits)
    information = None
    if informed:
        information = layer.units.information(child - residual) * weight
    residual *= weight
    rest = residual, None, information
    yield Regression("recognition", index, parent, *rest)
    if machine.lateral:
        yield Regression("lateral", index, child, *rest)


def _prior(machine, child, weight, informed):
    """Return the regression of the top states, of which `child` is the mean.

    Their weights sum to `weight`.
    """
    layer = machine.generative[-1]
    mean = layer.units.mean(layer.bias)
    information = None
    if informed:
        information = layer.units.information(mean)[None] * weight
    residual = (child - mean)[None]
    residual *= weight
    top = len(machine.recognition)
    return Regression("generative", top, None, residual, information=information)


def _generative(machine, index, logits, parent, child, weight, informed):
    """Return the regression of child on parent, which takes the logits' place.

    All rows have one weight.
    """
    layer = machine.top_down[index]
    residual = layer.units.residual(child, logits, out=logits)
    information = squares = None
    if informed:
        information = layer.units.information(child - residual) * weight
    if layer.units.variance is not None:
        squares = weight * np.square(residual).sum(axis=0)
    residual *= weight
    rest = residual, squares, information, layer.units.linear
    return Regression("generative", index, parent, *rest)


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
        As for :func:`wake`.

    n_particles : int
        Particles a row, K.

    recognition_share : float
        Factor of the recognition network's regressions; 0 leaves them out.

    informed : bool, default=False
        As for :func:`wake`.
    """
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
        found = _weighted(layer, index, parent, residual, w, information)
        yield found
        if index < len(machine.autoregressive):
            # All particles of a row share x, their child and here their parent.
            rest = residual.sum(0), None, information.sum(0) if informed else None
            yield Regression("autoregressive", index, x, *rest, found.linear)
    total = w.sum()
    mean = np.dot(w.ravel(), _flat(top)) / total
    yield _prior(machine, mean, total, informed)
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
    log_w += _log_joint(machine, particles, scratch)
    rows = np.arange(x.shape[0])
    odds = uniforms(rng, rows.shape)
    chosen = choose(normalised_weights(log_w, axis=0), odds), rows
    states = [x, *(layer[chosen] for layer in particles[1:])]
    refine(machine, states, rng, n_moves)
    yield from _explanations(machine, states, scratch, weight, informed)
    if recognition_share:
        weight = weight * recognition_share
        yield from _lessons(machine, states, scratch, weight, informed)


def _log_joint(machine, states, scratch):
    """Return log p(x, s) of particles, (n_particles, n_rows)."""
    prior = machine.generative[-1]
    total = prior.units.log_prob(states[-1], prior.bias)
    for index, (child, parent) in enumerate(pairwise(states)):
        layer = machine.top_down[index]
        logits = _particles_logits(layer, index, parent, scratch)
        total = total + layer.units.log_prob(child, logits)
    return total


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


def _weighted(layer, index, parent, residual, w, information):
    """Return the generative regression of particles with weights w."""
    squares = None
    if layer.units.variance is not None:
        squares = np.einsum("krj,krj,kr->j", residual, residual, w[..., 0])
    residual *= w
    if information is not None:
        information = _flat(information)
    rest = _flat(residual), squares, information, layer.units.linear
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


class Lane(NamedTuple):
    """Phases that run one after another, beside other lanes.

    Parameters
    ----------
    phases : tuple of ({"wake", "sleep"}, slice)
        Each phase with its rows of the minibatch.

    owns : tuple of str
        The networks that no other lane teaches.
    """

    phases: tuple
    owns: tuple


class LearningRule:
    """Which phases a step has, and how they are laid out in lanes.

    Parameters
    ----------
    n_particles : int
        Recognised particles a row.

    wake_share, sleep_share : float
        Factors of the recognition network's regressions in the two phases.

    n_moves : int, default=0
        Moves towards the posterior before a particle teaches.

    informed : bool, default=False
        Whether regressions carry the units' information.
    """

    #: Whether a recognition layer's weights are the generative ones' transpose.
    shares_weights = False
    #: Whether grey rows are better drawn to binary than taken as they are.
    resamples = True
    #: The learning rate to start with, as a share of the direction's.
    usual_rate = 1.0
    #: What alpha="auto" stands for.
    usual_penalty: str | float = "evidence"
    #: Steps that max_iter="auto" takes at the least, if its most epochs allow it.
    least_steps = 1000

    def __init__(
        self, n_particles, wake_share, sleep_share, n_moves=0, *, informed=False
    ):
        self.n_particles = n_particles
        self.n_moves = n_moves
        self.informed = informed
        self.wake_share = float(wake_share)
        self.sleep_share = float(sleep_share)

    def lanes(self, n_rows):
        """Return the lanes of a step on n_rows: each half of them, awake and asleep.

        The layout may depend on the rule and the minibatch, never on the number of
        threads, so that the result does not either.
        """
        parts = slice(0, n_rows // 2), slice(n_rows // 2, n_rows)
        return [
            Lane((("wake", part), ("sleep", part)), ())
            for part in parts
            if part.stop > part.start
        ]

    def wake(self, machine, x, rng, scratch, weight):
        """Yield the regressions on rows of data x, of that weight each."""
        raise NotImplementedError

    def sleep(self, machine, n_rows, rng, scratch, weight):
        """Yield the regressions on n_rows dreams: none, unless a rule has some."""
        return iter(())


class ReweightedWakeSleep(LearningRule):
    """Reweighted wake-sleep, and what it becomes with one particle or with moves."""

    def lanes(self, n_rows):
        """Return the lanes of a step on n_rows.

        One particle: the two phases cost the same and are a lane each. More: the
        wake phase costs most, and each lane takes half of the rows through both.
        """
        if n_rows == 1 or (self.n_particles == 1 and not self.n_moves):
            rows = slice(0, n_rows)
            shared = bool(self.wake_share)
            return [
                Lane((("wake", rows),), TOP_DOWN),
                Lane((("sleep", rows),), () if shared else BOTTOM_UP),
            ]
        return super().lanes(n_rows)

    def wake(self, machine, x, rng, scratch, weight):
        """Yield the wake phase's regressions."""
        given = machine, x, rng, scratch, weight
        how = {"informed": self.informed}
        if self.n_moves:
            rest = self.n_particles, self.wake_share, self.n_moves
            return refined_wake(*given, *rest, **how)
        if self.n_particles == 1 and not self.wake_share:
            return wake(*given, **how)
        return reweighted_wake(*given, self.n_particles, self.wake_share, **how)

    def sleep(self, machine, n_rows, rng, scratch, weight):
        """Yield the sleep phase's regressions."""
        if not self.sleep_share:
            return iter(())
        weight = weight * self.sleep_share
        return sleep(machine, n_rows, rng, scratch, weight, informed=self.informed)


class WakeSleep(ReweightedWakeSleep):
    """Wake-sleep; the arguments are those of its generalisation."""

    def __init__(
        self, n_particles, wake_share, sleep_share, n_moves=0, *, informed=False
    ):
        super().__init__(1, wake_share=0.0, sleep_share=1.0, informed=informed)


class ContrastiveDivergence(LearningRule):
    """Contrastive divergence: networks that share their weights, and echoes.

    The sum of the two networks' regressions on a pair of layers is the gradient
    h x^T - h' x'^T of Hinton (2002), with h recognised from x, x' the echo of h,
    and h' the means recognised from x'.
    """

    shares_weights = True
    resamples = False
    usual_rate = 0.5
    usual_penalty = 3e-4
    least_steps = 0

    def __init__(
        self, n_particles, wake_share, sleep_share, n_moves=0, *, informed=False
    ):
        super().__init__(1, wake_share=1.0, sleep_share=0.0, informed=informed)

    def wake(self, machine, x, rng, scratch, weight):
        """Yield the regressions of both networks."""
        return contrast(machine, x, rng, scratch, weight, informed=self.informed)


LEARNING_RULES = {
    "wake-sleep": WakeSleep,
    "reweighted-wake-sleep": ReweightedWakeSleep,
    "contrastive-divergence": ContrastiveDivergence,
}
