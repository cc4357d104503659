"""Many machines at once, in threads and processes: each as if it were alone."""

import multiprocessing
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl
from helpers import binary_rows, blas_threads, parameters, share_all_work
from joblib import Parallel, cpu_count, delayed

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._parallel import one_blas_thread, workers

N_MACHINES = 8
X = binary_rows(300, 40, np.float32)


def fit(seed, n_jobs=2):
    """Return the parameters of a machine whose steps are shared among threads."""
    with pytest.MonkeyPatch.context() as patch:
        share_all_work(patch)
        machine = HelmholtzMachine(
            (20, 10), max_iter=2, random_state=seed, n_jobs=n_jobs, lateral=seed % 2 > 0
        ).fit(X)
    machine.score(X)
    return parameters(machine)


@pytest.fixture(scope="module")
def alone():
    return [fit(seed) for seed in range(N_MACHINES)]


def assert_equal(found, alone):
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_machines_in_threads_equal_machines_alone(alone, n_jobs, monkeypatch):
    share_all_work(monkeypatch)
    before = blas_threads(), threading.active_count()
    with ThreadPoolExecutor(N_MACHINES) as executor:
        found = list(executor.map(fit, range(N_MACHINES), [n_jobs] * N_MACHINES))
    assert_equal(found, alone)
    assert (blas_threads(), threading.active_count()) == before


def test_machines_in_loky_processes_equal_machines_alone(alone):
    found = Parallel(n_jobs=2)(delayed(fit)(seed) for seed in range(N_MACHINES))
    assert_equal(found, alone)


#: A process that is forked while others of its threads run is deprecated by
#: Python; users do it all the same.
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@forks
def test_machines_in_forked_processes_equal_machines_alone(alone):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(fit, range(N_MACHINES)).get(timeout=300)
    assert_equal(found, alone)


def _fit_into(queue):
    queue.put((fit(0), blas_threads()))


@forks
def test_process_forked_from_amid_a_fit_can_fit(alone):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    before = blas_threads()
    with warnings.catch_warnings(), one_blas_thread():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = context.Process(target=_fit_into, args=(queue,))
        process.start()
        found, after = queue.get(timeout=300)
        process.join()
    np.testing.assert_array_equal(found, alone[0])
    assert after == before


def test_one_machine_may_be_used_by_many_threads():
    machine = HelmholtzMachine((20, 10), max_iter=2, random_state=0).fit(X)
    methods = [
        lambda: machine.transform(X),
        lambda: machine.score_samples(X),
        lambda: machine.log_likelihood(X, 20),
        lambda: machine.sample(50, random_state=3),
        lambda: machine.reconstruct(X),
    ]
    expected = [method() for method in methods]
    with ThreadPoolExecutor(8) as executor:
        found = list(executor.map(lambda i: methods[i % 5](), range(100)))
    for i, result in enumerate(found):
        np.testing.assert_array_equal(result, expected[i % 5])


@pytest.mark.parametrize(
    "n_rounds", [20, pytest.param(600, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_stress_of_fits_that_end_and_fail_at_once_leaves_no_trace(
    n_rounds, monkeypatch
):
    share_all_work(monkeypatch)
    before = blas_threads(), threading.active_count()
    data = binary_rows(20, 5)
    settings = {"hidden_layer_sizes": (3,), "max_iter": 2, "n_jobs": 2}
    expected = parameters(HelmholtzMachine(**settings, random_state=0).fit(data))

    def work(number):
        for _ in range(n_rounds):
            machine = HelmholtzMachine(**settings, random_state=0)
            if number % 3 == 0:
                with pytest.raises(ValueError, match="NaN"):
                    machine.fit(np.full((3, 3), np.nan))
            np.testing.assert_array_equal(parameters(machine.fit(data)), expected)
            assert set(machine.sample(3).ravel()) <= {0.0, 1.0}
        return number

    with ThreadPoolExecutor(6) as executor:
        assert list(executor.map(work, range(6))) == list(range(6))
    assert (blas_threads(), threading.active_count()) == before


# ------------------------------------------------------- threads are counted


def most_threads(function, *arguments):
    """Return what a function returns and the most Python threads that it added."""
    before, most, done = threading.active_count(), 0, threading.Event()

    def count():
        nonlocal most
        while not done.wait(0.0005):
            # Without the one that counts.
            most = max(most, threading.active_count() - before - 1)

    counter = threading.Thread(target=count)
    counter.start()
    try:
        result = function(*arguments)
    finally:
        done.set()
        counter.join()
    return result, most


def _threads_of_a_fit(seed):
    (_, most), limit = most_threads(fit, seed, None), max(blas_threads(), default=1)
    return most, limit


def test_machine_in_a_worker_process_takes_no_more_than_its_share(monkeypatch):
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)  # joblib gives way to what the user has set
    n_workers = 2
    found = Parallel(n_jobs=n_workers)(delayed(_threads_of_a_fit)(s) for s in range(4))
    share = max(1, cpu_count() // n_workers)
    for most, blas in found:
        assert blas <= share
        assert 1 + most <= share


@pytest.mark.parametrize("n_threads", [2, 4])
def test_machines_in_threads_divide_the_threads_of_blas(n_threads, monkeypatch):
    share_all_work(monkeypatch)
    with threadpoolctl.threadpool_limits(n_threads, user_api="blas"):
        together = threading.Barrier(N_MACHINES)

        def share(_):
            with workers(None) as team:
                together.wait(30)
                return team.n_threads

        with ThreadPoolExecutor(N_MACHINES) as executor:
            shares = sorted(executor.map(share, range(N_MACHINES)), reverse=True)
    # Who comes n-th takes one n-th.
    n_found = max(1, shares[0])
    assert n_found <= n_threads
    assert shares == [max(1, n_found // n) for n in range(1, N_MACHINES + 1)]
