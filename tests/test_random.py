"""Noise keyed by a row's content: uniform, independent, a function of the row."""

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import stream
from scipy.stats import kstest, norm

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._random import (
    FULL_RANGE,
    NOISE_RANGE,
    RowNoise,
    make_generators,
    row_keys,
)

#: Level of the tests here; seeds are fixed.
LEVEL = 1e-4


def keys(n_rows=300, n_features=50, seed=0):
    rows = np.random.default_rng(seed).random((n_rows, n_features)) < 0.2
    return row_keys(rows.astype(float))


def uniform(draws):
    return draws.ravel() / FULL_RANGE


def centred(draws):
    """Return draws spread over (-1, 1)."""
    return draws / (FULL_RANGE / 2) - 1


def test_draws_of_a_stream_are_uniform():
    bits = stream().bits((300, 333))
    assert kstest(uniform(bits), "uniform").pvalue > LEVEL
    assert (bits % 2).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_of_a_stream_is_uniform(dtype):
    source, n_calls = stream(), 20_000
    noise = np.array([source.noise((3, 3), dtype) for _ in range(n_calls)])
    assert noise.dtype == dtype
    assert kstest(noise.ravel() / NOISE_RANGE, "uniform").pvalue > LEVEL
    # Its lower bits, which a call's draws share, as well.
    assert kstest(noise[:, 0, 0].astype(float) % 1, "uniform").pvalue > LEVEL
    assert noise.min() > 0


def test_rare_draws_are_as_frequent_as_their_probability():
    # Far less than what the 16 bits of one draw tell apart.
    p, source, shape, n_calls = 2.0**-19, stream(), (1000, 100), 1000
    level = NOISE_RANGE * (1 - p)
    n_found = sum(
        np.count_nonzero(source.noise(shape, np.float64) > level)
        for _ in range(n_calls)
    )
    # Calls differ in their lower bits: one in eight may turn on about 1.5 units.
    expected = p * 1e5 * n_calls
    variance = n_calls * 1e5 * 2.0**-16 / 8 * (1 + 1e5 * 2.0**-16)
    assert abs(n_found - expected) < norm.isf(LEVEL / 2) * np.sqrt(variance)


def test_noise_of_units_rows_and_calls_is_uncorrelated():
    source = stream()
    one, other = (source.noise((400, 300), float) / NOISE_RANGE for _ in range(2))
    one, other = 2 * one - 1, 2 * other - 1
    pairs = (one, other), (one[1:], one[:-1]), (one[:, 1:], one[:, :-1])
    for first, second in pairs:
        z = 3 * (first * second).mean() * np.sqrt(first.size)
        assert abs(z) < norm.isf(LEVEL / 2)


def test_float32_holds_keyed_noise():
    bits = RowNoise(keys(), range(20)).bits(30, 0)
    np.testing.assert_array_equal(bits.astype(np.float32), bits.astype(np.float64))
    np.testing.assert_array_equal(bits % 2**9, 2**8)


def test_keyed_noise_is_uniform():
    bits = RowNoise(keys(), range(20)).bits(30, 0)
    assert kstest(uniform(bits), "uniform").pvalue > LEVEL
    values = centred(bits)
    for axis_means in (values.mean(axis=(0, 1)), values.mean(axis=(0, 2))):
        spread = 1 / np.sqrt(3) / np.sqrt(bits.size / axis_means.size)
        assert np.abs(axis_means / spread).max() < norm.isf(LEVEL / axis_means.size)


def test_keyed_noise_of_rows_particles_units_and_layers_is_uncorrelated():
    noise = RowNoise(keys(), range(20))
    bits = centred(noise.bits(30, 0))
    others = {
        "rows": (bits[:, 1:], bits[:, :-1]),
        "particles": (bits[1:], bits[:-1]),
        "units": (bits[..., 1:], bits[..., :-1]),
        "layers": (bits, centred(noise.bits(30, 1))),
        "seeds": (bits, centred(RowNoise(keys(), range(20), seed=1).bits(30, 0))),
    }
    for one, other in others.values():
        z = 3 * (one * other).mean() * np.sqrt(one.size)
        assert abs(z) < norm.isf(LEVEL / 2)
        z_squares = (np.corrcoef(one.ravel() ** 2, other.ravel() ** 2)[0, 1]) * np.sqrt(
            one.size
        )
        assert abs(z_squares) < norm.isf(LEVEL / 2)


def test_noise_of_a_particle_does_not_depend_on_which_are_drawn_with_it():
    whole = RowNoise(keys(), range(9)).bits(7, 2)
    np.testing.assert_array_equal(RowNoise(keys(), range(3, 5)).bits(7, 2), whole[3:5])


def test_key_is_a_function_of_the_rows_values_alone():
    rng = np.random.default_rng(0)
    X = (rng.random((40, 30)) < 0.3) * rng.random((40, 30))
    X = X.astype(np.float32).astype(float)
    found = row_keys(X)
    assert len(set(found.tolist())) == len(X)
    order = rng.permutation(40)
    np.testing.assert_array_equal(row_keys(X[order]), found[order])
    np.testing.assert_array_equal(row_keys(np.asfortranarray(X)), found)
    np.testing.assert_array_equal(row_keys(X[7:8]), found[7:8])
    np.testing.assert_array_equal(row_keys(sp.csr_array(X).toarray()), found)
    assert (row_keys(X * -1.0) != found).all()
    X[0] = 0.0
    negative_zero = X.copy()
    negative_zero[0] = -0.0
    np.testing.assert_array_equal(row_keys(negative_zero), row_keys(X))


def test_rows_that_differ_in_one_bit_have_different_keys():
    n = 64
    rows = np.vstack([np.zeros((1, n)), np.eye(n), np.ones((1, n)) - np.eye(n)])
    assert len(set(row_keys(rows).tolist())) == len(rows)


@pytest.mark.parametrize("n_features", [1, 784, 100_000])
def test_keys_are_exact_whatever_the_order_of_summation(n_features):
    rng = np.random.default_rng(0)
    X = rng.normal(0, 10, (3, n_features))
    wide = np.hstack([X, np.zeros_like(X)])
    # The same sums through a product of another shape and memory order.
    one = row_keys(np.vstack([wide] * 5))[:3]
    np.testing.assert_array_equal(one, row_keys(np.asfortranarray(wide)))


@pytest.mark.parametrize("kind", ["binary", "grey", "gaussian"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_score_of_a_row_depends_on_the_row_alone(kind, dtype):
    rng = np.random.default_rng(0)
    X = {
        "binary": rng.integers(0, 2, (150, 40)).astype(dtype),
        "grey": rng.random((150, 40)).astype(dtype),
        "gaussian": rng.normal(0, 3, (150, 40)).astype(dtype),
    }[kind]
    machine = HelmholtzMachine((20, 10), max_iter=5, random_state=0).fit(X)
    scores = machine.score_samples(X)
    rtol = 1e-10 if dtype == np.float64 else 1e-5
    order = rng.permutation(len(X))
    for rows, expected in {
        "shuffled": (X[order], scores[order]),
        "part": (X[37:58], scores[37:58]),
        "one": (X[5:6], scores[5:6]),
        "repeated": (np.repeat(X[:30], 9, axis=0), np.repeat(scores[:30], 9)),
        "csr": (sp.csr_array(X), scores),
        "csr_matrix": (sp.csr_matrix(X), scores),
        "fortran": (np.asfortranarray(X), scores),
    }.values():
        np.testing.assert_allclose(machine.score_samples(rows), expected, rtol=rtol)


def test_error_of_the_score_falls_with_the_root_of_the_rows():
    # Noise that rows shared would not average out: the spread of the mean over
    # seeds, times the root of the rows, would then grow with the rows.
    X = np.random.default_rng(0).integers(0, 2, (1024, 20)).astype(float)
    machine = HelmholtzMachine((10, 5), max_iter=2, random_state=0).fit(X)
    runs = np.array([machine.log_likelihood(X, 1, random_state=s) for s in range(60)])
    few = np.std(runs.reshape(60, 64, 16).mean(axis=2), axis=0).mean() * np.sqrt(16)
    many = runs.mean(axis=1).std() * np.sqrt(1024)
    # 60 seeds give the spread to 9 percent; 1.5 is five standard errors off.
    assert 1 / 1.5 < many / few < 1.5


def test_generators_differ_among_themselves_and_repeat_with_the_seed():
    one, other = make_generators(0, 2)
    assert one.integers(2**60) != other.integers(2**60)
    again = make_generators(0, 3)[0]
    assert make_generators(0, 1)[0].integers(2**60) == again.integers(2**60)
    random_state = np.random.RandomState(0)
    first, second = (make_generators(random_state, 1)[0] for _ in range(2))
    assert first.integers(2**60) != second.integers(2**60)


def test_rows_that_differ_by_less_than_the_grid_share_their_noise_and_no_others():
    X = np.random.default_rng(0).integers(-16 * 1024, 16 * 1024, (40, 5)) / 1024
    near, far = X.copy(), X.copy()
    near[:, 3] += 0.4 / 1024
    far[:, 3] += 1 / 1024
    np.testing.assert_array_equal(row_keys(near), row_keys(X))
    assert (row_keys(far) != row_keys(X)).all()
