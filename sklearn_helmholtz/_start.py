"""The start of training: kinds of visible units, initial networks."""

import numpy as np

from ._belief_network import Layer, Machine
from ._data import BLOCK_ROWS
from ._units import HIDDEN, LEAST_VARIANCE, Bernoulli, Gaussian

#: Rounding may leave [0, 1] by so much: a scaler's in float32, and in float64 where
#: the data lie far from zero. One size for both, as arrays change dtypes on their way.
_SLACK = 16 * np.finfo(np.float32).eps

#: The first recognition logits' spread, for rows of spread one.
_RECOGNITION_SPREAD = 0.1
#: The largest weight of a cause on the visible units, times the root of their
#: number.
_CAUSE = np.sqrt(2)
#: Rows of weights that are drawn at once, in float64.
_DRAWN_ROWS = 64


def inside_unit_interval(rows):
    """Return whether all values of the data lie in [0, 1], up to rounding."""
    low, high = rows.range
    return bool(low >= -_SLACK and high <= 1 + _SLACK)


def visible_kind(kind, rows):
    """Return the kind of visible units that a machine's `visible` stands for."""
    if kind != "auto":
        return kind
    return "bernoulli" if inside_unit_interval(rows) else "gaussian"


def initial_machine(
    rows,
    visible,
    sizes,
    activity,
    rng,
    *,
    lateral=False,
    autoregressive=False,
    shared=False,
    steps=None,
):
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

    visible : {"bernoulli", "gaussian"}
        Kind of the visible units.

    sizes : sequence of int
        Units of the hidden layers, bottom-up.

    activity : float
        The hidden units' mean activity at the start, in (0, 1).

    rng : numpy.random.Generator

    lateral : bool, default=False
        Whether recognition units see those before them in their layer.

    autoregressive : bool, default=False
        Whether visible units see those before them.

    shared : bool, default=False
        Whether generative weights are the recognition weights' transpose.

    steps : ndarray of shape (n_features,), default=None
        The smallest steps between values that real visible units take, where variances
        are not to make anything of them.
    """
    dtype = rows.X.dtype
    mean = rows.mean()
    logit = np.log(activity) - np.log1p(-activity)
    biases = [np.full(size, logit) for size in sizes]
    recognition = _recognition(mean, biases, activity, rng, dtype)
    if visible == "bernoulli":
        # One row of each kind more keeps the logits finite.
        smoothed = (mean * rows.n_rows + 1) / (rows.n_rows + 2)
        mean = np.log(smoothed) - np.log1p(-smoothed)
        units = Bernoulli()
    else:
        units = Gaussian(_variance(rows, mean).astype(dtype))
        if steps is not None:
            least = _least_variance(steps, units.variance)
            units = Gaussian(np.maximum(units.variance, least), least)
    generative = _generative([mean, *biases], units, rng, dtype)
    for down, up in zip(generative[:-1], recognition, strict=True):
        if shared:
            down.weights[...] = up.weights.T
        # What active parents send is taken off, so that the mean stays what it is.
        down.bias[...] -= activity * down.weights.sum(axis=0)
    return Machine(
        generative,
        recognition,
        tuple(_beside(size, dtype) for size in sizes if lateral),
        (_beside(rows.n_features, dtype),) if autoregressive else (),
    )


def _beside(size, dtype):
    """Return a layer from units to those after them, with nothing sent yet."""
    weights = np.zeros((size, size), dtype)
    return Layer(weights, weights[0].copy(), HIDDEN)


def _recognition(mean, biases, activity, rng, dtype):
    """Return recognition layers that are active so much at the mean row."""
    layers = []
    for bias in biases:
        weights = np.empty((len(mean), len(bias)), dtype)
        spread = _RECOGNITION_SPREAD / np.sqrt(len(mean))
        _fill(weights, lambda shape, s=spread: s * rng.standard_normal(shape))
        # einsum casts in blocks, where a product would copy all of the weights.
        sent = np.einsum("i,ij->j", mean, weights)
        layers.append(Layer(weights, (bias - sent).astype(dtype), HIDDEN))
        mean = np.full(len(bias), activity)
    return tuple(layers)


def _generative(biases, units, rng, dtype):
    """Return generative layers, the visible one of some units."""
    layers = []
    above = [*biases[1:], biases[0][:0]]
    for index, (bias, parents) in enumerate(zip(biases, above, strict=True)):
        weights = np.zeros((len(parents), len(bias)), dtype)
        if not index and units.binary:
            largest = _CAUSE / np.sqrt(len(parents))
            _fill(weights, lambda shape, c=largest: rng.uniform(0, c, shape))
        kind = HIDDEN if index else units
        layers.append(Layer(weights, bias.astype(dtype), kind))
    return tuple(layers)


def _fill(weights, draw):
    """Fill weights with float64 draws, some rows at a time to save memory."""
    for start in range(0, len(weights), _DRAWN_ROWS):
        part = weights[start : start + _DRAWN_ROWS]
        part[...] = draw(part.shape)


def _variance(rows, mean):
    """Return the rows' variance, drawn towards the spread of one by a row more.

    Rows standardised by others' moments may be constant.
    """
    total = np.ones(rows.n_features)
    for part in rows.blocks(BLOCK_ROWS):
        total += np.square(rows.take(part) - mean).sum(axis=0)
    return total / (rows.n_rows + 1)


def _least_variance(steps, variance):
    """Return what no variance may fall below, for columns of such steps and variances.

    In units of their spread. What is rounded to steps has an error with a variance of a
    twelfth of one squared. And a value is told from its neighbours to half a step: up
    to that squared, what a column has in these rows is not to be explained. A machine
    that finds few values could have any density there, and a class would win each row.
    """
    squares = np.square(steps)
    low, high = (np.clip(part * squares, LEAST_VARIANCE, 1) for part in (1 / 12, 1 / 4))
    return np.clip(variance, low, high).astype(variance.dtype)
