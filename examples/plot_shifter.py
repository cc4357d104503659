"""
===========================================
The shifter: finding a cause nobody sees
===========================================

In the shifter of Dayan, Hinton, Neal and Zemel (1995) a row of eight bits, each on
with probability 0.2, stands above a copy of itself that is shifted by one place, to
the left or to the right, round the corner; both rows are doubled. Which way it was
shifted is a cause that no pixel shows: every pixel is on as often under either. Only
*pairs* of pixels tell.
"""

# %%
# The data. Rows that are shifted into the same image either way are kept in
# training, and are left out where the direction is asked for.
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from sklearn_helmholtz import HelmholtzMachine, SamplesDisplay, WeightsDisplay


def shifted(n_rows, seed):
    """Return images, their directions, and where these can be told at all."""
    rng = np.random.default_rng(seed)
    bits = rng.random((n_rows, 8)) < 0.2
    right = rng.random(n_rows) < 0.5
    to_left, to_right = np.roll(bits, -1, axis=1), np.roll(bits, 1, axis=1)
    moved = np.where(right[:, None], to_right, to_left)
    images = np.hstack([bits, bits, moved, moved]).astype(np.float32)
    return images, right, (to_left != to_right).any(axis=1)


X, right, clear = shifted(10_000, seed=0)
X_test, right_test, clear_test = shifted(2_000, seed=1)


def entropy():
    """Return the entropy of the images in nats, a sum over all that can occur."""
    chances = {}
    for bits in product([0, 1], repeat=8):
        for step in (-1, 1):
            key = bits, tuple(np.roll(bits, step))
            chance = 0.5 * np.prod(np.where(bits, 0.2, 0.8))
            chances[key] = chances.get(key, 0.0) + chance
    values = np.array(list(chances.values()))
    print(f"{len(values)} images can occur")
    return -values @ np.log(values)


# %%
# A machine that is told nothing of directions: 48 units next to the data, eight
# above. Lateral connections let recognition decide for one of two explanations
# where either would do. Training ends in one of many optima, so three machines
# start from three seeds, and the one with the best score on the training rows is
# kept. No direction is needed for that.
machines = [
    HelmholtzMachine((48, 8), lateral=True, max_iter=40, random_state=seed).fit(X)
    for seed in range(3)
]
machine = max(machines, key=lambda machine: machine.score(X))
rate = X.mean(axis=0, dtype=float)
independent = X_test @ np.log(rate) + (1 - X_test) @ np.log(1 - rate)
print(f"pixels independent of each other {independent.mean():7.2f} nats a row")
for seed, one in enumerate(machines):
    kept = ", kept" if one is machine else ""
    estimate = one.log_likelihood(X_test, 200).mean()
    print(f"machine of seed {seed}                {estimate:7.2f}{kept}")
print(f"the distribution itself          {-entropy():8.2f}")

# %%
# Of the 2^32 images that there are, only 508 are a row above its shifted copy. How
# many of the dreams are among them, to the last pixel?
dreams = machine.sample(2000, random_state=0).reshape(-1, 4, 8)
doubled = (dreams[:, 0] == dreams[:, 1]) & (dreams[:, 2] == dreams[:, 3])
to_left = (np.roll(dreams[:, 0], -1, axis=1) == dreams[:, 2]).all(axis=1)
to_right = (np.roll(dreams[:, 0], 1, axis=1) == dreams[:, 2]).all(axis=1)
flawless = doubled.all(axis=1) & (to_left | to_right)
print(f"{flawless.mean():.0%} of the dreams are flawless")
told = flawless & (to_left != to_right)
print(f"of those that tell, {to_right[told].mean():.0%} are shifted to the right")
SamplesDisplay.from_estimator(
    machine, n_samples=30, mean=False, n_columns=6, image_shape=(4, 8), random_state=0
)

# %%
# Who knows the direction? A logistic regression may read the pixels, or the codes of
# either layer. With pixels it is near chance, whatever the number of labels, as each of
# them by itself says nothing. In the codes of the lower layer the direction is there to
# be read off. The top layer keeps only some of it: nothing in the likelihood says on
# which layer a direction must be.


def accuracy(code):
    """Return how often a linear classifier of codes is right about new rows."""
    train, test = code(X)[clear], code(X_test)[clear_test]
    classifier = LogisticRegression(max_iter=2000).fit(train, right[clear])
    return classifier.score(test, right_test[clear_test])


print(f"linear classifier on the 32 pixels      {accuracy(lambda rows: rows):.3f}")
for layer, name in enumerate(["48 lower units", "8 top units"]):
    found = accuracy(machine.set_params(code=layer).transform)
    print(f"linear classifier on the {name:<15}{found:.3f}")

# %%
# The units next to the data: pixels of the upper rows, and where they go in the lower
# ones. Some units are for a shift to the left, some for one to the right.
order = np.argsort(-np.abs(machine.components_).sum(axis=1))
WeightsDisplay.from_estimator(
    machine, units=order[:24], image_shape=(4, 8), n_columns=6
).ax_.set_title("weights of the 24 strongest lower units")

plt.show()
