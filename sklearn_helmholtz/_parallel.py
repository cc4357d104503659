"""Threads: one counted limit on BLAS for the whole process, and workers.

A few lines longer than most modules here: neither half goes without the other.
"""

import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
from joblib import cpu_count, effective_n_jobs
from threadpoolctl import OpenBLASController, ThreadpoolController


@cache
def _blas():
    """Return the controller of the BLAS libraries; finding them takes a while."""
    return ThreadpoolController().select(user_api="blas")


def _release():
    """Give back control of OpenBLAS, so that any thread may limit it next.

    Since threadpoolctl 3.8 the thread that sets a limit controls OpenBLAS, and
    limits that other threads set, or restore, do nothing: neither ours nor theirs.
    """
    clear = getattr(OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


@cache
def _keep_freed_memory():
    """Let the C library keep freed memory for the next block of rows.

    glibc's gives back what is free at the end of a heap beyond twice the largest array
    that it has ever mapped, and that was freed. Where that is little, each block would
    have its temporaries' pages from the system anew, for half as much time again. (A
    MALLOC_TRIM_THRESHOLD_ that is set, as Dask does for its workers, stays as it is.)
    """
    np.empty(2**24, dtype=np.uint8)


class _SharedLimit:
    """One limit of BLAS to one thread, for all in the process that ask at once.

    A limit holds for the whole process. So the first to come sets it, and the
    last to leave restores what the first found. Its two halves may be cut short
    at any point by an interrupt: what has been found is noted before anything
    changes, and leaving may be said again. A block that an interrupt cut off between
    the two is left when its generator is collected, which may be within either half.
    """

    def __init__(self):
        self._lock = threading.RLock()
        self._users = set()
        self._found = None
        self._limited = False

    def enter(self, user, n_announced):
        """Count a user in and return its share of the threads that BLAS had.

        Shared with those who have come so far, or with as many as are announced.
        """
        with self._lock:
            self._users.add(user)
            if self._found is None:
                self._found = self._present()
            if not self._limited:  # or the one before was cut short here
                self._set([1] * len(self._found))
                self._limited = True
            n_sharing = max(len(self._users), n_announced)
            return max(1, max(self._found, default=1) // n_sharing)

    def hold(self):
        """Limit again what others have restored to what they had found before."""
        with self._lock:
            if not self._limited:
                return
            freed = self._present()
            if max(freed, default=1) > 1:
                self._found = [*map(max, self._found, freed)]
                self._set([1] * len(freed))

    def leave(self, user):
        """Count a user out; the last restores what the first found."""
        with self._lock:
            self._users.discard(user)
            found = self._found
            if self._users or found is None:
                return
            # What is no longer limited has been restored by others.
            pairs = zip(self._present(), found, strict=True)
            self._set([before if now == 1 else now for now, before in pairs])
            self._found, self._limited = None, False

    @staticmethod
    def _present():
        """Return every library's number of threads."""
        return [library.num_threads for library in _blas().lib_controllers]

    @staticmethod
    def _set(numbers):
        """Set every library's number of threads."""
        _release()
        for library, n_threads in zip(_blas().lib_controllers, numbers, strict=True):
            library.set_num_threads(n_threads)
        _release()

    def forget_users(self):
        """Start anew in a forked process, which has none of its parent's threads."""
        self._lock = threading.RLock()
        self._users = set()


class _Share(threading.local):
    """How many share the process's threads with this thread, itself included."""

    n_sharing = 1


_share = _Share()

_shared_limit = _SharedLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared_limit.forget_users)


@contextmanager
def one_blas_thread():
    """Limit BLAS to one thread for a block; yield how many threads there are for it.

    That is the number that BLAS had, divided by those who have come so far: many
    machines at once, each in a thread, take little more than a thread each.
    """
    user = object()
    try:
        yield _shared_limit.enter(user, _share.n_sharing)
    finally:
        finish(partial(_shared_limit.leave, user))


def hold_one_blas_thread():
    """Renew the limit of :func:`one_blas_thread` within its block.

    It is lost where code of others, in another thread, was under a limit as the block
    began, and has restored what it had found.
    """
    _shared_limit.hold()


def finish(call):
    """Call; once more if an interrupt cuts it short, and then pass that on."""
    try:
        call()
    except BaseException:
        call()
        raise


@contextmanager
def sharing_threads(n_sharing):
    """Give this thread's :func:`workers` only their share of threads for a block.

    Parameters
    ----------
    n_sharing : int
        Threads of this process that do such work side by side.
    """
    before = _share.n_sharing
    _share.n_sharing = n_sharing
    try:
        yield
    finally:
        _share.n_sharing = before


class Workers:
    """Runs calls side by side, on the caller's thread and some of its own.

    Parameters
    ----------
    executor : ThreadPoolExecutor or None
        None runs the calls one after another.

    n_threads : int
        Threads in all, the caller's included.
    """

    def __init__(self, executor, n_threads):
        self.executor = executor
        self.n_threads = n_threads

    def run(self, calls, stop=None):
        """Return the results, in order, of functions that take no arguments.

        The calls must not depend on each other; then no result depends on
        timing, nor on the number of threads.

        Parameters
        ----------
        calls : list of callable

        stop : threading.Event, default=None
            Is set if a call raises, or an interrupt ends the wait for it: the others
            may look at it, to leave undone what nobody will ask for.
        """
        if self.executor is None:
            return run_in_turn(calls)
        *others, own = calls
        futures = []
        try:
            futures.extend(map(self.executor.submit, others))
            result = own()
            return [*map(Future.result, futures), result]
        except BaseException:
            # Whatever happens, no thread is left writing to arrays in use.
            finish(partial(_stop_and_wait, stop, futures))
            futures.clear()  # or an error of theirs would hold itself, and its arrays
            raise

    def map_blocks(self, function, blocks, work=np.inf):
        """Call function on every block, each thread taking its share of them.

        Unless there is so little work, in multiplications, that one thread does it
        sooner. After an error or an interrupt each thread ends with the block that it
        has in work, or at the next :func:`raise_if_unwanted`.
        """
        n_threads = 1 if work < _LITTLE_WORK else min(self.n_threads, len(blocks))
        stop = threading.Event()
        shares = [blocks[first::n_threads] for first in range(n_threads)]
        calls = [partial(_for_each, function, share, stop) for share in shares]
        if calls:
            self.run(calls, stop)


def _stop_and_wait(stop, futures):
    """Have calls end early, those that are not done, and wait for them."""
    if stop is not None:
        stop.set()
    wait(futures)


@contextmanager
def workers(n_jobs):
    """Limit BLAS to one thread and yield :class:`Workers` for the time of a block.

    Parameters
    ----------
    n_jobs : int or None
        None takes as many threads as BLAS had, divided by the blocks under
        way or, within :func:`sharing_threads`, by those announced; so a process
        whose BLAS has been limited (a joblib worker's) gets no more than it was
        given.
    """
    _keep_freed_memory()
    with one_blas_thread() as blas_threads, quiet():
        n_threads = blas_threads if n_jobs is None else _n_threads(n_jobs)
        if n_threads < 2:
            yield Workers(None, 1)
            return
        executor = ThreadPoolExecutor(n_threads - 1, initializer=_be_quiet)
        try:
            yield Workers(executor, n_threads)
        finally:
            finish(executor.shutdown)


def _n_threads(n_jobs):
    """Return what joblib makes of n_jobs, on this computer: not all of a cluster's."""
    return min(effective_n_jobs(n_jobs), max(n_jobs, cpu_count()))


def has_lock():
    """Return whether Python runs one thread at a time, but for calls into NumPy."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def run_in_turn(calls):
    """Return the results of calls run one after another."""
    return [call() for call in calls]


class _Block(threading.local):
    """What tells this thread that nobody will ask for the block that it has in work."""

    stop: threading.Event | None = None


_block = _Block()


class Unwanted(Exception):
    """Work ends here, as it has failed elsewhere; that is what the caller hears of."""


def raise_if_unwanted():
    """Raise `Unwanted` in a block of work that has failed elsewhere.

    For loops that may take seconds: an interrupt waits for every thread.
    """
    if _block.stop is not None and _block.stop.is_set():
        raise Unwanted


def _for_each(function, blocks, stop):
    """Call function on one block after another, until one fails here or elsewhere."""
    before, _block.stop = _block.stop, stop
    try:
        for block in blocks:
            raise_if_unwanted()
            function(block)
    except Unwanted:
        return
    except BaseException:
        stop.set()
        raise
    finally:
        _block.stop = before


#: To start a thread takes as long as so many multiplications of float32.
_LITTLE_WORK = 6e7
_QUIET = {"over": "ignore", "under": "ignore", "invalid": "ignore"}


def _be_quiet():
    np.seterr(**_QUIET)


def quiet():
    """Return a context without NumPy's warnings about what is out of range or invalid.

    Every thread needs its own: those of :class:`Workers` begin with it. BLAS
    kernels now and then raise the invalid flag on finite arrays, from what lies
    beside them in memory; and a diverging fit overflows before it is found out at
    the epoch's end. Whether parameters and free energies are finite is asked
    explicitly.
    """
    return np.errstate(**_QUIET)
