"""HelmholtzClassifier against other generative classifiers, and against others.

    python benchmarks/classifier.py --set digits [--seeds 0 1 2]
    python benchmarks/classifier.py --set mnist [--data FOLDER] [--rows 20000]

Error in percent and log-loss in nats a row. Whatever a method lets one choose,
of the candidates that stand below, is chosen on training rows: for digits by
three-fold cross-validation within each training fold, for MNIST on the last
tenth of the training rows. "calibrated" is the log-loss after temperature
scaling, its temperature from training rows, too. Every line is appended to
benchmarks/results/classifier.csv.

Pixels are in [0, 1], as shares of the largest value.
"""

import argparse
import time
from functools import partial

import numpy as np
from _data import folder, mnist
from _results import append
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.multiclass import unique_labels

from sklearn_helmholtz import HelmholtzClassifier, HelmholtzMachine

FIELDS = [
    *("set", "method", "seed", "folds", "n_train", "error", "log_loss"),
    *("calibrated", "fit_s", "predict_s", "chosen"),
]


class DensityBayes(ClassifierMixin, BaseEstimator):
    """Bayes' rule on any density estimator that has score_samples."""

    def __init__(self, density):
        self.density = density

    def fit(self, X, y):
        self.classes_ = unique_labels(y)
        self.densities_ = [clone(self.density).fit(X[y == k]) for k in self.classes_]
        self.log_prior_ = np.log([np.mean(y == k) for k in self.classes_])
        return self

    def decision_function(self, X):
        joint = [density.score_samples(X) for density in self.densities_]
        joint = np.transpose(joint) + self.log_prior_
        joint = np.maximum(joint, -1e9)  # a compact kernel's log 0
        return joint - np.logaddexp.reduce(joint, axis=1)[:, None]

    def predict_proba(self, X):
        return np.exp(self.decision_function(X))

    def predict(self, X):
        return self.classes_[self.decision_function(X).argmax(axis=1)]


def digits_methods(seed):
    """Return {name: (classifier, grid)} for digits; a grid of {} chooses nothing."""
    default = HelmholtzClassifier(random_state=seed)
    machines = [
        HelmholtzMachine(sizes, alpha=alpha, max_iter=100)
        for sizes in ((50, 20), (100, 20))
        for alpha in (3e-4, 1e-3)
    ]
    five = [(str(k), HelmholtzClassifier(random_state=5 * seed + k)) for k in range(5)]
    return {
        "BernoulliNB": (BernoulliNB(), {"binarize": [0.2, 0.5], "alpha": [0.1, 1]}),
        "logistic regression": (
            LogisticRegression(max_iter=2000),
            {"C": [0.1, 1, 10]},
        ),
        "1 nearest neighbour": (KNeighborsClassifier(1), {}),
        "KernelDensity": (
            DensityBayes(KernelDensity()),
            {"density__bandwidth": [0.15, 0.2, 0.25, 0.3, 0.35]},
        ),
        "GaussianMixture": (
            DensityBayes(GaussianMixture(random_state=seed)),
            {
                "density__n_components": [1, 3, 8],
                "density__covariance_type": ["diag", "full"],
                "density__reg_covar": [1e-3, 1e-2, 3e-2],
            },
        ),
        "HelmholtzClassifier()": (default, {}),
        "HelmholtzClassifier, chosen": (default, {"estimator": machines}),
        "five HelmholtzClassifier() vote": (VotingClassifier(five, voting="soft"), {}),
    }


def mnist_methods(seed):
    """Return {name: (classifier, grid)} for MNIST."""
    mixture = GaussianMixture(random_state=seed)
    return {
        "BernoulliNB": (BernoulliNB(), {"binarize": [0.2, 0.5], "alpha": [0.1, 1]}),
        "logistic regression": (LogisticRegression(max_iter=300), {"C": [0.01, 0.1]}),
        "1 nearest neighbour": (KNeighborsClassifier(1), {}),
        "KernelDensity": (
            DensityBayes(KernelDensity()),
            {"density__bandwidth": [0.1, 0.15, 0.2, 0.25, 0.3]},
        ),
        "GaussianMixture": (
            DensityBayes(mixture.set_params(covariance_type="diag")),
            {
                "density__n_components": [1, 10, 40],
                "density__reg_covar": [1e-3, 1e-2, 3e-2],
            },
        ),
        "PCA(50), GaussianMixture": (
            make_pipeline(PCA(50, random_state=seed), DensityBayes(mixture)),
            {
                "densitybayes__density__n_components": [1, 3],
                "densitybayes__density__covariance_type": ["full"],
                "densitybayes__density__reg_covar": [1e-2, 1e-1],
            },
        ),
        "HelmholtzClassifier": (
            HelmholtzClassifier(random_state=seed, n_score_samples=50),
            {
                "estimator": [
                    HelmholtzMachine((200, 50), alpha=3e-4, max_iter=60),
                    HelmholtzMachine((100, 30), alpha=3e-4, max_iter=60),
                ]
            },
        ),
    }


def probabilities(fitted, X, classes):
    """Return probabilities, no smaller than what float32 tells from 0."""
    assert np.array_equal(fitted.classes_, classes)
    chances = np.maximum(fitted.predict_proba(X), np.finfo(np.float32).tiny)
    return chances / chances.sum(axis=1, keepdims=True)


def judge(make, train, test):
    """Return error, losses and times of a method on one split.

    Parameters
    ----------
    make : callable
        Gives (fitted, calibrated, what was chosen) from (X, y).
    """
    (X, y), (X_test, y_test) = train, test
    start = time.perf_counter()
    fitted, calibrated, chosen = make(X, y)
    middle = time.perf_counter()
    chances = probabilities(fitted, X_test, np.unique(y))
    end = time.perf_counter()
    loss = np.nan
    if calibrated is not None:
        loss = log_loss(y_test, probabilities(calibrated, X_test, np.unique(y)))
    wrong = fitted.classes_[chances.argmax(axis=1)] != y_test
    return {
        "error": 100 * wrong.mean(),
        "log_loss": log_loss(y_test, chances),
        "calibrated": loss,
        "fit_s": middle - start,
        "predict_s": end - middle,
        "chosen": chosen,
    }


def by_cross_validation(method, grid, seed, calibrate, X, y):
    """Choose, calibrate and fit by three folds of the training rows."""
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    chosen = {}
    if grid:
        search = GridSearchCV(method, grid, cv=folds, refit=False).fit(X, y)
        chosen = search.best_params_
        method = clone(method).set_params(**chosen)
    if not calibrate:
        return clone(method).fit(X, y), None, chosen
    calibrated = CalibratedClassifierCV(
        method, method="temperature", cv=folds, ensemble=False
    ).fit(X, y)
    (inner,) = calibrated.calibrated_classifiers_
    return inner.estimator, calibrated, chosen


def by_held_out(method, grid, seed, X, y):
    """Choose and calibrate on the last tenth of the training rows; fit on all."""
    cut = len(X) * 9 // 10
    rest = X[cut:], y[cut:]
    tried = []
    for chosen in ParameterGrid(grid):
        candidate = clone(method).set_params(**chosen).fit(X[:cut], y[:cut])
        tried.append((candidate.score(*rest), candidate, chosen))
    _, part, chosen = max(tried, key=lambda one: one[0])
    scaled = CalibratedClassifierCV(FrozenEstimator(part), method="temperature")
    return clone(part).fit(X, y), scaled.fit(*rest), chosen


def digits(options, seed):
    """Yield lines of five shuffled folds of the bundled digits."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    folds = list(StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y))
    for name, (method, grid) in wanted(digits_methods(seed), options).items():
        calibrate = not options.uncalibrated
        make = partial(by_cross_validation, method, grid, seed, calibrate)
        found = [judge(make, (X[a], y[a]), (X[b], y[b])) for a, b in folds]
        line = {
            key: np.mean([one[key] for one in found])
            for key in found[0].keys() - {"chosen"}
        }
        line["chosen"] = "; ".join(sorted({shown(one["chosen"]) for one in found}))
        yield line | {"method": name, "folds": 5, "n_train": len(folds[0][0])}


def digits_of_mnist(options, seed):
    """Yield lines of MNIST's test rows after some of its training rows."""
    X, y, X_test, y_test = mnist(folder(options.data))
    X, y = X[: options.rows], y[: options.rows]
    for name, (method, grid) in wanted(mnist_methods(seed), options).items():
        make = partial(by_held_out, method, grid, seed)
        line = judge(make, (X, y), (X_test, y_test))
        line["chosen"] = shown(line["chosen"])
        yield line | {"method": name, "folds": 1, "n_train": len(X)}


def wanted(methods, options):
    """Return the methods whose names hold one of the words asked for."""
    words = options.methods or [""]
    return {k: v for k, v in methods.items() if any(word in k for word in words)}


def shown(chosen):
    """Return chosen parameters as text."""
    return " ".join(f"{key.split('__')[-1]}={value}" for key, value in chosen.items())


SETS = {"digits": digits, "mnist": digits_of_mnist}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--set", choices=SETS, default="digits")
    parser.add_argument("--data", help="folder of mnist.npz")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", help="words of the methods' names")
    parser.add_argument(
        "--uncalibrated", action="store_true", help="leave that column out (digits)"
    )
    options = parser.parse_args()
    for seed in options.seeds:
        for line in SETS[options.set](options, seed):
            line |= {"set": options.set, "seed": seed}
            for key in ("error", "log_loss", "calibrated", "fit_s", "predict_s"):
                line[key] = round(float(line[key]), 4)
            append("classifier.csv", [{field: line[field] for field in FIELDS}])
            print("  ".join(f"{key} {line[key]}" for key in FIELDS), flush=True)


if __name__ == "__main__":
    main()
