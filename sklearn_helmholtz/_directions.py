"""Directions: from a regression to the change of weights and bias that it asks for.

A direction adds regressions to a :class:`._gradient.Gradient`, and may turn the
optimiser's step into the step of the parameters as they are stored. A little longer
than most modules here, as all of them share how steps are shortened.
"""

import numpy as np
import scipy.linalg

from ._belief_network import BOTTOM_UP, TRIANGULAR
from ._gradient import Gradient, add_column_sums, add_product
from ._numerics import column_mean

#: Of all regressions that teach the same units. Momentum m is stable while the learning
#: rate times this is below 2 (1 + m), on the same rows: up to rates of 3.8 for 0.9, and
#: a little less where minibatches differ.
_LARGEST_CURVATURE = 1.0
#: The most that `longest_parents` gives. MNIST's is 68, with pixels less their mean.
_LONGEST = 100.0
#: What it gives in a stream, whose rate does not fall.
_LONGEST_IN_A_STREAM = 30.0
#: What it gives times the parents, for each row of a minibatch and each row that there
#: is; and the least, for each row of a minibatch. Both by trial.
_LENGTH_OF_ROWS = 0.3
_LEAST_LENGTH = 0.1


def _factor(parent, largest, others=0):
    """Return what makes steps from parents of that mean squared length no longer.

    Than from `largest`; `others` adds that of what else teaches the units.
    """
    curvature = float(np.vdot(parent, parent)) / len(parent) + others
    return largest / max(curvature, largest)


def longest_parents(n_parents, n_rows=None, minibatch=None, factor=1.0):
    """Return the mean squared length of parents from which on recognition is tamed.

    Times the usual rate; steps from longer ones are shorter. The noise that minibatches
    leave in a logit grows with that length and the rate over the minibatch's rows.
    A rate that falls to 0 takes it away, but that takes steps: the more parents there
    are to share the length among, the weaker is what draws the weights back. So few
    rows of many columns would end with units that follow the last dreams' noise.

    Parameters
    ----------
    n_parents : int

    n_rows : int, default=None
        Rows that there are, None if that is not known.

    minibatch : int, default=None
        How many of them a step is made from.

    factor : float, default=1.0
        Of what follows from the rows.
    """
    if n_rows is None:
        return _LONGEST_IN_A_STREAM
    learned = max(_LEAST_LENGTH, _LENGTH_OF_ROWS * n_rows / n_parents)
    return min(factor * minibatch * learned, _LONGEST)


class Plain:
    """The gradient itself: parent^T residual."""

    #: Whether regressions must carry the units' information.
    informed = False
    #: The learning rate to start with.
    usual_rate = 0.1
    #: Rows of a minibatch below which even a rate that ends at 0 has to be lower.
    least_minibatch = 1
    #: The type of a layer's running average, None if there are none.
    kind_of_average: type | None = None
    gradient = staticmethod(Gradient.like)

    def __init__(self, averages=None, longest=longest_parents):
        self.averages = averages
        self.longest = longest

    @staticmethod
    def initial_averages(machine):
        """Return the running averages that the direction keeps: none."""
        return None

    @classmethod
    def keeps(cls, averages):
        """Return whether running averages are of the kind that the direction keeps."""
        kind = None if averages is None else type(averages["generative"][0])
        return kind is cls.kind_of_average

    def accumulate(self, regression, gradient, scratch, *, first, share=1.0):
        """Add a regression, of a share of the minibatch's rows, to the gradient.

        The first one of a step multiplies what is there by `gradient.keep` before.
        """
        keep, scale = gradient.keep if first else 1, 1
        parent, residual = regression.parent, regression.residual
        if parent is not None:
            # The bias is a parent that is always 1, which centring parts from others.
            scale = self._taming(regression, parent, others=1)
            add_product(parent, residual, gradient.weights, scratch, keep, scale)
        add_column_sums(residual, gradient.bias, keep, scale)

    def _taming(self, regression, parent, others=0):
        """Return the factor of a residual, below 1 for long parents.

        Long in the mean square, to which `others` adds that of what else teaches the
        units.

        Linear least squares is solved by gradient steps only if they are shorter than
        2 over the largest curvature. The parents' mean squared length bounds that.
        Residuals of binary units are bounded, so logistic regressions do not diverge;
        but with very many parents a step saturates units of the recognition network,
        which then know nothing of what they do not see. (Not where its regression is
        one with the other network's, of weights that both share.)
        """
        if regression.n_linear_parents:
            largest = _LARGEST_CURVATURE / regression.n_linear_parents
            return _factor(parent, largest, others)
        if regression.network in BOTTOM_UP and not regression.shared:
            return self.taming_of_recognition(parent)
        return 1

    def taming_of_recognition(self, parent):
        """Return the factor of a recognition network's residual, for its parents."""
        largest = self.longest(parent.shape[1]) / self.usual_rate
        if parent.shape[1] <= largest:
            return 1  # without a look: no column's spread is above one
        return _factor(parent, largest)

    def precondition(self, network, index, gradient, penalty, rate):
        """Turn the gradient into the direction that the optimiser takes, in place.

        Parameters
        ----------
        network : str
        index : int
        gradient : Gradient

        penalty : Fixed or Evidence
            What else the gradient holds.

        rate : float
            The learning rate, of which the optimiser will make use.
        """

    def finish(self, network, index, step):
        """Turn the optimiser's step into the stored parameters' step, in place."""


class Centred(Plain):
    """Regression on parents less their running mean, with the bias corrected.

    The logits are written as (s - c) W + b': a change of W then leaves the
    mean logit alone, so that weights and bias do not pull at each other, and
    the learning rate can be an order of magnitude larger. Stored is
    b = b' - c W, so the machine's function does not depend on c.

    Parameters
    ----------
    averages : dict of str to list of ndarray
        The parents' running means by network and layer.
    """

    usual_rate = 1.0
    least_minibatch = 5
    kind_of_average = np.ndarray
    #: How far a minibatch moves the running mean.
    rate = 0.05

    @staticmethod
    def initial_averages(machine):
        """Return the mean states of the machine's dreams, its weights left aside."""
        means = [layer.units.mean(layer.bias.copy()) for layer in machine.generative]
        above = [*means[1:], means[0][:0]]
        return {
            "generative": [mean.copy() for mean in above],
            "recognition": [mean.copy() for mean in means[:-1]],
            "lateral": [mean.copy() for mean in means[1:]] if machine.lateral else [],
            "autoregressive": [means[0].copy()] if machine.autoregressive else [],
        }

    def accumulate(self, regression, gradient, scratch, *, first, share=1.0):
        keep, scale = gradient.keep if first else 1, 1
        parent, residual = regression.parent, regression.residual
        if parent is not None:
            centre = self.averages[regression.network][regression.layer]
            centred = scratch("centred", parent.shape)
            np.subtract(parent, centre, out=centred)
            scale = self._taming(regression, centred)
            add_product(centred, residual, gradient.weights, scratch, keep, scale)
            if first:
                column_mean(centred, out=gradient.shift, times=share)
                gradient.share = share
            else:
                gradient.shift += column_mean(centred, times=share)
                gradient.share += share
            # As many biases add up to a linear mean as it has regressions.
            scale = min(scale, 1 / max(1, regression.n_linear_parents))
        add_column_sums(residual, gradient.bias, keep, scale)

    def finish(self, network, index, step):
        if not step.shift.size:
            return
        centre = self.averages[network][index]
        step.bias -= centre.dot(step.weights)
        step.shift *= self.rate / step.share
        centre += step.shift


class Natural(Plain):
    """The gradient in a metric close to that of the Fisher information.

    A unit's weights and bias meet only its own regression, so the Fisher matrix
    falls into one block a unit: F_j = E[v_j s s^T] over parents s with a 1
    appended, v_j the unit's information. F_j is taken for E[v_j] S, with one
    matrix S = E[s s^T] a layer, weighted by the units' mean information: the
    blocks themselves cost as many matrices as units, and on the bars task they
    end in worse optima.

    A penalty draws also those weights that the rows say nothing about, where the
    inverse is largest. So for a parent whose weights are drawn by up to a times
    themselves, rate a / min_j E[v_j] is added to S: no step of it overshoots then.

    Units that see those before them have no other parents: their blocks are of the
    leading rows and columns of S, which has the 1 first.

    Parameters
    ----------
    averages : dict of str to list of dict
        By network and layer the running "moments" of shape (n_parents + 1,
        n_parents + 1), "information" of shape (n_units,) and "n_updates".
    """

    informed = True
    usual_rate = 0.03
    least_minibatch = 10
    kind_of_average = dict
    #: How far a minibatch moves the running averages, once there are enough.
    rate = 0.05
    #: Added to a unit's information: a twentieth of the most that it can be.
    damping = 0.0125

    @staticmethod
    def gradient(layer):
        """Return a gradient of the layer's shapes with room for its curvature."""
        gradient = Gradient.like(layer)
        gradient.curvature = _curvature_like(layer)
        return gradient

    @staticmethod
    def initial_averages(machine):
        """Return averages over no minibatches yet."""
        return {
            network: [
                dict(zip(_CURVATURE, _curvature_like(layer), strict=True))
                | {"n_updates": 0}
                for layer in getattr(machine, network)
            ]
            for network in machine._fields
        }

    def accumulate(self, regression, gradient, scratch, *, first, share=1.0):
        keep = gradient.keep if first else 1
        parent, residual = regression.parent, regression.residual
        if parent is not None:
            add_product(parent, residual, gradient.weights, scratch, keep)
        add_column_sums(residual, gradient.bias, keep)
        for mine, found in zip(gradient.curvature, _curvature(regression), strict=True):
            if first:
                np.copyto(mine, found)
            else:
                mine += found

    def precondition(self, network, index, gradient, penalty, rate):
        averages = self.averages[network][index]
        averages["n_updates"] += 1
        share = max(self.rate, 1 / averages["n_updates"])
        for name, found in zip(_CURVATURE, gradient.curvature, strict=True):
            averages[name] += found.dtype.type(share) * (found - averages[name])
        joint = np.concatenate([gradient.bias[None], gradient.weights])
        strength = rate * penalty.strength(network, index)
        damped, information = self._damped(averages, strength)
        solved = _solve(damped, joint, in_turn=network in TRIANGULAR)
        solved /= information
        gradient.bias[...], gradient.weights[...] = solved[0], solved[1:]

    def _damped(self, averages, strength):
        """Return S and E[v], damped, S also by the strength of a penalty's steps."""
        moments = averages["moments"]
        information = averages["information"] + moments.dtype.type(self.damping)
        # The moments are summed with the information as weights; S is their mean,
        # so that its first entry, of the 1 with itself, is 1.
        damped = moments / max(moments[0, 0], np.finfo(moments.dtype).tiny)
        diagonal = damped.diagonal() + self.damping
        diagonal[1:] += strength / information.min()
        np.fill_diagonal(damped, diagonal)
        return damped, information


def _solve(matrix, joint, *, in_turn):
    """Return matrix^-1 joint, of which a row is the bias's.

    Where units are in turn, each has the leading block of the matrix for its own
    parents: the leading block of a Cholesky factor is the factor of that.
    """
    try:
        factor = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        # By rounding, or it has overflowed; the epoch's end finds out.
        return np.full_like(joint, np.nan)
    how = {"lower": True, "check_finite": False}
    half = scipy.linalg.solve_triangular(factor, joint, **how)
    if in_turn:
        half = np.triu(half)
    return scipy.linalg.solve_triangular(factor, half, trans="T", **how)


_CURVATURE = "moments", "information"


def _curvature_like(layer):
    """Return zeros of the shapes of a layer's curvature."""
    n_parents, n_units = layer.weights.shape
    shapes = (n_parents + 1, n_parents + 1), (n_units,)
    return [np.zeros_like(layer.weights, shape=shape) for shape in shapes]


def _curvature(regression):
    """Return a regression's moments of a 1 and its parents; its units' information."""
    information, parent = regression.information, regression.parent
    if parent is None:
        parent = information[:, :0]
    joint = np.concatenate([np.ones_like(parent, shape=(len(parent), 1)), parent], 1)
    weighted = joint * information.mean(axis=1, keepdims=True)
    return [joint.T @ weighted, information.sum(axis=0)]


DIRECTIONS = {"plain": Plain, "centred": Centred, "natural": Natural}
