"""Units: draws follow the means, densities and residuals follow each other."""

import numpy as np
import oracles
import pytest
from helpers import stream
from scipy.special import expit
from scipy.stats import norm

from sklearn_helmholtz._random import HALF_RANGE
from sklearn_helmholtz._units import (
    Bernoulli,
    Gaussian,
    threshold,
    threshold_in_turn,
)

LOGITS = np.array([-4.0, -1.0, 0.0, 0.5, 3.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("in_turn", [False, True])
def test_draws_are_on_with_probability_sigmoid(in_turn, dtype):
    bits = stream().bits((200_000, 5))
    logits = LOGITS.astype(dtype)
    if in_turn:
        states = threshold_in_turn(logits, np.zeros((5, 5), dtype), bits)
    else:
        states = threshold(logits, bits)
    assert states.dtype == dtype
    p = expit(LOGITS)
    z = (states.mean(axis=0, dtype=float) - p) / np.sqrt(p * (1 - p) / len(bits))
    assert np.abs(z).max() < norm.isf(1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_decide_every_draw_silently(dtype):
    ends = np.array([[-HALF_RANGE] * 2, [HALF_RANGE - 1] * 2], dtype=np.int32)
    logits = np.array([-1e4, 1e4], dtype)
    lateral = np.zeros((2, 2), dtype)
    with np.errstate(all="raise", under="ignore"):
        for states in (
            threshold(logits, ends),
            threshold_in_turn(logits, lateral, ends),
        ):
            np.testing.assert_array_equal(states, [[0, 1], [0, 1]])


def test_bernoulli_log_prob_equals_the_plain_sum():
    states = np.array([[0, 1, 1, 0, 1], [0.2, 0.5, 1, 0, 0.9]])
    expected = [oracles.log_bernoulli(row, LOGITS) for row in states]
    np.testing.assert_allclose(Bernoulli().log_prob(states, LOGITS), expected)


def test_gaussian_log_prob_equals_the_plain_sum():
    variance = np.array([0.1, 1.0, 2.0, 5.0, 0.5])
    states = np.random.default_rng(0).normal(size=(4, 5))
    expected = [oracles.log_normal(row, LOGITS, variance) for row in states]
    found = Gaussian(variance).log_prob(states, np.tile(LOGITS, (4, 1)))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("units", [Bernoulli(), Gaussian(np.array([0.3, 2.0]))])
def test_residual_is_the_slope_of_log_prob_in_the_units_metric(units):
    states, logits, step = np.array([[1.0, 0.0]]), np.array([[0.4, -0.7]]), 1e-6
    residual = units.residual(states, logits)
    information = 1.0 if units.binary else 1 / units.variance
    for j in range(2):
        move = np.eye(2)[j] * step
        ends = [units.log_prob(states, logits + s * move)[0] for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert (residual * information)[0, j] == pytest.approx(slope, abs=1e-8)
