"""Workers: every block once, side by side, BLAS on one thread, errors passed on."""

import gc
import itertools
import signal
import threading
import time
import warnings
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl
from helpers import binary_rows, blas_threads
from joblib import cpu_count, parallel_config, register_parallel_backend
from joblib._parallel_backends import ThreadingBackend

from sklearn_helmholtz import HelmholtzMachine, _parallel
from sklearn_helmholtz._parallel import (
    hold_one_blas_thread,
    one_blas_thread,
    sharing_threads,
    workers,
)


def release_blas():
    """Let any thread set limits next.

    Since threadpoolctl 3.8 one thread controls OpenBLAS until it gives it back,
    and limits that others set meanwhile do nothing.
    """
    kind = getattr(threadpoolctl, "OpenBLASController", None)
    if hasattr(kind, "clear_controlling_thread"):
        kind.clear_controlling_thread(force=True)


@pytest.fixture(autouse=True)
def _blas_has_two_threads():
    # Where BLAS has one thread from the start, no limit would show.
    release_blas()
    limiter = threadpoolctl.threadpool_limits(2, user_api="blas")
    release_blas()
    yield
    release_blas()
    limiter.restore_original_limits()
    release_blas()


def in_a_thread(function):
    """Return what a function returns in a thread of its own."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def limited():
    """Return how many threads BLAS has within a limit."""
    with one_blas_thread():
        return blas_threads()


@pytest.mark.parametrize("n_jobs", [1, 2, 3, 5])
@pytest.mark.parametrize("n_blocks", [0, 1, 2, 3, 17])
def test_every_block_is_taken_once(n_jobs, n_blocks):
    taken = []
    with workers(n_jobs) as team:
        team.map_blocks(taken.append, list(range(n_blocks)))
    assert sorted(taken) == list(range(n_blocks))


@pytest.mark.parametrize("work", [0.0, 1e6, 1e9, np.inf])
def test_little_work_starts_no_thread(work):
    threads = set()
    with workers(3) as team:
        team.map_blocks(lambda _: threads.add(threading.get_ident()), range(9), work)
    if work < 1e7:
        assert threads == {threading.get_ident()}
    else:
        assert len(threads) > 1


@pytest.mark.parametrize("n_jobs", [1, 2, 4])
def test_results_come_in_the_order_of_the_calls(n_jobs):
    with workers(n_jobs) as team:
        found = team.run([lambda n=n: n for n in range(9)])
    assert found == list(range(9))


def test_two_calls_run_side_by_side():
    # Run one after another, each would wait for the other in vain.
    barrier = threading.Barrier(2, timeout=20)
    with workers(2) as team:
        assert sorted(team.run([barrier.wait, barrier.wait])) == [0, 1]


def test_shares_are_no_more_than_the_blocks():
    class Counted(list):
        n_shares = 0

        def __getitem__(self, key):
            self.n_shares += 1
            return super().__getitem__(key)

    blocks, taken = Counted(range(3)), []
    with workers(10**5) as team:
        team.map_blocks(taken.append, blocks)
    assert sorted(taken) == [0, 1, 2]
    assert blocks.n_shares <= 3


class Cluster(ThreadingBackend):
    """A backend of joblib with processors elsewhere."""

    def effective_n_jobs(self, n_jobs):
        return 1000


def test_all_processors_are_those_of_this_computer():
    register_parallel_backend("cluster", Cluster)
    with parallel_config(backend="cluster"), workers(-1) as team:
        assert team.n_threads == cpu_count()


# ------------------------------------------------------- errors and interrupts
#
# Of two threads, the caller's has the odd blocks, the other one the even.


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_in_the_callers_share_ends_the_others_after_their_block(
    error, monkeypatch
):
    begun, waited_for, done = threading.Event(), threading.Event(), []
    real = _parallel.wait

    def wait(futures):
        waited_for.set()
        return real(futures)

    def work(block):
        if block == 1:
            assert begun.wait(20)
            raise error("block 1")
        begun.set()
        assert waited_for.wait(20)
        done.append(block)

    monkeypatch.setattr(_parallel, "wait", wait)
    with workers(2) as team:
        with pytest.raises(error, match="block 1"):
            team.map_blocks(work, range(20))
        # The block in work was waited for.
        assert done == [0]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_an_error_holds_is_free_once_it_is_dealt_with(error):
    class Array:
        pass

    def held_by_an_error(order):
        array = Array()

        def fail():
            raise error(array)

        with pytest.raises(error), workers(2) as team:
            team.run([fail, str][::order])
        return weakref.ref(array)

    gc.disable()  # no cycle of references may keep it
    try:
        assert [held_by_an_error(order)() for order in (1, -1)] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_in_another_share_ends_the_callers_after_its_block(error):
    begun, done = threading.Event(), []
    with workers(2) as team:

        def work(block):
            if block == 0:
                assert begun.wait(20)
                raise error("block 0")
            begun.set()
            # Begins only when the other thread is through with its share.
            team.executor.submit(lambda: None).result(20)
            done.append(block)

        with pytest.raises(error, match="block 0"):
            team.map_blocks(work, range(20))
    assert done == [1]


def test_interrupts_while_the_caller_waits_end_the_others_after_their_block(
    monkeypatch,
):
    others, waits, interrupted = [], itertools.count(1), threading.Event()

    def interrupted_twice(real):
        def wait(*args):
            if next(waits) < 3:  # the second ends what the first one begins
                raise KeyboardInterrupt
            interrupted.set()
            return real(*args)

        return wait

    def work(block):
        if block % 2 == 0:
            assert interrupted.wait(20)
            others.append(block)

    monkeypatch.setattr(Future, "result", interrupted_twice(Future.result))
    monkeypatch.setattr(_parallel, "wait", interrupted_twice(_parallel.wait))
    with workers(2) as team:
        with pytest.raises(KeyboardInterrupt):
            team.map_blocks(work, range(20))
        assert others == [0]


def test_a_long_block_ends_where_it_asks_whether_it_is_wanted():
    begun, n_asked = threading.Event(), 0

    def work(block):
        nonlocal n_asked
        if block == 1:
            assert begun.wait(20)
            raise RuntimeError("block 1")
        while True:
            begun.set()
            _parallel.raise_if_unwanted()
            n_asked += 1

    with workers(2) as team, pytest.raises(RuntimeError, match="block 1"):
        team.map_blocks(work, range(20))
    _parallel.raise_if_unwanted()  # elsewhere all is wanted


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("impute", {"n_iter": 10**6}),
        ("annealed_log_likelihood", {"n_temperatures": 10**6}),
        ("log_likelihood", {"n_samples": 10**8}),
    ],
)
def test_a_signal_ends_what_would_take_hours(method, options):
    X = binary_rows(600, 4)
    machine = HelmholtzMachine((3,), max_iter=1, n_jobs=2, random_state=0).fit(X)
    X[0, 0] = np.nan if method == "impute" else 0
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(
        0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)
    )
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            getattr(machine, method)(X, **options)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_a_signal_to_the_caller_ends_all_shares():
    main, own_has_begun, n_done = threading.get_ident(), threading.Event(), 0

    def work(block):
        nonlocal n_done
        if block == 1:
            own_has_begun.set()
        elif block == 0:
            assert own_has_begun.wait(20)
            signal.pthread_kill(main, signal.SIGINT)
        elif block % 2 == 0:
            time.sleep(0.005)
            n_done += 1
            if n_done == 200:
                # One that comes just before a thread begins to wait does not wake it.
                signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), workers(2) as team:
            team.map_blocks(work, range(4000))
    finally:
        signal.signal(signal.SIGINT, before)
    # All of them would take ten seconds.
    assert n_done < 1999


def test_no_setting_takes_as_many_threads_as_blas_had():
    before = max(blas_threads(), default=1)
    with workers(None) as team:
        assert team.n_threads == before
    # Inside a limit, a joblib worker's say, there are no more than it leaves.
    with threadpoolctl.threadpool_limits(1, user_api="blas"), workers(None) as team:
        assert team.n_threads == 1


def test_blas_has_one_thread_inside_and_its_own_number_after_an_error():
    before = blas_threads()
    inside = []

    def fail(_):
        inside.extend(blas_threads())
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"), workers(2) as team:
        team.map_blocks(fail, [0, 1])
    assert set(inside) <= {1}
    with pytest.raises(ValueError, match="n_jobs"), workers(0):
        pass
    assert blas_threads() == before


def test_limit_holds_until_the_last_of_many_threads_has_left():
    before = blas_threads()

    def come_and_go(_):
        found = []
        for _ in range(30):
            with one_blas_thread():
                found += blas_threads()
        return found

    with ThreadPoolExecutor(6) as executor:
        inside = itertools.chain(*executor.map(come_and_go, range(6)))
    assert set(inside) <= {1}
    assert blas_threads() == before


def test_limit_holds_in_every_thread_whoever_came_before():
    for call in (limited, lambda: in_a_thread(limited), limited):
        assert set(call()) <= {1}


def test_limit_holds_while_another_thread_controls_blas():
    before = blas_threads()
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert set(in_a_thread(limited)) <= {1}
        assert blas_threads() == before
    assert blas_threads() == before


@pytest.mark.parametrize("renewed", [False, True])
def test_a_limit_that_another_thread_ends_meanwhile_is_renewed_and_not_left(renewed):
    before = blas_threads()
    with ThreadPoolExecutor(1) as executor:
        other = executor.submit(threadpoolctl.threadpool_limits, 1, "blas").result()
        with one_blas_thread():
            executor.submit(other.restore_original_limits).result()
            assert blas_threads() == before
            if renewed:
                hold_one_blas_thread()
                assert set(blas_threads()) <= {1}
        assert blas_threads() == before
    hold_one_blas_thread()  # without a block there is no limit to renew
    assert blas_threads() == before


def test_last_to_leave_restores_what_another_thread_has_limited():
    before = blas_threads()
    with ThreadPoolExecutor(1) as executor:
        # The thread lives on, as a pool's does, and leaves before this one.
        other = one_blas_thread()
        executor.submit(other.__enter__).result()
        with one_blas_thread():
            executor.submit(other.__exit__, None, None, None).result()
            assert set(blas_threads()) <= {1}
        assert blas_threads() == before


@pytest.mark.parametrize("when", ["add", "discard"])
def test_a_block_that_was_cut_off_may_be_collected_while_another_begins_or_ends(
    when, monkeypatch
):
    cut_off = one_blas_thread()

    class Collecting(set):
        """Users, of whom one is collected as another comes or goes."""

        def then_collect(self, user):
            getattr(super(), when)(user)
            monkeypatch.undo()
            cut_off.gen.close()

    def run():
        before = blas_threads()
        cut_off.__enter__()
        monkeypatch.setattr(Collecting, when, Collecting.then_collect, raising=False)
        _parallel._shared_limit._users = Collecting(_parallel._shared_limit._users)
        with one_blas_thread() as n_threads:
            assert set(blas_threads()) <= {1}
        return before, blas_threads(), n_threads

    executor = ThreadPoolExecutor(1)
    try:
        before, after, n_threads = executor.submit(run).result(20)
    finally:
        executor.shutdown(wait=False)
    assert before == after
    assert n_threads == max(before, default=1) // (1 if when == "add" else 2)


def test_limits_that_others_set_afterwards_work_in_every_thread():
    def others():
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            return blas_threads()

    with one_blas_thread():
        pass
    assert set(in_a_thread(others)) <= {1}


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_overflow_in_a_block_is_silent_in_every_thread(n_jobs):
    large = np.array([1e300])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with workers(n_jobs) as team:
            team.map_blocks(lambda _: np.square(large) - np.square(large), [0, 1, 2])
        # The setting ends with the block: overflow is heard again.
        with pytest.raises(RuntimeWarning, match="overflow"):
            np.square(large)


def test_threads_end_with_the_block():
    before = threading.active_count()
    with workers(3) as team:
        team.run([lambda: None] * 3)
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_threads_that_fit_side_by_side_share_those_of_blas():
    def found(n_jobs=None):
        with workers(n_jobs) as team:
            return team.n_threads

    with sharing_threads(2):
        assert found() == 1
        assert found(n_jobs=2) == 2  # who names a number gets it
        assert in_a_thread(found) == 2  # the share is the thread's own
        with sharing_threads(1):
            assert found() == 2
        assert found() == 1
    assert found() == 2
