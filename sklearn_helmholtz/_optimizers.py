"""Optimisers: the only code that changes parameters.

An optimiser turns a gradient into a step in two moves, so that the first can
run beside other work and only the second touches the parameters: ``prepare``
makes the step of the gradient, ``apply`` adds it.
"""

import math
from itertools import chain

import numpy as np

from ._numerics import row_blocks

#: How far a minibatch moves a variance towards its own mean squared residual:
#: the natural gradient's step, which keeps it positive.
_VARIANCE_RATE = 0.05


def _blocks(gradient, *memories):
    """Return blocks of the weights, if any, and the bias, with memory for them."""
    arrays = zip((gradient.weights, gradient.bias), *memories, strict=True)
    return chain.from_iterable(row_blocks(*group) for group in arrays if len(group[0]))


class Optimizer:
    """How a step reaches the parameters, whatever it was made by."""

    def begin(self, state, part):
        """Get ready for steps that are `part` of a whole one, on fewer rows."""

    def forget(self, state):
        """Forget where steps have been going, if they go on there."""

    @staticmethod
    def apply(layer, step, squares, part=1.0):
        """Add a step to a layer's parameters, and move its variance, if it has one.

        Parameters
        ----------
        layer : Layer
        step : Gradient
        squares : ndarray of shape (n_units,) or None
            The minibatch's mean squared residual.

        part : float, default=1.0
            What part of a whole minibatch there is: one row must not move a variance
            as far as a hundred do.
        """
        np.add(layer.weights, step.weights, out=layer.weights)
        np.add(layer.bias, step.bias, out=layer.bias)
        if squares is not None:
            variance = layer.units.variance
            scalar = variance.dtype.type
            variance += scalar(_VARIANCE_RATE * part) * (squares - variance)
            np.maximum(variance, layer.units.least, out=variance)


class SGD(Optimizer):
    """Gradient ascent with heavy-ball momentum: v <- m v + rate g is the step.

    Parameters
    ----------
    momentum : float
        m, in [0, 1).
    """

    #: The learning rate to start with; that of direction and rule if None.
    usual_rate: float | None = None
    #: Whether a step is a sum over regressions, which may be added one by one to
    #: what `running` gives.
    additive = True

    def __init__(self, momentum):
        self.momentum = float(momentum)

    def initial_state(self, layer):
        """Return the optimiser's memory for one layer's parameters."""
        zeros = [np.zeros_like(layer.weights), np.zeros_like(layer.bias)]
        return {"velocity": zeros, "part": 1.0}

    def begin(self, state, part):
        """Get ready for steps that are `part` of a whole one.

        The velocity of longer ones is cut to that: it would take the parameters on as
        far as ten whole steps, and what these few rows say would not stop it.
        """
        if part < state["part"]:
            for velocity in state["velocity"]:
                velocity *= part / state["part"]
        state["part"] = part

    def forget(self, state):
        """Stand still."""
        for velocity in state["velocity"]:
            velocity.fill(0)

    def running(self, gradient, state):
        """Return the gradient with the velocity's arrays: what goes in is a step."""
        weights, bias = state["velocity"]
        running = gradient.with_arrays(weights, bias)
        running.keep = self.momentum
        return running

    def prepare(self, gradient, state, rate):
        """Return the step, and update the memory; the gradient's arrays are used up.

        The gradient may be a :meth:`running` one, which holds the step already.
        """
        weights, bias = state["velocity"]
        if gradient.weights is not weights:
            for value, velocity in _blocks(gradient, state["velocity"]):
                velocity *= self.momentum
                value *= rate
                velocity += value
        # The direction goes on to change the bias's step, which is no velocity then.
        return gradient.with_arrays(weights, bias.copy())


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1) for gradient ascent.

    Parameters
    ----------
    beta_1 : float
        Decay of the mean gradient, in [0, 1).

    beta_2 : float, default=0.999
        Decay of the mean squared gradient.

    epsilon : float, default=1e-8
        Added to the root of the mean square.
    """

    usual_rate = 0.001
    additive = False

    def __init__(self, beta_1, beta_2=0.999, epsilon=1e-8):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def initial_state(self, layer):
        """Return the optimiser's memory for one layer's parameters."""
        zeros = [np.zeros_like(layer.weights), np.zeros_like(layer.bias)]
        return {
            "mean": zeros,
            "square": [array.copy() for array in zeros],
            "n_updates": 0,
        }

    def prepare(self, gradient, state, rate):
        """Return the step in the gradient's arrays, and update the memory."""
        state["n_updates"] += 1
        unbias_1 = 1 - self.beta_1 ** state["n_updates"]
        unbias_2 = 1 - self.beta_2 ** state["n_updates"]
        blocks = _blocks(gradient, state["mean"], state["square"])
        for value, mean, square in blocks:
            scalar = value.dtype.type
            mean += scalar(1 - self.beta_1) * (value - mean)
            square += scalar(1 - self.beta_2) * (np.square(value) - square)
            np.sqrt(square / scalar(unbias_2), out=value)
            value += scalar(self.epsilon)
            np.divide(mean, value, out=value)
            value *= scalar(rate / unbias_1)
        return gradient


OPTIMIZERS = {"sgd": SGD, "adam": Adam}

#: Learning rate schedules: the factor of the initial rate after a share of all
#: steps, and a number of epochs.
SCHEDULES = {
    "constant": lambda share, epochs: 1.0,
    "linear": lambda share, epochs: 1.0 - share,
    "invscaling": lambda share, epochs: 1.0 / math.sqrt(1.0 + epochs),
}
