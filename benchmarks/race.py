"""The time to reach a likelihood on binarised MNIST, against PyTorch on the CPU.

    python benchmarks/race.py --data FOLDER [--target 105]

One layer of 200 units, reweighted wake-sleep with K particles, minibatches of 100,
learning rates that fall linearly to 0 over each runner's own number of epochs:

- ours: the defaults, but without a penalty;
- torch by hand: the same with hand-written gradients, centred direction
  and momentum, under torch.no_grad;
- torch autograd: the same particles and weights, the gradient by autograd, Adam.

After every epoch the clock stands still while the negative log-likelihood of 500
validation rows is estimated by the same code for all, with 500 particles unless 20
say that it is far from the target; there the race ends. Each runner has all threads
of its library to itself.
Every run appends a row a runner to benchmarks/results/race.csv.
"""

import argparse
import sys
import time

import numpy as np
import threadpoolctl
from _data import binary_sets, folder
from _results import append

from sklearn_helmholtz import HelmholtzMachine

try:
    import torch
except ImportError:  # --help and our own runner go without it
    torch = None

SIZES = 784, 200
BATCH = 100


class Clock:
    """Counts the seconds of training, and knows when the target is reached."""

    def __init__(self, valid, target):
        self.valid = valid
        self.target = target
        self.seconds = 0.0
        self.n_epochs = 0
        self.nll = np.inf
        self.started = time.perf_counter()

    def lap(self, machine):
        """Stop, estimate, go on; return whether the target is reached."""
        self.seconds += time.perf_counter() - self.started
        self.n_epochs += 1
        machine = machine()
        for n_particles in (20, 500):  # few are enough to see that it is far off
            self.nll = -float(machine.log_likelihood(self.valid, n_particles).mean())
            if self.nll > self.target + 6:
                break
        print(f"  {self.n_epochs} {self.seconds:.1f} s {self.nll:.2f}", flush=True)
        self.started = time.perf_counter()
        return self.nll <= self.target


class Lap:
    """scikit-learn callback: a lap of the clock after every epoch."""

    def __init__(self, clock):
        self.clock = clock

    def setup(self, estimator, context):
        """Start the clock."""
        self.clock.started = time.perf_counter()

    def teardown(self, estimator, context):
        """Do nothing."""

    def on_fit_task_begin(self, estimator, context):
        """Do nothing."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        """Return whether to stop."""
        if context.task_name != "epoch":
            return False
        return self.clock.lap(lambda: fitted_estimator)


def ours(X, clock, n_epochs, n_particles, seed):
    """Train the estimator."""
    machine = HelmholtzMachine(
        SIZES[1:],
        n_particles=n_particles,
        alpha=0,  # as PyTorch's
        batch_size=BATCH,
        max_iter=n_epochs,
        random_state=seed,
    )
    machine.set_callbacks(Lap(clock)).fit(X)


class Torch:
    """The same machine's parameters as tensors."""

    def __init__(self, X, n_particles, seed):
        torch.manual_seed(seed)
        self.n_particles = n_particles
        start = HelmholtzMachine(SIZES[1:], max_iter=1, random_state=seed)
        self.shell = start.fit(X[:BATCH])
        n_visible, n_hidden = SIZES
        mean = (X.sum(axis=0) + 1) / (len(X) + 2)
        logit = float(np.log(0.1 / 0.9))
        self.W = torch.rand(n_hidden, n_visible) * (2 / n_hidden) ** 0.5
        self.b = torch.from_numpy(np.log(mean / (1 - mean)))
        self.c = torch.full((n_hidden,), logit)
        self.V = torch.randn(n_visible, n_hidden) * 0.1 / n_visible**0.5
        self.d = logit - torch.from_numpy(mean) @ self.V

    @property
    def parameters(self):
        """All tensors: generative weights and biases, then recognition's."""
        return [self.W, self.b, self.c, self.V, self.d]

    def fitted(self):
        """Return the estimator with these parameters."""
        W, b, c, V, d = (p.detach().numpy().copy() for p in self.parameters)
        self.shell.generative_coefs_ = [W]
        self.shell.generative_intercepts_ = [b, c]
        self.shell.recognition_coefs_ = [V]
        self.shell.recognition_intercepts_ = [d]
        return self.shell

    def particles(self, x):
        """Return states of shape (K, rows, units), q's logits, p's, log-weights."""
        a = torch.addmm(self.d, x, self.V)
        h = torch.bernoulli(torch.sigmoid(a).expand(self.n_particles, *a.shape))
        below = torch.addmm(self.b, h.flatten(0, 1), self.W).view(*h.shape[:2], -1)
        softplus = torch.nn.functional.softplus
        log_w = (x * below - softplus(below)).sum(-1) + (h * (self.c - a)).sum(-1)
        log_w = log_w + softplus(a).sum(-1) - softplus(self.c).sum()
        return h, a, below, log_w

    def dream(self, n_rows):
        """Return dreamt hidden and visible states."""
        h = torch.bernoulli(torch.sigmoid(self.c).expand(n_rows, -1))
        return h, torch.bernoulli(torch.sigmoid(torch.addmm(self.b, h, self.W)))


def torch_by_hand(X, clock, n_epochs, n_particles, seed):
    """Hand-written gradients, centred direction, momentum."""
    model, data = Torch(X, n_particles, seed), torch.from_numpy(X)
    memory = [torch.zeros_like(p) for p in model.parameters]
    centre_h, centre_x = torch.sigmoid(model.c), torch.sigmoid(model.b)

    def step(x, rate):
        n = len(x)
        h, a, below, log_w = model.particles(x)
        w = (torch.softmax(log_w, 0) / n)[..., None]
        residual = ((x - torch.sigmoid(below)) * w).flatten(0, 1)
        taught = (h - torch.sigmoid(a)) * w
        dream_h, dream_x = model.dream(n)
        asleep = dream_h - torch.sigmoid(torch.addmm(model.d, dream_x, model.V))
        taught, asleep = taught.sum(0), asleep / n
        flat = h.flatten(0, 1)
        gradients = [
            (flat - centre_h).T @ residual,
            residual.sum(0),
            ((h - torch.sigmoid(model.c)) * w).sum((0, 1)),
            torch.addmm((x - centre_x).T @ taught, (dream_x - centre_x).T, asleep),
            taught.sum(0) + asleep.sum(0),
        ]
        for v, gradient in zip(memory, gradients, strict=True):
            v.mul_(0.9).add_(gradient)
        dW, db, dc, dV, dd = (rate * v for v in memory)
        steps = dW, db - centre_h @ dW, dc, dV, dd - centre_x @ dV
        for p, change in zip(model.parameters, steps, strict=True):
            p.add_(change)
        centre_h.lerp_(flat.mean(0), 0.05)
        centre_x.lerp_((x.mean(0) + dream_x.mean(0)) / 2, 0.05)

    with torch.no_grad():
        run(data, clock, n_epochs, step, 1.0, model)


def torch_autograd(X, clock, n_epochs, n_particles, seed):
    """Gradients by autograd, Adam."""
    model, data = Torch(X, n_particles, seed), torch.from_numpy(X)
    for p in model.parameters:
        p.requires_grad_()
    optimizer = torch.optim.Adam(model.parameters)
    log_q = torch.nn.functional.binary_cross_entropy_with_logits

    def step(x, rate):
        optimizer.param_groups[0]["lr"] = rate
        h, a, below, log_w = model.particles(x)
        with torch.no_grad():
            w = torch.softmax(log_w, 0) / len(x)
            dream_h, dream_x = model.dream(len(x))
        softplus = torch.nn.functional.softplus
        log_p = (x * below - softplus(below)).sum(-1)
        log_p = log_p + (h * model.c - softplus(model.c)).sum(-1)
        awake = (h * a - softplus(a)).sum(-1)
        asleep = log_q(torch.addmm(model.d, dream_x, model.V), dream_h, reduction="sum")
        loss = asleep / len(x) - (w * (log_p + awake)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    run(data, clock, n_epochs, step, 0.003, model)


def run(data, clock, n_epochs, step, rate, model):
    """Take steps through the data until the clock says enough."""
    n_rows = len(data)
    clock.started = time.perf_counter()
    for epoch in range(n_epochs):
        order = torch.randperm(n_rows)
        for start in range(0, n_rows, BATCH):
            share = (epoch + start / n_rows) / n_epochs
            step(data[order[start : start + BATCH]], rate * (1 - share))
        if clock.lap(model.fitted):
            return


RUNNERS = {
    "ours": ours,
    "torch by hand": torch_by_hand,
    "torch autograd": torch_autograd,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", help="folder of the .npz files")
    parser.add_argument("--target", type=float, default=105.0)
    parser.add_argument("--epochs", type=int, nargs=3, default=[40, 40, 100])
    parser.add_argument("--particles", type=int, default=5)
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=list(RUNNERS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("command:", "python", *sys.argv)
    for library in threadpoolctl.threadpool_info():
        print({key: library.get(key) for key in ("internal_api", "num_threads")})
    if torch is not None:
        print("torch", torch.__version__, "threads", torch.get_num_threads())
    elif options.runners != ["ours"]:
        parser.error("PyTorch is not installed; --runners ours goes without it")
    train, valid, _ = binary_sets(folder(options.data), "mnist")
    valid = valid[np.linspace(0, len(valid) - 1, 500).astype(int)]
    rows = []
    for (name, runner), n_epochs in zip(RUNNERS.items(), options.epochs, strict=True):
        if name not in options.runners:
            continue
        print(name, flush=True)
        clock = Clock(valid, options.target)
        runner(train, clock, n_epochs, options.particles, options.seed)
        rows.append(
            {
                "runner": name,
                "particles": options.particles,
                "target": options.target,
                "horizon": n_epochs,
                "reached": clock.nll <= options.target,
                "epochs": clock.n_epochs,
                "seconds": round(clock.seconds, 1),
                "nll": round(clock.nll, 2),
                "seed": options.seed,
            }
        )
        print(rows[-1])
    append("race.csv", rows)


if __name__ == "__main__":
    main()
