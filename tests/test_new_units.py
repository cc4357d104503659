"""A new kind of visible unit trains and is scored by what its class says alone."""

import numpy as np
import pytest
from helpers import random_machine
from scipy.special import gammaln

from sklearn_helmholtz._data import Rows
from sklearn_helmholtz._directions import DIRECTIONS
from sklearn_helmholtz._enumeration import exact_log_likelihood
from sklearn_helmholtz._fitted import new_state
from sklearn_helmholtz._learning_rules import LEARNING_RULES
from sklearn_helmholtz._likelihood import estimate_rows
from sklearn_helmholtz._optimizers import SGD
from sklearn_helmholtz._parallel import run_in_turn, workers
from sklearn_helmholtz._penalties import Evidence, Fixed, measure
from sklearn_helmholtz._random import make_generators
from sklearn_helmholtz._training import Step, epochs


class Poisson:
    """Counts: s is Poisson with mean exp(a)."""

    binary = False
    factorial = True
    n_linear_parents = 0
    precision = 1.0
    variance = None

    def mean(self, logits, out=None):
        """Return exp(a)."""
        return np.exp(logits, out=out)

    def sample(self, logits, rng, shape, out=None):
        """Return counts of the given shape."""
        drawn = rng.generator.poisson(np.exp(logits), shape).astype(logits.dtype)
        if out is None:
            return drawn
        np.copyto(out, drawn)
        return out

    def log_prob(self, states, logits):
        """Return log p(s) = sum_j s_j a_j - exp(a_j) - log s_j!, in nats a row."""
        return (states * logits - np.exp(logits) - gammaln(states + 1)).sum(axis=-1)

    def log_prob_of_pairs(self, logits):
        """Return what gives log p of rows of states under every row of logits."""
        total = np.exp(logits).sum(axis=-1)[:, None]
        return lambda s: logits @ s.T - total - gammaln(s + 1).sum(axis=-1)

    def residual(self, states, logits, out=None):
        """Return states - mean, the derivative of log_prob to the logits."""
        return np.subtract(states, np.exp(logits), out=out)

    def log_prob_and_residual(self, states, logits):
        """Return both; the residual takes the logits' place."""
        return self.log_prob(states, logits), self.residual(states, logits, out=logits)

    def information(self, mean):
        """Return how fast the expected residual falls as a rises: the mean."""
        return mean

    def map(self, function):
        """Return the units with a function of each of their arrays: they have none."""
        return self

    def given(self, states):
        """Return units that know what states are asked for: no matter to these."""
        return self


def counting_machine(sizes=(3, 3, 2), scale=0.3):
    """Return a small machine with counts as visible units."""
    machine = random_machine(sizes, scale=scale)
    visible, *others = machine.generative
    return machine._replace(generative=(visible._replace(units=Poisson()), *others))


def counts(n_rows=200):
    """Return rows of two kinds."""
    rng = np.random.default_rng(0)
    means = np.array([[4.0, 0.5, 2.0], [0.5, 4.0, 2.0]])
    return rng.poisson(means[rng.integers(2, size=n_rows)]).astype(float)


@pytest.mark.parametrize(
    ("rule", "direction"),
    [
        (rule, direction)
        for rule in LEARNING_RULES
        for direction in DIRECTIONS
        # Shared weights have no direction of their own.
        if not (LEARNING_RULES[rule].shares_weights and DIRECTIONS[direction].informed)
    ],
)
def test_counts_are_learned_by_every_rule_and_direction(rule, direction):
    machine, X = counting_machine(), counts()
    if LEARNING_RULES[rule].shares_weights:
        for down, up in zip(machine.generative[:-1], machine.recognition, strict=True):
            down.weights[...] = up.weights.T
    chosen = DIRECTIONS[direction]
    state = new_state(machine, SGD(0.9), chosen, make_generators(0, 4))
    step = Step(
        state,
        Rows(X),
        rule=LEARNING_RULES[rule](3, 0.5, 0.5, informed=chosen.informed),
        direction=chosen(state.averages),
        optimizer=SGD(0.9),
        resample=False,
        penalty=Fixed(1e-3),
    )
    before = exact_log_likelihood(machine, X).mean()
    trainer = epochs(
        step,
        n_epochs=20,
        batch_size=50,
        shuffle=True,
        learning_rate=lambda share, epoch: 0.02 * (1 - share),
        run=run_in_turn,
    )
    for _ in trainer:
        pass
    assert exact_log_likelihood(machine, X).mean() > before + 0.5


def test_counts_have_the_likelihood_that_their_samples_approach():
    machine, X = counting_machine(), counts(20)
    exact = exact_log_likelihood(machine, X)
    with workers(1) as team:
        found = estimate_rows(machine, Rows(X), 5000, team)
    np.testing.assert_allclose(found.log_likelihood, exact, atol=0.1)
    assert (found.mean_log_weight < exact).all()


def test_counts_have_learned_priors():
    machine, X = counting_machine(), counts()
    state = new_state(machine, SGD(0.9), DIRECTIONS["plain"], make_generators(0, 3))
    penalty = Evidence(state.scales, len(X))
    before = [scales.copy() for scales in state.scales["generative"]]
    penalty.learn(machine, measure(machine, X))
    assert not np.array_equal(state.scales["generative"][0], before[0])
