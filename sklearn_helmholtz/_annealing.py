"""Annealed importance sampling of log p(x) (Neal 2001).

Chains of hidden states are led to the posterior of x through distributions between
one that is easy to draw from and p(x, s). The mean of their weights is p(x) in
expectation, however few moves they make, so its log is a lower bound in
expectation, as that of importance sampling is; but far from q it is a tighter one.

The easy one draws the first hidden layer unit by unit, with the recognition
network's means, and the layers above it as dreams.
"""

import numpy as np

from ._belief_network import Scratch, down_pass, up_means
from ._likelihood import estimate_in_blocks, pool
from ._moves import Chain, prior_logits
from ._parallel import raise_if_unwanted
from ._random import RowStream, row_keys
from ._units import threshold

#: Means that guide the start are kept as far from 0 and 1, so that no state is
#: out of reach.
_LEAST_MEAN = 0.005


class _Path:
    """Chains on their way to the posterior of rows.

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)
    guide : ndarray of shape (n_rows, n_units)
        Logits of the first hidden layer at the start.

    rng : RowStream
    """

    def __init__(self, machine, x, guide, rng):
        self.layers = machine.top_down
        self.guide = guide
        self.rng = rng
        dream = down_pass(self.layers[2:], len(x), rng, Scratch(machine.dtype))
        first = threshold(guide, rng.noise(guide.shape, guide.dtype))
        self.states = [x, first, *dream]
        visible = self.layers[0]
        self.log_prob = visible.units.log_prob(x, visible.logits(first))

    def log_ratio(self):
        """Return log p(x, s) less the log of the start's probability, by row."""
        first, units = self.states[1], self.layers[1].units
        log_prior = units.log_prob(first, prior_logits(self.layers, self.states, 1))
        return self.log_prob + log_prior - units.log_prob(first, self.guide)

    def move(self, power, n_moves):
        """Make n_moves moves in every layer, towards start^(1 - power) p^power."""
        power = self.guide.dtype.type(power)
        for index in range(1, len(self.states)):
            prior = prior_logits(self.layers, self.states, index)
            if index == 1:
                prior = power * prior + (1 - power) * self.guide
            # Dreams are drawn from p: between those layers the start has no part.
            child_power = power if index <= 2 else 1
            child, own = self.states[index - 1 : index + 1]
            chain = Chain(self.layers[index - 1], child, own, prior, child_power)
            chain.move(self.rng, n_moves)
            if index == 1:
                self.log_prob = chain.view.log_prob


def annealed_log_weights(machine, x, n_temperatures, n_moves, rng):
    """Return the log-weight of a chain a row, float64 of shape (n_rows,).

    Parameters
    ----------
    machine : Machine
    x : ndarray of shape (n_rows, n_features)

    n_temperatures : int
        Steps from the start to the posterior, the power being as much higher after
        each.

    n_moves : int
        Moves a layer at each power.

    rng : RowStream
    """
    means = np.clip(up_means(machine, x, 1)[0], _LEAST_MEAN, 1 - _LEAST_MEAN)
    path = _Path(machine, x, np.log(means / (1 - means)), rng)
    total = path.log_ratio().astype(np.float64)
    for step in range(1, n_temperatures):
        raise_if_unwanted()
        path.move(step / n_temperatures, n_moves)
        total += path.log_ratio()
    return total / n_temperatures


def annealed_rows(machine, rows, n_chains, n_temperatures, n_moves, team, seed=0):
    """Return the :class:`Estimate` of many rows, block by block.

    Parameters
    ----------
    machine : Machine
    rows : Rows

    n_chains : int
        Chains a row.

    n_temperatures, n_moves : int
        See :func:`annealed_log_weights`.

    team : Workers
    seed : int
    """

    def score(x):
        keys = row_keys(x)

        def weigh(chains):
            rng = RowStream(keys, chains, seed)
            many = np.tile(x, (len(chains), 1))
            found = annealed_log_weights(machine, many, n_temperatures, n_moves, rng)
            return found.reshape(len(chains), len(x))

        return pool(weigh, len(x), n_chains)

    return estimate_in_blocks(score, rows, n_chains, team)
