"""Learning rules: which states, with which weights, regress which network.

A rule puts phases (:mod:`._phases`, :mod:`._particles`) together, and lays them
out in lanes, so that two threads can share a step.
"""

import math
from typing import NamedTuple

from ._belief_network import BOTTOM_UP, TOP_DOWN
from ._particles import refined_wake, reweighted_wake
from ._phases import contrast, sleep, wake


class Lane(NamedTuple):
    """Phases that run one after another, beside other lanes.

    Parameters
    ----------
    phases : tuple of ({"wake", "sleep"}, slice)
        Each phase with its rows of the minibatch.

    owns : tuple of str
        The networks that no other lane teaches, nor reads once its last phase has
        given a regression: the lane may change them then.
    """

    phases: tuple
    owns: tuple


class LearningRule:
    """Which phases a step has, and how they are laid out in lanes.

    Parameters
    ----------
    n_particles : int
        Recognised particles a row.

    wake_share, sleep_share : float
        Factors of the recognition network's regressions in the two phases.

    n_moves : int, default=0
        Moves towards the posterior before a particle teaches.

    informed : bool, default=False
        Whether regressions carry the units' information.
    """

    #: Whether a recognition layer's weights are the generative ones' transpose.
    shares_weights = False
    #: Whether grey rows are better drawn to binary than taken as they are.
    resamples = True
    #: Factor of the direction's usual learning rate.
    rate_factor = 1.0
    #: Factor of the parents' length from which on recognition's steps are shorter.
    length_factor = 1.0
    #: What alpha="auto" stands for.
    usual_penalty: str | float = "evidence"
    #: Steps that max_iter="auto" takes at the least, if its most epochs allow it.
    least_steps = 1000

    def __init__(
        self, n_particles, wake_share, sleep_share, n_moves=0, *, informed=False
    ):
        self.n_particles = n_particles
        self.n_moves = n_moves
        self.informed = informed
        self.wake_share = wake_share
        self.sleep_share = sleep_share

    def lanes(self, n_rows):
        """Return the lanes of a step on n_rows: each half of them, awake and asleep.

        The layout may depend on the rule and the minibatch, never on the number of
        threads, so that the result does not either.
        """
        parts = slice(0, n_rows // 2), slice(n_rows // 2, n_rows)
        return [
            Lane((("wake", part), ("sleep", part)), ())
            for part in parts
            if part.stop > part.start
        ]

    def wake(self, machine, x, rng, scratch, weight):
        """Yield the regressions on rows of data x, of that weight each."""
        raise NotImplementedError

    def sleep(self, machine, n_rows, rng, scratch, weight):
        """Yield the regressions on n_rows dreams: none, unless a rule has some."""
        return iter(())


class ReweightedWakeSleep(LearningRule):
    """Reweighted wake-sleep, and what it becomes with one particle or with moves."""

    def lanes(self, n_rows):
        """Return the lanes of a step on n_rows.

        The wake phase of k particles takes about k times as long as the sleep phase. So
        one lane is awake for more than half of the rows, the other one for the others
        and asleep for all of them; with one particle, each phase is a lane.
        """
        asleep = bool(self.sleep_share) / (self.n_particles + self.n_moves)
        n_first = math.ceil(n_rows * (1 + asleep) / 2)
        first, rest = slice(0, n_first), slice(n_first, n_rows)
        phases = [("wake", rest)] * (n_first < n_rows) + [("sleep", slice(0, n_rows))]
        return [
            Lane((("wake", first),), TOP_DOWN if n_first == n_rows else ()),
            Lane(tuple(phases), () if self.wake_share else BOTTOM_UP),
        ]

    def wake(self, machine, x, rng, scratch, weight):
        """Yield the wake phase's regressions."""
        given = machine, x, rng, scratch, weight
        how = {"informed": self.informed}
        if self.n_moves:
            rest = self.n_particles, self.wake_share, self.n_moves
            return refined_wake(*given, *rest, **how)
        if self.n_particles == 1 and not self.wake_share:
            return wake(*given, **how)
        return reweighted_wake(*given, self.n_particles, self.wake_share, **how)

    def sleep(self, machine, n_rows, rng, scratch, weight):
        """Yield the sleep phase's regressions."""
        if not self.sleep_share:
            return iter(())
        weight = weight * self.sleep_share
        return sleep(machine, n_rows, rng, scratch, weight, informed=self.informed)


class WakeSleep(ReweightedWakeSleep):
    """Wake-sleep; the arguments are those of its generalisation."""

    #: Recognition learns from dreams alone, so it needs longer steps.
    length_factor = 2.0

    def __init__(
        self, n_particles, wake_share, sleep_share, n_moves=0, *, informed=False
    ):
        super().__init__(1, wake_share=0.0, sleep_share=1.0, informed=informed)


class ContrastiveDivergence(LearningRule):
    """Contrastive divergence: networks that share their weights, and echoes.

    The sum of the two networks' regressions on a pair of layers is the gradient
    h x^T - h' x'^T of Hinton (2002), with h recognised from x, x' the echo of h,
    and h' the means recognised from x'.
    """

    shares_weights = True
    resamples = False
    rate_factor = 0.5
    usual_penalty = 3e-4
    least_steps = 0

    def __init__(
        self, n_particles, wake_share, sleep_share, n_moves=0, *, informed=False
    ):
        super().__init__(1, wake_share=1.0, sleep_share=0.0, informed=informed)

    def wake(self, machine, x, rng, scratch, weight):
        """Yield the regressions of both networks."""
        return contrast(machine, x, rng, scratch, weight, informed=self.informed)


LEARNING_RULES = {
    "wake-sleep": WakeSleep,
    "reweighted-wake-sleep": ReweightedWakeSleep,
    "contrastive-divergence": ContrastiveDivergence,
}
