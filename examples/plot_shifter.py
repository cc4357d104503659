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


X, right, _ = shifted(200_000, seed=0)
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
    return -values @ np.log(values)


# %%
# A machine that is told nothing of directions: 16 units next to the data, one for each
# place and direction if it finds them, and a single one above. Such a close fit calls
# for the natural direction and many particles; lateral connections let recognition
# decide for one of two explanations where either would do.
# Training still ends in one of many optima, and one seed in ten or so leads to the
# distribution itself. So ten machines start from ten seeds, and the one with the best
# likelihood of training rows is kept. No direction is needed for that.
SEEDS = range(10, 20)
machines = [
    HelmholtzMachine(
        (16, 1),
        direction="natural",
        learning_rate=0.1,
        n_particles=30,
        lateral=True,
        batch_size=200,
        max_iter=1,
        random_state=seed,
    ).fit(X)
    for seed in SEEDS
]
found = [machine.exact_log_likelihood(X[:2000]).mean() for machine in machines]
machine = machines[np.argmax(found)]
rate = X.mean(axis=0, dtype=float)
independent = X_test @ np.log(rate) + (1 - X_test) @ np.log(1 - rate)
print(f"pixels independent of each other {independent.mean():7.2f} nats a row")
for seed, one in zip(SEEDS, machines, strict=True):
    kept = ", kept" if one is machine else ""
    print(
        f"machine of seed {seed}               "
        f"{one.exact_log_likelihood(X_test).mean():7.2f}{kept}"
    )
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
# Who knows the direction? A logistic regression on the pixels is near chance, whatever
# the number of labels, as each of them by itself says nothing. The machine's top unit,
# which has seen no label, needs no regression: it is on for one direction.
pixels = LogisticRegression().fit(X[:10_000], right[:10_000])
top = machine.set_params(code="top").transform(X_test)[:, 0] > 0.5
agrees = (top == right_test)[clear_test].mean()
by_pixels = pixels.score(X_test[clear_test], right_test[clear_test])
print(f"linear classifier on the 32 pixels   {by_pixels:.3f}")
print(f"the top unit, read as a direction    {max(agrees, 1 - agrees):.3f}")

# %%
# It is no mere reading: in dreams the top unit comes first, and decides.
dreams, *_, top = machine.sample_states(2000, random_state=1)
upper, lower = dreams[:, :8], dreams[:, 16:24]
for state, name in (1, "on"), (0, "off"):
    own = top[:, 0] == state
    steps = [(np.roll(upper[own], step, axis=1) == lower[own]) for step in (-1, 1)]
    shares = [f"{step.all(axis=1).mean():4.0%}" for step in steps]
    print(
        f"top unit {name:<4} shifted to the left {shares[0]}, to the right {shares[1]}"
    )

# %%
# The units next to the data: a pixel of the upper rows, and where it goes in the lower
# ones. They stand in the order of the top unit's weights, which lets in one half of
# them and keeps out the other: most are for a shift to one side, then for the other.
from_top = machine.generative_coefs_[1][0]
WeightsDisplay.from_estimator(
    machine,
    units=np.argsort(from_top),
    image_shape=(4, 8),
    n_columns=4,
).ax_.set_title("generative weights, ordered by what the top unit sends")

plt.show()
