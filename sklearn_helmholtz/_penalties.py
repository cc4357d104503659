"""Penalties: how strongly each weight is drawn towards zero.

Weights that explain n rows, and have a normal prior of precision a, are drawn towards
zero by a / n for the mean gradient of a row. `Fixed` has one strength for all of them;
`Evidence` learns priors from the weights that the data have come to, which is what
MacKay (1992) calls evidence. That each unit has a prior of its own for what it sends is
automatic relevance determination (Neal 1996).

A little longer than most modules here, as its first half is what the second one needs.
"""

from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np

from ._belief_network import TOP_DOWN, TRIANGULAR, Scratch, up_pass, work_of
from ._numerics import row_blocks
from ._random import RowStream, row_keys

#: Networks whose weights have priors. Dreams never end, so that recognition does not
#: need any.
PENALISED = TOP_DOWN

#: Degrees of freedom of the weights' distribution, a Student t: heavy tails leave what
#: is large as it is.
_FREEDOM = 3.0
#: The smallest squared scale of a unit's weights. At the start they are all small, and
#: would be held there.
_SMALLEST_SCALE = 1 / 30
#: `share_of_evidence` is one half at so many weights a row.
_WEIGHTS_A_ROW = 4
#: The most steps from one pull to the next, and how many minibatches, of a hundred
#: rows or more, there are for each. With so many rows a step's pull is small.
_MOST_STEPS = 8
_MINIBATCHES_A_STEP = 10
#: The part of a new machine's steps from which on upper layers have priors. Their
#: weights start at 0, with nothing to explain until the layers below have learned, and
#: priors would keep them there.
_UPPER_LAYERS_FROM = 0.25
#: Factor of the pull on real units' weights, by trial: this over the number of hidden
#: units that they have as parents, but of so many at least. Where those are many, steps
#: are shortened and the pull is not. It is no less than the last, which is for their
#: weights from each other, too.
_PULL_OF_PARENTS = 24
_FEWEST_PARENTS = 12
_LEAST_PULL_ON_REAL = 0.3
#: Weights that are worked on at a time, in float64.
_BLOCK_WEIGHTS = 2**13


class Moments(NamedTuple):
    """What some rows tell about one layer's regression on its parents, as sums.

    Parameters
    ----------
    n_rows : int
    parent : ndarray of shape (n_parents,)
    parent_square : ndarray of shape (n_parents,)
    information : ndarray of shape (n_units,)
        Of each unit, the Fisher information of its logit.
    """

    n_rows: int
    parent: np.ndarray
    parent_square: np.ndarray
    information: np.ndarray

    def curvature(self):
        """Return E[information] and the variance of the parents, whose product it is.

        It is a weight's, the biases being free, in nats a row.
        """
        mean = self.parent / self.n_rows
        variance = self.parent_square / self.n_rows - np.square(mean)
        return self.information / self.n_rows, np.maximum(variance, 0)


def measure(machine, x):
    """Return the Moments of every penalised layer at states recognised from rows.

    The draws are a function of the rows, so that the result is, too. Grey rows are
    taken as they are: measured on binary draws, which vary more, priors are stronger,
    and 200 digits gave autoregressive machines 0.12 nats less on others.

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)
    """
    rng = RowStream(row_keys(x), range(1))
    states = up_pass(machine, x, rng, Scratch(machine.dtype))
    found = {}
    for number, child in enumerate(states[:-1]):
        layer = machine.top_down[number]
        mean = layer.units.given(child).mean(layer.logits(states[number + 1]))
        information = layer.units.information(mean) * layer.units.precision
        found["generative", number] = _moments(states[number + 1], information)
        if number < len(machine.autoregressive):
            found["autoregressive", number] = _moments(child, information)
    return found


def measure_rows(machine, rows, team, block_rows):
    """Return what :func:`measure` gives for many rows, block by block.

    Parameters
    ----------
    machine : Machine
    rows : Rows
    team : Workers

    block_rows : int
        Rows that are in work at once, a thread.
    """
    parts, found = rows.blocks(block_rows), {}

    def measure_part(part):
        found[part.start] = measure(machine, rows.take(part))

    layers = *machine.recognition, *machine.generative
    team.map_blocks(measure_part, parts, rows.n_rows * work_of(layers))
    # In one order, whatever the threads' timing is.
    return reduce(pooled, (found[part.start] for part in parts))


def _moments(parent, information):
    """Return the Moments of parents and their children's information."""
    parent = parent.astype(np.float64)
    sums = parent.sum(axis=0), np.square(parent).sum(axis=0), information.sum(axis=0)
    return Moments(len(parent), *sums)


def pooled(first, second):
    """Return what :func:`measure` would give for the rows of both."""
    return {
        key: Moments(*map(np.add, mine, second[key])) for key, mine in first.items()
    }


def share_of_evidence(machine, n_rows):
    """Return w / (w + 4 n) for w penalised weights and n rows.

    Priors matter where weights are many for their data. Where they are few, the
    highest posterior, at the priors' full strength, is further from what is
    best for new rows than the highest likelihood; the 4 is by trial.
    """
    n_weights = sum(layer.weights.size for layer in machine.generative)
    # Those among visible units are one half of a square.
    n_weights += sum(layer.weights.size for layer in machine.autoregressive) / 2
    return n_weights / (n_weights + _WEIGHTS_A_ROW * n_rows)


def initial_scales(machine):
    """Return the squared scales of what each unit sends, by network and layer."""
    return {
        network: [np.ones(len(layer.weights)) for layer in getattr(machine, network)]
        for network in PENALISED
    }


class Penalty:
    """What draws parameters elsewhere than the rows do.

    Parameters
    ----------
    binary : Rows or None
        The binary rows that there are to explain, or some that stand for all of them:
        the visible units' biases have a prior. None if it is not known how many rows
        there will be, or if they are real.

    n_rows : int
        Rows that there are to explain.
    """

    #: Whether the strengths change from epoch to epoch, see :meth:`Evidence.learn`.
    learns = False
    #: Steps from one pull to the next.
    every = 1

    def __init__(self, binary, n_rows):
        self.binary = binary
        self.n_rows = n_rows

    def pull_visible(self, bias, gain=1.0):
        """Add to `gain` times the gradient of visible biases what half a row would.

        Half on, half off, as Jeffreys's prior of a coin has it. What has not been seen
        in these rows may be in others: its chance would go on falling without end.
        """
        if self.binary is not None:
            bias += (self._half_a_row * (gain * self.every)).astype(bias.dtype)

    @cached_property
    def _half_a_row(self):
        """Return what makes a row's mean gradient 0 at (n mean + 1/2) / (n + 1)."""
        return (0.5 - self.binary.mean()) / (self.n_rows + 1)


class Fixed(Penalty):
    """One L2 penalty for all weights.

    Parameters
    ----------
    alpha : float
    binary : Rows or None, default=None
    n_rows : int, default=1
    """

    def __init__(self, alpha, binary=None, n_rows=1):
        super().__init__(binary if alpha else None, n_rows)
        self.alpha = alpha

    def pull(self, network, number, weights, gradient, gain=1.0, variance=None):
        """Subtract strengths times a layer's weights from `gain` times its gradient.

        Whatever the variance of the units.
        """
        if self.alpha:
            alpha = weights.dtype.type(self.alpha * gain)
            for slope, block in row_blocks(gradient, weights):
                slope -= alpha * block

    def strength(self, network, number):
        """Return the most by which weights are drawn, as a factor of them."""
        return self.alpha


class Evidence(Penalty):
    """Priors learned from the weights: of each unit, the scale of what it sends.

    Given its unit's scale s, a weight has a Student t distribution. That is a normal
    one whose precision has a gamma distribution, so that scales can be learned by
    expectation maximisation, a step of it at a time. The weights' posterior is taken
    for normal, its precision the sum of the prior's and of the curvature at n rows.

    Parameters
    ----------
    scales : dict of str to list of ndarray
        The squared scales s^2 by network and layer, changed in place.

    n_rows : int
        Rows that there are to explain.

    share : float, default=1.0
        Factor of the pull.

    batch_size : int, default=1
        Rows of a step. Where there are many more, one step in up to eight pulls for
        all of them, as the passes over the weights take time.

    binary : Rows or None, default=None

    of_parents : float, default=0
        What the pull on real visible units has as a factor, times their hidden parents,
        see :func:`pull_of_parents`; 0 where they are binary.
    """

    learns = True

    def __init__(
        self, scales, n_rows, share=1.0, batch_size=1, binary=None, *, of_parents=0
    ):
        super().__init__(binary, n_rows)
        self.of_parents = of_parents
        self.scales = scales
        self.share = share
        self.every = _steps_between(n_rows, batch_size)
        self._learned = set()

    def pull(self, network, number, weights, gradient, gain=1.0, variance=None):
        """Subtract (15) of the user guide from `gain` times a layer's gradient.

        Times the share, and for `every` steps at once; nothing before the scales have
        been learned. On real units it is times their variance, as their gradient is,
        and a factor.
        """
        if (network, number) not in self._learned:
            return
        scalar = weights.dtype.type
        widths = self._widths(network, number).astype(weights.dtype)
        factors = scalar(self._factor(network, number) * gain)
        if variance is not None:
            # No more than for a spread of one, so that it is never above the weight.
            factors = factors * np.minimum(variance, 1)
        blocks = row_blocks(gradient, weights, widths[:, None])
        for slope, block, width in blocks:
            # The precision, see below, times the weights, in few passes.
            pull = np.square(block)
            pull += width
            np.divide(block, pull, out=pull)
            pull *= factors
            slope -= pull

    def _factor(self, network, number):
        """Return what the pull on a layer's weights is proportional to."""
        factor = self.share * (_FREEDOM + 1) / self.n_rows * self.every
        if not self.of_parents or number:
            return factor
        least = factor * _LEAST_PULL_ON_REAL
        if network in TRIANGULAR:
            return least
        n_parents = max(len(self.scales[network][number]), _FEWEST_PARENTS)
        return max(least, factor * self.of_parents / n_parents)

    def _widths(self, network, number):
        """Return nu s^2 of each unit, but no less than the factor.

        No weight is then drawn by more than itself, so that steps of it do not diverge.
        """
        factor = self._factor(network, number)
        return np.maximum(_FREEDOM * self.scales[network][number], factor)

    def strength(self, network, number):
        """Return the most by which each unit's weights are drawn, as a factor of them.

        Of shape (n_parents,), or 0 before anything has been learned.
        """
        if (network, number) not in self._learned:
            return 0.0
        return self._factor(network, number) / self._widths(network, number)

    def learn(self, machine, moments, done=1.0):
        """Update the scales.

        Parameters
        ----------
        machine : Machine
        moments : dict
            What :func:`measure` gives.

        done : float, default=1.0
            What part of all steps a new machine has taken.
        """
        for (network, number), found in moments.items():
            if number and done < _UPPER_LAYERS_FROM:
                continue
            weights = getattr(machine, network)[number].weights
            information, variance = found.curvature()
            # From which unit on each parent sends: all, or those after itself.
            first = np.arange(1, len(weights) + 1) * (network in TRIANGULAR)
            rows = self.scales[network][number], self.n_rows * variance, first
            blocks = row_blocks(weights, *rows, n_values=_BLOCK_WEIGHTS)
            for block, scales, variances, start in blocks:
                curvature = np.multiply.outer(variances, information)
                squares = expected_squares(block, curvature, scales)
                sent = np.arange(len(information)) >= start[:, None]
                scales[...] = next_scales(squares, scales, sent)
            self._learned.add((network, number))


def pull_of_parents(machine):
    """Return `of_parents` of :class:`Evidence`.

    Half as much where real units see each other: those weights would take over what
    hidden units explain better.
    """
    if machine.generative[0].units.variance is None:
        return 0
    return _PULL_OF_PARENTS / (2 if machine.autoregressive else 1)


def _steps_between(n_rows, batch_size):
    """Return how many steps may go from one pull to the next."""
    minibatches = n_rows // max(batch_size, 100)
    return max(1, min(_MOST_STEPS, minibatches // _MINIBATCHES_A_STEP))


def precision(squares, scales):
    """Return the expected precision of weights' priors, (n_parents, n_units).

    Parameters
    ----------
    squares : ndarray of shape (n_parents, n_units)
        The weights' squares.

    scales : ndarray of shape (n_parents,)
        The squared scales.
    """
    return (_FREEDOM + 1) / (_FREEDOM * scales[:, None] + squares)


def expected_squares(weights, curvature, scales):
    """Return the weights' expected squares under their normal posterior.

    Parameters
    ----------
    weights : ndarray of shape (n_parents, n_units)
    curvature : ndarray of shape (n_parents, n_units)
        Of the negative log-likelihood.

    scales : ndarray of shape (n_parents,)
    """
    squares = np.square(weights.astype(np.float64))
    return squares + 1 / (curvature + precision(squares, scales))


def next_scales(squares, scales, sent):
    """Return the scales after one step of expectation maximisation.

    To what each unit sends, one weight of scale one is added.

    Parameters
    ----------
    squares : ndarray of shape (n_parents, n_units)
        The weights' expected squares.

    scales : ndarray of shape (n_parents,)

    sent : ndarray of bool, shape (1 or n_parents, n_units)
        Which of the weights there are.
    """
    shares = scales[:, None] * precision(squares, scales) * squares
    total = (shares * sent).sum(axis=1) + 1
    return np.maximum(total / (sent.sum(axis=1) + 1), _SMALLEST_SCALE)
