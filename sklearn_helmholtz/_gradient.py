"""A layer's gradient: sums over its regressions, and how they are added to it."""

from dataclasses import dataclass, field

import numpy as np

from ._numerics import column_sum, row_blocks

#: Products are added to a gradient in blocks of so many values, but of no fewer than
#: so many parents, as products of few rows take longer.
_BLOCK_VALUES = 2**17
_BLOCK_PARENTS = 256


@dataclass(slots=True)
class Gradient:
    """Sums over one layer's regressions, and later the step made of them.

    Parameters
    ----------
    weights : ndarray of shape (n_parents, n_units)
    bias : ndarray of shape (n_units,)
    shift : ndarray of shape (n_parents,)
        How far regressions' mean parents are from the centre, if there is one: each as
        often as its share of the minibatch's rows says.

    curvature : list of ndarray, default=[]
        What the natural direction needs to know of the Fisher information.

    keep : float, default=0.0
        What is there is multiplied by this before a step's first regression is added.

    share : float, default=0.0
        The sum of the shares in `shift`.
    """

    weights: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    curvature: list = field(default_factory=list)
    keep: float = 0.0
    share: float = 0.0

    @classmethod
    def like(cls, layer):
        """Return a gradient of the layer's shapes, not yet filled."""
        weights = np.empty_like(layer.weights)
        shift = np.zeros_like(layer.weights, shape=layer.weights.shape[:1])
        return cls(weights, np.empty_like(layer.bias), shift)

    def with_arrays(self, weights, bias):
        """Return the same with other weights and bias."""
        return Gradient(weights, bias, self.shift, self.curvature, share=self.share)

    def arrays(self):
        """Return all that is summed over rows."""
        return [self.weights, self.bias, self.shift, *self.curvature]

    @staticmethod
    def merge(gradients):
        """Add all gradients into the first."""
        first, *others = gradients
        for other in others:
            for mine, theirs in zip(first.arrays(), other.arrays(), strict=True):
                mine += theirs
            first.share += other.share
        return first

    def map(self, function, *others):
        """Return a gradient of a function of the arrays of this one and of others."""
        arrays = zip(*(each.arrays() for each in (self, *others)), strict=True)
        weights, bias, shift, *curvature = (function(*each) for each in arrays)
        share = function(self.share, *(each.share for each in others))
        return Gradient(weights, bias, shift, curvature, share=share)


def add_product(parent, residual, out, scratch, keep, scale=1):
    """Add `scale` parent^T residual to `keep` times what is in out.

    Some parents at a time.
    """
    if not keep:
        parent.T.dot(residual, out=out)
        if scale != 1:
            out *= scale
        return
    n_values = max(_BLOCK_VALUES, _BLOCK_PARENTS * out.shape[1])
    for mine, columns in row_blocks(out, parent.T, n_values=n_values):
        # Unlike dot, matmul takes a slice of columns without copying it.
        block = np.matmul(columns, residual, out=scratch("product", mine.shape))
        if keep != 1:
            mine *= keep
        if scale != 1:
            block *= scale
        mine += block


def add_column_sums(residual, out, keep, scale=1):
    """Add `scale` times the residual's column sums to `keep` times what is in out."""
    sums = column_sum(residual, out=None if keep else out)
    if scale != 1:
        sums *= scale
    if keep:
        out *= keep
        out += sums
