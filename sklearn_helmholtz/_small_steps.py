"""Wake-sleep's steps on few rows of few units, in as few calls of NumPy as they take.

Such a step costs what calls cost, more than what they compute. So what elsewhere are a
rule's phases, a direction and an optimiser is one here, for the machines that most of
these steps are of: binary units, a state a row, centred gradients, momentum. States
awake and asleep share arrays, so that the top layer's draws and the generative
network's products are made for both at once. The tests hold it to the general form.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import get_blas_funcs

from ._directions import Centred
from ._numerics import column_mean, column_sum, one_plus_exp
from ._units import is_on


class _Rows(NamedTuple):
    """One layer's rows: the first half is awake, the second one asleep."""

    both: np.ndarray
    awake: np.ndarray
    asleep: np.ndarray

    @classmethod
    def empty(cls, n_rows, n_units, dtype):
        """Return so many of either."""
        both = np.empty((2 * n_rows, n_units), dtype)
        return cls(both, both[:n_rows], both[n_rows:])


class SmallStep:
    """What a :class:`._training.Step` does, for one that :meth:`fits`.

    It does not keep the step, which keeps it: in a cycle of references, the rows would
    outlive the fit.
    """

    def __init__(self, step):
        self.rng = step.streams[0]
        *self.generative, self.prior = step.state.machine.generative
        self.recognition = step.state.machine.recognition
        self.lessons = {
            (network, number): _Lesson(step, network, number)
            for network in ("generative", "recognition")
            for number in range(len(self.recognition))
        }
        self.velocity_of_prior = step.state.memory["generative"][-1]["velocity"][1]
        self._arrays = {}

    @staticmethod
    def fits(step):
        """Return whether a step is of the kind that is written out here."""
        machine, rule = step.state.machine, step.rule
        shares = rule.wake_share, rule.sleep_share
        return (
            step.adds_up
            and (rule.n_particles, rule.n_moves, *shares) == (1, 0, 0.0, 1.0)
            and isinstance(step.direction, Centred)
            and machine.generative[0].units.binary
            and not (machine.lateral or machine.autoregressive)
        )

    def arrays(self, n_rows):
        """Return states and logits, bottom-up, for minibatches of so many rows."""
        if n_rows not in self._arrays:
            layers, dtype = (*self.generative, self.prior), self.prior.bias.dtype
            self._arrays[n_rows] = [
                [_Rows.empty(n_rows, len(layer.bias), dtype) for layer in layers]
                for _ in range(2)
            ]
        return self._arrays[n_rows]

    def __call__(self, step, index, n_rows, rate):
        """Take a step on the n_rows at `index` with a learning rate."""
        states, logits = self.arrays(n_rows)
        x = step.load(index, n_rows, self.rng, step.scratch[0])
        weight = rate / n_rows
        self._recognise(x, states)
        for number in reversed(range(len(self.generative))):
            self._dream(number, states, logits)
            child, residual = states[number].awake, logits[number].awake
            _to_residual(residual, child if number else x)
            parent = states[number + 1].awake
            self.lessons["generative", number](step, parent, residual, weight, rate)
        self._learn_prior(step, states[-1].awake, rate)
        for number, layer in enumerate(self.recognition):
            parent, child = states[number].asleep, states[number + 1].asleep
            residual = logits[number + 1].asleep
            one_plus_exp(layer.logits(parent, out=residual), out=residual)
            _to_residual(residual, child)
            self.lessons["recognition", number](step, parent, residual, weight, rate)
        step.state.n_steps += 1

    def _recognise(self, x, states):
        """Draw the hidden states awake, from x up, and the top ones asleep."""
        for number, layer in enumerate(self.recognition):
            rows = states[number + 1]
            parent = states[number].awake if number else x
            drawn = layer.logits(parent, out=rows.awake)
            if rows is states[-1]:
                rows.asleep[...] = self.prior.bias
                drawn = rows.both
            layer.units.sample(drawn, self.rng, drawn.shape, out=drawn)

    def _dream(self, number, states, logits):
        """Draw states asleep, from those above; leave 1 + exp(logits), awake or not."""
        both, _, asleep = logits[number]
        self.generative[number].logits(states[number + 1].both, out=both)
        one_plus_exp(both, out=both)
        noise = self.rng.noise(asleep.shape, asleep.dtype)
        is_on(asleep, noise, out=states[number].asleep)

    def _learn_prior(self, step, states, rate):
        """Learn the top layer's biases from its states awake."""
        residual = one_plus_exp(self.prior.bias)
        _to_residual(residual, column_mean(states))
        residual *= rate
        velocity, bias = self.velocity_of_prior, self.prior.bias
        velocity *= step.optimizer.momentum
        velocity += residual
        bias += velocity


def _to_residual(one_plus, states):
    """Turn 1 + exp(a) into states - sigmoid(a) = 1 / (1 + exp(a)) + states - 1."""
    np.divide(1, one_plus, out=one_plus)
    one_plus += states
    one_plus -= 1


class _Lesson:
    """What teaches one layer with parents: :class:`._directions.Centred` and SGD."""

    def __init__(self, step, network, number):
        self.key = network, number
        self.layer = getattr(step.state.machine, network)[number]
        self.velocity = step.state.memory[network][number]["velocity"]
        self.centre = step.state.averages[network][number]
        # SciPy's, as NumPy has none that adds; it holds Python's lock, which does no
        # harm in one thread.
        self.gemm = get_blas_funcs("gemm", dtype=self.layer.weights.dtype)

    def __call__(self, step, parent, residual, weight, rate):
        """Learn from parents and the residuals of their children."""
        direction, momentum = step.direction, step.optimizer.momentum
        weights, bias, _ = self.layer
        velocity, velocity_of_bias = self.velocity
        centred = parent - self.centre
        if self.key[0] == "recognition":
            weight *= direction.taming_of_recognition(centred)
        # velocity <- momentum velocity + weight centred^T residual, transposed as BLAS
        # has columns where NumPy has rows.
        given = weight, residual.T, centred.T, momentum, velocity.T
        self.gemm(*given, trans_b=True, overwrite_c=True)
        velocity_of_bias *= momentum
        velocity_of_bias += column_sum(residual) * weight
        step.pull(self.key, velocity, velocity_of_bias, rate)
        weights += velocity
        bias += velocity_of_bias
        bias -= self.centre.dot(velocity)
        self.centre += column_mean(centred, times=direction.rate)
