"""Phases of one state a row: which states regress which network.

Every update of a Helmholtz machine is a weighted regression of a child layer
on its parent. A phase is a generator of such regressions for some rows:

- wake: states recognised from data teach the generative network
  (Hinton et al. 1995);
- sleep: states dreamt by the generative network teach the recognition network
  (Hinton et al. 1995);
- contrast: states recognised from data teach the generative network, and what
  it makes of them, one layer down, teaches the recognition network. With
  weights in common that is contrastive divergence (Hinton 2002).

Its caller must use a regression before it asks for the next: they share
arrays.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ._belief_network import down_pass, up_pass
from ._numerics import column_mean


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

    n_linear_parents : int
        How many regressions teach a mean that is linear in its parents; 0 for other
        units.

    shared : bool
        Whether what it teaches is one with what another network is taught.
    """

    network: str
    layer: int
    parent: np.ndarray | None
    residual: np.ndarray
    squares: np.ndarray | None = None
    information: np.ndarray | None = None
    n_linear_parents: int = 0
    shared: bool = False


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
    yield from explanations(machine, states, scratch, weight, informed)


def explanations(machine, states, scratch, weight, informed):
    """Yield the generative network's regressions on states, one a row."""
    for index, (child, parent) in enumerate(pairwise(states)):
        out = scratch(("residual", index), child.shape)
        logits = machine.generative[index].logits(parent, out=out)
        found = _generative(machine, index, logits, parent, child, weight, informed)
        yield found
        if index < len(machine.autoregressive):
            yield found._replace(network="autoregressive", parent=child, squares=None)
    top = states[-1]
    yield prior_regression(machine, column_mean(top), weight * len(top), informed)


def sleep(machine, n_rows, rng, scratch, weight, *, informed=False):
    """Yield the recognition network's regressions on n_rows dreamt states."""
    states = down_pass(machine.top_down, n_rows, rng, scratch)
    yield from lessons(machine, states, scratch, weight, informed)


def lessons(machine, states, scratch, weight, informed):
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
        given = machine, index, echo, parent, weight, scratch, informed
        yield from _recognition(*given, shared=True)
    yield prior_regression(machine, column_mean(states[-1]), weight * len(x), informed)


def _recognition(
    machine, index, parent, child, weight, scratch, informed, *, shared=False
):
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
    yield Regression("recognition", index, parent, *rest, shared=shared)
    if machine.lateral:
        yield Regression("lateral", index, child, *rest)


def prior_regression(machine, child, weight, informed):
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
    rest = residual, squares, information, layer.units.n_linear_parents
    return Regression("generative", index, parent, *rest)
