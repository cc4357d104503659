"""
===========================================
Digits: dreams, weights, reconstructions
===========================================

What goes on inside a machine that has seen scikit-learn's handwritten digits:
how its free energy fell, what its units stand for, what it dreams, and what it
makes of a digit it has never seen.
"""

# %%
# Every tenth digit is kept back to be looked at later. Early stopping keeps back
# some more, and gives the curve of rows that training does not see.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_helmholtz import (
    FreeEnergyDisplay,
    HelmholtzMachine,
    ReconstructionDisplay,
    SamplesDisplay,
    WeightsDisplay,
)

X = load_digits().data.astype(np.float32) / 16
seen, unseen = np.delete(X, np.s_[::10], axis=0), X[::10]
machine = HelmholtzMachine(
    (200, 50), max_iter=100, early_stopping=True, random_state=0
).fit(seen)
FreeEnergyDisplay.from_estimator(machine)

# %%
# Grey pixels are drawn to black and white at every visit, so more than half of those
# nats are the coin flips of the drawing itself, which nothing can foresee. This much a
# perfect model would be left with, at the very least:
inside = np.clip(unseen, 1e-6, 1 - 1e-6).astype(float)
coins = -(inside * np.log(inside) + (1 - inside) * np.log1p(-inside)).sum(axis=1)
print(f"free energy of digits not seen   {-machine.score(unseen):6.2f} nats")
print(f"of it the pixels' own coin flips {coins.mean():6.2f}")

# %%
# Units next to the data hold strokes: red pixels are raised when the unit is on, blue
# ones lowered. Those above hold arrangements of strokes; their fields are projected
# down to the pixels. These are the units that send most: so few rows ask for no more
# than some twenty of 200 strokes and a handful of arrangements, and the priors of their
# weights have switched off the others.
figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for layer, (axis, n_units) in enumerate(zip(axes, (20, 4), strict=True)):
    sent = np.linalg.norm(machine.generative_coefs_[layer], axis=1)
    units = np.argsort(-sent)[:n_units]
    WeightsDisplay.from_estimator(machine, layer=layer, units=units, ax=axis)
    axis.set_title(f"generative fields, hidden layer {layer}")

# %%
# Dreams: the top layer is drawn from its prior, and everything below follows.
SamplesDisplay.from_estimator(machine, n_samples=60, n_columns=15, random_state=0)

# %%
# A chain of dreams: each image is recognised, and the next is dreamt from the
# causes found at the top. Every line is a chain of its own. A digit drifts into
# a neighbour of its own.
SamplesDisplay.from_estimator(machine, n_samples=6, chain_length=15, random_state=0)

# %%
# Digits that the machine has not seen, above what it makes of their codes.
ReconstructionDisplay.from_estimator(machine, unseen[:45], n_columns=15)
plt.show()
