"""Training: minibatches through lanes of phases, epoch after epoch.

The only loop on one computer. Which regressions a phase has, what direction they give
and how an optimiser goes there arrive as arguments. A little longer than most modules
here, as a step is one thing.
"""

import math
from functools import cache, partial

import numpy as np

from ._belief_network import BOTTOM_UP, TOP_DOWN, TRIANGULAR, Scratch
from ._data import even_part
from ._gradient import Gradient
from ._parallel import run_in_turn
from ._random import Stream, draw_from_means

#: Size of a layer, in bytes, from which on two threads add the steps sooner than one.
_LARGE_LAYER = 2**20
#: How many times their variances real units' squared residuals are where rows surprise.
_SURPRISE = 2.0


class Step:
    """One step on one minibatch: its parts, and the arrays that it works in.

    Lanes collect regressions, :meth:`update` takes the step. Two ways lead there:

    - The gradient is collected, and the optimiser makes the step of it.
    - Where a step is a sum over regressions, `adds_up`, they are added to the last
      step itself, which saves an array of the parameters' size. The first of them
      leaves the `keep` of it that is the momentum, and residuals carry the rate, the
      `gain`; the optimiser then finds the step made.

    Parameters
    ----------
    state : TrainingState
    rows : Rows
    rule, direction, optimizer
        What the step consists of.

    resample : bool
        Whether rows are the means of binary rows, drawn afresh at every visit.

    penalty : Fixed or Evidence
        What draws the weights towards zero, and how strongly.

    n_rows : int, default=None
        How many rows there are to learn from, these and others; these alone if None.

    n_rows_a_step : int, default=0
        How many more each step that has been taken stands for.

    small : bool, default=False
        Whether a step is too short to share among threads.
    """

    def __init__(
        self,
        state,
        rows,
        *,
        rule,
        direction,
        optimizer,
        resample,
        penalty,
        n_rows=None,
        n_rows_a_step=0,
        small=False,
    ):
        self.state = state
        self.rows = rows
        self.rule = rule
        self.direction = direction
        self.optimizer = optimizer
        self.resample = resample
        self.penalty = penalty
        self.n_rows = rows.n_rows if n_rows is None else n_rows
        self.n_rows_a_step = n_rows_a_step
        self.part = 1.0
        self.streams = [Stream(generator) for generator in state.generators[1:]]
        self.scratch = [Scratch(state.machine.dtype) for _ in self.streams]
        self.lanes = cache(rule.lanes)
        self.gradients = [{} for _ in self.streams]
        self.touched = [{} for _ in self.streams]
        #: Steps that are prepared but not yet added, by (network, layer).
        self.steps = {}
        #: Which lanes are done with the networks that others own.
        self.has_read = [False for _ in self.streams]
        self.is_large = any(a.nbytes >= _LARGE_LAYER for a in state.machine.arrays())
        # Without memory, where only sums over rows are asked for, there is no step.
        self.adds_up = bool(
            state.memory
            and optimizer.additive
            and not direction.informed
            and not rule.shares_weights
        )
        self.small = small
        #: What takes the steps in this one's place, if anything, see `_wake_sleep`.
        self.in_few_calls = None

    def begin(self, part=1.0):
        """Get ready for steps that are `part` of a whole one, by their rates."""
        self.part = part
        for memory in self._memories():
            self.optimizer.begin(memory, part)

    def _memories(self):
        """Return what the optimiser remembers of each layer."""
        return [memory for layers in self.state.memory.values() for memory in layers]

    def __call__(self, index, rate, run):
        """Learn from the rows at `index` with a learning rate.

        Through a `run` like :meth:`._parallel.Workers.run`, where that pays.
        """
        if self.in_few_calls is not None:
            self.in_few_calls(self, index, _length(index), rate, run)
            return
        run = run_in_turn if self.small else run
        for number, seen in enumerate(self.touched):
            seen.clear()  # there may be fewer lanes than in the last step
            self.has_read[number] = False
        calls = [
            partial(self.collect, number, lane, index, rate)
            for number, lane in enumerate(self.lanes(_length(index)))
        ]
        squares = sum(run(calls))
        self.update(squares, rate, gain=self._gain(rate), run=run)

    def _gain(self, rate):
        """Return the factor of every residual: the rate where they make up the step."""
        return rate if self.adds_up else 1.0

    def update(self, squares, rate, gain=1.0, run=run_in_turn):
        """Learn from what the lanes have collected.

        Parameters
        ----------
        squares : ndarray of shape (n_features,) or 0
        rate : float

        gain : float, default=1.0
            What the gradients have been multiplied by.

        run : callable, default=run_in_turn
            Runs a list of calls.
        """
        taught = dict.fromkeys(key for seen in self.touched for key in seen)
        gradients = {key: self._merge(key, gain) for key in taught}
        if self.rule.shares_weights:
            self._share(gradients)
        for key, gradient in gradients.items():
            self._prepare(key, gradient, rate / gain)
        surprised = self._is_surprised(squares)
        self._take_rest(squares, run)
        if surprised:
            for memory in self._memories():
                self.optimizer.forget(memory)
        self.state.n_steps += 1

    def _is_surprised(self, squares):
        """Return whether real units are much further from their means than usual.

        After a sudden change of the rows, say. With momentum, steps as long as their
        residuals then ask for overshoot, ever further.
        """
        variance = self.state.machine.generative[0].units.variance
        if variance is None:
            return False
        return bool(np.sum(squares) > _SURPRISE * variance.sum())

    def collect(self, number, lane, index, rate):
        """Fill touched[number] from a lane; return its squared residuals, or 0."""
        machine, scratch = self.state.machine, self.scratch[number]
        stream, seen = self.streams[number], self.touched[number]
        n_rows, gain = _length(index), self._gain(rate)
        weight = gain / n_rows
        squares, last = 0.0, lane.phases[-1][0]
        for name, part in lane.phases:
            n_part = part.stop - part.start
            data, share = n_part, n_part / n_rows
            if name == "wake":
                data = self.load(_part(index, part, n_rows), n_part, stream, scratch)
            phase = getattr(self.rule, name)
            for regression in phase(machine, data, stream, scratch, weight):
                self.has_read[number] = name == last
                key = regression[:2]
                first = key not in seen
                if first:
                    seen[key] = self._gradient(number, lane, key)
                self.direction.accumulate(
                    regression, seen[key], scratch, first=first, share=share
                )
                if regression.squares is not None:
                    squares = squares + regression.squares
        owned = [key for key in seen if key[0] in lane.owns]
        for key in owned:
            self._prepare(key, self._merge(key, gain), rate / gain)
            del seen[key]  # the update is about the others
        self.has_read[number] = True
        if all(self.has_read):  # or the steps wait for the update
            self._take(owned, squares / gain)
        return squares / gain

    def _gradient(self, number, lane, key):
        """Return what a lane adds the regressions of a layer to.

        The first lane of those that teach a network adds to the step itself.
        """
        network, index = key
        running = self.adds_up and (number == 0 or network in lane.owns)
        gradients = self.gradients[number]
        if (key, running) not in gradients:
            layer = getattr(self.state.machine, network)[index]
            found = self.direction.gradient(layer)
            if running:
                memory = self.state.memory[network][index]
                found = self.optimizer.running(found, memory)
            gradients[key, running] = found
        return gradients[key, running]

    def load(self, index, n_rows, stream, scratch):
        """Return the rows at `index`, drawn to binary where they are means."""
        shape = n_rows, self.rows.n_features
        x = self.rows.take(index, out=scratch("x", shape))
        return draw_from_means(x, stream) if self.resample else x

    def _merge(self, key, gain):
        """Return the sum of the lanes' gradients, and `gain` times the penalty's."""
        found = [seen[key] for seen in self.touched if key in seen]
        gradient = Gradient.merge(found) if len(found) > 1 else found[0]
        if key[0] in TRIANGULAR:
            # No unit sees itself or one that comes after it.
            gradient.weights[...] = np.triu(gradient.weights, 1)
        self.pull(key, gradient.weights, gradient.bias, gain)
        return gradient

    def pull(self, key, weights, bias, gain):
        """Add the penalty's share to `gain` times a layer's gradient, in place.

        Parameters
        ----------
        key : tuple of (str, int)
            The network and the layer's index in it.

        weights, bias : ndarray
            The gradient.

        gain : float
        """
        network, number = key
        # Weights that both networks share are pulled once.
        pulled = network != "recognition" or not self.rule.shares_weights
        if not pulled or self.state.n_steps % self.penalty.every:
            return
        machine = self.state.machine
        of_visible = network in TOP_DOWN and not number
        variance = machine.generative[0].units.variance if of_visible else None
        values = getattr(machine, network)[number].weights
        self.penalty.pull(network, number, values, weights, gain, variance)
        if of_visible:
            self.penalty.pull_visible(bias, gain)

    def _share(self, gradients):
        """Give both networks' weights the sum of their gradients."""
        for number in range(len(self.state.machine.recognition)):
            up = gradients["recognition", number].weights
            down = gradients["generative", number].weights
            up += down.T
            down[...] = up.T

    def _prepare(self, key, gradient, rate):
        """Turn a layer's gradient into its step."""
        network, number = key
        self.direction.precondition(network, number, gradient, self.penalty, rate)
        memory = self.state.memory[network][number]
        step = self.optimizer.prepare(gradient, memory, rate)
        self.direction.finish(network, number, step)
        self.steps[key] = step

    def _take_rest(self, squares, run):
        """Take the steps that no lane has taken, those of large layers side by side.

        Networks are in the order of the lanes that own them, so that their threads
        meet the steps in their own processors' caches.
        """
        rest = list(self.steps)
        if not (rest and self.is_large):
            self._take(rest, squares)
            return
        sides = [[k for k in rest if k[0] in side] for side in (TOP_DOWN, BOTTOM_UP)]
        run([partial(self._take, side, squares) for side in sides])

    def _take(self, keys, squares):
        """Add the steps of some layers to their parameters."""
        n_rows = self.n_rows + self.n_rows_a_step * self.state.n_steps
        for network, number in keys:
            layer = getattr(self.state.machine, network)[number]
            step, target = self.steps.pop((network, number)), None
            if layer.units.variance is not None:
                # With a row of spread one more: what does not vary here may elsewhere.
                target = (squares * n_rows + 1) / (n_rows + 1)
            self.optimizer.apply(layer, step, target, self.part)


def _length(index):
    """Return the number of rows of a slice or of an array of positions."""
    return index.stop - index.start if isinstance(index, slice) else len(index)


def _part(index, part, n_rows):
    """Return a part of a slice or of an array of positions."""
    if isinstance(index, slice):
        return slice(index.start + part.start, index.start + part.stop)
    return index[part]


def n_minibatches(n_rows, batch_size):
    """Return how many minibatches one epoch has."""
    return math.ceil(n_rows / batch_size)


def minibatches(n_rows, batch_size, generator=None):
    """Yield the minibatches of one epoch: slices, or positions in random order.

    Of equal sizes, or sizes that differ by one. A step is as long for few rows as for
    many, so a minibatch of what is left over, a row or two, would undo the others.

    Parameters
    ----------
    n_rows : int

    batch_size : int
        The most rows of a minibatch.

    generator : numpy.random.Generator, default=None
        Gives the order; without it the rows are taken as they come.
    """
    order = None if generator is None else generator.permutation(n_rows)
    n_parts = n_minibatches(n_rows, batch_size)
    for number in range(n_parts):
        part = even_part(n_rows, number, n_parts)
        yield part if order is None else order[part]


def epochs(step, *, n_epochs, batch_size, shuffle, learning_rate, run, first=0):
    """Train; yield after every epoch.

    Parameters
    ----------
    step : Step
    n_epochs : int
    batch_size : int
    shuffle : bool

    learning_rate : callable
        Gives the rate from (share of all steps done, epochs done).

    run : callable
        Runs a list of calls and returns their results.

    first : int, default=0
        Epochs that have been done before.
    """
    n_rows = step.rows.n_rows
    generator = step.state.generators[0] if shuffle else None
    for epoch in range(first, n_epochs):
        n_seen = 0
        for index in minibatches(n_rows, batch_size, generator):
            share = (epoch + n_seen / n_rows) / n_epochs
            step(index, learning_rate(share, epoch), run)
            n_seen += _length(index)
        yield
