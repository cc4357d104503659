"""Rows: blocks, moments and ranges of dense and sparse data."""

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import SMALL, binary_rows, parameters
from hypothesis import given
from hypothesis import strategies as st

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._data import (
    Rows,
    blocks,
    is_binary,
    moments,
    resolution,
    value_range,
)
from sklearn_helmholtz._start import initial_machine, inside_unit_interval


def data(dtype=np.float64):
    rng = np.random.default_rng(0)
    return (rng.normal(3, 2, (50, 6)) * (rng.random((50, 6)) < 0.4)).astype(dtype)


@pytest.mark.parametrize("kind", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("with_out", [False, True])
def test_blocks_are_the_rows_moved_and_scaled(kind, with_out):
    X = data()
    location, scale = X.mean(axis=0), X.std(axis=0)
    for index in (slice(3, 9), np.array([7, 1, 1, 30])):
        for settings, expected in (
            ({}, X[index]),
            ({"clip": True}, np.clip(X[index], 0, 1)),
            (
                {"location": location, "scale": scale},
                (X[index] - location) / scale,
            ),
        ):
            out = np.empty(expected.shape) if with_out else None
            rows = Rows(kind(X), **settings)
            found = rows.take(index, out=out)
            np.testing.assert_allclose(found, expected)
            assert out is None or found is out
            np.testing.assert_allclose(rows.sums(index), expected.sum(axis=0))
            np.testing.assert_allclose(
                rows.subset(np.arange(50)[index]).sums(slice(0, len(expected))),
                expected.sum(axis=0),
            )
            np.testing.assert_allclose(
                rows.subset(np.array([4, 2])).take(slice(0, 2)),
                rows.take(np.array([4, 2])),
            )


@given(st.integers(0, 5000), st.integers(1, 700))
def test_blocks_cover_the_rows_and_are_one_or_an_even_number(n_rows, size):
    found = blocks(n_rows, size)
    sizes = [part.stop - part.start for part in found]
    covered = [row for part in found for row in range(part.start, part.stop)]
    assert covered == list(range(n_rows))
    assert len(found) < 2 or len(found) % 2 == 0
    if sizes:
        assert max(sizes) <= min(size, min(sizes) + 1)


def test_reading_blocks_changes_no_data():
    X = data()
    before = X.copy()
    X.setflags(write=False)
    Rows(X, clip=True).take(slice(0, 9))
    Rows(X, location=X.mean(axis=0), scale=np.ones(6)).take(slice(0, 9))
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("block_size", [7, 4096])
def test_moments_are_mean_and_deviation_or_one_where_constant(kind, block_size):
    X = data()
    X[:, 2] = 5.0
    mean, scale = moments(Rows(kind(X)), block_size)
    np.testing.assert_allclose(mean, X.mean(axis=0))
    expected = X.std(axis=0)
    expected[2] = 1
    np.testing.assert_allclose(scale, expected)


@pytest.mark.parametrize("size", [1e-300, 1e-20, 1e20, 1e300])
def test_moments_neither_overflow_nor_underflow(size):
    with np.errstate(all="raise", under="ignore"):
        mean, scale = moments(Rows(data() * size))
    np.testing.assert_allclose(mean / size, data().mean(axis=0))
    np.testing.assert_allclose(scale / size, data().std(axis=0))


def test_columns_that_spread_over_more_than_there_are_numbers_are_named():
    X = data()
    X[:2, 3] = -1.7e308, 1.7e308
    with (
        np.errstate(all="raise"),
        pytest.raises(ValueError, match=r"\[3\] spread over"),
    ):
        moments(Rows(X))


def test_spread_below_the_smallest_number_counts_as_none():
    X = np.zeros((9, 1))
    X[4] = np.finfo(float).smallest_subnormal
    assert moments(Rows(X))[1] == [1.0]


def test_large_offset_costs_no_digits():
    X = data()
    np.testing.assert_allclose(moments(Rows(X + 1e6))[1], X.std(axis=0), rtol=1e-8)


def test_range_counts_the_zeros_that_are_not_stored():
    X = np.array([[0.5, 0.0], [0.7, 2.0]])
    assert value_range(sp.csr_array(X)) == value_range(X) == (0.0, 2.0)
    full = X + 0.1
    assert value_range(sp.csr_array(full)) == value_range(full)
    assert value_range(sp.csr_array((3, 4))) == (0.0, 0.0)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_binary_means_zeros_and_ones_alone(kind):
    X = (data() > 0).astype(float)
    assert is_binary(kind(X))
    X[49, 5] = 0.5
    assert not is_binary(kind(X))


@pytest.mark.parametrize("value", [7.0, 0.1, -6.32e297, 3e300, 1e17])
@pytest.mark.parametrize("n_rows", [1, 3, 13, 300, 3000])
def test_constant_column_is_moved_to_zero_whatever_its_size(value, n_rows):
    X = np.full((n_rows, 2), value)
    X[:, 1] = np.nextafter(value, np.inf)
    X[0, 1] = value
    with np.errstate(all="raise", under="ignore"):
        location, scale = moments(Rows(X))
    moved = (X - location) / scale
    np.testing.assert_array_equal(moved[:, 0], 0)
    assert scale.min() >= 1
    assert np.abs(moved).max() <= 1


def test_unit_interval_has_room_for_rounding_alone():
    X = np.array([[0.0, 1.0]])
    for dtype in (np.float32, np.float64):
        assert inside_unit_interval(Rows((X + 1e-6).astype(dtype)))
        assert not inside_unit_interval(Rows((X - 1e-5).astype(dtype)))


def test_binary_machine_starts_with_causes_that_add_to_what_is_seen():
    X = np.clip(data(), 0, 1)
    machine = initial_machine(
        Rows(X), "bernoulli", [7, 3], 0.1, np.random.default_rng(0)
    )
    weights = machine.generative[0].weights
    logits = machine.generative[0].logits(np.full((1, 7), 0.1))[0]
    visible = 1 / (1 + np.exp(-logits))  # at the hidden units' mean activity
    np.testing.assert_allclose(visible, (X.sum(axis=0) + 1) / 52)
    assert weights.min() >= 0
    assert weights.max() <= np.sqrt(2 / 7)
    assert len(np.unique(weights)) == weights.size
    assert not machine.generative[1].weights.any()
    # At the mean row a recognition unit is as active as asked for.
    logits = X.mean(axis=0) @ machine.recognition[0].weights
    activity = 1 / (1 + np.exp(-logits - machine.recognition[0].bias))
    np.testing.assert_allclose(activity, 0.1)


# ------------------------------------------------ the estimator on such rows


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    "kind", [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_array]
)
def test_sparse_rows_give_what_dense_rows_give(kind, index_dtype):
    dense = binary_rows() * (np.random.default_rng(1).random((230, 9)) < 0.5)
    X = kind(dense)
    if hasattr(X, "indices"):
        X.indices = X.indices.astype(index_dtype)
        X.indptr = X.indptr.astype(index_dtype)
    machine = HelmholtzMachine(**SMALL).fit(dense)
    other = HelmholtzMachine(**SMALL).fit(X)
    np.testing.assert_array_equal(parameters(machine), parameters(other))
    for method in ("transform", "score_samples", "reconstruct", "exact_log_likelihood"):
        np.testing.assert_array_equal(
            getattr(machine, method)(dense), getattr(machine, method)(X)
        )


@pytest.mark.parametrize("n_columns", [1, 2, 5])
def test_sparse_grey_rows_have_the_sums_of_dense_ones(n_columns):
    """To the last bit: one column is summed in another order than several."""
    for seed in range(20):
        X = np.random.default_rng(seed).random((3000, n_columns))
        whole = slice(0, 3000)
        sums, of_dense = Rows(sp.csr_array(X)).sums(whole), Rows(X).sums(whole)
        np.testing.assert_array_equal(sums, of_dense)


def test_sparse_rows_are_never_densified_as_a_whole(monkeypatch):
    dense = np.random.default_rng(0).random((5000, 50)) < 0.05
    X = sp.csr_array(dense.astype(float))
    most = []
    kind = type(X)
    original = kind.toarray

    def watched(self, *args, **kwargs):
        most.append(self.shape[0])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, "toarray", watched)
    machine = HelmholtzMachine(**SMALL).fit(X)
    machine.partial_fit(X)
    machine.transform(X)
    machine.score_samples(X)
    machine.log_likelihood(X[:50], 3)
    assert max(most) < 5000


def test_duplicate_and_explicit_zero_entries_mean_what_scipy_means():
    data, rows, columns = [1.0, 0.5, 0.5, 0.0], [0, 1, 1, 2], [0, 1, 1, 2]
    pointer = np.searchsorted(rows, range(4))
    X = sp.csr_array((data, columns, pointer), shape=(3, 3))
    before = X.copy()
    machine = HelmholtzMachine(**SMALL).fit(X)
    assert machine.visible_ == "bernoulli"
    np.testing.assert_array_equal(machine.transform(X), machine.transform(X.toarray()))
    assert X.nnz == before.nnz


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64])
def test_integers_and_booleans_are_float64_rows(dtype):
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL).fit(X.astype(dtype))
    np.testing.assert_array_equal(
        parameters(machine), parameters(HelmholtzMachine(**SMALL).fit(X))
    )


def test_machine_of_shared_weights_starts_at_the_means_layer_by_layer():
    X = np.random.default_rng(0).random((50, 6))
    machine = initial_machine(
        Rows(X), "bernoulli", [7, 3], 0.1, np.random.default_rng(0), shared=True
    )
    means = (X.sum(axis=0) + 1) / 52, np.full(7, 0.1)
    for layer, mean in zip(machine.generative[:-1], means, strict=True):
        logits = layer.logits(np.full((1, len(layer.weights)), 0.1))[0]
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), mean)


def test_variances_start_at_the_rows_and_one_of_spread_one():
    X = np.random.default_rng(0).normal(size=(9, 2)) * [0.1, 3.0]
    machine = initial_machine(Rows(X), "gaussian", [2], 0.1, np.random.default_rng(0))
    squares = np.square(X - X.mean(axis=0)).sum(axis=0)
    np.testing.assert_allclose(machine.generative[0].units.variance, (squares + 1) / 10)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e6])
def test_resolution_is_the_smallest_step_of_values_that_repeat(unit):
    rng = np.random.default_rng(0)
    columns = {
        0.0: rng.normal(size=200),
        1.0: rng.poisson(2, 200),
        0.25: rng.integers(5, size=200) / 4,
        3.0: 3 * rng.integers(2, size=200) + 1e-9 * rng.random(200),
        2.0: np.r_[2.0 * rng.integers(3, size=190), rng.random(10)],
        np.inf: np.full(200, 7.0),
    }
    X = unit * np.column_stack([*columns.values()])
    steps = resolution(X, np.maximum(X.std(axis=0), 1e-9)) / unit
    np.testing.assert_allclose(steps, [*columns], rtol=1e-6)
    assert not resolution(X[:1], np.ones(len(columns))).any()
