"""
===========================================
Grid search over layer sizes
===========================================

How wide, how deep, and for how long to train? A
:class:`~sklearn.model_selection.GridSearchCV` answers for the task at hand:
here the cross-validated accuracy of a logistic regression that reads the
machine's codes of scikit-learn's digits. A scaler, the machine and the
classifier form one pipeline, so nothing of a test fold leaks into training.
Codes are standardised before the classifier: some hidden units are on for half
of the images, others for one in a hundred.
"""

# %%
# The pipeline and the grid. Parameters of a step carry its name.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_helmholtz import HelmholtzMachine

X, y = load_digits(return_X_y=True)
X = X.astype(np.float32)
pipeline = Pipeline(
    [
        ("scaler", MinMaxScaler(clip=True)),
        ("machine", HelmholtzMachine(max_iter=30, random_state=0)),
        ("standardiser", StandardScaler()),
        ("classifier", LogisticRegression(C=0.1, max_iter=1000)),
    ]
)
sizes = [(25,), (100,), (200,), (100, 50), (200, 100)]
epochs = [5, 15, 45]
search = GridSearchCV(
    pipeline,
    {"machine__hidden_layer_sizes": sizes, "machine__max_iter": epochs},
    cv=StratifiedKFold(3, shuffle=True, random_state=0),
    n_jobs=2,
)
search.fit(X, y)
best = search.best_params_
print(f"best mean accuracy {search.best_score_:.3f} with {best}")

# %%
# The grid as a heat map.
table = np.empty((len(epochs), len(sizes)))
for setting, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    row = epochs.index(setting["machine__max_iter"])
    table[row, sizes.index(setting["machine__hidden_layer_sizes"])] = score

figure, axis = plt.subplots(figsize=(7, 3.2))
image = axis.imshow(table, cmap="viridis", aspect="auto")
for (row, column), score in np.ndenumerate(table):
    shade = "white" if score < (table.min() + table.max()) / 2 else "black"
    axis.text(column, row, f"{score:.3f}", ha="center", va="center", color=shade)
axis.set_xticks(range(len(sizes)), ["-".join(map(str, size)) for size in sizes])
axis.set_yticks(range(len(epochs)), epochs)
axis.set_xlabel("units of the hidden layers, bottom-up")
axis.set_ylabel("epochs")
axis.set_title("Accuracy of a logistic regression on the codes")
figure.colorbar(image, label="mean over 3 folds")
figure.tight_layout()

plt.show()
