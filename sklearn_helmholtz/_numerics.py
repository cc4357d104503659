"""Kernels on arrays: the sigmoid, sums of softplus, weights that sum to one.

Every kernel is right for every finite logit, in float32 and float64. What they cost
is an exp a value (a tanh is faster or slower, by processor and dtype, see
doc/performance.md); where that overflows, the infinity is either the limit that is
meant or calls for another way. NumPy would warn of it, had the callers not silenced it
for all of their work at once, see :func:`._parallel.quiet`.
"""

import math
from functools import lru_cache

import numpy as np

#: How often the two halves of rows are multiplied before a log, by a value's bytes.
_N_HALVINGS = {4: 2, 8: 3}


def sigmoid(a, out=None):
    """Return 1 / (1 + exp(-a)), in place where `out` is `a`."""
    out = one_plus_exp(np.negative(a, out=out), out=out)
    return np.divide(1, out, out=out)


def one_plus_exp(a, out=None):
    """Return 1 + exp(a), infinite where that overflows, in place where `out` is `a`."""
    out = np.exp(a, out=out)
    out += 1
    return out


def softplus_sum(a, one_plus=None):
    """Return the sum over the last axis of log(1 + exp(a)).

    One log is taken of the product of four terms each, of eight in float64. Rows where
    a product overflows, which takes logits of 22 (88) on average, go another way.

    Parameters
    ----------
    a : ndarray
    one_plus : ndarray, default=None
        ``one_plus_exp(a)``, where the caller has it; it is only read.
    """
    one_plus = one_plus_exp(a) if one_plus is None else one_plus
    total = _log_of_products(one_plus)
    finite = np.isfinite(total)
    if not finite.all():
        total = np.where(finite, total, 0)
        total[~finite] = _softplus_sum_of_any(a[~finite])
    return total


def _log_of_products(terms):
    """Return the sum over the last axis of log(terms), infinite on overflow."""
    for _ in range(_N_HALVINGS[terms.dtype.itemsize]):
        half, odd = divmod(terms.shape[-1], 2)
        if not half:
            break
        # Not into its own factors' memory: passes over parts of rows take longer.
        product = terms[..., :half] * terms[..., half : 2 * half]
        if odd:
            product[..., 0] *= terms[..., -1]
        terms = product
    return row_sum(np.log(terms))


def _softplus_sum_of_any(a):
    """Return softplus_sum(a) for logits of any size.

    log(1 + e^a) = max(a, 0) - log sigmoid(|a|).
    The log is taken of numbers in [1/2, 1], so its error is absolute and small;
    log1p would cost several times as much.
    """
    linear = row_sum(np.maximum(a, 0))
    magnitude = np.abs(a)
    sigmoid(magnitude, out=magnitude)
    np.log(magnitude, out=magnitude)
    return linear - row_sum(magnitude)


def row_sum(a):
    """Return the sum over the last axis, as a matrix-vector product.

    BLAS sums rows several times as fast as NumPy does.
    """
    ones = _constant(a.shape[-1], a.dtype)
    return a.reshape(-1, a.shape[-1]).dot(ones).reshape(a.shape[:-1])


def column_sum(a, out=None):
    """Return the sum over rows of a matrix, likewise."""
    return _constant(len(a), a.dtype).dot(a, out=out)


def column_mean(a, out=None, times=1.0):
    """Return the mean over rows of a matrix, `times` a factor, likewise."""
    return _constant(len(a), a.dtype, times / len(a)).dot(a, out=out)


@lru_cache(maxsize=64)
def _constant(length, dtype, value=1.0):
    """Return a vector of one value, to read only."""
    return np.full(length, value, dtype=dtype)


def row_blocks(*arrays, n_values=2**16):
    """Yield the same rows of arrays of one length, about n_values at a time.

    Of the first array it is no more, unless a single row is; the blocks are of one size
    but for the last. For passes one after another over the same values, which then meet
    them in the processor's cache, and whose temporaries are small.
    """
    whole = arrays[0]
    if whole.size <= n_values:
        yield arrays
        return
    most = max(1, n_values * len(whole) // whole.size)
    size = math.ceil(len(whole) / math.ceil(len(whole) / most))
    for start in range(0, len(whole), size):
        yield tuple(array[start : start + size] for array in arrays)


def log_sum_exp(a, axis):
    """Return log(sum(exp(a))) over one axis."""
    top = np.maximum(a.max(axis=axis, keepdims=True), np.finfo(a.dtype).min)
    total = np.exp(a - top).sum(axis=axis)
    with np.errstate(divide="ignore"):
        return np.log(total) + np.squeeze(top, axis)


def normalised_weights(log_weights, axis):
    """Return exp(log_weights) scaled to sum to one over `axis`."""
    weights = np.exp(log_weights - log_weights.max(axis=axis, keepdims=True))
    weights /= weights.sum(axis=axis, keepdims=True)
    return weights


def without_nan(log_prob):
    """Return log-probabilities, -inf in place of NaN.

    All parameters are finite. So NaN comes of a row that is so far off that logits, or
    its distance, overflow: there is no density.
    """
    log_prob[np.isnan(log_prob)] = -np.inf
    return log_prob
