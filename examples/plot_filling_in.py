"""
===========================================
Filling in the missing half of a digit
===========================================

A generative model can say what it does not see. A Helmholtz machine is trained
on whole digits; then it is shown the upper halves of others and asked for the
rest. :meth:`~sklearn_helmholtz.HelmholtzMachine.impute` runs a Markov chain
whose stationary distribution is the model's own conditional, p(lower | upper):
draws differ where the upper half leaves a choice, and their mean is the best
guess in the squared error.

The known answer: the guess must be better than the mean lower half of the
training digits, which does not look at the upper half at all; and how sure the
machine is must tell where it errs.
"""

# %%
# Train on 1,500 digits, and hide the lower halves of the rest.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_helmholtz import HelmholtzMachine

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
train, test = X[:1500], X[1500:]
machine = HelmholtzMachine((60, 20), max_iter=50, random_state=0).fit(train)

lower = slice(32, 64)
holes = test.copy()
holes[:, lower] = np.nan

# %%
# The best guess, and how far it is off.
guess = machine.impute(holes, mean=True, n_iter=150, random_state=0)
error = np.square(guess - test)[:, lower].mean()
by_mean = np.square(train.mean(axis=0) - test)[:, lower].mean()
print(f"mean squared error of the lower halves: {error:.4f}; mean digit {by_mean:.4f}")

# %%
# A pixel's mean m has variance m (1 - m) in the model's eyes. Pixels of which
# it is surer should have smaller errors.
unsure = (guess * (1 - guess))[:, lower].ravel()
squared = np.square(guess - test)[:, lower].ravel()
quarters = np.array_split(squared[np.argsort(unsure)], 4)
by_quarter = [float(quarter.mean()) for quarter in quarters]
print("error by quarters, surest pixels first:", np.round(by_quarter, 4))

# %%
# Several draws of the same row are several ways to go on. Rows: what was there,
# what is seen, the best guess, and four draws. Draws are black and white; the half that
# is seen stays grey.
first = [int(np.flatnonzero(y[1500:] == digit)[0]) for digit in range(10)]
seen = holes[first]
draws = [machine.impute(seen, n_iter=60, random_state=seed) for seed in range(4)]
rows = {"whole": test[first], "seen": seen, "mean": guess[first]}
rows |= {f"draw {number + 1}": drawn for number, drawn in enumerate(draws)}

figure, axes = plt.subplots(len(rows), 10, figsize=(7, 5), layout="constrained")
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for axis, image in zip(line, images, strict=True):
        shown = np.ma.masked_invalid(image.reshape(8, 8))
        axis.imshow(shown, cmap="gray_r", vmin=0, vmax=1)
        axis.set_facecolor("lightsteelblue")
        axis.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.suptitle("The lower half, given the upper one")

plt.show()

# %%
# The story's known answer.
assert error < 0.75 * by_mean
assert np.all(np.diff(by_quarter) > 0)
