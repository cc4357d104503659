"""Codes learned without labels, judged by one classifier.

    python benchmarks/features.py --task mnist [--data FOLDER] [--seeds 3] [--quick]

Every method learns codes from the training rows without their labels; the same
logistic regression, its C and whether codes are standardised chosen by
cross-validation on the training part, then classifies the test rows. A seed
draws the methods' starts, and the folds or the labelled rows where a task has
them. The RBM's and the machine's learning rate and epochs are chosen in the same
way, from as many settings, on 10,000 of the training rows. Those have their labels
for that even where the classifier gets few.
Rows of the table are appended to benchmarks/results/features.csv. An
"untuned" machine has nothing set but the learning rule. "random features" are a
machine's shape without any learning, for orientation.
"""

import argparse
import sys
import time
import warnings
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import sklearn
from _data import folder, mnist
from _results import append
from scipy.ndimage import shift
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.neural_network import BernoulliRBM, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

import sklearn_helmholtz
from sklearn_helmholtz import HelmholtzMachine

FIELDS = "task", "method", "columns", "seed", "accuracy", "fit_s", "settings"
RBM_GRID = {"learning_rate": (0.02, 0.06, 0.1), "n_iter": (10, 30)}
OUR_GRID = {"learning_rate": (0.3, 0.5, 1.0), "max_iter": (10, 20)}
#: Rows that settings are chosen on, a fifth of them to judge.
TUNING_ROWS = 10_000
#: Rows that the classifier gets in tuning, over all draws of as many as it will have.
JUDGED_ROWS = 1000


class Split(NamedTuple):
    """One unlabelled set, one labelled, one to judge.

    Parameters
    ----------
    name : str
    unlabelled, X, X_test : ndarray or CSR
    y, y_test : ndarray of int

    tuning : tuple of (X, y) or None, default=None
        Labelled training rows to choose settings on; the labelled rows if None.
    """

    name: str
    unlabelled: np.ndarray | sp.csr_array
    X: np.ndarray | sp.csr_array
    y: np.ndarray
    X_test: np.ndarray | sp.csr_array
    y_test: np.ndarray
    tuning: tuple | None = None


# ---------------------------------------------------------------------- tasks


def nudged_digits(seed, options):
    """Yield scikit-learn's RBM example: digits and their moves by one pixel."""
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8)
    moves = (0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)
    moved = [[shift(image, move, order=0) for image in images] for move in moves]
    X = MinMaxScaler().fit_transform(np.reshape(moved, (-1, 64)))
    y = np.tile(y, len(moves))
    parts = train_test_split(X.astype(np.float32), y, test_size=0.2, random_state=0)
    X, X_test, y, y_test = parts
    yield Split("nudged-digits", X, X, y, X_test, y_test)


def mnist_part(seed, options):
    """Yield MNIST: the first 20,000 rows to train, 10,000 to test."""
    X, y, X_test, y_test = mnist(folder(options.data))
    n_train, n_test = (2000, 2000) if options.quick else (20_000, 10_000)
    X, y = X[:n_train], y[:n_train]
    yield Split("mnist", X, X, y, X_test[:n_test], y_test[:n_test])


def digits(seed, options):
    """Yield five folds of the digits as bundled."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    for train, test in folds.split(X, y):
        yield Split("digits", X[train], X[train], y[train], X[test], y[test])


def few_labels(seed, options):
    """Yield MNIST with codes from 60,000 rows, and 100 or 1,000 labels."""
    X, y, X_test, y_test = mnist(folder(options.data))
    unlabelled = X[:2000] if options.quick else X
    for n_labels in (100, 1000):
        rows, _ = train_test_split(
            np.arange(len(X)), train_size=n_labels, stratify=y, random_state=seed
        )
        name = f"few-labels-{n_labels}"
        tuning = X[:TUNING_ROWS], y[:TUNING_ROWS]
        yield Split(name, unlabelled, X[rows], y[rows], X_test, y_test, tuning)


def topics(seed, options, n_topics=20, n_words=5000, length=60):
    """Yield a bag of words: the label is a document's main topic of three."""
    rng = np.random.default_rng(seed)
    n_documents = 1500 if options.quick else 7500
    usage = 1 / np.arange(1, n_words + 1) ** 0.8
    topic_words = rng.gamma(0.05, size=(n_topics, n_words)) * usage + 0.02 * usage
    topic_words /= topic_words.sum(axis=1, keepdims=True)
    labels = rng.integers(n_topics, size=n_documents)
    rows = []
    for label in labels:
        mixture = rng.dirichlet(np.full(n_topics, 0.1)) * 0.6
        mixture[label] += 0.4
        words = rng.choice(n_words, size=length, p=mixture @ topic_words)
        rows.append(np.unique(words))
    places = np.repeat(np.arange(n_documents), [len(row) for row in rows])
    words = np.concatenate(rows)
    ones = np.ones(len(words), dtype=np.float32)
    X = sp.csr_array((ones, (places, words)), shape=(n_documents, n_words))
    cut = n_documents * 4 // 5
    yield Split("topics", X[:cut], X[:cut], labels[:cut], X[cut:], labels[cut:])


#: The tasks, and the columns of the codes in each.
TASKS = {
    "nudged-digits": (nudged_digits, 200),
    "mnist": (mnist_part, 600),
    "digits": (digits, 200),
    "few-labels": (few_labels, 300),
    "topics": (topics, 100),
}


# -------------------------------------------------------------------- methods


class Autoencoder(TransformerMixin, BaseEstimator):
    """The hidden layer of a multilayer perceptron that reconstructs its input."""

    def __init__(self, n_components, activation="logistic", random_state=None):
        self.n_components = n_components
        self.activation = activation
        self.random_state = random_state

    def fit(self, X, y=None):
        """Learn to reconstruct rows."""
        self.network_ = MLPRegressor(
            hidden_layer_sizes=(self.n_components,),
            activation=self.activation,
            max_iter=30,
            random_state=self.random_state,
        ).fit(X, X)
        return self

    def transform(self, X):
        """Return the hidden layer."""
        logits = X @ self.network_.coefs_[0] + self.network_.intercepts_[0]
        if self.activation == "relu":
            return np.maximum(logits, 0)
        return _sigmoid(logits)


class RandomFeatures(TransformerMixin, BaseEstimator):
    """Sigmoids of random projections."""

    def __init__(self, n_components, spread=2.0, random_state=None):
        self.n_components = n_components
        self.spread = spread
        self.random_state = random_state

    def fit(self, X, y=None):
        """Draw weights that give logits of the wanted spread."""
        rng = np.random.default_rng(self.random_state)
        weights = rng.standard_normal((X.shape[1], self.n_components))
        logits = X @ weights
        self.weights_ = weights * (self.spread / logits.std(axis=0))
        self.bias_ = -(X @ self.weights_).mean(axis=0)
        return self

    def transform(self, X):
        """Return the sigmoids."""
        return _sigmoid(X @ self.weights_ + self.bias_)


def _sigmoid(logits):
    return (0.5 * np.tanh(0.5 * logits) + 0.5).astype(np.float32)


def machine(columns, seed, *, deep=False, **settings):
    """Return a machine of one layer, or of three, that has that many columns."""
    narrow = columns // 6 if deep else 0
    layers = (columns - 2 * narrow, narrow, narrow) if deep else (columns,)
    return HelmholtzMachine(
        layers, learning_rule="contrastive-divergence", random_state=seed, **settings
    )


def rbm(columns, seed, **settings):
    """Return the RBM of that many columns."""
    settings = {"learning_rate": 0.06, "n_iter": 10} | settings
    return BernoulliRBM(columns, random_state=seed, **settings)


def methods(split, columns, seed, quick):
    """Return functions by name, each of which makes, and tunes, a method."""
    n_linear = min(columns, *split.unlabelled.shape)

    def best(make, grid, width):
        return lambda: tuned(make, grid, split, width, seed, quick)

    found = {
        "raw": lambda: FunctionTransformer(accept_sparse=True),
        "RBM": best(rbm, RBM_GRID, columns),
        "RBM, half the columns": best(rbm, RBM_GRID, columns // 2),
        "random features": lambda: RandomFeatures(columns, random_state=seed),
        "Helmholtz machine": best(machine, OUR_GRID, columns),
        "Helmholtz machine, untuned": lambda: machine(columns, seed),
        "Helmholtz machine, three layers": best(
            partial(machine, deep=True), OUR_GRID, columns
        ),
    }
    if sp.issparse(split.X):
        found["TruncatedSVD"] = lambda: TruncatedSVD(n_linear, random_state=seed)
        return found
    found["PCA"] = lambda: PCA(n_linear, random_state=seed)
    for activation in ("logistic", "relu"):
        name = f"autoencoder, {activation}"
        found[name] = partial(Autoencoder, columns, activation, seed)
    return found


def tuned(make, grid, split, columns, seed, quick):
    """Return what `make` gives with the settings that code a part of the rows best."""
    if quick:
        return make(columns, seed)
    X, y = split.tuning or (split.X[:TUNING_ROWS], split.y[:TUNING_ROWS])
    parts = train_test_split(X, y, test_size=0.2, random_state=seed)
    scores = {}
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        model = make(columns, seed, **settings).fit(parts[0])
        codes = [model.transform(part) for part in parts[:2]]
        scores[values] = judged(*codes, *parts[2:], len(split.y))
    best = dict(zip(grid, max(scores, key=scores.get), strict=True))
    return make(columns, seed, **best)


def judged(codes, codes_held_out, y, y_held_out, n_labels):
    """Return the accuracy on held-out rows, the mean over draws of n_labels rows."""
    n_labels = min(n_labels, len(y))
    found = []
    for draw in range(max(1, JUDGED_ROWS // n_labels)):
        rows = np.random.default_rng(draw).permutation(len(y))[:n_labels]
        judge = make_pipeline(StandardScaler(), logistic(0.1))
        judge.fit(codes[rows], y[rows])
        found.append(judge.score(codes_held_out, y_held_out))
    return np.mean(found)


# ------------------------------------------------------------------ judgement


def logistic(C=1.0):
    """Return the classifier of all methods."""
    return LogisticRegression(C=C, max_iter=500, tol=1e-3)


def accuracy(codes, y, codes_test, y_test):
    """Return the accuracy on test rows; C and scaling chosen on the others alone.

    Scaling is chosen because it suits some codes and not others: it raises a
    PCA's noise to its signal, and it frees rare units from C's penalty.
    """
    scaler = StandardScaler(with_mean=not sp.issparse(codes))
    search = GridSearchCV(
        Pipeline([("scaler", scaler), ("classifier", logistic())]),
        [
            {"classifier__C": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)},
            {"scaler": ["passthrough"], "classifier__C": (0.1, 1.0, 10.0, 100.0)},
        ],
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return search.fit(codes, y).score(codes_test, y_test)


def measure(split, method):
    """Return accuracy, seconds to fit and the number of columns."""
    method = clone(method)
    start = time.perf_counter()
    method.fit(split.unlabelled)
    spent = time.perf_counter() - start
    codes, codes_test = method.transform(split.X), method.transform(split.X_test)
    found = accuracy(codes, split.y, codes_test, split.y_test)
    return found, spent, codes.shape[1]


def rows_of(task, seed, options):
    """Yield a row of the results for every split and method of a seed."""
    splits, columns = TASKS[task]
    if options.quick:
        columns //= 4
    for split in splits(seed, options):
        for name, make in methods(split, columns, seed, options.quick).items():
            if options.method and name not in options.method:
                continue
            method = make()
            found, spent, width = measure(split, method)
            settings = {} if name == "raw" else method.get_params()
            changed = {key: settings[key] for key in settings if key in SHOWN}
            values = split.name, name, width, seed, f"{found:.4f}", f"{spent:.2f}"
            yield dict(zip(FIELDS, [*values, changed], strict=True))


SHOWN = {"hidden_layer_sizes", "learning_rate", "learning_rule", "n_iter", "max_iter"}


# ---------------------------------------------------------------------- report


def report(rows):
    """Print the mean, the range and the fit time of every task and method."""
    print(f"{'task':<16}{'method':<33}{'columns':>8}{'mean':>9}{'range':>18}{'fit':>9}")
    kinds = list(dict.fromkeys((row["task"], row["method"]) for row in rows))
    for kind in kinds:
        chosen = [row for row in rows if (row["task"], row["method"]) == kind]
        found = np.array([float(row["accuracy"]) for row in chosen])
        spent = np.mean([float(row["fit_s"]) for row in chosen])
        spread = f"{found.min():.4f} to {found.max():.4f}"
        print(
            f"{kind[0]:<16}{kind[1]:<33}{chosen[0]['columns']:>8}"
            f"{found.mean():>9.4f}{spread:>18}{spent:>7.1f} s"
        )


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--task", choices=TASKS, action="append", help="all if left out"
    )
    parser.add_argument("--data", help="folder with mnist.npz; else HELMHOLTZ_DATA")
    parser.add_argument("--method", action="append", help="all if left out")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small, one seed")
    return parser.parse_args()


def main():
    options = arguments()
    seeds = range(1 if options.quick else options.seeds)
    print("command:", "python", *sys.argv)
    print("seeds:", *seeds, " data:", folder(options.data) or "bundled, OpenML")
    print(f"python {sys.version.split()[0]}, numpy {np.__version__}, ", end="")
    print(f"scikit-learn {sklearn.__version__}, ", end="")
    print(f"sklearn_helmholtz {sklearn_helmholtz.__version__}")
    rows = []
    for task, seed in product(options.task or TASKS, seeds):
        for row in rows_of(task, seed, options):
            rows.append(row)
            print(*row.values(), flush=True)
    report(rows)
    if not options.quick:
        append("features.csv", rows)


if __name__ == "__main__":
    main()
