"""Beyond one machine: Dask's workers, data out of core, workers that die."""

import os
import signal
import threading

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from helpers import LISTS, binary_rows, parameters
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_helmholtz import (
    Checkpoint,
    HelmholtzClassifier,
    HelmholtzMachine,
    fit_distributed,
)
from sklearn_helmholtz._data import Rows
from sklearn_helmholtz._distributed import (
    _generator,
    _present,
    _spread_over,
    block_sums,
)
from sklearn_helmholtz._fitted import attributes, state_of
from sklearn_helmholtz._fitting import spread
from sklearn_helmholtz._learning_rules import Lane
from sklearn_helmholtz._parallel import run_in_turn
from sklearn_helmholtz._penalties import measure
from sklearn_helmholtz._random import Stream

pytest.importorskip("distributed", reason="needs the extra dask")
da = pytest.importorskip("dask.array", reason="needs the extra dask")

TINY = HelmholtzMachine((4, 2), max_iter=2, batch_size=20, random_state=0)


@pytest.fixture(scope="module")
def client():
    """Two worker processes of one thread."""
    from dask.distributed import Client, LocalCluster  # noqa: PLC0415

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


# --------------------------------------------------------------- many machines


def test_grid_search_gives_on_dask_what_it_gives_here(client):
    X = binary_rows(80)
    search = GridSearchCV(TINY, {"n_particles": [1, 2]}, cv=2)
    here = clone(search).fit(X)
    with joblib.parallel_config(backend="dask"):
        there = clone(search).fit(X)
    np.testing.assert_array_equal(
        here.cv_results_["mean_test_score"], there.cv_results_["mean_test_score"]
    )


def test_classifier_fits_on_dask_what_it_fits_here(client):
    X, y = binary_rows(80), np.arange(80) % 2
    classifier = HelmholtzClassifier(TINY, random_state=0)
    here = clone(classifier).fit(X, y)
    with joblib.parallel_config(backend="dask"):
        there = clone(classifier).fit(X, y)
    for first, second in zip(here.estimators_, there.estimators_, strict=True):
        np.testing.assert_array_equal(parameters(first), parameters(second))


# ------------------------------------------------------------------ out of core


def passed(X):
    """Return a machine started on 60 rows and taken over the rest in one call."""
    return clone(TINY).partial_fit(X[:60]).partial_fit(X[60:])


def test_blocks_of_a_dask_array_give_what_one_pass_gives():
    X = binary_rows(220)
    blocks = da.from_array(X, chunks=(60, -1))  # whole minibatches
    machine = clone(TINY)
    for block in blocks.blocks:
        machine.partial_fit(block.compute())
    np.testing.assert_array_equal(parameters(machine), parameters(passed(X)))


def test_blocks_of_a_memory_map_give_what_one_pass_gives(tmp_path):
    X = binary_rows(220)
    np.save(tmp_path / "rows.npy", X)
    held = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert isinstance(held, np.memmap)
    machine = clone(TINY)
    for start in range(0, len(held), 60):
        machine.partial_fit(held[start : start + 60])
    np.testing.assert_array_equal(parameters(machine), parameters(passed(X)))


def test_map_blocks_codes_and_scores_as_one_call_does(client):
    X = binary_rows(100)
    machine = clone(TINY).fit(X)
    blocks = da.from_array(X, chunks=(30, -1))
    n_codes = machine.transform(X[:1]).shape[1]
    codes = blocks.map_blocks(
        machine.transform, dtype=float, chunks=(blocks.chunks[0], (n_codes,))
    )
    np.testing.assert_allclose(codes.compute(), machine.transform(X), rtol=1e-12)
    scores = blocks.map_blocks(machine.score_samples, dtype=float, drop_axis=1)
    np.testing.assert_allclose(scores.compute(), machine.score_samples(X), rtol=1e-12)


# -------------------------------------------------------- one model, many workers


class InBlocks:
    """A rule whose lanes are the blocks of a joint minibatch."""

    def __init__(self, rule, sizes):
        self.rule, self.sizes = rule, sizes
        self.wake, self.sleep = rule.wake, rule.sleep
        self.shares_weights = rule.shares_weights

    def lanes(self, n_rows):
        stops = np.cumsum(self.sizes)
        parts = [slice(b - a, b) for a, b in zip(self.sizes, stops, strict=True)]
        return [Lane((("wake", part), ("sleep", part)), ()) for part in parts]


def fit_jointly(machine, blocks, order_of, share):
    """Train on joint minibatches with training's own step, on one computer.

    As `fit_distributed` does, for blocks of one size that `share` divides.
    """
    whole = machine._validate(np.concatenate(blocks), reset=True)
    state = machine._begin(whole)
    seed = int(state.generators[0].integers(2**31))
    n_steps = len(blocks[0]) // share
    everything = machine._in_units(whole)
    penalty = machine._step(state, everything).penalty
    for epoch in range(machine.max_iter):
        if penalty.learns and epoch:
            x = everything.take(slice(0, everything.n_rows))
            moments = measure(state.machine, x)
            penalty.learn(state.machine, moments, epoch / machine.max_iter)
        orders = [order_of(seed, epoch, k) for k in range(len(blocks))]
        for number in range(n_steps):
            part = slice(number * share, (number + 1) * share)
            joint = np.concatenate(
                [X[order[part]] for X, order in zip(blocks, orders, strict=True)]
            )
            state.generators[1:] = [
                _generator((seed, 1, epoch, number, k)) for k in range(len(blocks))
            ]
            rows = machine._in_units(Rows(joint))
            step = machine._step(state, rows, n_rows=everything.n_rows)
            step.penalty = penalty
            step.rule = InBlocks(step.rule, [share] * len(blocks))
            step.lanes, step.in_few_calls = step.rule.lanes, None
            assert all(isinstance(stream, Stream) for stream in step.streams)
            rate = machine._rate(everything.n_rows)
            rate *= 1 - (epoch + number / n_steps) / machine.max_iter
            step(slice(0, len(joint)), rate, run_in_turn)
    machine._publish(attributes(state))
    return machine


def shuffled(seed, epoch, block):
    """Return the order of a block's 60 rows in an epoch."""
    return _generator((seed, 0, epoch, block)).permutation(60)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learning_rule": "wake-sleep"},
        {"learning_rule": "contrastive-divergence"},
        {"optimizer": "adam", "learning_rate": 0.01, "direction": "plain"},
        {"lateral": True, "alpha": 1e-3},
        {"alpha": "evidence"},
        {"autoregressive": True, "n_particles": 3},
        {"visible": "gaussian"},
        {"direction": "natural"},
    ],
    ids=str,
)
def test_many_workers_give_the_weights_of_the_joint_minibatch(client, options):
    """To rounding: the same sums, added up in another order."""
    check_joint_minibatches(client, options, n_columns=9)


def test_many_workers_shorten_steps_of_many_columns_by_all_rows(client):
    check_joint_minibatches(client, {"visible": "gaussian"}, n_columns=200)


def check_joint_minibatches(client, options, n_columns):
    """Assert that blocks' sums make the weights that minibatches of all blocks do."""
    rng = np.random.default_rng(0)
    X = rng.random((180, n_columns))
    machine = clone(TINY).set_params(batch_size=60, **options)
    blocks = da.from_array(X, chunks=(60, -1))
    there = fit_distributed(clone(machine), blocks, client)
    here = fit_jointly(clone(machine), np.split(X, 3), shuffled, 20)
    np.testing.assert_allclose(parameters(there), parameters(here), rtol=1e-8)
    if options.get("visible") == "gaussian":
        np.testing.assert_allclose(there.variance_, here.variance_, rtol=1e-8)


def test_the_free_energy_goes_down_and_the_machine_goes_on_alone(client):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.integers(0, 2, (200, 3)), 3, axis=1).astype(np.float32)
    blocks = da.from_array(X, chunks=(70, -1))  # the last is smaller
    machine = HelmholtzMachine((6,), max_iter=20, batch_size=40, random_state=0)
    fit_distributed(machine, blocks, client)
    curve = machine.free_energy_curve_
    assert len(curve) == machine.n_iter_ == 20
    assert curve[-1] < curve[0] - 2
    assert machine.transform(X).dtype == np.float32
    before = parameters(machine).copy()
    machine.partial_fit(X)
    assert not np.array_equal(before, parameters(machine))


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_all_blocks_choose_location_and_scale(client, make):
    X = np.sort(np.random.default_rng(0).normal(size=(180, 3)), axis=0)
    blocks = da.concatenate(
        [da.from_array(make(part)) for part in np.split(X, [2, 90])]
    )
    there = fit_distributed(clone(TINY), blocks, client)
    here = clone(TINY).fit(X)
    np.testing.assert_allclose(there.location_, here.location_, atol=1e-12)
    np.testing.assert_allclose(there.scale_, here.scale_)


def test_kinds_of_rows_that_take_turns_are_all_measured(client):
    X = np.random.default_rng(0).normal(size=(2000, 3))
    X[1::2] += 100
    there = fit_distributed(clone(TINY), da.from_array(X, chunks=(500, -1)), client)
    np.testing.assert_allclose(there.location_, 50, atol=5)
    np.testing.assert_allclose(there.scale_, 50, atol=5)


def test_the_curve_is_of_rows_spread_over_all_blocks(client):
    X = np.sort(binary_rows(180), axis=0)
    blocks = da.from_array(X, chunks=((20, 70, 90), -1))
    machine = clone(TINY).set_params(n_score_samples=1)
    fit_distributed(machine, blocks, client)
    assert machine.free_energy_curve_[-1] == pytest.approx(-machine.score(X))


def test_positions_spread_over_blocks_are_those_spread_over_all_rows():
    X = np.arange(3000)
    for sizes in ([3000], [1, 2999], [500, 1, 1, 2498], [1000] * 3):
        blocks = np.split(X, np.cumsum(sizes)[:-1])
        places = _spread_over(sizes)
        found = [X[place] for X, place in zip(blocks, places, strict=True)]
        np.testing.assert_array_equal(np.concatenate(found), spread(3000))


class Passing:
    """A client that passes on what it is asked for."""

    def __init__(self, client):
        self.client, self.compute, self.gather = client, client.compute, client.gather

    def submit(self, *args, **options):
        return self.client.submit(*args, **options)


class Killing(Passing):
    """A client that kills one worker process before its n-th task."""

    def __init__(self, client, at):
        super().__init__(client)
        self.at, self.killed = at, None

    def submit(self, *args, **options):
        self.at -= 1
        if self.at == 0:
            self.killed = min(self.client.run(os.getpid).values())
            os.kill(self.killed, signal.SIGKILL)
        return super().submit(*args, **options)


def test_a_worker_killed_in_mid_epoch_changes_nothing(client):
    blocks = da.from_array(binary_rows(120), chunks=(40, -1))
    calm = fit_distributed(clone(TINY), blocks, client)
    # An epoch has some 40 tasks; the block of rows that it held is lost, too.
    killing = Killing(client, at=17)
    shaken = fit_distributed(clone(TINY), blocks, killing)
    assert killing.killed is not None
    for name in LISTS:
        for one, two in zip(getattr(calm, name), getattr(shaken, name), strict=True):
            np.testing.assert_array_equal(one, two)
    client.wait_for_workers(2, timeout=30)


def test_workers_get_nothing_of_callbacks_or_of_an_earlier_fit(client, tmp_path):
    X = binary_rows(80)
    path = tmp_path / "machine.pickle"
    clone(TINY).set_callbacks(Checkpoint(path)).fit(X)
    machine = Checkpoint.load(path)
    callback = Checkpoint(path)
    callback.lock = threading.Lock()  # which cannot be pickled
    machine.set_callbacks(callback)
    sent = set(vars(_present(machine, state_of(machine))))
    assert sent == set(vars(clone(TINY).fit(X)))
    blocks = da.from_array(X, chunks=(40, -1))
    expected = parameters(fit_distributed(clone(TINY), blocks, client))
    found = parameters(fit_distributed(machine, blocks, client))
    np.testing.assert_array_equal(found, expected)


def test_a_failed_fit_leaves_the_machine_as_it_was(client):
    machine = clone(TINY).set_params(visible="bernoulli")
    before = vars(machine).copy()
    rows = binary_rows(80)
    rows[50] = 7.0
    with pytest.raises(ValueError, match="Bernoulli"):
        fit_distributed(machine, da.from_array(rows, chunks=(40, -1)), client)
    machine.set_params(visible="gaussian", learning_rate=1e9)
    with pytest.raises(ValueError, match="the call is undone"):
        fit_distributed(machine, da.from_array(rows, chunks=(40, -1)), client)
    assert vars(machine).keys() == before.keys()


def test_sparse_blocks_and_empty_ones_give_what_others_do(client):
    X = binary_rows(80)
    dense = da.from_array(X, chunks=(40, -1))
    expected = parameters(fit_distributed(clone(TINY), dense, client))
    sparse = dense.map_blocks(sp.csr_matrix)
    gaps = da.from_array(X, chunks=((40, 0, 40), (9,)))
    assert gaps.chunks[0] == (40, 0, 40)
    for blocks in (sparse, gaps):
        found = parameters(fit_distributed(clone(TINY), blocks, client))
        np.testing.assert_array_equal(found, expected)


ROWS = da.from_array(binary_rows(80), chunks=(40, -1))


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (da.zeros((20, 4), chunks=(10, 2)), ValueError, "whole rows"),
        (ROWS[ROWS[:, 0] > 0], ValueError, "compute_chunk_sizes"),
        (ROWS[0], ValueError, "two dimensions"),
        (ROWS[:0], ValueError, "0 sample"),
        (binary_rows(80), TypeError, "dask.array"),
    ],
    ids=["columns", "unknown sizes", "one dimension", "no rows", "NumPy"],
)
def test_what_is_no_array_in_blocks_of_rows_is_refused(client, X, error, words):
    with pytest.raises(error, match=words):
        fit_distributed(clone(TINY), X, client)


@pytest.mark.parametrize("model", [HelmholtzClassifier(), make_pipeline(TINY)])
def test_what_is_no_machine_is_refused(client, model):
    with pytest.raises(TypeError, match=r"HelmholtzMachine, got (Helm|Pipe)"):
        fit_distributed(model, ROWS, client)


def test_a_code_that_names_no_layer_is_refused_before_training(client):
    with pytest.raises(ValueError, match="not the index of a hidden layer"):
        fit_distributed(clone(TINY).set_params(code=7), ROWS, client)


def test_curves_are_those_of_fit_whatever_the_score(client):
    curves = [
        fit_distributed(
            clone(TINY).set_params(n_score_samples=n), ROWS, client
        ).free_energy_curve_
        for n in (1, 7)
    ]
    assert curves[0] == curves[1]


def test_every_row_is_seen_in_every_epoch(client):
    X = binary_rows(130, 5)
    machine = HelmholtzMachine((3,), max_iter=2, batch_size=40, random_state=0)
    blocks = da.from_array(X, chunks=((70, 60), 5))
    # 130 rows are four minibatches of up to 40.
    assert fit_distributed(machine, blocks, client)._n_steps == 2 * 4


class Noting(Passing):
    """A client that notes which rows of which block each task is about."""

    def __init__(self, client):
        super().__init__(client)
        self.parts = {}

    def submit(self, function, *args, **options):
        if function is block_sums:
            _, _, part, (_, epoch, number, block), _ = args
            self.parts.setdefault((epoch, number), []).append((block, part))
        return super().submit(function, *args, **options)


def test_minibatches_take_the_same_part_of_every_block(client):
    sizes = 101, 1, 40
    blocks = da.from_array(binary_rows(142), chunks=(sizes, -1))
    noting = Noting(client)
    fit_distributed(clone(TINY), blocks, noting)
    for epoch in range(TINY.max_iter):
        steps = [parts for (when, _), parts in noting.parts.items() if when == epoch]
        assert len(steps) == 8
        seen = {number: [] for number in range(len(sizes))}
        for parts in steps:
            assert 16 <= sum(part.stop - part.start for _, part in parts) <= 20
            for block, part in parts:
                seen[block] += range(part.start, part.stop)
        assert [seen[k] for k in seen] == [list(range(size)) for size in sizes]
