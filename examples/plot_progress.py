"""
===========================================
Watching a fit: progress and scores
===========================================

A long fit should show that it lives, and whether it still pays. There are three
ways to look on, and all of them also work when the machine is a step of a
pipeline.
"""

# %%
# The first is ``verbose=1``: a line an epoch with the free energy of training and
# validation rows, the pace, and the time left.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_helmholtz import HelmholtzClassifier, HelmholtzMachine

X, y = load_digits(return_X_y=True)
X = X.astype(np.float32)
HelmholtzMachine((50,), max_iter=8, early_stopping=True, verbose=1, random_state=0).fit(
    X / 16
)

# %%
# The second is scikit-learn's own progress bar, a callback. A pipeline hands it on
# to the steps that take callbacks, and warns of those that do not. (It needs the
# package rich.)
pipeline = make_pipeline(
    MinMaxScaler(clip=True),
    HelmholtzMachine((100, 50), max_iter=40, random_state=0),
    StandardScaler(),
    LogisticRegression(C=0.1),
)
pipeline.set_callbacks(ProgressBar())
pipeline.fit(X, y)

# %%
# A classifier, which has a machine for each class, shows a bar for each of them.
few = y < 3
classifier = HelmholtzClassifier(random_state=0).set_callbacks(ProgressBar())
classifier.fit(X[few] / 16, y[few])

# %%
# The third is a score monitor, which keeps a log of scores, epoch by epoch. Without
# a `scoring` it takes the machine's own score, the mean bound in nats. Here it
# watches the same machine at three learning rates. The boldest loses most at first
# and ends highest; the most timid has hardly begun. One last score would not tell
# which is which.
figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for rate in (0.1, 1.0, 3.0):
    monitor = ScoringMonitor(scoring=None)
    machine = HelmholtzMachine(
        (100, 50), max_iter=40, learning_rate=rate, random_state=0
    )
    machine.set_callbacks(monitor).fit(X / 16)
    log = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    scores = [row["score"] for row in log]
    axis.plot(np.arange(1, len(scores) + 1), scores, label=f"learning_rate={rate}")
    print(f"learning_rate={rate:<5} last score {scores[-1]:.2f} nats a row")
axis.set(xlabel="epoch", ylabel="score of the training rows (nats)")
axis.legend()
plt.show()
