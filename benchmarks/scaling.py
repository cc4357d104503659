"""What Dask costs and gives on this computer, against doing without it.

    python benchmarks/scaling.py [--data FOLDER] [--rows 10000]

Two worker processes of one thread each; BLAS is held to one thread throughout.
Training of one model: a step of `fit_distributed` against one of `partial_fit` on
MNIST, 784-200-100, for minibatches of several sizes. Machines side by side:
HelmholtzClassifier on the digits, in one process and on two workers.

Wall times mean something on an idle computer alone. Beside them stands the
processors' time of this process (the scheduler's is in it) and of the busiest
worker: what would bound the wall time if no one else were there. Every line goes
to benchmarks/results/scaling.csv.
"""

import argparse
import time

import dask.array as da
import joblib
import numpy as np
from _data import folder, mnist
from _results import append
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_digits

from sklearn_helmholtz import HelmholtzClassifier, HelmholtzMachine, fit_distributed


def spent(call, client=None):
    """Return wall, this process's and the busiest worker's seconds of a call."""

    def clocks():
        found = client.run(time.process_time) if client else {"": 0.0}
        return [time.perf_counter(), time.process_time(), *found.values()]

    before = clocks()
    call()
    wall, own, *others = np.subtract(clocks(), before)
    return np.array([wall, own, max(others)])


def one_model(X, client, batch_size):
    """Return seconds a step here and on two workers."""
    options = {"batch_size": batch_size, "max_iter": 1, "n_jobs": 1, "random_state": 0}
    n_steps = -(-len(X) // batch_size)
    here = HelmholtzMachine((200, 100), **options).partial_fit(X[:batch_size])
    alone = spent(lambda: here.partial_fit(X)) / n_steps
    half = len(X) // 2
    futures = client.scatter([X[:half], X[half:]])
    blocks = [da.from_delayed(f, (half, X.shape[1]), dtype=X.dtype) for f in futures]
    blocks = da.concatenate(blocks).persist()
    machine = HelmholtzMachine((200, 100), **options)
    shared = spent(lambda: fit_distributed(machine, blocks, client), client)
    return alone, shared / n_steps


def many_machines(n_jobs, client=None):
    """Return seconds for a classifier's ten machines."""
    X, y = load_digits(return_X_y=True)
    machine = HelmholtzMachine((100, 50), max_iter=50, n_jobs=1)
    classifier = HelmholtzClassifier(machine, n_jobs=n_jobs, random_state=0)
    with joblib.parallel_config(backend="dask" if client else "loky"):
        return spent(lambda: classifier.fit(X / 16, y), client)


def record(what, size, alone, shared):
    """Print a line and append it to the results."""
    line = {"what": what, "size": size, "alone_wall": alone[0], "alone_cpu": alone[1]}
    line |= {"dask_wall": shared[0], "dask_own_cpu": shared[1]}
    line["dask_busiest_worker_cpu"] = shared[2]
    line = {
        k: v if isinstance(v, str | int) else round(float(v), 4)
        for k, v in line.items()
    }
    print(line, flush=True)
    append("scaling.csv", [line])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", help="folder of mnist.npz")
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    X = mnist(folder(options.data))[0][: options.rows]
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        for batch_size in (100, 1000, 10_000):
            alone, shared = one_model(X, client, batch_size)
            record("one model, a step", batch_size, alone, shared)
        many_machines(2, client)  # the workers import
        record("ten machines", 10, many_machines(1), many_machines(2, client))


if __name__ == "__main__":
    main()
