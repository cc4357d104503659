"""Between training's state and the estimator's fitted attributes.

The attributes are arrays, numbers and NumPy generators, in lists and dictionaries, so
that they pickle, memory-map and load with skops.
"""

import copy

import numpy as np

from ._belief_network import Layer, Machine
from ._penalties import initial_scales
from ._state import NETWORKS, TrainingState
from ._units import HIDDEN, Bernoulli, Gaussian


def attributes(state):
    """Return the fitted attributes that hold a TrainingState, sharing its arrays."""
    generative, recognition, lateral, autoregressive = state.machine
    coefs = [layer.weights for layer in generative[:-1]]
    found = {
        "components_": coefs[0],
        "generative_coefs_": coefs,
        "generative_intercepts_": [layer.bias for layer in generative],
        "recognition_coefs_": [layer.weights for layer in recognition],
        "recognition_intercepts_": [layer.bias for layer in recognition],
        "_memory": state.memory,
        "_averages": state.averages,
        "_scales": state.scales,
        "_generators": state.generators,
        "_n_steps": state.n_steps,
    }
    if lateral:
        found["lateral_coefs_"] = [layer.weights for layer in lateral]
        found["lateral_intercepts_"] = [layer.bias for layer in lateral]
    if autoregressive:
        found["autoregressive_coef_"], found["autoregressive_intercept_"], _ = (
            autoregressive[0]
        )
    units = generative[0].units
    if units.variance is not None:
        found["variance_"] = units.variance
    return found


def machine_of(estimator):
    """Return the fitted networks as a Machine, sharing the attributes' arrays."""
    intercepts = estimator.generative_intercepts_
    top = np.zeros((0, len(intercepts[-1])), dtype=intercepts[-1].dtype)
    visible, *hidden = _layers([*estimator.generative_coefs_, top], intercepts)
    gaussian = estimator.visible_ == "gaussian"
    units = Bernoulli()
    if gaussian:
        units = Gaussian(estimator.variance_, *_listed(estimator, "_least_variance"))
    return Machine(
        (visible._replace(units=units), *hidden),
        _layers(estimator.recognition_coefs_, estimator.recognition_intercepts_),
        _layers(
            getattr(estimator, "lateral_coefs_", []),
            getattr(estimator, "lateral_intercepts_", []),
        ),
        _layers(
            _listed(estimator, "autoregressive_coef_"),
            _listed(estimator, "autoregressive_intercept_"),
        ),
    )


def _listed(estimator, name):
    """Return an attribute in a list, which is empty where there is none."""
    return [getattr(estimator, name)] if hasattr(estimator, name) else []


def _layers(coefs, intercepts):
    """Return layers of hidden units with these weights and biases."""
    pairs = zip(coefs, intercepts, strict=True)
    return tuple(Layer(weights, bias, HIDDEN) for weights, bias in pairs)


def state_of(estimator):
    """Return the fitted state to train on.

    In copies, as attributes may be read-only, and in C order, as products are written
    into arrays of theirs.
    """
    return TrainingState(
        machine_of(estimator).map(_copy),
        _writeable(estimator._memory),
        _writeable(estimator._averages),
        _writeable(estimator._scales),
        copy.deepcopy(estimator._generators),
        estimator._n_steps,
    )


def _writeable(tree):
    """Return a copy of nested lists and dicts with writeable arrays."""
    if isinstance(tree, np.ndarray):
        return _copy(tree)
    if isinstance(tree, dict):
        return {key: _writeable(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_writeable(value) for value in tree]
    return tree


def _copy(array):
    """Return a writeable copy in C order."""
    return np.array(array, order="C")


def new_memory(machine, optimizer):
    """Return the optimiser's memory before the first step."""
    return {
        network: [optimizer.initial_state(layer) for layer in getattr(machine, network)]
        for network in NETWORKS
    }


def new_state(machine, optimizer, direction, generators):
    """Return the state before the first step."""
    memory = new_memory(machine, optimizer)
    averages = direction.initial_averages(machine)
    return TrainingState(machine, memory, averages, initial_scales(machine), generators)
