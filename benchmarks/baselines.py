"""Mixtures of Bernoullis and BernoulliRBM on the binary sets, as density models.

    python benchmarks/baselines.py --set adult [--data FOLDER]

The mixture is fitted by EM with its number of components chosen on the
validation rows; the RBM's learning rate and number of iterations likewise, its
partition function estimated by annealed importance sampling (Salakhutdinov &
Murray 2008) from the independent model of the training rows' means. Every run
appends a row a model to benchmarks/results/baselines.csv: the negative
log-likelihood of the test rows in nats.
"""

import argparse
import sys
import time
from itertools import pairwise

import numpy as np
from _data import binary_sets, folder
from _results import append
from scipy.special import expit, logsumexp, softmax
from sklearn.neural_network import BernoulliRBM

COMPONENTS = 20, 50, 100, 200
RBM_GRID = [(rate, n_iter) for rate in (0.01, 0.05) for n_iter in (20, 60)]


def mixture(X, n_components, seed, n_iter=100):
    """Return (log weights, logits) of a mixture fitted by EM.

    Components start half-way between the data's means and a random row, and are
    smoothed by one row of the data's means each.
    """
    rng = np.random.default_rng(seed)
    means = X.mean(axis=0).clip(1e-4, 1 - 1e-4)
    theta = (X[rng.choice(len(X), n_components, replace=False)] + means) / 2
    logits = np.log(theta) - np.log1p(-theta)
    shares = softmax(mixture_joint(X, 0.0, logits), axis=1)
    for _ in range(n_iter):
        counts = shares.sum(axis=0)
        theta = (shares.T @ X + means) / (counts[:, None] + 1)
        log_weights = np.log(counts + 1e-10) - np.log(len(X))
        logits = np.log(theta) - np.log1p(-theta)
        shares = softmax(mixture_joint(X, log_weights, logits), axis=1)
    return log_weights, logits


def mixture_joint(X, log_weights, logits):
    """Return log p(x, component), of shape (n_rows, n_components)."""
    return X @ logits.T - np.logaddexp(0, logits).sum(axis=1) + log_weights


def mixture_nll(X, fitted):
    """Return the mean negative log-likelihood of rows."""
    return -float(logsumexp(mixture_joint(X, *fitted), axis=1).mean())


def log_unnormalised(X, W, b, c):
    """Return log sum over h of exp(x b + h c + x W h)."""
    return X @ b + np.logaddexp(0, X @ W + c).sum(axis=1)


def log_partition(W, b, c, base, n_chains=500, n_steps=5000, seed=0):
    """Return AIS's estimate of the log partition function, in nats.

    Parameters
    ----------
    W : ndarray of shape (n_visible, n_hidden)
    b, c : ndarray
        Biases of visible and hidden units.

    base : ndarray of shape (n_visible,)
        Visible biases of the independent model that annealing starts from.
    """
    rng = np.random.default_rng(seed)
    x = (rng.random((n_chains, len(b))) < expit(base)).astype(float)
    log_w = np.zeros(n_chains)
    betas = np.linspace(0, 1, n_steps + 1)

    def log_f(beta):
        bias = (1 - beta) * base + beta * b
        return x @ bias + np.logaddexp(0, beta * (x @ W + c)).sum(axis=1)

    for low, high in pairwise(betas):
        log_w += log_f(high) - log_f(low)
        h = (rng.random((n_chains, len(c))) < expit(high * (x @ W + c))).astype(float)
        field = (1 - high) * base + high * (b + h @ W.T)
        x = (rng.random(x.shape) < expit(field)).astype(float)
    start = np.logaddexp(0, base).sum() + len(c) * np.log(2)
    return start + logsumexp(log_w) - np.log(n_chains)


def rbm_nll(rbm, X_train, sets):
    """Return the mean negative log-likelihoods of several sets."""
    W, b, c = rbm.components_.T, rbm.intercept_visible_, rbm.intercept_hidden_
    means = X_train.mean(axis=0).clip(1e-3, 1 - 1e-3)
    log_z = log_partition(W, b, c, np.log(means) - np.log1p(-means))
    return [float(log_z - log_unnormalised(X, W, b, c).mean()) for X in sets]


def best_mixture(train, valid, test, seed):
    """Return the result of the mixture that suits the validation rows best."""
    fits = {k: mixture(train, k, seed) for k in COMPONENTS}
    nlls = {k: mixture_nll(valid, fitted) for k, fitted in fits.items()}
    chosen = min(nlls, key=nlls.get)
    return {
        "model": "mixture of Bernoullis",
        "setting": f"{chosen} components",
        "valid_nll": nlls[chosen],
        "test_nll": mixture_nll(test, fits[chosen]),
    }


def best_rbm(train, valid, test, seed, n_hidden):
    """Return the result of the RBM that suits the validation rows best."""
    found = []
    for rate, n_iter in RBM_GRID:
        rbm = BernoulliRBM(n_hidden, learning_rate=rate, n_iter=n_iter, batch_size=50)
        rbm.set_params(random_state=seed).fit(train)
        nlls = rbm_nll(rbm, train, (valid, test))
        setting = f"{n_hidden} units, rate {rate}, {n_iter} iterations"
        found.append((*nlls, setting))
    valid_nll, test_nll, setting = min(found)
    return {
        "model": "BernoulliRBM",
        "setting": setting,
        "valid_nll": valid_nll,
        "test_nll": test_nll,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--set", nargs="+", default=["adult"])
    parser.add_argument("--data", help="folder of the .npz files")
    parser.add_argument("--hidden", type=int, default=100, help="the RBM's units")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("command:", "python", *sys.argv)
    for name in options.set:
        sets = [X.astype(float) for X in binary_sets(folder(options.data), name)]
        for fit, extra in ((best_mixture, ()), (best_rbm, (options.hidden,))):
            start = time.perf_counter()
            row = {"set": name} | fit(*sets, options.seed, *extra)
            row |= {"seed": options.seed}
            row["seconds"] = round(time.perf_counter() - start, 1)
            row = {k: round(v, 3) if k.endswith("nll") else v for k, v in row.items()}
            print(row, flush=True)
            append("baselines.csv", [row])


if __name__ == "__main__":
    main()
