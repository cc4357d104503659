"""Rows of the user's data as dense minibatches in the machine's own units."""

import copy
import math
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ._numerics import row_blocks

#: Rows that are read, coded or drawn at once where all data is gone through: few
#: enough that what is freed after a block stays with the process for the next, instead
#: of being given back and faulted in.
BLOCK_ROWS = 512
#: Values that differ by less, as a part of their spread, are taken for the same.
_ROUNDING = 1e-5
#: The part of all rows that are many for a value to be one of few, and the part of them
#: that such values have where others are taken for errors.
_MANY = 0.01
_NEARLY_ALL = 0.9


class Rows:
    """Rows of dense or CSR data, read in blocks.

    Bernoulli data is taken as it is; Gaussian data is moved and scaled, so
    that a machine sees mean 0 and spread 1 whatever the data's units are.
    Sparse data becomes dense a block at a time, never as a whole.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)

    positions : ndarray of int, shape (n_rows,), default=None
        Which rows of X there are, in which order; None for all as they come.

    location, scale : ndarray of shape (n_features,) or None, default=None
        Blocks are (X - location) / scale; as they are where both are None.

    clip : bool, default=False
        Cut off what lies outside [0, 1].
    """

    def __init__(self, X, positions=None, *, location=None, scale=None, clip=False):
        self.X = X
        self.positions = positions
        self.location = location
        self.scale = scale
        self.clip = clip

    @property
    def n_rows(self):
        """The number of rows."""
        return self.X.shape[0] if self.positions is None else len(self.positions)

    @property
    def n_features(self):
        """The number of columns."""
        return self.X.shape[1]

    @cached_property
    def range(self):
        """The smallest and the largest value of X, all of it, as it is."""
        return value_range(self.X)

    def take(self, index, out=None):
        """Return the rows at a slice or at integer positions as a dense array.

        Parameters
        ----------
        index : slice or ndarray of int

        out : ndarray of shape (n_index, n_features), default=None
            Takes the rows. Without it the result may be a view of the data.
        """
        block = self._dense(index, out)
        if self.location is not None:
            if out is None:
                out = np.empty(block.shape, dtype=self.X.dtype)
            np.subtract(block, self.location, out=out)
            out /= self.scale
            return out
        if self.clip:
            return np.clip(block, 0, 1, out=out)
        return block

    def _dense(self, index, out):
        """Return the rows as they are."""
        if self.positions is not None:
            index = self.positions[index]
        if sp.issparse(self.X):
            return self.X[index].toarray(out=out)
        if out is None:
            return self.X[index]
        if isinstance(index, slice):
            np.copyto(out, self.X[index])
            return out
        # mode="clip" writes to out directly; the positions are in range.
        return np.take(self.X, index, axis=0, out=out, mode="clip")

    def sums(self, index):
        """Return the column sums of the rows at a slice or at positions, float64."""
        # One column is summed in another order than several are.
        one = self.n_features == 1
        if not sp.issparse(self.X) or self.location is not None or one:
            return self.take(index).sum(axis=0, dtype=np.float64)
        if self.positions is not None:
            index = self.positions[index]
        part = self.X[index]
        values = np.clip(part.data, 0, 1) if self.clip else part.data
        return np.bincount(part.indices, values, self.n_features)

    def mean(self):
        """Return the mean row, summed in float64."""
        total = np.zeros(self.n_features)
        for part in self.blocks(BLOCK_ROWS):
            total += self.sums(part)
        return total / self.n_rows

    def blocks(self, size):
        """Return slices that cover the rows, see :func:`blocks`."""
        return blocks(self.n_rows, size)

    def subset(self, positions):
        """Return some of the rows, as Rows of the same X: nothing is copied."""
        found = copy.copy(self)
        if self.positions is not None:
            positions = self.positions[positions]
        found.positions = positions
        return found

    def seen_as(self, *, location=None, scale=None, clip=False):
        """Return the same rows, moved and scaled, or clipped."""
        found = copy.copy(self)
        found.location, found.scale, found.clip = location, scale, clip
        return found


def blocks(n_rows, size):
    """Return slices that cover so many rows, up to `size` at a time.

    If there are several, their number is even, so that two threads have as much to do.
    """
    n_blocks = max(1, math.ceil(n_rows / size))
    n_blocks += n_blocks > 1 and n_blocks % 2
    return [even_part(n_rows, number, n_blocks) for number in range(n_blocks)]


def even_part(n_rows, number, n_parts):
    """Return one of n_parts slices of n_rows whose lengths differ by one at most."""
    return slice(n_rows * number // n_parts, n_rows * (number + 1) // n_parts)


def value_range(X):
    """Return the smallest and the largest value of dense or CSR data; NaN counts."""
    values = X.data if sp.issparse(X) else X
    ends = [(block.min(), block.max()) for (block,) in row_blocks(values) if len(block)]
    if sp.issparse(X) and X.nnz < X.shape[0] * X.shape[1]:
        ends.append((0.0, 0.0))
    lows, highs = np.transpose(ends)
    return float(lows.min()), float(highs.max())


def is_binary(X):
    """Return whether every value is 0 or 1 once clipped to [0, 1]."""
    values = X.data if sp.issparse(X) else X
    return all(
        bool(np.all((block <= 0) | (block >= 1))) for (block,) in row_blocks(values)
    )


def moments(rows, block_size=BLOCK_ROWS):
    """Return location and scale of every column, float64.

    The location is the mean and the scale the standard deviation. Where a
    column is constant to rounding they are its first value and 1, or what
    rounding comes to if that is more. Values are taken less those of the first row, as
    sums of many equal ones would be rounded, and deviations are divided by the largest
    one before they are squared, so that no finite data over- or underflows unless the
    deviations themselves do, which is an error.
    """
    n_rows = rows.n_rows
    first = rows.take(slice(0, 1))[0].astype(np.float64)
    mean, reach = np.zeros((2, rows.n_features))
    with np.errstate(over="ignore", invalid="ignore"):
        for part in rows.blocks(block_size):
            moved = rows.take(part) - first
            np.maximum(reach, np.abs(moved).max(axis=0), out=reach)
            moved /= n_rows
            mean += moved.sum(axis=0)
    if not np.isfinite(reach).all():
        columns = np.flatnonzero(~np.isfinite(reach)).tolist()
        raise ValueError(f"Columns {columns} spread over more than float64 holds.")
    constant = reach <= 10 * np.finfo(rows.X.dtype).eps * np.abs(first)
    mean[constant] = 0
    reach[constant] = flat = np.maximum(2 * reach[constant], 1.0)
    mean += first
    squares = np.zeros(rows.n_features)
    for part in rows.blocks(block_size):
        squares += np.square((rows.take(part) - mean) / reach).mean(axis=0) * (
            (part.stop - part.start) / n_rows
        )
    scale = reach * np.sqrt(squares)
    scale[constant] = flat
    scale[scale == 0] = 1.0  # spreads of the smallest numbers underflow all the same
    return mean, scale


def resolution(x, scale):
    """Return the smallest step between values of every column, float64.

    It is 0 for columns whose values hardly repeat, and infinite where all are one.
    Where nearly all rows have values that many have, no others count: a cell that was
    mistyped or filled in is no step.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
    scale : ndarray of shape (n_features,)
        The columns' standard deviations.
    """
    x, same = np.sort(x.astype(np.float64), axis=0), _ROUNDING * scale
    many = max(2, math.ceil(_MANY * len(x)))
    with np.errstate(over="ignore"):  # an infinite step is a large one
        steps = np.diff(x, axis=0)
        # Where the value of a row is that of so many from there on.
        has_many = x[many - 1 :] - x[: len(x) - many + 1] <= same
        last = np.maximum.accumulate(np.where(has_many, x[: len(has_many)], -np.inf))
        between = np.where(has_many[1:], x[1 : len(has_many)] - last[:-1], np.inf)
    steps[steps <= same] = np.inf
    between[between <= same] = np.inf
    n_values = 1 + np.isfinite(steps).sum(axis=0)
    smallest = steps.min(axis=0, initial=np.inf)
    smallest[n_values > len(x) / 2] = 0.0
    # Each such value's last rows are not counted.
    n_often = has_many.sum(axis=0) + (many - 1) * (1 + np.isfinite(between).sum(axis=0))
    nearly_all = has_many.any(axis=0) & (n_often >= _NEARLY_ALL * len(x))
    return np.where(nearly_all, between.min(axis=0, initial=np.inf), smallest)
