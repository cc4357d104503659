r"""Test log-likelihoods on binary data sets against the published ones.

    python benchmarks/likelihood.py --set mnist --layers 200 200 --lateral \
        --epochs 100 --particles 5 [--data FOLDER]

Trains on the set's training rows, and prints the negative log-likelihood of
validation and test rows in nats, by importance sampling: 1,000 particles on all
rows (or on --test-rows of them, evenly spread), and 10,000 on up to 1,000 of the test
rows, with the effective sample sizes; with --annealed also by annealed importance
sampling, on --annealed-rows of the test rows. Every run appends a row to
benchmarks/results/likelihood.csv; --save and --load estimate a trained machine again.
Sets other than MNIST have their published splits in FOLDER. Several values of --rate,
--alpha or --epochs make a grid, of which the machine with the best likelihood of the
validation rows, by 100 particles, is reported; "auto" is what the machine chooses:

    python benchmarks/likelihood.py --set adult --layers 100 50 --lateral \
        --rate 0.3 1 --alpha 0 1e-4 --epochs 50 100
"""

import argparse
import sys
import time
from argparse import Namespace
from itertools import product

import joblib
import numpy as np
import sklearn
from _data import binary_sets, folder
from _results import append

from sklearn_helmholtz import HelmholtzMachine

FIELDS = [
    *("set", "layers", "rule", "particles", "lateral", "direction", "optimizer"),
    *("rate", "batch", "alpha", "epochs", "seed", "fit_s", "valid_nll", "test_nll"),
    *("test_ess", "test_nll_10k", "test_ess_10k", "train_nll", "test_rows"),
    *("moves", "test_nll_annealed", "annealed", "annealed_rows", "annealed_ess"),
    *("annealed_se", "autoregressive"),
]


def _word_or(kind):
    """Return what reads a parameter that may be a word: what the machine chooses."""

    def read(text):
        return text if text in ("auto", "evidence") else kind(text)

    return read


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--set", default="mnist")
    parser.add_argument("--data", help="folder of the .npz files")
    parser.add_argument("--layers", type=int, nargs="+", default=[200])
    parser.add_argument("--rule", default="reweighted-wake-sleep")
    parser.add_argument("--particles", type=int, default=5)
    parser.add_argument("--moves", type=int, default=0)
    parser.add_argument("--lateral", action="store_true")
    parser.add_argument("--autoregressive", action="store_true")
    parser.add_argument("--direction", default="centred")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--rate", type=_word_or(float), nargs="+", default=[1.0])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--alpha", type=_word_or(float), nargs="+", default=[0.0])
    parser.add_argument("--epochs", type=_word_or(int), nargs="+", default=[50])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--test-rows", type=int, help="and validation rows; all if left out"
    )
    parser.add_argument("--valid-rows", type=int, help="if other than --test-rows")
    parser.add_argument(
        "--annealed",
        type=int,
        nargs=3,
        metavar=("CHAINS", "TEMPERATURES", "MOVES"),
        help="estimate the test rows by annealed importance sampling, too",
    )
    parser.add_argument("--annealed-rows", type=int, default=1000)
    parser.add_argument("--jobs", type=int, help="threads, at most")
    parser.add_argument("--save", help="file to keep the fitted machine in")
    parser.add_argument("--load", help="file of --save, to estimate without training")
    parser.add_argument("--verbose", type=int, default=0)
    return parser.parse_args()


def machine(options):
    """Return the machine that the options describe."""
    return HelmholtzMachine(
        options.layers,
        learning_rule=options.rule,
        n_particles=options.particles,
        n_moves=options.moves,
        lateral=options.lateral,
        autoregressive=options.autoregressive,
        direction=options.direction,
        optimizer=options.optimizer,
        learning_rate=options.rate,
        batch_size=options.batch,
        alpha=options.alpha,
        max_iter=options.epochs,
        random_state=options.seed,
        n_jobs=options.jobs,
        verbose=options.verbose,
    )


def spread(X, n_rows=1000):
    """Return up to n_rows rows, evenly spread: some sets are sorted by class."""
    return X[np.linspace(0, len(X) - 1, min(n_rows, len(X))).astype(int)]


def nll(fitted, X, n_particles):
    """Return the mean negative log-likelihood and effective sample size."""
    values, sizes = fitted.log_likelihood(
        X, n_particles, return_effective_sample_size=True
    )
    return round(-float(values.mean()), 3), round(float(sizes.mean()), 1)


def annealed(fitted, X, options):
    """Return the columns of annealed importance sampling, empty without it."""
    if not options.annealed:
        return {}
    judged = spread(X, options.annealed_rows)
    values, sizes = fitted.annealed_log_likelihood(
        judged, *options.annealed, return_effective_sample_size=True
    )
    return {
        "test_nll_annealed": round(-float(values.mean()), 3),
        "annealed": "x".join(map(str, options.annealed)),
        "annealed_rows": len(judged),
        "annealed_ess": round(float(sizes.mean()), 2),
        "annealed_se": round(float(values.std() / len(judged) ** 0.5), 3),
    }


GRID = "rate", "alpha", "epochs"


def best(options, train, valid):
    """Return the fitted machine of the grid, its settings and its seconds to fit."""
    found = []
    for values in product(*(getattr(options, name) for name in GRID)):
        chosen = Namespace(**vars(options) | dict(zip(GRID, values, strict=True)))
        start = time.perf_counter()
        fitted = machine(chosen).fit(train)
        spent = round(time.perf_counter() - start, 1)
        valid_nll, _ = nll(fitted, valid, 100)
        print(dict(zip(GRID, values, strict=True)), valid_nll, spent, flush=True)
        found.append((valid_nll, fitted, chosen, spent))
    return min(found, key=lambda each: each[0])[1:]


def trained(options, train, valid):
    """Return the best machine of the grid, and its columns of the results."""
    fitted, options, spent = best(options, train, valid)
    row = vars(options) | {"fit_s": spent}
    row["layers"] = "-".join(map(str, options.layers))
    if options.save:
        joblib.dump((fitted, row), options.save)
    print(f"trained on {train.shape} in {spent} s", flush=True)
    return fitted, row


def measure(options):
    """Train, estimate, and return a row of the results."""
    train, valid, test = binary_sets(folder(options.data), options.set)
    if options.load:
        fitted, row = joblib.load(options.load)
        fitted.n_jobs = options.jobs
    else:
        fitted, row = trained(options, train, valid)
    known = spread(valid, options.valid_rows or options.test_rows or len(valid))
    judged = spread(test, options.test_rows or len(test))
    row["valid_nll"], _ = nll(fitted, known, 1000)
    row["test_rows"] = len(judged)
    row["test_nll"], row["test_ess"] = nll(fitted, judged, 1000)
    row["test_nll_10k"], row["test_ess_10k"] = nll(fitted, spread(test), 10_000)
    row["train_nll"], _ = nll(fitted, spread(train), 1000)
    row |= annealed(fitted, test, options)
    return {field: row.get(field, "") for field in FIELDS}


def main():
    options = arguments()
    print("command:", "python", *sys.argv)
    print(f"numpy {np.__version__}, scikit-learn {sklearn.__version__}")
    row = measure(options)
    for key, value in row.items():
        print(f"{key:>14} {value}")
    append("likelihood.csv", [row])


if __name__ == "__main__":
    main()
