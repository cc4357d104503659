"""An hour of partial_fit on a stream that drifts: memory, throughput, scores.

Rows are drawn from a random sigmoid belief network whose biases walk, so that
no two minutes have the same distribution. Once a minute it notes the resident
memory, the rows taken a second, and the score of the coming batch before it is
learnt from, beside that of a machine of independent units at that minute's own
means. At the end one row of figures is appended to results/soak.csv:

    python benchmarks/soak.py [--minutes 60]
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
from _results import append

from sklearn_helmholtz import HelmholtzMachine, __version__

N_FEATURES, N_CAUSES, N_ROWS = 100, 20, 1000
NOTE_EVERY = 60.0


class Drift:
    """A stream of binary rows whose causes come and go.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.weights = self.rng.normal(0, 2, (N_CAUSES, N_FEATURES))
        self.bias = self.rng.normal(-1, 1, N_FEATURES)
        self.cause = self.rng.normal(0, 1, N_CAUSES)

    def rows(self):
        """Move on and return the next rows."""
        # A walk that is drawn back to its start stays of one size.
        self.cause *= 0.999
        self.cause += self.rng.normal(0, 0.045, N_CAUSES)
        self.weights *= 0.9999
        self.weights += self.rng.normal(0, 0.028, self.weights.shape)
        on = self.rng.random((N_ROWS, N_CAUSES)) < 1 / (1 + np.exp(-self.cause))
        logits = on @ self.weights + self.bias
        drawn = self.rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
        return drawn.astype(np.float32)


def resident_mib():
    """Return the process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def independent(X):
    """Return the mean log-likelihood of rows under their own means."""
    p = np.clip(X.mean(axis=0), 1e-3, 1 - 1e-3)
    return float((X * np.log(p) + (1 - X) * np.log1p(-p)).sum(axis=1).mean())


def soak(seconds, seed=0):
    """Return one row of notes for every minute."""
    stream = Drift(seed)
    machine = HelmholtzMachine((40, 10), learning_rate=0.1, random_state=seed)
    notes, n_rows, busy = [], 0, 0.0
    started = noted = time.perf_counter()
    while time.perf_counter() - started < seconds:
        X = stream.rows()
        begun = time.process_time()
        machine.partial_fit(X)
        busy += time.process_time() - begun
        n_rows += len(X)
        if time.perf_counter() - noted >= min(NOTE_EVERY, seconds / 20):
            noted = time.perf_counter()
            X = stream.rows()
            scores = machine.score_samples(X)
            notes.append(
                {
                    "minutes": (noted - started) / 60,
                    "mib": resident_mib(),
                    "rows_per_cpu_second": n_rows / busy,
                    "score": scores.mean(),
                    "finite": np.isfinite(scores).all(),
                    "independent": independent(X),
                    "rows": n_rows,
                }
            )
            note = notes[-1]
            print(
                f"{note['minutes']:6.1f} min  {note['mib']:7.1f} MiB  "
                f"{note['rows_per_cpu_second']:8.0f} rows/s  "
                f"score {note['score']:8.2f}  independent {note['independent']:8.2f}",
                flush=True,
            )
            n_rows, busy = 0, 0.0
    return notes


def slope(notes, name):
    """Return the least-squares change of a figure an hour, the first tenth left out."""
    kept = notes[len(notes) // 10 :]
    hours = [note["minutes"] / 60 for note in kept]
    return float(np.polyfit(hours, [note[name] for note in kept], 1)[0])


def summary(notes):
    """Return the row that goes into results/soak.csv."""
    speed = np.array([note["rows_per_cpu_second"] for note in notes[1:]])
    tenth = max(1, len(speed) // 10)
    return {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "minutes": round(notes[-1]["minutes"], 1),
        "rows": sum(note["rows"] for note in notes),
        "mib_first": round(notes[len(notes) // 10]["mib"], 2),
        "mib_last": round(notes[-1]["mib"], 2),
        "mib_per_hour": round(slope(notes, "mib"), 3),
        "rows_per_cpu_second": round(float(np.median(speed))),
        "speed_last_to_first_tenth": round(
            float(np.median(speed[-tenth:]) / np.median(speed[:tenth])), 3
        ),
        "all_scores_finite": bool(all(note["finite"] for note in notes)),
        "gain_over_independent": round(
            float(np.mean([n["score"] - n["independent"] for n in notes])), 2
        ),
        "worst_gain": round(
            float(min(n["score"] - n["independent"] for n in notes)), 2
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("memory is read from /proc")
    row = summary(soak(60 * arguments.minutes))
    append("soak.csv", [row])
    print(row)


if __name__ == "__main__":
    main()
