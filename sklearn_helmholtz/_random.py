"""Randomness: generators from a random_state, and noise keyed by a row's content.

Bernoulli draws compare uniform numbers with a probability. A `rng` has a method
``bits(shape)`` that returns uint32 in (0, 2^32), never 0 and as often x as 2^32 - x,
and ``noise(shape, dtype)``, which returns floats in (0, 2^16) likewise:
:class:`Stream` for training and sampling, :class:`RowStream` for chains that depend on
the row alone. :class:`RowNoise` is for scores that do.
"""

import math
from functools import lru_cache

import numpy as np
from sklearn.utils import check_random_state

from ._numerics import row_blocks

#: Bits over this are in (0, 1).
FULL_RANGE = 2.0**32
#: And noise over this; float32 may round it to 1, which turns nothing on either.
NOISE_RANGE = 2.0**16
#: What makes both halves of a uint64 odd, and so neither 0.
_ODD = np.uint64(2**32 + 1)
#: Odd multiples of this are up to FULL_RANGE what float32 holds exactly.
_STEP = np.uint32(2**8)

_SCORE_SEED = 0x48656C6D  # any constant: all machines meet a row with the same noise
_GRID = 2.0**10  # rows that agree to 1/1024 in every feature share their noise
_GRID_LIMIT = 2.0**14  # and values beyond +-16 (of a spread of one) saturate


class Stream:
    """A stream of draws from a `numpy.random.Generator`.

    Parameters
    ----------
    generator : numpy.random.Generator
        The source; its state is all the state there is.
    """

    def __init__(self, generator):
        self.generator = generator
        self._bit_generator = generator.bit_generator

    def bits(self, shape):
        """Return odd uint32 draws of the given shape."""
        size = math.prod(shape)
        raw = self._bit_generator.random_raw((size + 1) // 2)
        raw |= _ODD
        return raw.view(np.uint32)[:size].reshape(shape)

    def noise(self, shape, dtype):
        """Return uniform draws of the given shape and dtype, for one probability each.

        Random bits are what costs most here. So each draw has 16 of its own, and all
        share 16 lower ones: each is as fine as :meth:`bits`, and the covariance of two
        that are compared with probabilities is 2^-34 at most.
        """
        size = math.prod(shape)
        raw = self._bit_generator.random_raw((size + 3) // 4 + 1)
        noise = raw.view(np.uint16)[:size].reshape(shape).astype(dtype)
        noise += ((int(raw[-1]) & 0xFFFF) | 1) / NOISE_RANGE
        return noise

    def normals(self, shape, dtype):
        """Return standard normal draws of the given shape and dtype."""
        return self.generator.standard_normal(shape, dtype=dtype)


def as_noise(bits, dtype):
    """Return uint32 draws as floats in (0, 2^16)."""
    noise = bits.astype(dtype)
    noise *= NOISE_RANGE / FULL_RANGE
    return noise


def draw_from_means(means, rng):
    """Return binary draws in the place of their means, values in [0, 1]."""
    np.subtract(1, means, out=means)
    means *= NOISE_RANGE
    return np.greater(rng.noise(means.shape, means.dtype), means, out=means)


def uniforms(rng, shape):
    """Return draws in (0, 1), float64."""
    return rng.bits(shape) / FULL_RANGE


def choose(weights, odds):
    """Return one position on the first axis for every row, drawn by weight.

    Parameters
    ----------
    weights : ndarray of shape (n_positions, n_rows)
        Not negative; their sums over positions do not matter.

    odds : ndarray of shape (n_rows,)
        Uniform in (0, 1).
    """
    sums = np.cumsum(weights, axis=0)
    below = sums < odds * sums[-1]
    return np.minimum(below.sum(axis=0), len(weights) - 1)


def make_generators(random_state, n):
    """Return n independent generators seeded from a scikit-learn random_state."""
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=4)
    children = np.random.SeedSequence(seed.tolist()).spawn(n)
    return [np.random.Generator(np.random.SFC64(child)) for child in children]


def row_keys(X):
    """Return a 64-bit key of every row's content, as uint64 of shape (n_rows,).

    The key is an integer hash of the row's values on a grid of 1/1024: two
    dot products with fixed random integers, small enough that every partial
    sum is an exact float64. So it depends on no order of summation and is the
    same for float32, float64, dense and sparse rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    """
    sums = np.empty((len(X), 2))
    for rows, out in row_blocks(X, sums):
        on_grid = np.multiply(rows, _GRID, dtype=np.float64)
        np.rint(on_grid, out=on_grid)
        np.clip(on_grid, -_GRID_LIMIT, _GRID_LIMIT, out=on_grid)
        np.dot(on_grid, _multipliers(X.shape[1]), out=out)
    low, high = sums.astype(np.int64).view(np.uint64).T
    return mix64(low + mix64(high))


@lru_cache(maxsize=8)
def _multipliers(n_features):
    """Return the random integers of a row's key, float64 of shape (n_features, 2)."""
    n_bits = 53 - 15 - int(n_features).bit_length()
    generator = np.random.Generator(np.random.SFC64(_SCORE_SEED))
    found = generator.integers(1, 2**n_bits, size=(2, n_features))
    return found.T.astype(np.float64)


class RowNoise:
    """Noise for particles of rows, a function of (row key, particle, unit) alone.

    Parameters
    ----------
    keys : ndarray of shape (n_rows,), uint64
        The rows' keys, see :func:`row_keys`.

    particles : range
        Which particles are drawn.

    seed : int
        Gives another, independent noise for every value.
    """

    def __init__(self, keys, particles, seed=0):
        self.keys = keys
        self.particles = particles
        self.seed = seed

    def bits(self, n_units, layer):
        """Return uint32 draws that float32 holds, (n_particles, n_rows, n_units)."""
        key = np.random.SeedSequence([_SCORE_SEED, self.seed, layer])
        first, second = key.generate_state(2, dtype=np.uint32)
        particles = np.asarray(self.particles, dtype=np.uint32)[:, None, None]
        base = particles * np.uint32(0x9E3779B1) + np.arange(n_units, dtype=np.uint32)
        base = _mix32(base ^ first, second)
        low = self.keys.astype(np.uint32)[:, None]
        high = (self.keys >> np.uint64(32)).astype(np.uint32)[:, None]
        draws = _mix32(base ^ low, high)
        draws &= ~(2 * _STEP - np.uint32(1))
        draws |= _STEP
        return draws


class RowStream:
    """A stream of draws a particle and row, each a function of the row alone.

    Parameters
    ----------
    keys, particles, seed
        As for :class:`RowNoise`.
    """

    def __init__(self, keys, particles, seed=0):
        self._noise = RowNoise(keys, particles, seed)
        self._n_calls = 0

    def bits(self, shape):
        """Return uint32 draws that float32 holds, (n_particles * n_rows, n_draws)."""
        self._n_calls += 1
        return self._noise.bits(shape[-1], self._n_calls).reshape(shape)

    def noise(self, shape, dtype):
        """Return the next bits as floats."""
        return as_noise(self.bits(shape), dtype)


def mix64(z):
    """Return the splitmix64 finaliser of uint64 values."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _mix32(z, key):
    """Mix uint32 values in place, a second key entering between two rounds."""
    shifted = z >> np.uint32(16)
    z ^= shifted
    z *= np.uint32(0x7FEB352D)
    z ^= key
    for shift, factor in ((15, 0x846CA68B), (16, 0x9E3779B1)):
        np.right_shift(z, np.uint32(shift), out=shifted)
        z ^= shifted
        z *= np.uint32(factor)
    np.right_shift(z, np.uint32(16), out=shifted)
    z ^= shifted
    return z
