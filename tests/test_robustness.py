"""No allowed setting and no finite data break a fit: random cases, fixed seeds."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from sklearn_helmholtz import HelmholtzMachine

N_CASES = 100

DATA = {
    "binary": lambda rng, shape: rng.integers(0, 2, shape),
    "grey": lambda rng, shape: rng.random(shape),
    "normal": lambda rng, shape: rng.normal(5, 3, shape),
    "huge": lambda rng, shape: rng.normal(size=shape) * 1e300,
    "tiny": lambda rng, shape: rng.normal(size=shape) * 1e-300,
    "constant": lambda rng, shape: np.full(shape, -7.0),
    "zeros": lambda rng, shape: np.zeros(shape),
    "ones": lambda rng, shape: np.ones(shape),
    "counts": lambda rng, shape: rng.poisson(1e6, shape),
    "outlier": lambda rng, shape: np.where(rng.random(shape) < 0.02, 1e12, 0.5),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(shape),
}

SETTINGS = {
    "learning_rule": ["wake-sleep", "reweighted-wake-sleep"],
    "n_particles": [1, 2, 5, 20],
    "wake_share": [0, 0.5, 1, 3],
    "sleep_share": [0, 0.5, 1, 3],
    "lateral": [False, True],
    "direction": ["plain", "centred"],
    "optimizer": ["sgd", "adam"],
    "learning_rate": [1e-4, 0.01, 0.3, 1.0, 3.0],
    "momentum": [0, 0.5, 0.9, 0.99],
    "learning_rate_schedule": ["constant", "linear", "invscaling"],
    "alpha": [0, 1e-4, 0.1, 10],
    "initial_activity": [1e-6, 0.1, 0.5, 0.999],
    "batch_size": [3, 20, 1000],
    "max_iter": [1, 3],
    "tol": [None, 0.0, 0.1],
    "code": ["all", "top", 0],
    "n_score_samples": [1, 3, 30],
    "shuffle": [False, True],
    "resample": [False, True],
}


def random_case(seed):
    """Return data and an estimator drawn from the tables above."""
    rng = np.random.default_rng(seed)
    shape = int(rng.choice([1, 2, 7, 50, 120])), int(rng.choice([1, 2, 5, 33]))
    kind = list(DATA)[rng.integers(len(DATA))]
    X = np.asarray(DATA[kind](rng, shape), float)
    if kind not in ("huge", "tiny") and rng.random() < 0.5:
        X = X.astype(np.float32)
    if rng.random() < 0.3:
        X = sp.csr_array(X)
    settings = {
        name: values[rng.integers(len(values))] for name, values in SETTINGS.items()
    }
    sizes = rng.choice([1, 2, 5, 20], size=rng.integers(1, 4)).tolist()
    return X, HelmholtzMachine(sizes, random_state=seed, **settings)


@pytest.mark.parametrize("seed", range(N_CASES))
def test_every_method_gives_finite_numbers_silently(seed):
    X, machine = random_case(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        machine.fit(X)
        results = [
            machine.transform(X),
            machine.score_samples(X),
            machine.log_likelihood(X, 7),
            machine.reconstruct(X),
            machine.sample(5),
            machine.sample(3, mean=True),
            *machine.generative_coefs_,
            *machine.recognition_coefs_,
            np.array(machine.free_energy_curve_),
        ]
    for result in results:
        assert np.isfinite(result).all()
