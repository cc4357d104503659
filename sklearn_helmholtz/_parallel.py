"""Threads: one counted limit on BLAS for the whole process, and workers."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
from joblib import effective_n_jobs
from threadpoolctl import OpenBLASController, ThreadpoolController


@cache
def _blas():
    """Return the controller of the BLAS libraries; finding them takes a while."""
    return ThreadpoolController().select(user_api="blas")


def _release():
    """Give back control of OpenBLAS, so that any thread may limit it next.

    Since threadpoolctl 3.8 the thread that sets a limit controls OpenBLAS, and
    limits that other threads set, or restore, do nothing.
    """
    clear = getattr(OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


class _SharedLimit:
    """One limit of BLAS to one thread, for all in the process that ask at once.

    A limit holds for the whole process. So the first to come sets it, and the
    last to leave restores what the first found.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_users = 0
        self._limiter = None
        self._n_threads = 1

    def __enter__(self):
        with self._lock:
            if self._n_users == 0:
                libraries = _blas().lib_controllers
                found = [library.num_threads for library in libraries]
                self._n_threads = max(found, default=1)
                self._limiter = _blas().limit(limits=1)
            self._n_users += 1
            return self._n_threads

    def __exit__(self, *exception):
        with self._lock:
            self._n_users -= 1
            if self._n_users == 0:
                # The thread that set the limit may be another than this one.
                _release()
                self._limiter.restore_original_limits()
                _release()


#: Entered, it limits BLAS to one thread and gives the number it had.
one_blas_thread = _SharedLimit()


class _Share(threading.local):
    """How many share the process's threads with this thread, itself included."""

    n_sharing = 1


_share = _Share()


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

    def run(self, calls):
        """Return the results, in order, of functions that take no arguments.

        The calls must not depend on each other; then no result depends on
        timing, nor on the number of threads.
        """
        if self.executor is None:
            return run_in_turn(calls)
        *others, own = calls
        futures = [self.executor.submit(call) for call in others]
        try:
            result = own()
        finally:
            # Whatever happens, no thread is left writing to arrays in use.
            wait(futures)
        return [*(future.result() for future in futures), result]

    def map_blocks(self, function, blocks):
        """Call function on every block, each thread taking its share of them."""
        shares = [blocks[first :: self.n_threads] for first in range(self.n_threads)]
        calls = [partial(_for_each, function, share) for share in shares if share]
        if calls:
            self.run(calls)


@contextmanager
def workers(n_jobs):
    """Limit BLAS to one thread and yield :class:`Workers` for the time of a block.

    Parameters
    ----------
    n_jobs : int or None
        None takes as many threads as BLAS had; so a process whose BLAS has
        been limited (a joblib worker's) gets no more than it was given. Within
        :func:`sharing_threads` it takes its share of them.
    """
    with one_blas_thread as blas_threads, quiet():
        if n_jobs is None:
            n_threads = max(1, blas_threads // _share.n_sharing)
        else:
            n_threads = effective_n_jobs(n_jobs)
        if n_threads < 2:
            yield Workers(None, 1)
            return
        with ThreadPoolExecutor(n_threads - 1) as executor:
            yield Workers(executor, n_threads)


def run_in_turn(calls):
    """Return the results of calls run one after another."""
    return [call() for call in calls]


def _for_each(function, blocks):
    with quiet():
        for block in blocks:
            function(block)


def quiet():
    """Return a context without NumPy's warnings about overflow and invalid values.

    Every thread needs its own. BLAS kernels now and then raise the invalid flag
    on finite arrays, from what lies beside them in memory; and a diverging fit
    overflows before it is found out at the epoch's end. Whether parameters and
    free energies are finite is asked explicitly.
    """
    return np.errstate(over="ignore", invalid="ignore")
