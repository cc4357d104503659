"""The exact likelihood of small machines, by enumeration of their hidden states."""

import itertools

import numpy as np

from ._likelihood import wide
from ._numerics import log_sum_exp, without_nan

MAX_ENUMERATED_BITS = 20
#: Pairs of states and rows that enumeration has in work at once.
BLOCK_PAIRS = 2**18


def exact_log_likelihood(machine, x, block_bits=10):
    """Return log p(x) of every row by summing over all hidden states, float64.

    The marginal of every layer follows from that of the layer above, so the
    work is the sum over neighbouring layers of 2^(bits of both).

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)
    block_bits : int
        Parents are taken 2^block_bits at a time; bounds the memory.

    Raises
    ------
    ValueError
        If a layer and the one above it have more than `MAX_ENUMERATED_BITS`
        units together.
    """
    layers = wide(machine).top_down
    sizes = [layer.bias.shape[0] for layer in layers[1:]]
    most = max(a + b for a, b in itertools.pairwise([*sizes, 0]))
    if most > MAX_ENUMERATED_BITS:
        raise ValueError(
            f"Enumeration is limited to {MAX_ENUMERATED_BITS} binary units in two "
            f"neighbouring hidden layers; this machine has {most}. Use "
            "log_likelihood, which samples."
        )
    states = binary_states(sizes[-1])
    log_marginal = layers[-1].units.log_prob(states, layers[-1].bias)
    children = [x.astype(np.float64), *(binary_states(size) for size in sizes[:-1])]
    for layer, child in zip(layers[-2::-1], children[::-1], strict=True):
        log_marginal = _marginal(layer, child, states, log_marginal, 2**block_bits)
        states = child
    return log_marginal


def _marginal(layer, child, parents, log_parents, block_size):
    """Return log sum_s p(child | s) p(s) for every row of child."""
    total = np.full(len(child), -np.inf)
    step = max(1, BLOCK_PAIRS // block_size)
    for start in range(0, len(parents), block_size):
        part = slice(start, start + block_size)
        log_prob = layer.units.log_prob_of_pairs(layer.logits(parents[part]))
        for first in range(0, len(child), step):
            rows = slice(first, first + step)
            joint = without_nan(log_prob(child[rows]) + log_parents[part, None])
            total[rows] = np.logaddexp(total[rows], log_sum_exp(joint, axis=0))
    return total


def binary_states(n_units):
    """Return all 2^n_units binary states, one a row, float64."""
    codes = np.arange(2**n_units)
    return ((codes[:, None] >> np.arange(n_units)) & 1).astype(np.float64)
