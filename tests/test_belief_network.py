"""Samples of both networks match the tables that plain loops give."""

import numpy as np
import oracles
import pytest
from helpers import plain, random_machine, stream
from scipy.stats import chisquare

from sklearn_helmholtz._belief_network import (
    Scratch,
    down_mean,
    down_pass,
    up_means,
    up_pass,
)

N_DRAWS = 40_000
#: Level of every chi-square test here; seeds are fixed.
LEVEL = 1e-4


def table_test(states, probabilities):
    """Assert that the rows of states follow {state: probability}."""
    keys = {state: place for place, state in enumerate(probabilities)}
    counts = np.zeros(len(keys))
    for row in states:
        counts[keys[tuple(row)]] += 1
    expected = np.array(list(probabilities.values())) * len(states)
    rare = expected < 5
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    assert chisquare(counts, expected).pvalue > LEVEL


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("autoregressive", [False, True])
@pytest.mark.parametrize("sizes", [(3, 2), (2, 2, 2), (2, 2, 1, 2)])
def test_dreams_follow_the_joint_distribution(sizes, autoregressive, dtype):
    kind = {"autoregressive": autoregressive}
    machine = cast(random_machine(sizes, **kind), dtype)
    states = down_pass(machine.top_down, N_DRAWS, stream(), Scratch(dtype))
    table = plain(random_machine(sizes, **kind))
    joint = {
        (*x, *sum(map(tuple, s), ())): np.exp(oracles.log_joint(table, x, s))
        for x in oracles.all_states(sizes[0])
        for s in oracles.hidden_states(table)
    }
    assert sum(joint.values()) == pytest.approx(1)
    table_test(np.hstack(states), joint)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("sizes", [(3, 4), (2, 3, 2), (2, 2, 1, 2)])
def test_recognised_states_follow_q(sizes, lateral, dtype):
    machine = cast(random_machine(sizes, lateral=lateral), dtype)
    table = plain(random_machine(sizes, lateral=lateral))
    x = np.arange(sizes[0]) % 2
    rows = np.tile(x.astype(dtype), (N_DRAWS, 1))
    states = up_pass(machine, rows, stream(1), Scratch(dtype))
    assert states[0] is rows
    q = {
        sum(map(tuple, s), ()): np.exp(oracles.log_recognition(table, x, s))
        for s in oracles.hidden_states(table)
    }
    table_test(np.hstack(states[1:]), q)


def test_lateral_blocks_do_not_show(monkeypatch):
    machine = random_machine((3, 9), lateral=True)
    rows = np.tile([1.0, 0.0, 1.0], (500, 1))
    whole = up_pass(machine, rows, stream(1), Scratch(float))[1]
    monkeypatch.setattr("sklearn_helmholtz._in_turn._LATERAL_BLOCK", 2)
    blocks = up_pass(machine, rows, stream(1), Scratch(float))[1]
    np.testing.assert_array_equal(whole, blocks)


def test_gaussian_dreams_have_the_mean_and_variance_of_their_layer():
    machine = random_machine((2, 1), gaussian=True)
    x, s = down_pass(machine.generative, N_DRAWS, stream(), Scratch(float))
    for on in (0, 1):
        some = x[s[:, 0] == on]
        layer = machine.generative[0]
        mean = layer.bias + on * layer.weights[0]
        error = np.sqrt(layer.units.variance / len(some))
        assert (np.abs(some.mean(axis=0) - mean) < 4.5 * error).all()
        ratio = some.var(axis=0) / layer.units.variance
        assert (np.abs(ratio - 1) < 4.5 * np.sqrt(2 / len(some))).all()


def test_means_pass_through_layers_as_probabilities():
    machine = random_machine((3, 2, 2))
    x = np.array([[1.0, 0.0, 0.3]])
    means = up_means(machine, x)
    states = x[0]
    for layer, found in zip(machine.recognition, means, strict=True):
        logits = oracles.linear(states, *layer[:2])
        states = [oracles.sigmoid(a) for a in logits]
        np.testing.assert_allclose(found[0], states)
    down = down_mean(machine.generative[:2], means[1])
    for layer in machine.generative[1::-1]:
        states = [oracles.sigmoid(a) for a in oracles.linear(states, *layer[:2])]
    np.testing.assert_allclose(down[0], states)


@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2, 3, None])
def test_means_of_some_layers_are_the_first_of_all(n_layers, lateral):
    machine = random_machine((4, 3, 3, 3), lateral=lateral)
    x = np.random.default_rng(0).random((5, 4))
    found, expected = up_means(machine, x, n_layers), up_means(machine, x)[:n_layers]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_lateral_means_see_the_means_before_them():
    machine = random_machine((2, 3), lateral=True)
    recognition, lateral = machine.recognition[0], machine.lateral[0]
    x = [1.0, 0.0]
    logits = oracles.linear(x, recognition.weights, recognition.bias)
    means = []
    for j in range(3):
        a = logits[j] + lateral.bias[j]
        a += sum(means[i] * lateral.weights[i, j] for i in range(j))
        means.append(oracles.sigmoid(a))
    np.testing.assert_allclose(up_means(machine, np.array([x]))[0][0], means)


def cast(machine, dtype):
    """Return a binary machine in another dtype."""
    return type(machine)(
        *(
            tuple(
                layer._replace(
                    weights=layer.weights.astype(dtype), bias=layer.bias.astype(dtype)
                )
                for layer in network
            )
            for network in machine
        )
    )


@pytest.mark.parametrize("lateral", [False, True])
def test_passes_put_their_states_into_the_scratch_arrays(lateral):
    machine = random_machine((5, 4, 3), lateral=lateral)
    x = np.zeros((6, 5))
    for states, levels in (
        (lambda scratch: up_pass(machine, x, stream(), scratch), (1, 2)),
        (lambda scratch: down_pass(machine.generative, 6, stream(), scratch), (0, 1)),
    ):
        scratch = Scratch(float)
        found = states(scratch)
        for level in levels:
            shape = 6, machine.generative[level].bias.shape[0]
            assert found[level] is scratch(("state", level), shape)


def test_logits_are_put_where_asked():
    layer = random_machine((5, 4)).recognition[0]
    out = np.empty((3, 4))
    assert layer.logits(np.ones((3, 5)), out=out) is out


def test_scratch_gives_arrays_of_one_name_the_same_memory():
    scratch = Scratch(np.float32)
    whole, part = scratch("state", (100, 7)), scratch("state", (13, 7))
    assert np.shares_memory(whole, part)
    assert not np.shares_memory(whole, scratch("residual", (100, 7)))
    for array, shape in ((whole, (100, 7)), (part, (13, 7))):
        assert array.shape == shape
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert scratch("state", shape) is array
    assert scratch("state", (200, 7)).shape == (200, 7)
