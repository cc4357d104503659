"""
==================================================
A classifier that knows what it does not know
==================================================

:class:`~sklearn_helmholtz.HelmholtzClassifier` learns one density per class and
predicts by Bayes' rule. That allows two things that a discriminative classifier
cannot do: it can say that a row is like none of its classes, and it can draw rows
of a class.

The known answer: on scikit-learn's digits it must beat both naive Bayes and a
logistic regression; and of rows that are no digits, scrambled ones and negatives,
it must reject almost all at a threshold that loses one digit in fifty.
"""

# %%
# Half of the digits to train, a quarter to set the threshold, a quarter to test.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import BernoulliNB

from sklearn_helmholtz import HelmholtzClassifier

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_train, X_rest, y_train, y_rest = train_test_split(
    X, y, test_size=0.5, stratify=y, random_state=0
)
X_held, X_test, y_held, y_test = train_test_split(
    X_rest, y_rest, test_size=0.5, stratify=y_rest, random_state=0
)
classifier = HelmholtzClassifier(n_jobs=2, random_state=0).fit(X_train, y_train)

# %%
# Accuracy beside two others.
accuracies = {
    "HelmholtzClassifier": classifier.score(X_test, y_test),
    "LogisticRegression": LogisticRegression(max_iter=1000)
    .fit(X_train, y_train)
    .score(X_test, y_test),
    "BernoulliNB": BernoulliNB(binarize=0.5)
    .fit(X_train, y_train)
    .score(X_test, y_test),
}
for name, accuracy in accuracies.items():
    print(f"{name:>20} {accuracy:.3f}")

# %%
# The threshold is the score that one held-out digit in fifty falls below.
threshold = np.quantile(classifier.score_samples(X_held), 0.02)
rng = np.random.default_rng(0)
strangers = {
    "scrambled digits": rng.permuted(X_test, axis=1),
    "negatives": 1 - X_test,
}
scores = {"digits": classifier.score_samples(X_test)}
scores |= {name: classifier.score_samples(rows) for name, rows in strangers.items()}
rejected = {name: float((s < threshold).mean()) for name, s in scores.items()}
for name, share in rejected.items():
    print(f"rejected of {name:>16}: {share:.3f}")

# %%
# Where it errs, and which digits are least like any that it has seen.
figure = plt.figure(figsize=(9, 6.5), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.2, 1))
top, bottom = left.subplots(2, 1)
ConfusionMatrixDisplay.from_predictions(
    y_test, classifier.predict(X_test), ax=top, colorbar=False, cmap="Blues"
)
for name, values in scores.items():
    bottom.hist(values, bins=40, alpha=0.6, label=name, density=True)
bottom.axvline(threshold, color="black", linestyle="--", label="threshold")
bottom.set(xlabel="log p(x), nats", yticks=[])
bottom.legend()

odd = np.argsort(scores["digits"])[:20]
twice = np.repeat(np.arange(10), 2)
dreams, labels = classifier.sample(20, y=twice, mean=True, random_state=0)
pictures = [*zip(X_test[odd], y_test[odd], strict=True)]
pictures += [*zip(dreams, labels, strict=True)]
upper, lower = right.subfigures(2, 1)
upper.suptitle("least likely test digits", fontsize=9)
lower.suptitle("dreams", fontsize=9)
axes = np.concatenate([half.subplots(4, 5).ravel() for half in (upper, lower)])
for axis, (image, label) in zip(axes, pictures, strict=True):
    axis.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    axis.set_title(str(label), fontsize=7, pad=1)
    axis.axis("off")

plt.show()

# %%
# The story's known answer.
best_other = max(accuracies["LogisticRegression"], accuracies["BernoulliNB"])
assert accuracies["HelmholtzClassifier"] > best_other
assert rejected["digits"] < 0.06
assert min(rejected["scrambled digits"], rejected["negatives"]) > 0.95
