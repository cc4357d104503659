"""Memory that a fit takes beyond X, as a multiple of the parameters.

    python benchmarks/memory.py [--hidden 1000] [--rows 5000]

The peak of what is allocated (tracemalloc) grows with the minibatch by the states
that are in work. So it is measured with minibatches of two sizes, and the straight
line through both is taken apart: what is left at size 0, over the parameters' size,
and its slope, over the size of the minibatch's states (visible ones and all
particles of the hidden ones, once). Appends a row a fit to
benchmarks/results/memory.csv.
"""

import argparse
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
from _results import append

from sklearn_helmholtz import HelmholtzMachine

N_FEATURES = 784
BATCHES = 100, 200
WAKE_SLEEP = {"learning_rule": "wake-sleep"}
FITS = {
    "wake-sleep": WAKE_SLEEP,
    "wake-sleep, Adam": WAKE_SLEEP | {"optimizer": "adam", "learning_rate": 0.01},
    "reweighted, K = 5": {},
    "reweighted, K = 5, early stopping": {"early_stopping": True},
    "reweighted, K = 5, Adam": {"optimizer": "adam", "learning_rate": 0.01},
    "reweighted, K = 5, float64": {"dtype": np.float64},
    "reweighted, K = 5, Gaussian": {"visible": "gaussian", "learning_rate": 0.01},
    "reweighted, K = 5, early stopping, X mapped": {"early_stopping": True},
}


def peak_of(fit):
    """Return the peak, in bytes, of what a call allocates."""
    tracemalloc.start()
    try:
        fit()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def sizes_of(machine, batch):
    """Return the bytes of the parameters, and of a minibatch's states."""
    biases = machine.recognition_intercepts_ + machine.generative_intercepts_
    arrays = biases + machine.recognition_coefs_ + machine.generative_coefs_
    hidden = sum(bias.size for bias in machine.recognition_intercepts_)
    particles = 1 if machine.learning_rule == "wake-sleep" else machine.n_particles
    n_states = batch * (machine.n_features_in_ + particles * hidden)
    return sum(array.nbytes for array in arrays), n_states * biases[0].itemsize


def measure(X, hidden, **parameters):
    """Return the peak of a fit in bytes, over the parameters, and over the states."""
    peaks, states = [], []
    for batch in BATCHES:
        machine = HelmholtzMachine(
            hidden, batch_size=batch, max_iter=2, random_state=0, **parameters
        )
        peaks.append(peak_of(lambda machine=machine: machine.fit(X)))
        size, of_minibatch = sizes_of(machine, batch)
        states.append(of_minibatch)
    slope = (peaks[1] - peaks[0]) / (states[1] - states[0])
    fixed = peaks[0] - slope * states[0]
    return peaks[0], peaks[0] / size, fixed / size, slope


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--hidden", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=5000)
    options = parser.parse_args()
    X = np.random.default_rng(0).random((options.rows, N_FEATURES)) < 0.2
    HelmholtzMachine(3, max_iter=1).fit(X[:50])  # imports and caches
    with tempfile.TemporaryDirectory() as folder:
        for name, parameters in FITS.items():
            parameters = dict(parameters)
            rows = X.astype(parameters.pop("dtype", np.float32))
            if "mapped" in name:
                np.save(Path(folder) / "X.npy", rows)
                rows = np.load(Path(folder) / "X.npy", mmap_mode="r")
            peak, whole, fixed, slope = measure(rows, options.hidden, **parameters)
            line = {"sizes": f"{N_FEATURES}-{options.hidden}", "rows": options.rows}
            line |= {"fit": name, "batch": BATCHES[0], "peak_mb": round(peak / 1e6, 2)}
            line |= {"over_parameters": round(whole, 2)}
            line |= {"parameters_alone": round(fixed, 2), "states": round(slope, 2)}
            print(line, flush=True)
            append("memory.csv", [line])


if __name__ == "__main__":
    main()
