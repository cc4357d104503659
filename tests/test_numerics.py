"""Every kernel equals its plain form at any logit, and does no worse than overflow."""

import warnings

import numpy as np
import pytest
from helpers import nothing_but_overflow
from scipy.special import expit, log1p, logsumexp, softmax

from sklearn_helmholtz._numerics import (
    column_sum,
    log_sum_exp,
    normalised_weights,
    one_plus_exp,
    row_blocks,
    row_sum,
    sigmoid,
    softplus_sum,
    without_nan,
)

DTYPES = [np.float32, np.float64]


@pytest.fixture(autouse=True)
def _no_warning_passes():
    with warnings.catch_warnings(), nothing_but_overflow():
        warnings.simplefilter("error")
        yield


def logits(dtype, width=37):
    rng = np.random.default_rng(0)
    extreme = [-1e4, -100, -90, -88, -1e-3, 0.0, 1e-3, 88, 90, 100, 1e4]
    values = np.concatenate([rng.normal(0, 5, 7 * width - 11), extreme])
    return values.reshape(7, width).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 7), (1, 3), (0, 4)])
def test_sums_are_those_of_rows_and_columns(shape, dtype):
    a = np.random.default_rng(0).normal(size=shape).astype(dtype)
    for found, axis in ((row_sum(a), 1), (column_sum(a), 0)):
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found, a.sum(axis=axis), atol=10 * np.finfo(dtype).eps
        )
    out = np.empty(shape[1], dtype)
    assert column_sum(a, out=out) is out
    np.testing.assert_array_equal(out, column_sum(a))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_equals_expit_at_any_logit(dtype):
    a = logits(dtype)
    eps = np.finfo(dtype).eps
    found = sigmoid(a)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expit(a.astype(float)), atol=eps)
    assert found.min() == 0
    assert found.max() == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_works_in_place(dtype):
    a = logits(dtype)
    expected = sigmoid(a)
    assert sigmoid(a, out=a) is a
    np.testing.assert_array_equal(a, expected)


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, 31, 64, 100, 785, 3000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_softplus_equals_the_sum_of_logs(dtype, width):
    rng = np.random.default_rng(0)
    a = rng.normal(0, 4, (3, 2, width)).astype(dtype)
    plain = np.logaddexp(0, a.astype(float)).sum(axis=-1)
    eps = np.finfo(dtype).eps
    before = a.copy()
    np.testing.assert_allclose(softplus_sum(a), plain, rtol=40 * eps, atol=eps * width)
    np.testing.assert_array_equal(a, before)
    np.testing.assert_allclose(softplus_sum(a[0, 0]), plain[0, 0], rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_softplus_holds_at_extreme_logits(dtype):
    a = np.full((2, 200), 1e4, dtype)
    a[1] *= -1
    np.testing.assert_allclose(softplus_sum(a), [200 * 1e4, 0], rtol=1e-6)
    assert softplus_sum(a[0]) == pytest.approx(200 * 1e4)
    zeros = np.zeros((1, 1600), dtype)
    np.testing.assert_allclose(softplus_sum(zeros), 1600 * log1p(1.0), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_softplus_holds_where_only_some_rows_overflow(dtype):
    a = logits(dtype)
    plain = np.logaddexp(0, a.astype(float)).sum(axis=-1)
    overflows = np.isinf(one_plus_exp(a)).any(axis=-1)
    assert 0 < overflows.sum() < len(a)
    one_plus = one_plus_exp(a)
    before = one_plus.copy()
    np.testing.assert_allclose(softplus_sum(a), plain, rtol=1e-5)
    np.testing.assert_array_equal(softplus_sum(a, one_plus), softplus_sum(a))
    np.testing.assert_array_equal(one_plus, before)
    # A row's sum does not depend on the company that it is in.
    for row, found in zip(a, softplus_sum(a), strict=True):
        assert softplus_sum(row[None])[0] == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_softplus_is_exact_where_few_logits_are_not_far_off(dtype):
    a = np.full((2, 784), -1e6, dtype)
    a[0, :3] = [100, 95, 98]
    a[1, 0] = 0.9 * np.finfo(dtype).max
    np.testing.assert_allclose(softplus_sum(a), [293, a[1, 0]], rtol=1e-6)


def test_log_sum_exp_and_weights_equal_scipys_at_any_size():
    a = np.random.default_rng(0).normal(0, 500, (6, 4))
    a += [0, 5000, -5000, 0]
    np.testing.assert_allclose(log_sum_exp(a, axis=0), logsumexp(a, axis=0))
    np.testing.assert_allclose(normalised_weights(a, axis=0), softmax(a, axis=0))


def test_a_density_that_overflowed_is_none():
    found = without_nan(np.array([-1.0, np.nan, -np.inf]))
    np.testing.assert_array_equal(found, [-1, -np.inf, -np.inf])


@pytest.mark.parametrize("shape", [(0, 4), (5,), (7, 3), (10, 40), (3, 500), (1000,)])
def test_blocks_are_views_of_every_row_once(shape):
    whole, other = np.zeros(shape), np.zeros(shape)
    for one, two in row_blocks(whole, other, n_values=100):
        assert one.shape == two.shape
        assert one.size <= 100 or len(one) == 1
        one += 1
        two -= 1
    assert (whole == 1).all()
    assert (other == -1).all()
