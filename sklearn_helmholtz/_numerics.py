"""Kernels on arrays: the sigmoid, sums of softplus, weights that sum to one.

Every kernel is silent for every finite logit, in float32 and float64: the
sigmoid goes through tanh, which saturates where exp would overflow.
"""

import numpy as np

# 2^6 factors of at most 2 stay far below float32's largest number, 2^128.
_MAX_HALVINGS = 6


def sigmoid(a, out=None):
    """Return 1 / (1 + exp(-a)), in place where `out` is `a`."""
    out = np.multiply(a, a.dtype.type(0.5), out=out)
    np.tanh(out, out=out)
    out *= 0.5
    out += 0.5
    return out


def softplus_sum(a):
    """Return the sum over the last axis of log(1 + exp(a)).

    log(1 + e^a) = max(a, 0) + log(1 + e^-|a|), and the sum of the second
    terms is the log of a product of numbers in (1, 2]: multiplying costs less
    than taking logs, so halves are multiplied onto each other first.
    """
    magnitude = np.abs(a)
    # max(a, 0) = (a + |a|) / 2
    linear = np.add.reduce(a, axis=-1) + np.add.reduce(magnitude, axis=-1)
    np.negative(magnitude, out=magnitude)
    np.exp(magnitude, out=magnitude)
    magnitude += 1
    return 0.5 * linear + _log_product(magnitude)


def _log_product(factors):
    """Return the sum over the last axis of log(factors), each in [1, 2].

    Overwrites `factors`.
    """
    for _ in range(_MAX_HALVINGS):
        width = factors.shape[-1]
        if width < 16:
            break
        half = width // 2
        product = factors[..., :half]
        product *= factors[..., half : 2 * half]
        if width % 2:
            product[..., 0] *= factors[..., -1]
        factors = product
    return np.add.reduce(np.log(factors), axis=-1)


def row_dot(a, b):
    """Return the sum over the last axis of a * b, leading axes broadcast."""
    return np.einsum("...j,...j->...", a, b)


def log_sum_exp(a, axis):
    """Return log(sum(exp(a))) over one axis."""
    top = a.max(axis=axis, keepdims=True)
    total = np.exp(a - top).sum(axis=axis)
    return np.log(total) + np.squeeze(top, axis)


def normalised_weights(log_weights, axis):
    """Return exp(log_weights) scaled to sum to one over `axis`."""
    weights = np.exp(log_weights - log_weights.max(axis=axis, keepdims=True))
    weights /= weights.sum(axis=axis, keepdims=True)
    return weights
