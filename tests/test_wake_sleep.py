"""Wake-sleep, written out: what the general step does, for the same draws."""

import numpy as np
import pytest
from helpers import binary_rows, nothing_but_overflow, parameters, share_all_work
from sklearn.base import clone

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._parallel import run_in_turn
from sklearn_helmholtz._random import NOISE_RANGE, Stream
from sklearn_helmholtz._wake_sleep import WakeSleepStep

N_ROWS = 12  # of a minibatch
WAKE_SLEEP = HelmholtzMachine(
    (5,), learning_rule="wake-sleep", batch_size=N_ROWS, max_iter=6, random_state=0
)


@pytest.fixture
def same_draws(monkeypatch):
    """Give every block of a minibatch's rows the same noise, whoever asks first."""
    table = np.random.default_rng(3).uniform(0, NOISE_RANGE, (N_ROWS, 60))

    def noise(self, shape, dtype):
        n_rows, n_units = shape
        return np.tile(table[:, :n_units], (n_rows // N_ROWS, 1)).astype(dtype)

    monkeypatch.setattr(Stream, "noise", noise)


@pytest.fixture
def only_general(monkeypatch):
    """Return a function after which all steps are general ones."""
    return lambda: monkeypatch.setattr(WakeSleepStep, "fits", lambda step: False)


@pytest.fixture(params=[1, 2], ids=["one lane", "two lanes"], autouse=True)
def n_lanes(request, monkeypatch):
    """Have steps of few rows take the way of large ones, too; return the lanes."""
    if request.param == 2:
        share_all_work(monkeypatch)
    return request.param


@pytest.fixture
def written_out(monkeypatch):
    """Return a list of what steps that are written out are given, from now on."""
    calls, step = [], WakeSleepStep.__call__

    def counted(self, *given):
        calls.append(given)
        step(self, *given)

    monkeypatch.setattr(WakeSleepStep, "__call__", counted)
    return calls


def all_that_is_learned(machine):
    """Return parameters, velocities and averages, in one array."""
    arrays = [parameters(machine)]
    for layers in machine._memory.values():
        arrays += [array for memory in layers for array in memory["velocity"]]
    arrays += [mean for layers in machine._averages.values() for mean in layers]
    return np.concatenate([array.ravel() for array in arrays])


@pytest.mark.parametrize("grey", [False, True], ids=["binary", "grey"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden_layer_sizes": (5, 4, 3)},
        {"alpha": 0.01},
        {"alpha": "evidence", "hidden_layer_sizes": (5, 4)},
        {"momentum": 0.0, "alpha": 0},
        {"early_stopping": True, "n_iter_no_change": 2},
        {"learning_rule": "reweighted-wake-sleep", "n_particles": 1, "wake_share": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_features", [9, 60])
def test_steps_written_out_learn_what_general_ones_do(
    same_draws, only_general, written_out, n_features, options, grey
):
    """With 60 columns recognition's steps are bounded, too."""
    n_rows = 4 * N_ROWS + (6 if options.get("early_stopping") else 0)
    X = binary_rows(n_rows, n_features)
    if grey:
        X = 0.1 + 0.8 * X
    machine = clone(WAKE_SLEEP).set_params(**options)
    few = clone(machine).fit(X).partial_fit(X[:N_ROWS])
    n_in_all = len(written_out)
    assert n_in_all >= few._n_steps  # or more, where the best of them is kept
    only_general()
    general = clone(machine).fit(X).partial_fit(X[:N_ROWS])
    assert len(written_out) == n_in_all
    found, expected = map(all_that_is_learned, (few, general))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_two_lanes_draw_as_general_ones_do(only_general, n_lanes):
    """Phase by phase, each from its own stream; one lane has but one stream."""
    X = binary_rows(4 * N_ROWS, 9)
    machine = clone(WAKE_SLEEP).set_params(hidden_layer_sizes=(5, 4))
    found = all_that_is_learned(clone(machine).fit(X))
    only_general()
    expected = all_that_is_learned(clone(machine).fit(X))
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-12) == (n_lanes == 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1.0, 60.0, 1e4])
def test_steps_written_out_are_right_at_every_logit(
    same_draws, only_general, size, dtype
):
    X = binary_rows(N_ROWS, 9, dtype)

    def taught():
        rng = np.random.default_rng(5)
        machine = clone(WAKE_SLEEP).partial_fit(X)
        for weights in (*machine.generative_coefs_, *machine.recognition_coefs_):
            weights[...] = rng.choice([-size, size], weights.shape)
        state = machine._last_state()
        before = np.concatenate([array.ravel() for array in state.machine.arrays()])
        step = machine._step(state, machine._in_units(machine._checked_rows(X)))
        with nothing_but_overflow():
            step(slice(0, N_ROWS), 0.5, run_in_turn)
        after = np.concatenate([array.ravel() for array in state.machine.arrays()])
        return after - before

    found = taught()
    only_general()
    expected = taught()
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=size * 10 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rule": "reweighted-wake-sleep"},
        {"learning_rule": "reweighted-wake-sleep", "n_particles": 1},
        {"learning_rule": "contrastive-divergence"},
        {"direction": "natural"},
        {"direction": "plain"},
        {"optimizer": "adam"},
        {"lateral": True},
        {"autoregressive": True},
        {"visible": "gaussian"},
    ],
    ids=str,
)
def test_other_steps_are_general(written_out, options):
    machine = clone(WAKE_SLEEP).set_params(max_iter=1, **options)
    machine.fit(binary_rows(300, 40))
    assert not written_out
