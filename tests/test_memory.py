"""Memory: what a fit allocates beyond its data is a few copies of the parameters."""

import gc
import os
import platform
import subprocess
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from helpers import binary_rows

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._learning_rules import LEARNING_RULES

N_FEATURES, N_HIDDEN = 1000, 800
PARAMETERS = 4 * (2 * N_FEATURES * N_HIDDEN + N_FEATURES + 2 * N_HIDDEN)
WAKE_SLEEP = {"learning_rule": "wake-sleep"}


def peak(X, batch_size, **parameters):
    # One thread: of two it is chance which temporaries coincide.
    machine = HelmholtzMachine(
        N_HIDDEN,
        batch_size=batch_size,
        max_iter=3,
        n_jobs=1,
        random_state=0,
        **parameters,
    )
    tracemalloc.start()
    try:
        machine.fit(X)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("parameters", "copies", "mapped"),
    [
        # Parameters, memory, the kept copy.
        (WAKE_SLEEP, 3, False),
        (WAKE_SLEEP | {"early_stopping": True}, 3, False),
        # Twice the memory, and gradients.
        (WAKE_SLEEP | {"optimizer": "adam", "learning_rate": 0.01}, 5, False),
        # Gradients of the second lane.
        ({}, 4, False),
        ({"early_stopping": True}, 4, True),
        # Gradients of both.
        ({"learning_rule": "contrastive-divergence"}, 5, False),
    ],
)
def test_fit_takes_few_copies_of_the_parameters(parameters, copies, mapped, tmp_path):
    X = binary_rows(128, N_FEATURES, np.float32)
    HelmholtzMachine(3, max_iter=1).fit(X)  # caches
    if mapped:
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    # In both lanes a product is added by quarters of a network. Half a copy is left
    # for the states in work, hardly any here, and the 64 rows weighed after an epoch.
    assert peak(X, 8, **parameters) < (copies + 0.25 + 0.5) * PARAMETERS


def test_fit_takes_no_more_for_more_rows():
    X = binary_rows(4000, 100, np.float32)
    # One thread, as in peak.
    machine = HelmholtzMachine(
        50, max_iter=1, early_stopping=True, n_jobs=1, random_state=0
    )

    def extra(n_rows):
        tracemalloc.start()
        try:
            machine.fit(X[:n_rows])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    extra(1000)
    # Their order, in a few copies, is all that may grow: X's rows are 400 bytes.
    assert extra(4000) - extra(1000) < 3000 * 40


#: Rows that are built without a large array being freed, scored twice.
PAGE_FAULTS = """
import resource
import numpy as np
from sklearn_helmholtz import HelmholtzMachine

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

X, rng = np.zeros((3000, 784), np.float32), np.random.default_rng(0)
for row in X:
    row[:] = rng.random(784) < 0.2
machine = HelmholtzMachine(500, max_iter=1, n_score_samples=1, n_jobs=1).fit(X[:200])
machine.score_samples(X)
before = faults()
machine.score_samples(X)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="It is glibc's malloc.")
def test_scores_meet_memory_that_is_there():
    """Without care a block of rows has thousands of pages from the system anew."""
    # Thresholds that are set, which Dask does for its workers, are not moved.
    env = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    command = [sys.executable, "-c", PAGE_FAULTS]
    found = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert int(found.stdout) < 300


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_rows_are_free_when_the_call_is_over(rule, method):
    machine = HelmholtzMachine((6, 4), learning_rule=rule, max_iter=2)
    X = binary_rows()
    alive = weakref.ref(X)
    gc.disable()  # no cycle of references may keep them
    try:
        getattr(machine, method)(X)
        del X
        assert alive() is None
    finally:
        gc.enable()
