"""The start of training: kinds of visible units, initial networks."""

import numpy as np

from ._belief_network import Layer, Machine
from ._data import value_range
from ._units import Bernoulli, Gaussian

#: Rounding (of a scaler, say) may leave [0, 1] by this many units in the last place.
_SLACK = 16

#: The first recognition logits' spread, for rows of spread one.
_RECOGNITION_SPREAD = 0.1
#: The largest weight of a cause on the visible units, times the root of their
#: number.
_CAUSE = np.sqrt(2)


def inside_unit_interval(X):
    """Return whether all values lie in [0, 1], up to rounding, and their range."""
    low, high = value_range(X)
    slack = _SLACK * np.finfo(X.dtype).eps
    return -slack <= low and high <= 1 + slack, (low, high)


def initial_machine(rows, units, sizes, activity, rng, *, lateral=False):
    """Return networks to start from.

    All weights are small, and zero in the generative network but for those to
    binary visible units, which are positive: each hidden unit then starts as a
    cause that adds to what is seen, and on the bars task far fewer fits end
    with two units for one bar, or one for two. Biases are those of independent
    units, visible ones at the data's mean, hidden ones at `activity`.

    Parameters
    ----------
    rows : Rows
        The first data, whose mean sets the visible bias.

    units : Bernoulli or Gaussian
        The visible units.

    sizes : sequence of int
        Units of the hidden layers, bottom-up.

    activity : float
        The hidden units' mean activity at the start, in (0, 1).

    rng : numpy.random.Generator

    lateral : bool, default=False
        Whether recognition units see those before them in their layer.
    """
    dtype = rows.X.dtype
    means = [_mean(rows), *(np.full(size, activity) for size in sizes)]
    logit = np.log(activity) - np.log1p(-activity)
    recognition = []
    for parent_mean, size in zip(means[:-1], sizes, strict=True):
        n_parents = len(parent_mean)
        weights = rng.standard_normal((n_parents, size))
        weights *= _RECOGNITION_SPREAD / np.sqrt(n_parents)
        bias = logit - parent_mean @ weights
        recognition.append(
            Layer(weights.astype(dtype), bias.astype(dtype), Bernoulli())
        )
    visible_bias = means[0]
    if units.binary:
        # One row of each kind more keeps the logits finite.
        smoothed = (means[0] * rows.n_rows + 1) / (rows.n_rows + 2)
        visible_bias = np.log(smoothed) - np.log1p(-smoothed)
    biases = [visible_bias, *(np.full(size, logit) for size in sizes)]
    generative = []
    for index, bias in enumerate(biases):
        n_parents = sizes[index] if index < len(sizes) else 0
        weights = np.zeros((n_parents, len(bias)))
        if not index and units.binary:
            weights += rng.uniform(0, _CAUSE / np.sqrt(n_parents), weights.shape)
        kind = Bernoulli() if index else units
        generative.append(Layer(weights.astype(dtype), bias.astype(dtype), kind))
    beside = ()
    if lateral:
        beside = tuple(
            Layer(
                np.zeros((size, size), dtype=dtype),
                np.zeros(size, dtype=dtype),
                Bernoulli(),
            )
            for size in sizes
        )
    return Machine(tuple(generative), tuple(recognition), beside)


def _mean(rows, block_size=4096):
    """Return the mean row, summed in float64."""
    total = np.zeros(rows.n_features)
    for part in rows.blocks(block_size):
        total += rows.take(part).sum(axis=0, dtype=np.float64)
    return total / rows.n_rows


def visible_units(kind, rows, block_size=4096):
    """Return the units of a kind of visible layer.

    Gaussian ones start with the rows' own variance, drawn towards the spread
    of one by a row more: rows standardised by others' moments may be
    constant.
    """
    if kind == "bernoulli":
        return Bernoulli()
    mean = _mean(rows)
    total = np.ones(rows.n_features)
    for part in rows.blocks(block_size):
        total += np.square(rows.take(part) - mean).sum(axis=0)
    return Gaussian((total / (rows.n_rows + 1)).astype(rows.X.dtype))
