"""How the time grows with rows, particles, layers and units.

    python benchmarks/linearity.py [--repeat 7] [--only WORD]

Everything runs on one thread, as a step is handed to two where that pays, which
bends the line; and what is measured is that thread's processor time, which others
on the computer hardly change. The sizes of a series are measured in turn, and again,
`repeat` times; medians count. Of rows the time a row must not change; of particles,
layers and units the time must follow a straight line (least squares of the relative
errors), and what is told is how far from it the medians lie. Every point goes to
benchmarks/results/linearity.csv.
"""

import argparse
import time
from functools import partial

import numpy as np
from _results import append

from sklearn_helmholtz import HelmholtzMachine

N_ROWS = 10**3, 10**4, 10**5, 10**6
N_PARTICLES = 1, 2, 5, 10, 20
N_LAYERS = 1, 2, 4, 6, 8
N_UNITS = 100, 200, 400, 800, 1600


def binary(n_rows, n_columns):
    """Return binary rows, a fifth of them ones."""
    rng = np.random.default_rng(0)
    return (rng.random((n_rows, n_columns), np.float32) < 0.2).astype(np.float32)


def machine_like(X, hidden, **parameters):
    """Return a machine that has seen some rows."""
    machine = HelmholtzMachine(
        hidden, n_jobs=1, random_state=0, n_score_samples=1, **parameters
    )
    return machine.set_params(max_iter=1).partial_fit(X[:100])


def medians(calls, repeat):
    """Return the median processor seconds of every call, measured in turn."""
    times = [[] for _ in calls]
    for _ in range(repeat + 1):  # the first warms up
        for call, found in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            found.append(time.process_time() - start)
    return np.array([np.median(found[1:]) for found in times])


def by_rows(repeat):
    """Yield (what, rows, seconds a row, of the largest) for calls on many rows."""
    X = binary(max(N_ROWS), 100)
    for name in ("partial_fit", "fit", "transform", "score_samples"):
        machine = machine_like(X, 100)

        def call(n_rows, name=name, machine=machine):
            # Small calls several times: the clock is coarse, and others interrupt.
            for _ in range(max(1, 10**4 // n_rows)):
                getattr(machine, name)(X[:n_rows])

        seconds = medians([partial(call, n) for n in N_ROWS], max(1, repeat // 2))
        a_row = seconds / np.maximum(N_ROWS, 10**4)
        for n_rows, found in zip(N_ROWS, a_row, strict=True):
            yield name, "rows", n_rows, found, found / a_row[-1]


def on_a_line(name, sizes, calls, repeat):
    """Yield (what, by what, size, seconds, seconds over the straight line's)."""
    seconds = medians(calls, repeat)
    points = np.stack([np.ones(len(sizes)), sizes], axis=1)
    line = np.linalg.lstsq(points / seconds[:, None], np.ones(len(sizes)))[0]
    for size, found, expected in zip(sizes, seconds, points @ line, strict=True):
        yield "partial_fit", name, size, found, found / expected


def by_particles(repeat):
    X = binary(1000, 784)
    machines = [machine_like(X, (200, 100), n_particles=k) for k in N_PARTICLES]
    calls = [partial(machine.partial_fit, X) for machine in machines]
    yield from on_a_line("particles", N_PARTICLES, calls, repeat)


def by_layers(repeat):
    X = binary(1000, 200)
    machines = [machine_like(X, (200,) * n) for n in N_LAYERS]
    calls = [partial(machine.partial_fit, X) for machine in machines]
    yield from on_a_line("layers of 200", N_LAYERS, calls, repeat)


def by_units(repeat):
    X = binary(1000, 784)
    machines = [machine_like(X, n) for n in N_UNITS]
    calls = [partial(machine.partial_fit, X) for machine in machines]
    yield from on_a_line("units", N_UNITS, calls, repeat)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--only", default="", help="rows, particles, layers or units")
    options = parser.parse_args()
    for series in (by_rows, by_particles, by_layers, by_units):
        if options.only in series.__name__:
            for what, by, size, seconds, ratio in series(options.repeat):
                line = {"what": what, "by": by, "size": size}
                line |= {"seconds": f"{seconds:.4g}", "ratio": round(float(ratio), 3)}
                print(line, flush=True)
                append("linearity.csv", [line])


if __name__ == "__main__":
    main()
