"""Sigmoid belief networks: one type for both directions of a Helmholtz machine.

A network is a tuple of layers, bottom-up. ``recognition[l - 1]`` gives states
l from states l - 1; ``generative[l]`` gives states l from states l + 1, and its
last layer, the prior, has a parent of zero columns: its bias is all there is.
"""

from typing import NamedTuple

import numpy as np

from ._units import Bernoulli, Gaussian


class Layer(NamedTuple):
    """The distribution of a layer of units given its parent layer.

    Parameters
    ----------
    weights : ndarray of shape (n_parents, n_units)
    bias : ndarray of shape (n_units,)
    units : Bernoulli or Gaussian
    """

    weights: np.ndarray
    bias: np.ndarray
    units: Bernoulli | Gaussian

    def logits(self, parent, out=None):
        """Return parent @ weights + bias; (1, n_units) where there is no parent."""
        if not self.weights.shape[0]:
            return self.bias[None]
        out = np.dot(parent, self.weights, out=out)
        out += self.bias
        return out


class Machine(NamedTuple):
    """The two networks of a Helmholtz machine, each bottom-up."""

    generative: tuple[Layer, ...]
    recognition: tuple[Layer, ...]

    @property
    def n_layers(self):
        """The number of hidden layers, L."""
        return len(self.recognition)

    @property
    def dtype(self):
        """The dtype of all parameters."""
        return self.generative[0].weights.dtype


class Scratch:
    """Arrays by name and shape, made once and used again in every step."""

    def __init__(self, dtype):
        self.dtype = dtype
        self._arrays = {}

    def __call__(self, name, shape):
        key = name, shape
        if key not in self._arrays:
            self._arrays[key] = np.empty(shape, dtype=self.dtype)
        return self._arrays[key]


def up_pass(recognition, x, rng, scratch):
    """Return states bottom-up, x first, each layer sampled from q given the last.

    Parameters
    ----------
    recognition : tuple of Layer
    x : ndarray of shape (n_rows, n_features)
    rng : Stream
    scratch : Scratch
    """
    states = [x]
    for index, layer in enumerate(recognition, start=1):
        shape = x.shape[0], layer.bias.shape[0]
        out = scratch(("state", index), shape)
        logits = layer.logits(states[-1], out=out)
        states.append(layer.units.sample(logits, rng, shape, out=out))
    return states


def down_pass(generative, n_rows, rng, scratch):
    """Return a dream: states bottom-up, each layer sampled from p given the next."""
    states = []
    for index in reversed(range(len(generative))):
        layer = generative[index]
        shape = n_rows, layer.bias.shape[0]
        out = scratch(("state", index), shape)
        logits = layer.logits(states[-1] if states else None, out=out)
        states.append(layer.units.sample(logits, rng, shape, out=out))
    return states[::-1]


def up_means(recognition, x):
    """Return the means of every hidden layer, bottom-up, given the last's means."""
    means = []
    for layer in recognition:
        logits = layer.logits(means[-1] if means else x)
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
