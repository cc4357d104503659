"""Memory: what a fit allocates beyond its data is a few copies of the parameters."""

import tracemalloc

import numpy as np
import pytest
from helpers import binary_rows

from sklearn_helmholtz import HelmholtzMachine

N_FEATURES, N_HIDDEN = 500, 400
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
        # Parameters, memory, the kept copy, gradients.
        (WAKE_SLEEP, 4, False),
        (WAKE_SLEEP | {"early_stopping": True}, 4, False),
        (WAKE_SLEEP | {"optimizer": "adam", "learning_rate": 0.01}, 5, False),
        # Gradients of two lanes.
        ({}, 5, False),
        ({"learning_rule": "contrastive-divergence"}, 5, False),
        ({"early_stopping": True}, 5, True),
    ],
)
def test_fit_takes_few_copies_of_the_parameters(parameters, copies, mapped, tmp_path):
    X = binary_rows(256, N_FEATURES, np.float32)
    HelmholtzMachine(3, max_iter=1).fit(X)  # caches
    if mapped:
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    # The states in work are proportional to the minibatch: its size is taken to 0.
    small, large = (peak(X, batch_size, **parameters) for batch_size in (64, 128))
    assert 2 * small - large < (copies + 0.5) * PARAMETERS


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
