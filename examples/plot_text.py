"""
===========================================
Text as sparse rows: what units read
===========================================

Bags of words are binary, wide and almost empty: a CSR matrix. A Helmholtz machine
takes it as it is, without making it dense. Texts that every installation has are
the docstrings of NumPy, SciPy and scikit-learn. The machine reads the words alone;
which part of which library a text comes from is the known answer that its codes
are held against.
"""

# %%
# The texts: docstrings of functions and classes, each with the module it is from.
import importlib
import inspect
import warnings
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_helmholtz import HelmholtzMachine

MODULES = [
    "numpy.linalg",
    "numpy.ma",
    "scipy.integrate",
    "scipy.interpolate",
    "scipy.linalg",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.signal",
    "scipy.sparse",
    "scipy.spatial.distance",
    "scipy.special",
    "scipy.stats",
    "sklearn.datasets",
    "sklearn.decomposition",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.preprocessing",
]


def docstrings():
    """Return {text: module} of the modules' public functions and classes."""
    found = {}
    for module in MODULES:
        members = importlib.import_module(module)
        for name in dir(members):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                member = getattr(members, name)
            text = None if name.startswith("_") else inspect.getdoc(member)
            if callable(member) and text and len(text) > 300:
                found.setdefault(text, module)
    return found


found = docstrings()
texts, labels = list(found), np.array(list(found.values()))
vectorizer = CountVectorizer(
    binary=True,
    min_df=8,
    max_df=0.3,
    stop_words="english",
    token_pattern=r"(?u)\b[a-z]{3,}\b",
    dtype=np.float32,
)
X = vectorizer.fit_transform(texts)
words = vectorizer.get_feature_names_out()
print(f"{X.shape[0]} texts, {X.shape[1]} words, {X.nnz / np.prod(X.shape):.1%} ones")
print(f"stored as {type(X).__name__}, {X.dtype}")

# %%
# Forty units, each a cause that may or may not be at work in a text.
start = perf_counter()
machine = HelmholtzMachine(
    (40, 10), learning_rule="wake-sleep", code=0, max_iter=30, random_state=0
).fit(X)
print(f"{perf_counter() - start:.1f} s")
print(f"score {machine.score(X):.1f} nats a text")
rate = np.clip(np.asarray(X.mean(axis=0)).ravel(), 1e-9, 1 - 1e-9)
independent = rate @ np.log(rate) + (1 - rate) @ np.log1p(-rate)
print(f"words independent of each other: {independent:.1f}")

# %%
# What a unit raises most. Units are listed by how much they tell about the
# module; nobody named them.
codes = machine.transform(X)
means = np.array([codes[labels == module].mean(axis=0) for module in MODULES])
order = np.argsort(means.std(axis=0))[::-1]
for unit in order[:12]:
    most = np.argsort(machine.components_[unit])[::-1][:7]
    print(f"unit {unit:>2}: {', '.join(words[most])}")

# %%
# Where they are on: the mean code of each module's texts.
figure, axis = plt.subplots(figsize=(9, 4.5), layout="constrained")
image = axis.imshow(means[:, order], cmap="viridis", vmin=0, vmax=1, aspect="auto")
axis.set_yticks(range(len(MODULES)), MODULES)
axis.set_xlabel("hidden units, the most telling first")
figure.colorbar(image, label="mean code")

# %%
# Do codes say where a text is from? Its five nearest neighbours vote, over three
# folds: by words, by as many columns of latent semantic analysis, by codes. The
# machine and the decomposition are fitted on a fold's training texts alone.
nearest = KNeighborsClassifier(5, metric="cosine")
rivals = {
    "words": make_pipeline(nearest),
    "TruncatedSVD": make_pipeline(TruncatedSVD(40, random_state=0), nearest),
    "HelmholtzMachine": make_pipeline(machine, StandardScaler(), nearest),
}
for name, model in rivals.items():
    scores = cross_val_score(model, X, labels, cv=3)
    print(f"{name:<18}{scores.mean():.3f} +- {scores.std():.3f}")

# %%
# They do, for some nine texts in ten. The words themselves do better, as a few of them,
# the names of the library's own parts, give the module away; and so do forty columns of
# latent semantic analysis. For this task take those.
plt.show()
