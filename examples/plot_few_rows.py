"""
=================================
Few rows: priors that are learned
=================================

A machine with thousands of weights can learn a few dozen rows by heart. A penalty on
the weights prevents that, but how strong should it be? ``alpha="evidence"`` gives the
weights priors, and learns their scales from the data, unit by unit. The default uses
part of that strength: more of it, the fewer rows there are. Here machines of 40 units
see some of the bundled digits, in black and white, and are judged on 800 others.
"""

# %%
# Log-likelihoods of digits that were not seen, by the number of those that were. A
# machine without a penalty is worse than independent pixels until it has seen between
# 100 and 200; with priors it is better than these from 25 on.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_helmholtz import HelmholtzMachine

X = (load_digits().data > 8).astype(np.float32)
X = X[np.random.default_rng(0).permutation(len(X))]
test = X[-800:]


def independent(train):
    """Return the mean log-likelihood of independent pixels."""
    mean = (train.sum(axis=0) + 1) / (len(train) + 2)  # Laplace's rule
    return float((test @ np.log(mean) + (1 - test) @ np.log1p(-mean)).mean())


def learned(train, alpha):
    """Return the mean log-likelihood of a machine."""
    n_epochs = 20_000 // len(train)
    machine = HelmholtzMachine(
        (40,), alpha=alpha, batch_size=20, max_iter=n_epochs, random_state=0
    )
    return float(machine.fit(train).log_likelihood(test, 100).mean())


sizes = [25, 50, 100, 200, 400, 900]
curves = {"independent pixels": [independent(X[:n]) for n in sizes]}
for alpha in (0, "auto", "evidence"):
    curves[f"alpha={alpha!r}"] = [learned(X[:n], alpha) for n in sizes]

print(f"{'rows':<20}" + "".join(f"{n:>8}" for n in sizes))
for name, values in curves.items():
    print(f"{name:<20}" + "".join(f"{value:8.2f}" for value in values))

# %%
# Priors are worth most where rows are fewest, and with many they do little.
figure, axis = plt.subplots(figsize=(6.5, 4))
for name, values in curves.items():
    style = "o--" if "evidence" in name else "o-"  # in places "auto" lies beneath it
    axis.semilogx(sizes, values, style, label=name)
axis.set_xticks(sizes, sizes)
axis.minorticks_off()
axis.set_xlabel("rows to learn from")
axis.set_ylabel("log-likelihood of others, nats a row")
axis.legend()
figure.tight_layout()
plt.show()
