"""
===========================================
Bound, estimate, truth
===========================================

How probable is a row under the machine? Four answers:

- :meth:`~sklearn_helmholtz.HelmholtzMachine.score_samples`, the negative free
  energy: a lower bound, quick;
- :meth:`~sklearn_helmholtz.HelmholtzMachine.log_likelihood`, importance-weighted
  over K recognised states: a bound as well, tighter the larger K is;
- :meth:`~sklearn_helmholtz.HelmholtzMachine.exact_log_likelihood`, a sum over all
  hidden states: the truth, for machines small enough;
- :meth:`~sklearn_helmholtz.HelmholtzMachine.annealed_log_likelihood`, by annealed
  importance sampling: a bound that needs no good recognition network.

The first machines are small enough for the first two to be held against the third.
"""

# %%
# Black and white digits, and 15 hidden units in two layers: 2^10 states of the
# lower layer for each of the 2^5 above.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_helmholtz import HelmholtzMachine

X = (load_digits().data > 7).astype(np.float32)
train, test = X[:1400], X[1400:]
machines = {
    "wake-sleep": HelmholtzMachine((10, 5), learning_rule="wake-sleep", random_state=4),
    "reweighted": HelmholtzMachine((10, 5), random_state=4),
    "reweighted, lateral": HelmholtzMachine((10, 5), lateral=True, random_state=4),
    "autoregressive": HelmholtzMachine((10, 5), autoregressive=True, random_state=4),
}
counts = [1, 3, 10, 30, 100, 300, 1000]
found = {}
for name, machine in machines.items():
    machine.set_params(n_score_samples=100).fit(train)
    found[name] = (
        machine.score(test),
        [machine.log_likelihood(test, n).mean() for n in counts],
        machine.exact_log_likelihood(test).mean(),
    )

# %%
# In nats a row, on digits not seen. Read a line from left to right: the bound,
# estimates that climb with K, the truth. (An estimate is a lower bound in the mean;
# one run of it may end a hair above.) The gap between bound and truth is how far
# recognition is from the true posterior. Wake-sleep keeps it small the cheap way: its
# generative network stays where its recognition network can follow. Reweighting
# reaches a better model with a wider gap; lateral connections, which let a
# recognition unit see those before it in its layer, narrow it for most seeds; whether
# the model gets better by that, too, as here by a tenth of a nat, depends on the seed.
# The last machine has visible units that see those before them: its hidden causes need
# not say that a pixel is like its neighbour, which gains a nat.
print(f"{'':<22}{'bound':>8}{'K = 10':>9}{'K = 1000':>10}{'exact':>9}{'gap':>7}")
for name, (bound, estimates, exact) in found.items():
    ten, thousand = estimates[2], estimates[-1]
    print(
        f"{name:<22}{bound:>8.2f}{ten:>9.2f}{thousand:>10.2f}{exact:>9.2f}"
        f"{exact - bound:>7.2f}"
    )

figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
for (name, (bound, estimates, exact)), color in zip(
    found.items(), ["C0", "C1", "C2", "C5"], strict=True
):
    axis.semilogx(counts, estimates, "o-", color=color, label=name)
    axis.axhline(exact, color=color, linestyle="--", linewidth=1)
    axis.plot(counts[0], bound, "s", color=color, fillstyle="none", markersize=10)
axis.plot([], [], "k--", linewidth=1, label="exact")
axis.plot([], [], "ks", fillstyle="none", markersize=10, label="bound (score)")
axis.set(xlabel="particles a row, K", ylabel="nats a row, digits not seen")
axis.legend(loc="center", bbox_to_anchor=(0.75, 0.7))

# %%
# Is an estimate to be trusted? The effective sample size of a row's weights
# tells: near K all particles count, near one a single lucky particle carries the
# estimate.
sizes = {
    name: machine.log_likelihood(test, 1000, return_effective_sample_size=True)[1]
    for name, machine in machines.items()
}
figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
axis.boxplot(list(sizes.values()), tick_labels=list(sizes), orientation="horizontal")
axis.set(xscale="log", xlabel="effective sample size of 1,000 particles, row by row")

# %%
# With `n_moves` particles go on towards the posterior before the networks learn from
# them. The generative network gets better by that, and its posteriors harder to
# recognise: the bound falls, while the likelihood tends to rise. Here for 60 hidden
# units, too many to sum over; seeds differ, and annealing and a thousand particles tell
# which machine is better.
large = {
    f"n_moves={n_moves}": HelmholtzMachine(
        (60,), n_moves=n_moves, n_score_samples=100, random_state=0
    ).fit(train)
    for n_moves in (0, 20)
}
some = test[:200]
temperatures = [3, 10, 30, 100]
print(f"{'':<12}{'bound':>8}{'K = 1000':>10}{'annealed':>10}")
figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
for (name, machine), color in zip(large.items(), ["C3", "C4"], strict=True):
    bound = machine.score(some)
    annealed = [
        machine.annealed_log_likelihood(some, 4, n).mean() for n in temperatures
    ]
    sampled = [machine.log_likelihood(some, n).mean() for n in counts]
    print(f"{name:<12}{bound:>8.2f}{sampled[-1]:>10.2f}{annealed[-1]:>10.2f}")
    axis.semilogx(temperatures, annealed, "^-", color=color, label=f"{name}, annealed")
    axis.semilogx(counts, sampled, "o:", color=color, label=f"{name}, recognised")
axis.set(xlabel="temperatures, or particles K", ylabel="nats a row, digits not seen")
axis.legend()
plt.show()
