"""
===========================================
Digits: codes in front of a classifier
===========================================

A Helmholtz machine learns from images alone, no labels, and codes each image
by the probabilities of its hidden causes. Here a logistic regression reads
those codes, the raw pixels, and the codes of a
:class:`~sklearn.neural_network.BernoulliRBM` of the same width, on the task of
scikit-learn's own RBM example: every digit also moved by one pixel left,
right, up and down, which is hard for a linear classifier.

The machine is generative too: at the end it dreams digits of its own.
"""

# %%
# The data: 1,797 digits and their moved copies.
import sys
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import shift
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_helmholtz import HelmholtzMachine


def nudged(X, y):
    """Return the images and their copies moved by one pixel in four directions."""
    images = X.reshape(-1, 8, 8)
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    moved = [shift(images, (0, *move), order=0) for move in moves]
    return np.concatenate(moved).reshape(-1, 64), np.tile(y, len(moves))


X, y = load_digits(return_X_y=True)
X, y = nudged(X.astype(np.float32) / 16, y)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)

# %%
# Three classifiers. They differ in what the logistic regression gets to read:
# 64 pixels, or 200 columns of codes. Codes are standardised, because some hidden
# units are on for a tenth of the images or fewer. Contrastive divergence is the
# learning rule for codes.
#
# Learning rates and epochs of both are of the size that ``benchmarks/features.py``
# chooses on a part of the training rows. A moved copy of a test digit may be among
# these, as in scikit-learn's example.
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
machine = HelmholtzMachine(
    (200,),
    learning_rule="contrastive-divergence",
    learning_rate=0.5,
    max_iter=20,
    random_state=0,
)
rbm = BernoulliRBM(200, learning_rate=0.06, n_iter=30, random_state=0)
models = {
    "raw pixels": clone(classifier),
    "BernoulliRBM codes": make_pipeline(rbm, clone(classifier)),
    "HelmholtzMachine codes": make_pipeline(machine, clone(classifier)),
}
# A pipeline hands the bar on to its steps.
models["HelmholtzMachine codes"].set_callbacks(ProgressBar())

print(f"{'the classifier reads':<26}{'accuracy':>10}{'seconds':>10}")
for name, model in models.items():
    start = perf_counter()
    model.fit(X_train, y_train)
    spent = perf_counter() - start
    print(f"{name:<26}{model.score(X_test, y_test):>10.3f}{spent:>10.1f}")

# %%
# Codes are one thing, densities another: contrastive divergence has no eye for
# likelihoods. Reweighted wake-sleep, the default rule, has. The score is the negative
# free energy in nats a digit: a lower bound on the log-likelihood. Independent pixels
# are the yardstick.
dreamer = HelmholtzMachine(random_state=0).fit(X_train)
mean = X_train.mean(axis=0)
inside = (mean > 0) & (mean < 1)
independent = np.log(mean[inside]) * mean[inside]
independent += np.log1p(-mean[inside]) * (1 - mean[inside])
print(f"\nindependent pixels         {independent.sum():8.2f} nats a digit")
print(f"score, contrastive         {machine.score(X_test):8.2f}")
print(f"score, reweighted          {dreamer.score(X_test):8.2f}")

# %%
# Digits that never were: a top-down pass from the prior, pixels shown as means.
dreams = dreamer.sample(60, mean=True, random_state=0)
figure, axes = plt.subplots(4, 15, figsize=(9, 2.6))
for axis, dream in zip(axes.flat, dreams, strict=True):
    axis.imshow(dream.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    axis.set_axis_off()
figure.suptitle("Digits that a Helmholtz machine dreamt")
figure.tight_layout()

if "sphinx_gallery" not in sys.modules:
    path = Path("results") / "digits_dreams.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"\ndreams saved to {path}")
plt.show()
