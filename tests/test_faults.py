"""Faults at 200 random points: a fit is done or undone, and nothing is left behind.

Errors leave the estimator as it was. An interrupt leaves it as it was or with
the epochs done, and then `n_iter_` tells their number and the parameters are, to
the last bit, those that an undisturbed fit had after so many.
"""

import contextlib
import gc
import os
import pickle
import random
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import thread as pool
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from helpers import binary_rows, parameters, share_all_work

import sklearn_helmholtz
from sklearn_helmholtz import HelmholtzMachine

PACKAGE = str(Path(sklearn_helmholtz.__file__).parent)
#: Files of the standard library that run on the package's behalf.
HELPERS = {contextlib.__file__, pool.__file__}
LIBRARIES = threadpoolctl.ThreadpoolController().lib_controllers
N_CALLBACK, N_CALL, N_SIGNAL = 80, 80, 40
#: One in so many is struck in every run of the tests, the others by -m slow.
SHARE = 3

X = binary_rows(50, 7)
SETTINGS = {
    "hidden_layer_sizes": (5, 3),
    "max_iter": 4,
    "batch_size": 20,
    "learning_rate_schedule": "constant",
    "random_state": 0,
    "n_jobs": 2,
}
#: What is done to a machine when the fault strikes.
CALLS = {
    "first fit": lambda machine: machine.fit(X),
    "fit anew": lambda machine: machine.fit(X),
    "warm fit": lambda machine: machine.fit(X),
    "early stopping": lambda machine: machine.fit(X),
    "partial fit": lambda machine: machine.partial_fit(X),
}


def seeds(n_faults):
    """Return seeds as parameters, most of them marked as slow."""
    return [
        seed if seed % SHARE == 0 else pytest.param(seed, marks=pytest.mark.slow)
        for seed in range(n_faults)
    ]


class Recorder:
    """Callback that keeps the parameters of every epoch."""

    def __init__(self):
        self.seen = {}

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.seen[fitted_estimator.n_iter_] = parameters(fitted_estimator)


class Fault(Recorder):
    """Callback that raises, stops or sends a signal at its n-th hook."""

    def __init__(self, n_calls, action):
        super().__init__()
        self.n_calls = n_calls
        self.action = action

    def _strike(self, estimator, context):
        self.n_calls -= 1
        return self.action() if self.n_calls == 0 else None

    setup = on_fit_task_begin = teardown = _strike

    def on_fit_task_end(self, estimator, context):
        return self._strike(estimator, context)


def raises(error):
    def action():
        raise error

    return action


def interrupts():
    """Send this process a real SIGINT."""
    os.kill(os.getpid(), signal.SIGINT)


#: Set when a signal has come.
INTERRUPTED = threading.Event()


def on_signal(number, frame):
    """Do as Python's own handler, and take note."""
    INTERRUPTED.set()
    raise KeyboardInterrupt


def new_machine(call):
    """Return a machine that is ready for a call."""
    machine = HelmholtzMachine(**SETTINGS)
    if call == "early stopping":
        machine.set_params(early_stopping=True, n_iter_no_change=4)
    if call != "first fit":
        machine.fit(X)
    return machine.set_params(warm_start=call == "warm fit")


@pytest.fixture(scope="module", autouse=True)
def _threads_and_handler():
    """Make every step use threads; take note of signals."""
    handler = signal.signal(signal.SIGINT, on_signal)
    with pytest.MonkeyPatch.context() as patch:
        share_all_work(patch)
        yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(scope="module")
def undisturbed(_threads_and_handler):
    """Return {call: {n_iter_: parameters}} of fits without faults."""
    found = {}
    for call, run in CALLS.items():
        machine, recorder = new_machine(call), Recorder()
        if call != "early stopping":
            run(machine.set_callbacks(recorder))
            found[call] = recorder.seen
        else:
            # It keeps the best epoch of those done.
            found[call] = {}
            for n_epochs in range(1, SETTINGS["max_iter"] + 1):
                run(machine.set_params(max_iter=n_epochs))
                found[call][n_epochs] = parameters(machine)
            continue
        found[call][machine.n_iter_] = parameters(machine)
    return found


def state(machine):
    """Return which objects a machine's attributes are, and what is in them."""
    found = dict(vars(machine))
    kept = {name: found[name] for name in found if name != "_skl_callbacks"}
    return {name: id(found[name]) for name in found}, pickle.dumps(kept), found


def surroundings():
    """Return what a call must leave as it found it."""
    return [library.num_threads for library in LIBRARIES], np.geterr()


def threads_end(before):
    """Return whether, shortly, no threads are left but those of before."""
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.001)
    return not set(threading.enumerate()) - before


def strike(machine, call, run):
    """Run a call that a fault may hit; return the error, and what it was like."""
    before = state(machine)
    around, threads = surroundings(), set(threading.enumerate())
    error = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "interrupted by user"
            run(machine)
    except BaseException as caught:
        error = type(caught)
    gc.collect()
    assert threads_end(threads)
    assert surroundings() == around
    return error, before


def check(machine, call, error, before, undisturbed):
    """Check that a call was done or undone, and that the machine is as good as new."""
    undone = state(machine)[:2] == before[:2]
    if error is not None and not issubclass(error, KeyboardInterrupt):
        assert undone
    if not undone:
        known = undisturbed[call]
        np.testing.assert_array_equal(parameters(machine), known[machine.n_iter_])
        n_before = SETTINGS["max_iter"] if call in ("warm fit", "partial fit") else 0
        n_done = machine.n_iter_ - n_before
        assert 1 <= n_done <= (1 if call == "partial fit" else SETTINGS["max_iter"])
        n_noted = machine.n_iter_ - (1 if call == "partial fit" else 0)
        assert len(machine.free_energy_curve_) == n_noted
        assert np.isfinite(machine.score(X))
    assert not {name for name in vars(machine) if "context" in name}
    machine.set_callbacks()
    machine.set_params(warm_start=False, max_iter=2, early_stopping=False).fit(X)
    np.testing.assert_array_equal(parameters(machine), undisturbed["first fit"][2])


@pytest.mark.parametrize("seed", seeds(N_CALLBACK))
def test_fault_in_a_callback(seed, undisturbed):
    draw = random.Random(seed)
    call = draw.choice([name for name in CALLS if name != "partial fit"])
    errors = [RuntimeError, MemoryError, SystemExit, KeyboardInterrupt]
    actions = [*map(raises, errors), interrupts, lambda: True]
    # setup, 1 + 2 * 4 + 1 hooks, teardown
    point = draw.randint(1, 11)
    machine, fault = new_machine(call), Fault(point, draw.choice(actions))
    machine.set_callbacks(fault)
    error, before = strike(machine, call, CALLS[call])
    assert fault.n_calls <= 0
    check(machine, call, error, before, undisturbed)


class Injection:
    """Profiler that raises at the n-th place where Python looks for signals.

    These are the entries of functions and the ends of calls into C, of the
    package's own code and of what the standard library runs for it.
    """

    def __init__(self, n_calls, error):
        self.n_calls = n_calls
        self.error = error
        self.n_seen = 0

    def __call__(self, frame, event, argument):
        code = frame.f_code
        generator = code.co_flags & 0x20  # is entered many times, in its middle
        if event == "c_return" or (event == "call" and not generator):
            own = code.co_filename.startswith(PACKAGE)
            # An error once all is done comes too late to be undone.
            own &= (code.co_name, event) != ("__exit__", "call")
            if own or self._on_behalf(frame):
                self.n_seen += 1
                if self.n_seen == self.n_calls:
                    raise self.error

    @staticmethod
    def _on_behalf(frame):
        back = frame.f_back
        return (
            frame.f_code.co_filename in HELPERS
            and back is not None
            and back.f_code.co_filename.startswith(PACKAGE)
        )

    def run(self, function):
        def injected(machine):
            sys.setprofile(self)
            try:
                function(machine)
            finally:
                sys.setprofile(None)

        return injected


@pytest.mark.parametrize("seed", seeds(N_CALL))
def test_fault_at_a_call(seed, undisturbed):
    draw = random.Random(seed)
    call = draw.choice(list(CALLS))
    count = Injection(0, None)
    count.run(CALLS[call])(new_machine(call))
    point = draw.randint(1, count.n_seen)
    fault = Injection(point, draw.choice([MemoryError, KeyboardInterrupt]))
    machine = new_machine(call)
    error, before = strike(machine, call, fault.run(CALLS[call]))
    check(machine, call, error, before, undisturbed)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("seed", seeds(N_SIGNAL))
def test_signal_at_a_random_time(seed, undisturbed):
    draw = random.Random(seed)
    call = draw.choice(list(CALLS))
    INTERRUPTED.clear()
    machine = new_machine(call)
    started = time.perf_counter()
    CALLS[call](new_machine(call))
    length = time.perf_counter() - started
    timer = threading.Timer(draw.random() * length, interrupts)

    def run(machine):
        timer.start()
        CALLS[call](machine)
        while not INTERRUPTED.is_set():
            time.sleep(0.001)  # a signal that comes after the fit ends this

    error, before = strike(machine, call, run)
    check(machine, call, error, before, undisturbed)
