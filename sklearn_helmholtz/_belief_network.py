"""Sigmoid belief networks: one type for both directions of a Helmholtz machine.

A network is a tuple of layers, bottom-up. ``recognition[l - 1]`` gives states
l from states l - 1; ``generative[l]`` gives states l from states l + 1, and its
last layer, the prior, has a parent of zero columns: its bias is all there is.
"""

import math
from typing import NamedTuple

import numpy as np

from ._in_turn import Autoregressive, means_in_turn, placed, threshold_in_turn
from ._units import Bernoulli, Gaussian, threshold


class Layer(NamedTuple):
    """The distribution of a layer of units given its parent layer.

    Parameters
    ----------
    weights : ndarray of shape (n_parents, n_units)
    bias : ndarray of shape (n_units,)
    units : Bernoulli, Gaussian or Autoregressive
    """

    weights: np.ndarray
    bias: np.ndarray
    units: Bernoulli | Gaussian | Autoregressive

    def logits(self, parent, out=None):
        """Return parent @ weights + bias; (1, n_units) where there is no parent."""
        if not self.weights.shape[0]:
            return self.bias[None]
        out = parent.dot(self.weights, out=out)
        out += self.bias
        return out

    def map(self, function):
        """Return the layer with a function of each of its arrays."""
        weights, bias, units = self
        return Layer(function(weights), function(bias), units.map(function))

    def logits_of_particles(self, parent):
        """Return the logits of parents with leading axes, through one product."""
        flat = self.logits(parent.reshape(-1, parent.shape[-1]))
        return flat.reshape(*parent.shape[:-1], flat.shape[-1])


class Machine(NamedTuple):
    """The networks of a Helmholtz machine, each bottom-up.

    Parameters
    ----------
    generative : tuple of Layer
        ``generative[l]`` gives states l; the last is the prior.

    recognition : tuple of Layer
        ``recognition[l - 1]`` gives states l.

    lateral : tuple of Layer, default=()
        Where q is not factorial, ``lateral[l - 1]`` adds to the logits of
        states l what each unit sends to those after it. Its weights are
        strictly upper triangular: its parent is its child.

    autoregressive : tuple of Layer, default=()
        Where p of the visible units is not factorial, the one layer that does the
        same for them.
    """

    generative: tuple[Layer, ...]
    recognition: tuple[Layer, ...]
    lateral: tuple[Layer, ...] = ()
    autoregressive: tuple[Layer, ...] = ()

    @property
    def top_down(self):
        """The generative layers with all that their states depend on, bottom-up.

        What trains them asks for `generative`; what draws or weighs states, for these.
        """
        if not self.autoregressive:
            return self.generative
        visible, *others = self.generative
        units = Autoregressive(visible.units, self.autoregressive[0])
        return visible._replace(units=units), *others

    @property
    def dtype(self):
        """The dtype of all parameters."""
        return self.generative[0].weights.dtype

    def map(self, function):
        """Return the machine with a function of each of its arrays."""
        return Machine(
            *(tuple(one.map(function) for one in network) for network in self)
        )

    def arrays(self):
        """Return all arrays of parameters, in a fixed order."""
        found = [array for network in self for layer in network for array in layer[:2]]
        units = self.generative[0].units
        return found if units.variance is None else [*found, units.variance]

    def draw(self, index, logits, rng, shape, out=None):
        """Return states index + 1 drawn from q, given logits from the layer below."""
        if not self.lateral:
            return threshold(logits, rng.noise(shape, logits.dtype), out=out)
        return placed(self.draw_in_turn(index, logits, rng.bits(shape)), out)

    def draw_in_turn(self, index, logits, bits):
        """Return the same where there are lateral connections."""
        layer = self.lateral[index]
        return threshold_in_turn(logits + layer.bias, layer.weights, bits)

    def with_lateral(self, index, logits, states):
        """Return the logits of states index + 1 with the lateral part added."""
        if not self.lateral:
            return logits
        return logits + self.lateral[index].logits_of_particles(states)


#: The networks that give states top-down, and those that give them bottom-up.
TOP_DOWN = "generative", "autoregressive"
BOTTOM_UP = "recognition", "lateral"
#: The networks whose weights are strictly upper triangular.
TRIANGULAR = "lateral", "autoregressive"


#: What is elementwise takes as long as so many multiplications for each unit.
_WORK_OF_A_UNIT = 100


def work_of(layers):
    """Return about how long a row takes through layers, in float32 multiplications."""
    n = sum(layer.weights.size + _WORK_OF_A_UNIT * layer.bias.size for layer in layers)
    return n * layers[0].bias.dtype.itemsize / 4


class Scratch:
    """Arrays by name and shape, made once and used again in every step.

    Those of one name share their memory: only one of them is in use at a time.
    """

    def __init__(self, dtype):
        self.dtype = dtype
        self._memory = {}
        self._arrays = {}

    def __call__(self, name, shape):
        array = self._arrays.get((name, shape))
        if array is None:
            size = math.prod(shape)
            memory = self._memory.get(name)
            if memory is None or memory.size < size:
                memory = self._memory[name] = np.empty(size, dtype=self.dtype)
            array = self._arrays[name, shape] = memory[:size].reshape(shape)
        return array


def up_pass(machine, x, rng, scratch):
    """Return states bottom-up, x first, each layer sampled from q given the last.

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)
    rng : Stream
    scratch : Scratch
    """
    states = [x]
    for index, layer in enumerate(machine.recognition):
        shape = x.shape[0], layer.bias.shape[0]
        out = scratch(("state", index + 1), shape)
        logits = layer.logits(states[-1], out=out)
        states.append(machine.draw(index, logits, rng, shape, out=out))
    return states


def down_pass(generative, n_rows, rng, scratch, top=None):
    """Return a dream: states bottom-up, each layer sampled from p given the next.

    The top states are drawn from the prior, unless they are given.
    """
    states = [] if top is None else [top]
    for index in reversed(range(len(generative) - len(states))):
        layer = generative[index]
        shape = n_rows, layer.bias.shape[0]
        out = scratch(("state", index), shape)
        logits = layer.logits(states[-1] if states else None, out=out)
        states.append(layer.units.sample(logits, rng, shape, out=out))
    return states[::-1]


def up_means(machine, x, n_layers=None):
    """Return the means of the hidden layers, bottom-up, given the last's means.

    Units that see others in their layer see their means, too.

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)

    n_layers : int, default=None
        So many layers; all of them if None.
    """
    means = []
    for index, layer in enumerate(machine.recognition[:n_layers]):
        logits = layer.logits(means[-1] if means else x)
        if machine.lateral:
            lateral = machine.lateral[index]
            logits += lateral.bias
            means.append(means_in_turn(layer.units, logits, lateral.weights))
        else:
            means.append(layer.units.mean(logits, out=logits))
    return means


def down_mean(generative, states):
    """Return mean visible values given states (or means) of one hidden layer.

    Parameters
    ----------
    generative : tuple of Layer
        The layers from the visible one up to the child of `states`.

    states : ndarray of shape (n_rows, n_units)
    """
    for layer in reversed(generative):
        logits = layer.logits(states)
        states = layer.units.mean(logits, out=logits)
    return states
