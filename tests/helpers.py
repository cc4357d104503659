"""Small machines for the tests, as the package's and as the oracles' types."""

from itertools import pairwise

import numpy as np
import threadpoolctl

from sklearn_helmholtz._belief_network import Layer, Machine
from sklearn_helmholtz._random import Stream
from sklearn_helmholtz._units import Bernoulli, Gaussian

#: Settings of a machine that is soon fitted.
SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 3, "random_state": 0}


class Callback:
    """A callback of scikit-learn's that does nothing; tests override its hooks."""

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        pass


def stream(seed=0):
    """Return a Stream of draws."""
    return Stream(np.random.Generator(np.random.SFC64(seed)))


def nothing_but_overflow():
    """Return a context that holds kernels to what their callers silence.

    Of what is invalid BLAS alone gives warnings out of place; kernels must not.
    """
    return np.errstate(all="raise", under="ignore", over="ignore")


def blas_threads():
    """Return how many threads each BLAS library has at present."""
    return [
        library["num_threads"]
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    ]


def share_all_work(patch):
    """Have threads share what is so little that one does it sooner."""
    patch.setattr("sklearn_helmholtz._settings._SMALL_STEP", 0)
    patch.setattr("sklearn_helmholtz._parallel._LITTLE_WORK", 0)
    patch.setattr("sklearn_helmholtz._training._LARGE_LAYER", 0)


def random_machine(
    sizes,
    seed=0,
    *,
    gaussian=False,
    lateral=False,
    autoregressive=False,
    scale=1.0,
    dtype=float,
):
    """Return a Machine with normal parameters, sizes bottom-up."""
    rng = np.random.default_rng(seed)

    def layer(n_parents, n_units, units):
        weights = rng.normal(0, scale, (n_parents, n_units)).astype(dtype)
        return Layer(weights, rng.normal(0, scale, n_units).astype(dtype), units)

    visible = Gaussian(rng.uniform(0.3, 1.5, sizes[0])) if gaussian else Bernoulli()
    generative = [
        layer(above, below, visible if level == 0 else Bernoulli())
        for level, (below, above) in enumerate(pairwise([*sizes, 0]))
    ]
    recognition = [layer(below, above, Bernoulli()) for below, above in pairwise(sizes)]

    def beside(size):
        one = layer(size, size, Bernoulli())
        return one._replace(weights=np.triu(one.weights, 1))

    return Machine(
        tuple(generative),
        tuple(recognition),
        tuple(beside(size) for size in sizes[1:] if lateral),
        (beside(sizes[0]),) if autoregressive else (),
    )


#: Sizes and kinds of machines that are small enough to enumerate.
MACHINES = [
    ((4, 3), {}),
    ((4, 3, 2), {}),
    ((3, 2, 2, 2), {}),
    ((4, 3), {"gaussian": True}),
    ((3, 2, 2), {"gaussian": True}),
    ((4, 3), {"lateral": True}),
    ((3, 3, 2), {"lateral": True}),
    ((4, 3, 2), {"autoregressive": True}),
    ((3, 2, 2), {"autoregressive": True, "gaussian": True, "lateral": True}),
]


def some_rows(machine, seed=1, n_rows=5):
    rng = np.random.default_rng(seed)
    shape = n_rows, len(machine.generative[0].bias)
    if machine.generative[0].units.binary:
        return rng.integers(0, 2, shape).astype(float)
    return rng.normal(0, 1, shape)


def plain(machine):
    """Return a Machine as the oracles' dict."""
    found = {
        "generative": [layer[:2] for layer in machine.generative],
        "recognition": [layer[:2] for layer in machine.recognition],
    }
    if machine.lateral:
        found["lateral"] = [layer[:2] for layer in machine.lateral]
    if machine.autoregressive:
        found["autoregressive"] = machine.autoregressive[0][:2]
    units = machine.generative[0].units
    if not units.binary:
        found["variance"] = units.variance
    return found


def with_parameter(machine, network, level, which, value):
    """Return the machine with one layer's weights or bias replaced."""
    layers = list(getattr(machine, network))
    layers[level] = layers[level]._replace(**{which: value})
    return machine._replace(**{network: tuple(layers)})


def draws(table, n_rows, seed, dtype=np.float32):
    """Return n_rows images drawn from {image: probability}."""
    images, chances = np.array(list(table)), np.array(list(table.values()))
    rng = np.random.default_rng(seed)
    places = rng.choice(len(images), size=n_rows, p=chances / chances.sum())
    return images[places].astype(dtype)


def divergence_bits(table, machine):
    """Return KL(table || machine) in bits, by enumeration."""
    images, chances = np.array(list(table)), np.array(list(table.values()))
    log_p = machine.exact_log_likelihood(images)
    return float(np.sum(chances * (np.log(chances) - log_p)) / np.log(2))


#: The fitted attributes that hold all parameters of a factorial Bernoulli machine.
LISTS = (
    "generative_coefs_",
    "generative_intercepts_",
    "recognition_coefs_",
    "recognition_intercepts_",
)


def parameters(machine):
    """Return all parameters of a fitted estimator as one vector."""
    return np.concatenate([a.ravel() for name in LISTS for a in getattr(machine, name)])


def binary_rows(n_rows=230, n_features=9, dtype=np.float64, seed=0):
    """Return random binary rows."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (n_rows, n_features)).astype(dtype)


def independent_score(X, held_out):
    """Return the mean log-likelihood of rows by independent columns, in nats.

    Bernoulli columns with a row of each kind more, or normal ones where values are
    negative.
    """
    if X.min() < 0:
        variance = X.var(axis=0)
        squares = np.square(held_out - X.mean(axis=0)) / variance
        return -0.5 * (squares + np.log(2 * np.pi * variance)).sum(axis=1).mean()
    mean = (X.sum(axis=0) + 1) / (len(X) + 2)
    return (held_out * np.log(mean / (1 - mean)) + np.log1p(-mean)).sum(axis=1).mean()
