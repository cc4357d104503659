"""Kernels on arrays: the sigmoid, sums of softplus, weights that sum to one.

Every kernel is silent for every finite logit, in float32 and float64: the
sigmoid goes through tanh, which saturates where exp would overflow.
"""

from functools import lru_cache

import numpy as np


def sigmoid(a, out=None):
    """Return 1 / (1 + exp(-a)), in place where `out` is `a`."""
    out = np.multiply(a, a.dtype.type(0.5), out=out)
    np.tanh(out, out=out)
    out *= 0.5
    out += 0.5
    return out


def softplus_sum(a):
    """Return the sum over the last axis of log(1 + exp(a)).

    log(1 + e^a) = max(a, 0) - log sigmoid(|a|), and max(a, 0) = (a + |a|) / 2.
    The log is taken of numbers in [1/2, 1], so its error is absolute and small;
    log1p would cost several times as much.
    """
    magnitude = np.abs(a)
    linear = row_sum(a) + row_sum(magnitude)
    sigmoid(magnitude, out=magnitude)
    np.log(magnitude, out=magnitude)
    return 0.5 * linear - row_sum(magnitude)


def row_sum(a):
    """Return the sum over the last axis, as a matrix-vector product.

    BLAS sums rows several times as fast as NumPy does.
    """
    ones = _ones(a.shape[-1], a.dtype)
    return np.dot(a.reshape(-1, a.shape[-1]), ones).reshape(a.shape[:-1])


@lru_cache(maxsize=64)
def _ones(length, dtype):
    """Return a vector of ones, to read only."""
    return np.ones(length, dtype=dtype)


def row_blocks(*arrays, n_values=2**16):
    """Yield the same rows of arrays of one shape, about n_values at a time.

    For passes one after another over the same values, which then meet them in the
    processor's cache, and whose temporaries are small.
    """
    whole = arrays[0]
    if whole.size <= n_values:
        yield arrays
        return
    size = max(1, n_values * len(whole) // whole.size)
    for start in range(0, len(whole), size):
        yield tuple(array[start : start + size] for array in arrays)


def row_dot(a, b):
    """Return the sum over the last axis of a * b, leading axes broadcast."""
    return np.einsum("...j,...j->...", a, b)


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
