"""What Dask costs and gives on this computer, against doing without it.

    python benchmarks/scaling.py [--data FOLDER] [--rows 10000]

Two worker processes of one thread each; BLAS is held to one thread throughout,
so that the comparison is of processes. Training of one model: seconds a step of
`fit_distributed` and of `partial_fit` on MNIST, 784-200-100, for minibatches of
several sizes. Machines side by side: seconds for HelmholtzClassifier on the
digits, one process and two. Every line goes to benchmarks/results/scaling.csv.
"""

import argparse
import time

import dask.array as da
import joblib
from _data import folder, mnist
from _results import append
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_digits

from sklearn_helmholtz import HelmholtzClassifier, HelmholtzMachine, fit_distributed


def seconds(call):
    """Return the wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def one_model(X, client, batch_size):
    """Return seconds a step here and on two workers."""
    options = {"batch_size": batch_size, "max_iter": 1, "n_jobs": 1, "random_state": 0}
    n_steps = -(-len(X) // batch_size)
    here = HelmholtzMachine((200, 100), **options).partial_fit(X[:batch_size])
    alone = seconds(lambda: here.partial_fit(X)) / n_steps
    blocks = da.from_array(X, chunks=(len(X) // 2, -1)).persist()
    machine = HelmholtzMachine((200, 100), **options)
    fit_distributed(machine, blocks[:batch_size].rechunk((batch_size // 2, -1)), client)
    shared = seconds(lambda: fit_distributed(machine, blocks, client)) / n_steps
    return alone, shared


def many_machines(backend, n_jobs):
    """Return seconds for a classifier's ten machines."""
    X, y = load_digits(return_X_y=True)
    machine = HelmholtzMachine((100, 50), max_iter=50, n_jobs=1)
    classifier = HelmholtzClassifier(machine, n_jobs=n_jobs, random_state=0)
    with joblib.parallel_config(backend=backend):
        classifier.fit(X / 16, y)  # the workers import
        return seconds(lambda: classifier.fit(X / 16, y))


def record(what, size, alone, shared):
    """Print a line and append it to the results."""
    line = {
        "what": what,
        "size": size,
        "alone_s": round(alone, 4),
        "two_workers_s": round(shared, 4),
        "speed_up": round(alone / shared, 2),
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
        alone = many_machines("loky", 1)
        record("ten machines, Dask", 10, alone, many_machines("dask", 2))
        record("ten machines, loky", 10, alone, many_machines("loky", 2))


if __name__ == "__main__":
    main()
