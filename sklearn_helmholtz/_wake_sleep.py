"""Wake-sleep's steps on binary units, in as few calls of NumPy as they take.

Steps cost what calls cost, besides what they compute, and threads hand over Python's
lock at each call. So what elsewhere are a rule's phases, a direction and an optimiser
is one here, for the machines that most of wake-sleep's steps are of: binary units, a
state a row, centred gradients, momentum. The tests hold it to the general form.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.linalg import get_blas_funcs

from ._directions import Centred
from ._gradient import add_product
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


class _Minibatch(NamedTuple):
    """What a step is about to be made of.

    Parameters
    ----------
    step : Step
    states, logits : list of _Rows
        Bottom-up. What is awake of the first states is not used: the rows are.

    rate : float
    """

    step: object
    states: list
    logits: list
    rate: float


class WakeSleepStep:
    """What a :class:`._training.Step` does, for one that :meth:`fits`.

    A small step is taken by one thread: states awake and asleep share arrays, so that
    the top layer's draws and the generative network's products are made for both at
    once. Any other is two lanes, with a stream of draws each.

    It does not keep the step, which keeps it: in a cycle of references, the rows would
    outlive the fit.
    """

    def __init__(self, step):
        self.streams = step.streams
        *self.generative, self.prior = step.state.machine.generative
        self.recognition = step.state.machine.recognition
        self.lessons = {
            (network, number): _Lesson(step, network, number)
            for network in ("generative", "recognition")
            for number in range(len(self.recognition))
        }
        self.velocity_of_prior = step.state.memory["generative"][-1]["velocity"][1]
        #: Which lanes have read the network that the other one teaches.
        self.has_read = [False, False]
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

    def __call__(self, step, index, n_rows, rate, run):
        """Take a step on the n_rows at `index` with a learning rate.

        Through a `run` like :meth:`._parallel.Workers.run`, unless it is small.
        """
        load = partial(step.load, index, n_rows, self.streams[0], step.scratch[0])
        minibatch = _Minibatch(step, *self.arrays(n_rows), rate)
        if step.small:
            self._both(load, minibatch)
        else:
            self.has_read = [False, False]
            awake, asleep = partial(self._awake, load), self._asleep
            for rest in run([partial(lane, minibatch) for lane in (awake, asleep)]):
                _take(rest)
        step.state.n_steps += 1

    def _both(self, load, minibatch):
        """Learn both networks in one lane."""
        x, (_, states, logits, _) = load(), minibatch
        self._recognise(x, states, with_dreams=True)
        for number, layer in reversed(list(enumerate(self.generative))):
            both = layer.logits(states[number + 1].both, out=logits[number].both)
            one_plus_exp(both, out=both)
            self._dream(number, minibatch, self.streams[0])
            _take(self._explain(number, x, minibatch))
        _take(self._learn_prior(minibatch))
        _take(self._learn_recognition(minibatch))

    def _awake(self, load, minibatch):
        """Learn the generative network; return what is still to be added to it."""
        x, (_, states, logits, _) = load(), minibatch
        self._recognise(x, states)
        self.has_read[0] = True
        steps = []
        for number, layer in enumerate(self.generative):
            rows = layer.logits(states[number + 1].awake, out=logits[number].awake)
            one_plus_exp(rows, out=rows)
            steps += self._explain(number, x, minibatch)
        steps += self._learn_prior(minibatch)
        return self._take_or_leave(steps)

    def _asleep(self, minibatch):
        """Learn the recognition network; return what is still to be added to it."""
        (_, states, logits, _), rng = minibatch, self.streams[1]
        top = states[-1].asleep
        top[...] = self.prior.bias
        self.prior.units.sample(top, rng, top.shape, out=top)
        for number, layer in reversed(list(enumerate(self.generative))):
            rows = layer.logits(states[number + 1].asleep, out=logits[number].asleep)
            one_plus_exp(rows, out=rows)
            self._dream(number, minibatch, rng)
        self.has_read[1] = True
        return self._take_or_leave(self._learn_recognition(minibatch))

    def _take_or_leave(self, steps):
        """Add steps to a network if the other lane has read it; return them if not.

        They are in the cache of the processor that has made them.
        """
        if not all(self.has_read):
            return steps
        _take(steps)
        return []

    def _recognise(self, x, states, *, with_dreams=False):
        """Draw the hidden states awake, from x up, and perhaps the top ones asleep."""
        parent = x
        for rows, layer in zip(states[1:], self.recognition, strict=True):
            drawn = layer.logits(parent, out=rows.awake)
            if with_dreams and rows is states[-1]:
                rows.asleep[...] = self.prior.bias
                drawn = rows.both
            layer.units.sample(drawn, self.streams[0], drawn.shape, out=drawn)
            parent = rows.awake

    @staticmethod
    def _dream(number, minibatch, rng):
        """Draw states asleep, given 1 + exp(logits)."""
        asleep = minibatch.logits[number].asleep
        noise = rng.noise(asleep.shape, asleep.dtype)
        is_on(asleep, noise, out=minibatch.states[number].asleep)

    def _explain(self, number, x, minibatch):
        """Return the steps of a generative layer, given 1 + exp(logits)."""
        step, states, logits, rate = minibatch
        residual = logits[number].awake
        _to_residual(residual, states[number].awake if number else x)
        lesson, parent = self.lessons["generative", number], states[number + 1].awake
        return lesson(step, parent, residual, rate)

    def _learn_prior(self, minibatch):
        """Return the step of the top layer's biases."""
        step, states, _, rate = minibatch
        residual = one_plus_exp(self.prior.bias)
        _to_residual(residual, column_mean(states[-1].awake))
        residual *= rate
        velocity = self.velocity_of_prior
        velocity *= step.optimizer.momentum
        velocity += residual
        return [(self.prior.bias, velocity)]

    def _learn_recognition(self, minibatch):
        """Return the steps of the recognition network."""
        step, states, logits, rate = minibatch
        steps = []
        for number, layer in enumerate(self.recognition):
            parent, child = states[number].asleep, states[number + 1].asleep
            residual = layer.logits(parent, out=logits[number + 1].asleep)
            one_plus_exp(residual, out=residual)
            _to_residual(residual, child)
            steps += self.lessons["recognition", number](step, parent, residual, rate)
        return steps


def _to_residual(one_plus, states):
    """Turn 1 + exp(a) into states - sigmoid(a) = 1 / (1 + exp(a)) + states - 1."""
    np.divide(1, one_plus, out=one_plus)
    one_plus += states
    one_plus -= 1


def _take(steps):
    """Add steps to the parameters that they are for."""
    for parameters, step in steps:
        parameters += step


class _Lesson:
    """What teaches one layer with parents: :class:`._directions.Centred` and SGD."""

    def __init__(self, step, network, number):
        self.key = network, number
        self.layer = getattr(step.state.machine, network)[number]
        self.velocity = step.state.memory[network][number]["velocity"]
        self.centre = step.state.averages[network][number]
        self.scratch = step.scratch[network == "recognition"]
        self.gemm = get_blas_funcs("gemm", dtype=self.layer.weights.dtype)

    def __call__(self, step, parent, residual, rate):
        """Learn from parents and the residuals of their children; return the steps."""
        direction, momentum = step.direction, step.optimizer.momentum
        velocity, velocity_of_bias = self.velocity
        centred = self.scratch("centred", parent.shape)
        np.subtract(parent, self.centre, out=centred)
        weight = rate / len(parent)
        if self.key[0] == "recognition":
            weight *= direction.taming_of_recognition(centred)
        residual *= weight
        self._add_product(step, centred, residual)
        velocity_of_bias *= momentum
        velocity_of_bias += column_sum(residual)
        step.pull(self.key, velocity, velocity_of_bias, rate)
        step_of_bias = velocity_of_bias - self.centre.dot(velocity)
        self.centre += column_mean(centred, times=direction.rate)
        return [(self.layer.weights, velocity), (self.layer.bias, step_of_bias)]

    def _add_product(self, step, centred, residual):
        """Turn the velocity v of the weights into momentum v + centred^T residual."""
        momentum, velocity = step.optimizer.momentum, self.velocity[0]
        if step.small:
            # SciPy's product, as NumPy's does not add. It holds Python's lock. And it
            # is transposed: BLAS has columns where NumPy has rows.
            given = 1, residual.T, centred.T, momentum, velocity.T
            self.gemm(*given, trans_b=True, overwrite_c=True)
        else:
            add_product(centred, residual, velocity, self.scratch, momentum)
