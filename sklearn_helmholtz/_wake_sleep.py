"""Wake-sleep's steps on binary units, in as few calls of NumPy as they take.

Steps cost what calls cost, besides what they compute, and threads hand over Python's
lock at each call. So what elsewhere are a rule's phases, a direction and an optimiser
is one here, for the machines that most of wake-sleep's steps are of: binary units, a
state a row, centred gradients, momentum. The tests hold it to the general form.
"""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.linalg import get_blas_funcs

from ._belief_network import down_pass, up_pass
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
        self.machine = step.state.machine
        self.recognition = self.machine.recognition
        self.prior = self.machine.generative[-1]
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
            layers, dtype = self.machine.generative, self.machine.dtype
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
        if step.small:
            self._both(load(), step, n_rows, rate)
        else:
            self.has_read = [False, False]
            awake = partial(self._awake, load, step, rate)
            asleep = partial(self._asleep, step, n_rows, rate)
            for rest in run([awake, asleep]):
                _take(rest)
        step.state.n_steps += 1

    def _both(self, x, step, n_rows, rate):
        """Learn both networks in one lane."""
        states, logits = self.arrays(n_rows)
        self._draw_hidden(x, states)
        for number in reversed(range(len(self.recognition))):
            rows = logits[number]
            self.machine.generative[number].logits(states[number + 1].both, rows.both)
            one_plus_exp(rows.both, out=rows.both)
            noise = self.streams[0].noise(rows.asleep.shape, rows.asleep.dtype)
            is_on(rows.asleep, noise, out=states[number].asleep)
            # child - sigmoid(a) = 1 / (1 + exp(a)) + child - 1
            residual = np.divide(1, rows.awake, out=rows.awake)
            residual += states[number].awake if number else x
            residual -= 1
            lesson = self.lessons["generative", number]
            _take(lesson(step, states[number + 1].awake, residual, rate))
        _take(self._learn_prior(step, states[-1].awake, rate))
        asleep = [rows.asleep for rows in states]
        _take(self._learn("recognition", step, asleep, rate))

    def _draw_hidden(self, x, states):
        """Draw the hidden states awake, from x up, and the top ones asleep."""
        parent = x
        for rows, layer in zip(states[1:], self.recognition, strict=True):
            drawn = layer.logits(parent, out=rows.awake)
            if rows is states[-1]:
                rows.asleep[...] = self.prior.bias
                drawn = rows.both
            layer.units.sample(drawn, self.streams[0], drawn.shape, out=drawn)
            parent = rows.awake

    def _awake(self, load, step, rate):
        """Learn the generative network; return what is still to be added to it."""
        states = up_pass(self.machine, load(), self.streams[0], step.scratch[0])
        self.has_read[0] = True
        steps = self._learn("generative", step, states, rate)
        return self._take_or_leave(steps + self._learn_prior(step, states[-1], rate))

    def _asleep(self, step, n_rows, rate):
        """Learn the recognition network; return what is still to be added to it."""
        generative, scratch = self.machine.generative, step.scratch[1]
        states = down_pass(generative, n_rows, self.streams[1], scratch)
        self.has_read[1] = True
        return self._take_or_leave(self._learn("recognition", step, states, rate))

    def _take_or_leave(self, steps):
        """Add steps to a network if the other lane has read it; return them if not.

        They are in the cache of the processor that has made them.
        """
        if not all(self.has_read):
            return steps
        _take(steps)
        return []

    def _learn(self, network, step, states, rate):
        """Return the steps of a network's layers with parents, given all states."""
        steps = []
        for number, (below, above) in enumerate(pairwise(states)):
            lesson = self.lessons[network, number]
            parent, child = (below, above) if lesson.ascends else (above, below)
            steps += lesson(step, parent, lesson.residual(parent, child), rate)
        return steps

    def _learn_prior(self, step, states, rate):
        """Return the step of the top layer's biases, given its states."""
        residual = self.prior.units.residual(column_mean(states), self.prior.bias)
        residual *= rate
        velocity = self.velocity_of_prior
        velocity *= step.optimizer.momentum
        velocity += residual
        return [(self.prior.bias, velocity)]


def _take(steps):
    """Add steps to the parameters that they are for."""
    for parameters, step in steps:
        parameters += step


class _Lesson:
    """What teaches one layer with parents: :class:`._directions.Centred` and SGD."""

    def __init__(self, step, network, number):
        self.key = network, number
        self.ascends = network == "recognition"
        self.layer = getattr(step.state.machine, network)[number]
        self.velocity = step.state.memory[network][number]["velocity"]
        self.centre = step.state.averages[network][number]
        self.scratch = step.scratch[self.ascends]
        self.gemm = get_blas_funcs("gemm", dtype=self.layer.weights.dtype)

    def __call__(self, step, parent, residual, rate):
        """Learn from parents and the residuals of their children; return the steps."""
        direction, momentum = step.direction, step.optimizer.momentum
        velocity, velocity_of_bias = self.velocity
        centred = self.scratch("centred", parent.shape)
        np.subtract(parent, self.centre, out=centred)
        weight = rate / len(parent)
        if self.ascends:
            weight *= direction.taming_of_recognition(centred)
        residual *= weight
        self._add_product(step, centred, residual)
        velocity_of_bias *= momentum
        velocity_of_bias += column_sum(residual)
        step.pull(self.key, velocity, velocity_of_bias, rate)
        step_of_bias = velocity_of_bias - self.centre.dot(velocity)
        self.centre += column_mean(centred, times=direction.rate)
        return [(self.layer.weights, velocity), (self.layer.bias, step_of_bias)]

    def residual(self, parent, child):
        """Return what children are more than their parents say."""
        logits = self.scratch("residual", child.shape)
        self.layer.logits(parent, out=logits)
        return self.layer.units.residual(child, logits, out=logits)

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
