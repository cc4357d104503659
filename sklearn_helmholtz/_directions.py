"""Directions: from a regression to the change of weights and bias that it asks for.

A direction adds regressions to a :class:`Gradient`, and may turn the
optimiser's step into the step of the parameters as they are stored.
"""

from dataclasses import dataclass

import numpy as np

#: Learning rates up to 3 are then stable, with a momentum of 0.9.
_LARGEST_CURVATURE = 1.0


@dataclass(slots=True)
class Gradient:
    """Sums over one layer's regressions, and later the step made of them.

    Parameters
    ----------
    weights : ndarray of shape (n_parents, n_units)
    bias : ndarray of shape (n_units,)
    parent : ndarray of shape (n_parents,)
        The mean parent of the regressions.
    """

    weights: np.ndarray
    bias: np.ndarray
    parent: np.ndarray

    @classmethod
    def like(cls, layer):
        """Return a gradient of the layer's shapes, not yet filled."""
        weights = np.empty_like(layer.weights)
        parent = np.zeros_like(layer.weights, shape=layer.weights.shape[:1])
        return cls(weights, np.empty_like(layer.bias), parent)

    @staticmethod
    def merge(gradients):
        """Add all gradients into the first, the mean parents as their mean."""
        first, *others = gradients
        for other in others:
            first.weights += other.weights
            first.bias += other.bias
            first.parent += other.parent
        if others:
            first.parent /= len(gradients)
        return first


class Plain:
    """The gradient itself: parent^T residual."""

    gradient = staticmethod(Gradient.like)
    merge = staticmethod(Gradient.merge)

    def __init__(self, centres=None):
        self.centres = centres

    @staticmethod
    def initial_centres(machine):
        """Return what the direction learns of the parents: nothing."""
        return None

    def accumulate(self, regression, gradient, scratch, *, first):
        """Set the gradient to the regression's, or add to it unless first."""
        parent, residual = regression.parent, regression.residual
        if parent is not None:
            _tame(regression, parent)
            _product(parent, residual, gradient.weights, scratch, first=first)
        _column_sums(residual, gradient.bias, first=first)

    def finish(self, network, index, step):
        """Turn the optimiser's step into the stored parameters' step, in place."""


class Centred(Plain):
    """Regression on parents less their running mean, with the bias corrected.

    The logits are written as (s - c) W + b': a change of W then leaves the
    mean logit alone, so that weights and bias do not pull at each other, and
    the learning rate can be an order of magnitude larger. Stored is
    b = b' - c W, so the machine's function does not depend on c.

    Parameters
    ----------
    centres : dict of str to list of ndarray
        The running means by network and layer.
    """

    #: How far a minibatch moves the running mean.
    rate = 0.05

    @staticmethod
    def initial_centres(machine):
        """Return the mean states of the machine's dreams, its weights left aside."""
        means = [layer.units.mean(layer.bias.copy()) for layer in machine.generative]
        above = [*means[1:], means[0][:0]]
        return {
            "generative": [mean.copy() for mean in above],
            "recognition": [mean.copy() for mean in means[:-1]],
            "lateral": [mean.copy() for mean in means[1:]] if machine.lateral else [],
        }

    def accumulate(self, regression, gradient, scratch, *, first):
        parent, residual = regression.parent, regression.residual
        if parent is not None:
            centre = self.centres[regression.network][regression.layer]
            mean = np.add.reduce(parent, axis=0)
            mean /= len(parent)
            centred = scratch("centred", parent.shape)
            np.subtract(parent, centre, out=centred)
            _tame(regression, centred)
            _product(centred, residual, gradient.weights, scratch, first=first)
            if first:
                np.copyto(gradient.parent, mean)
            else:
                # A lane regresses a layer at most twice: awake and asleep.
                gradient.parent += mean
                gradient.parent *= 0.5
        _column_sums(residual, gradient.bias, first=first)

    def finish(self, network, index, step):
        if not step.parent.size:
            return
        centre = self.centres[network][index]
        step.bias -= centre @ step.weights
        centre += self.rate * (step.parent - centre)


def _tame(regression, parent):
    """Scale down a Gaussian layer's residual where its parents are many.

    Its regression is linear least squares, which gradient steps solve only if
    they are shorter than 2 over the largest curvature. The parents' mean
    squared length bounds that; a logistic regression needs no such care, as
    its residuals are bounded.
    """
    if regression.squares is None:
        return
    curvature = np.vdot(parent, parent) / len(parent)
    if curvature > _LARGEST_CURVATURE:
        scale = _LARGEST_CURVATURE / curvature
        np.multiply(regression.residual, scale, out=regression.residual)


def _product(parent, residual, out, scratch, *, first):
    """Put parent^T residual into out, or add it there."""
    if first:
        np.dot(parent.T, residual, out=out)
    else:
        out += np.dot(parent.T, residual, out=scratch("product", out.shape))


def _column_sums(residual, out, *, first):
    """Put the residual's column sums into out, or add them there."""
    if first:
        np.add.reduce(residual, axis=0, out=out)
    else:
        out += np.add.reduce(residual, axis=0)


DIRECTIONS = {"plain": Plain, "centred": Centred}
