"""Speed of training, coding, scoring and sampling against their matrix products.

    python benchmarks/speed.py [--repeat 7] [--only WORD] [--dtype float32]
                               [--one-thread] [--to FILE]

Every row compares two things measured in turn, A B A B, in one process; it
prints the medians and the ratio of the medians, and appends them to
benchmarks/results/speed.csv, where rows of all versions are, the newest last.
"floor" is the matrix products alone, with BLAS's own threads. "bare" is a step's
products and elementwise passes as bare lines of NumPy: half the time that one thread
takes for them, what two would take if neither ever waited. PyTorch rows appear where
torch can be imported. With --one-thread all of them have one thread, and what
counts is its processor time, which others on the computer hardly change; those rows go
to benchmarks/results/speed_one_thread.csv.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from functools import partial
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
import sklearn
import threadpoolctl
from _results import append
from sklearn.neural_network import BernoulliRBM

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._numerics import column_sum, sigmoid
from sklearn_helmholtz._parallel import workers
from sklearn_helmholtz._random import Stream
from sklearn_helmholtz._units import threshold

FIELDS = "dtype", "what", "other", "ours_s", "other_s"
LIBRARY_KEYS = "internal_api", "version", "num_threads", "architecture"


def binary(n_rows, n_columns, dtype, seed=0):
    """Return binary rows, a fifth of them ones."""
    rng = np.random.default_rng(seed)
    return (rng.random((n_rows, n_columns)) < 0.2).astype(dtype)


class _Clock:
    """What seconds are: of the wall, unless told otherwise."""

    now = staticmethod(time.perf_counter)
    n_threads = 2


def in_turn(first, second, repeat, inner):
    """Return the median seconds a call of two functions, measured A B A B."""
    times = [], []
    for _ in range(repeat):
        for function, found in zip((first, second), times, strict=True):
            found.append(timed(function, inner))
    return tuple(float(np.median(found)) for found in times)


def timed(function, inner):
    """Return the seconds a call of a function, after it has run for a while.

    BLAS's threads spin for a time after a call, which takes a processor from
    what runs next; and a processor that was idle starts slowly.
    """
    time.sleep(0.15)
    warm = time.perf_counter() + 0.2
    function()
    while time.perf_counter() < warm:
        function()
    start = _Clock.now()
    for _ in range(inner):
        function()
    return (_Clock.now() - start) / inner


# ------------------------------------------------------------------ one step


def our_step(stack, sizes, batch, dtype, **parameters):
    """Return a function that trains one minibatch."""
    X = binary(batch, sizes[0], dtype)
    machine = HelmholtzMachine(
        sizes[1:], batch_size=batch, random_state=0, **parameters
    )
    state = machine.partial_fit(X)._last_state()
    step = machine._step(state, machine._checked_rows(X))
    team = stack.enter_context(workers(None))
    index = np.arange(batch)
    return lambda: step(index, 0.01, team.run)


def step_floor(sizes, batch, dtype, n_particles=1):
    """Return a function that does a step's matrix products alone.

    Wake: x W once a row, then K particles through every other product. Sleep:
    down, up, gradient. The first recognition gradient sums over particles
    before its product. Outputs feed no later product, so that no value grows.
    """
    products = []
    for level, (below, above) in enumerate(pairwise(sizes)):
        one = _Products(below, above, batch, dtype)
        many = _Products(below, above, batch * n_particles, dtype)
        wake_up = one if level == 0 else many
        products += [wake_up.up, many.down, many.gradient]
        if n_particles > 1:
            products.append(wake_up.gradient)
        products += [one.down, one.up, one.gradient]
    return lambda: [np.dot(a, b, out=out) for a, b, out in products]


class _Products:
    """The three products between two layers, as (a, b, out)."""

    def __init__(self, below, above, n_rows, dtype):
        W = np.ones((below, above), dtype)
        low, high = np.ones((n_rows, below), dtype), np.ones((n_rows, above), dtype)
        self.up = low, W, np.empty_like(high)
        self.down = high, W.T, np.empty_like(low)
        self.gradient = low.T, high, np.empty_like(W)


def bare_step(sizes, batch, dtype, rate=0.01, momentum=0.9):
    """Return a function that does a step's products and elementwise passes alone.

    One hidden layer, the plain direction with momentum. The passes over many values
    are ours, on arrays that are there; no layers, lanes, directions or checks.
    """
    below, above = sizes
    x = binary(batch, below, dtype)
    rng = Stream(np.random.Generator(np.random.SFC64(0)))
    up, down = np.zeros((below, above), dtype), np.zeros((above, below), dtype)
    low, high, code = (np.empty((batch, n), dtype) for n in (below, above, above))
    bias, up_bias, top_bias = (np.zeros(n, dtype) for n in (below, above, above))

    def draw(logits, b):
        logits += b
        threshold(logits, rng.noise(logits.shape, dtype), out=logits)

    def residual(states, logits, b):
        logits += b
        sigmoid(logits, out=logits)
        np.subtract(states, logits, out=logits)
        logits *= rate / batch

    def learner(weights, b):
        velocity, product = np.zeros_like(weights), np.empty_like(weights)

        def learn(parent, child):
            np.dot(parent.T, child, out=product)
            np.multiply(velocity, momentum, out=velocity)
            np.add(velocity, product, out=velocity)
            np.add(weights, velocity, out=weights)
            np.add(b, column_sum(child), out=b)

        return learn

    learn_down, learn_up = learner(down, bias), learner(up, up_bias)

    def step():
        draw(np.dot(x, up, out=high), up_bias)
        residual(x, np.dot(high, down, out=low), bias)
        learn_down(high, low)
        np.copyto(high, top_bias)
        draw(high, top_bias)
        draw(np.dot(high, down, out=low), bias)
        residual(high, np.dot(low, up, out=code), up_bias)
        learn_up(low, code)

    return step


def torch_step(sizes, batch, dtype, *, autograd):
    """Return the same wake-sleep step in PyTorch, or None without it."""
    try:
        import torch  # noqa: PLC0415
    except ImportError:
        return None
    kind = {np.float32: torch.float32, np.float64: torch.float64}[dtype]
    x = torch.from_numpy(binary(batch, sizes[0], dtype))
    up = [torch.randn(a, b, dtype=kind) * 0.1 for a, b in pairwise(sizes)]
    down = [torch.zeros(b, a, dtype=kind) for a, b in pairwise(sizes)]
    up_bias = [torch.zeros(b, dtype=kind) for b in sizes[1:]]
    down_bias = [torch.zeros(a, dtype=kind) for a in sizes]
    parameters = (up, up_bias, down, down_bias)
    step = _autograd if autograd else _by_hand
    return step(torch, x, parameters, batch)


def _sample_up(torch, x, up, up_bias):
    states = [x]
    for W, b in zip(up, up_bias, strict=True):
        p = torch.sigmoid(torch.addmm(b, states[-1], W))
        states.append(torch.bernoulli(p))
    return states


def _sample_down(torch, down, down_bias, batch):
    p = torch.sigmoid(down_bias[-1]).expand(batch, -1)
    states = [torch.bernoulli(p)]
    for W, b in zip(down[::-1], down_bias[-2::-1], strict=True):
        states.append(torch.bernoulli(torch.sigmoid(torch.addmm(b, states[-1], W))))
    return states[::-1]


def _by_hand(torch, x, parameters, batch, rate=0.01, momentum=0.9):
    """Hand-written gradients, momentum inside addmm_."""
    up, up_bias, down, down_bias = parameters
    memory = [[torch.zeros_like(p) for p in group] for group in parameters]

    def learn(child, parent, W, b, velocity_W, velocity_b):
        residual = child - torch.sigmoid(torch.addmm(b, parent, W))
        velocity_W.addmm_(parent.T, residual, beta=momentum, alpha=1 / batch)
        velocity_b.mul_(momentum).add_(residual.mean(0))

    def apply(group, velocities):
        for p, v in zip(group, velocities, strict=True):
            p.add_(v, alpha=rate)

    def step():
        with torch.no_grad():
            s = _sample_up(torch, x, up, up_bias)
            d = _sample_down(torch, down, down_bias, batch)
            for i in range(len(up)):
                learn(s[i], s[i + 1], down[i], down_bias[i], memory[2][i], memory[3][i])
                learn(d[i + 1], d[i], up[i], up_bias[i], memory[0][i], memory[1][i])
            prior = (s[-1] - torch.sigmoid(down_bias[-1])).mean(0)
            memory[3][-1].mul_(momentum).add_(prior)
            for group, velocities in zip(parameters, memory, strict=True):
                apply(group, velocities)

    return step


def _autograd(torch, x, parameters, batch):
    """Gradients by autograd, PyTorch's own SGD."""
    up, up_bias, down, down_bias = parameters
    every = [p.requires_grad_() for group in parameters for p in group]
    optimizer = torch.optim.SGD(every, lr=0.01, momentum=0.9)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits

    def step():
        with torch.no_grad():
            s = _sample_up(torch, x, up, up_bias)
            d = _sample_down(torch, down, down_bias, batch)
        loss = loss_of(down_bias[-1].expand(batch, -1), s[-1], reduction="sum")
        for i in range(len(up)):
            wake = torch.addmm(down_bias[i], s[i + 1], down[i])
            asleep = torch.addmm(up_bias[i], d[i], up[i])
            loss = loss + loss_of(wake, s[i], reduction="sum")
            loss = loss + loss_of(asleep, d[i + 1], reduction="sum")
        optimizer.zero_grad()
        (loss / batch).backward()
        optimizer.step()

    return step


STEPS = [
    ((64, 100), 50, 200),
    ((784, 200), 100, 60),
    ((784, 500), 100, 30),
    ((784, 1000), 200, 10),
]
PLAIN = {"learning_rule": "wake-sleep"}


def step_rows(dtype, repeat):
    """Yield (what, the other's name, our seconds, the other's)."""
    for sizes, batch, inner in STEPS:
        name = f"wake-sleep step {'-'.join(map(str, sizes))} batch {batch}"
        arguments = repeat, inner, sizes, batch, dtype
        others = {
            "floor": step_floor(sizes, batch, dtype),
            "torch by hand": torch_step(sizes, batch, dtype, autograd=False),
            "torch autograd": torch_step(sizes, batch, dtype, autograd=True),
        }
        for other, function in others.items():
            if function is not None:
                yield name, other, *step_pair(function, *arguments, **PLAIN)
        bare = bare_step(sizes, batch, dtype)
        ours, alone = step_pair(bare, *arguments, limited=True, **PLAIN)
        yield name, "bare", ours, alone / _Clock.n_threads
    sizes, batch = (784, 200, 200), 100
    floor = step_floor(sizes, batch, dtype, n_particles=5)
    name = "reweighted step K=5 784-200-200 batch 100"
    yield name, "floor", *step_pair(floor, repeat, 15, sizes, batch, dtype)


def step_pair(
    other, repeat, inner, sizes, batch, dtype, *, limited=False, **parameters
):
    """Time our step against another; BLAS is limited for that only if asked for."""
    times = [], []
    for _ in range(repeat):
        with ExitStack() as stack:
            step = our_step(stack, sizes, batch, dtype, **parameters)
            times[0].append(timed(step, inner))
            if not limited:
                stack.close()
            times[1].append(timed(other, inner))
    return tuple(float(np.median(found)) for found in times)


# ------------------------------------------------- epochs, codes, scores, dreams


def whole_rows(dtype, repeat):
    """Yield rows of whole calls against BernoulliRBM's and their products."""
    X = binary(10_000, 784, dtype)
    for batch, rows in ((100, X), (10, X[:2000])):
        ours = HelmholtzMachine(200, batch_size=batch, max_iter=1, **PLAIN)
        rbm = BernoulliRBM(200, batch_size=batch, n_iter=1)
        name = f"epoch of {len(rows)} rows 784-200 batch {batch}"
        pair = in_turn(partial(ours.fit, rows), partial(rbm.fit, rows), repeat, 1)
        yield name, "BernoulliRBM", *pair
    machine = HelmholtzMachine(500, max_iter=1, n_score_samples=1, **PLAIN)
    machine.fit(X[:200])
    yield from transform_rows(machine, X, dtype, repeat)
    W, theta = machine.recognition_coefs_[0], machine.components_
    visible = np.empty((len(X), 784), dtype)
    hidden = np.empty((len(X), 500), dtype)
    up, down = partial(np.dot, X, W, out=hidden), partial(np.dot, hidden, theta)
    down = partial(down, out=visible)
    score = partial(machine.score_samples, X)
    pair = in_turn(score, lambda: (up(), down()), repeat, 1)
    yield "score_samples 10,000 x 784 1 particle", "products", *pair
    dream = partial(machine.sample, 10_000, random_state=0)
    yield "sample 10,000 of 784-500", "products", *in_turn(dream, down, repeat, 1)


def transform_rows(machine, X, dtype, repeat):
    """Yield the coding of many rows."""
    big = binary(60_000, 784, dtype)
    rbm = BernoulliRBM(500, n_iter=1).fit(X[:200])
    out = np.empty((len(big), 500), dtype)
    name = "transform 60,000 x 784 -> 500"
    code = partial(machine.transform, big)
    product = partial(np.dot, big, machine.recognition_coefs_[0], out=out)
    yield name, "one product", *in_turn(code, product, repeat, 1)
    yield name, "BernoulliRBM", *in_turn(code, partial(rbm.transform, big), repeat, 1)


def sparse_rows(dtype, repeat):
    """Yield an epoch on CSR against the products with dense output."""
    X = sp.random_array(
        (20_000, 10_000), density=0.01, format="csr", dtype=dtype, rng=0
    )
    X.data[:] = 1
    machine = HelmholtzMachine(100, max_iter=1, **PLAIN)
    W, batch = np.ones((10_000, 100), dtype), 100
    low, high = np.ones((batch, 10_000), dtype), np.ones((batch, 100), dtype)
    grad = W.copy()

    def products():
        for _ in range(0, X.shape[0], batch):
            for _ in range(2):
                np.dot(high, W.T, out=low)
                np.dot(low.T, high, out=grad)
            np.dot(low, W, out=high)
            high[:] = 1

    pair = in_turn(partial(machine.fit, X), products, max(2, repeat // 2), 1)
    yield "epoch on CSR 20,000 x 10,000, 1 percent, 100 units", "products", *pair


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--only", default="", help="step, whole or sparse")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--to", default="", help="file in results/ for the rows")
    options = parser.parse_args()
    if options.one_thread:
        _Clock.now, _Clock.n_threads = time.process_time, 1
        threadpoolctl.threadpool_limits(1)
        _limit_torch()
    dtype = {"float32": np.float32, "float64": np.float64}[options.dtype]
    print("command:", " ".join(sys.argv))
    print(f"numpy {np.__version__}, scikit-learn {sklearn.__version__}")
    for library in threadpoolctl.threadpool_info():
        print({key: library.get(key) for key in LIBRARY_KEYS})
    groups = {"step": step_rows, "whole": whole_rows, "sparse": sparse_rows}
    found = []
    for group, rows in groups.items():
        if options.only in group:
            for row in rows(dtype, options.repeat):
                found.append((options.dtype, *row))
                report(*row)
    usual = "speed_one_thread.csv" if options.one_thread else "speed.csv"
    save(found, options.to or usual)


def _limit_torch():
    try:
        import torch  # noqa: PLC0415
    except ImportError:
        return
    torch.set_num_threads(1)


def report(what, other, seconds, other_seconds):
    """Print one comparison."""
    ours = f"{what:<52} {seconds * 1e3:10.3f} ms"
    theirs = f"{other:<14} {other_seconds * 1e3:10.3f} ms"
    print(f"{ours}  {theirs}  ratio {seconds / other_seconds:6.3f}", flush=True)


def save(rows, name):
    """Append rows to the results of a name."""
    named = [dict(zip(FIELDS, row, strict=True)) for row in rows]
    for row in named:
        row["ratio"] = round(row["ours_s"] / row["other_s"], 4)
    append(name, named)


if __name__ == "__main__":
    main()
