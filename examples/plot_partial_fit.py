"""
===========================================
A stream of digits, and a change in it
===========================================

Data that comes in pieces, or does not fit in memory, is learned with
:meth:`~sklearn_helmholtz.HelmholtzMachine.partial_fit`: one call, one pass over
the rows it is given. Halfway through this stream the world changes: every digit
is turned upside down. A machine that only ever goes on learning has to notice
and to follow.
"""

# %%
# The stream: a hundred digits at a time, drawn from 1,500. Scores are taken on
# digits that are not in it, both upright and turned.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_helmholtz import HelmholtzMachine, SamplesDisplay

X = load_digits().data.astype(np.float32) / 16
train, test = X[:1500], X[1500:]
turned = slice(None, None, -1)  # a flat image read backwards is upside down
rng = np.random.default_rng(0)
machine = HelmholtzMachine((100, 50), random_state=0)
n_calls, change = 800, 400
places, upright, upside_down, dreams = [], [], [], {}
for call in range(1, n_calls + 1):
    rows = train[rng.integers(len(train), size=100)]
    machine.partial_fit(rows if call <= change else rows[:, turned])
    if call % 10 == 0:
        places.append(call)
        upright.append(machine.score(test))
        upside_down.append(machine.score(test[:, turned]))
    if call in (change, n_calls):
        dreams[call] = SamplesDisplay.from_estimator(
            machine, n_samples=30, n_columns=10, random_state=0
        )
        dreams[call].ax_.set_title(f"dreams after {call} calls")

# %%
# The score of upright digits climbs until the change; from then on the score of
# turned ones does, and that of upright ones is given up, as nothing in the stream
# asks for it any more. (The dip at the start is no accident: a machine begins as
# independent pixels, which is not a bad model, and is worse for a while when its units
# have begun to mean something but not yet the right thing.)
print(f"upright digits: {upright[change // 10 - 1]:.2f} nats before the change")
print(f"turned digits:  {upside_down[-1]:.2f} nats at the end")
figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
axis.plot(places, upright, label="upright")
axis.plot(places, upside_down, label="turned")
axis.axvline(change, color="k", linewidth=1, linestyle="--")
axis.set(xlabel="calls of partial_fit, 100 rows each", ylabel="score (nats a row)")
axis.legend()
plt.show()
