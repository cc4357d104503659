r"""The exact divergence of learned from true distributions: bars and shifter.

    python benchmarks/exact.py --task bars
    python benchmarks/exact.py --task shifter --layers 16 1 --lateral \
        --particles 30 --rate 0.1 --batch 200

Bars (Hinton et al. 1995): 4 x 4 images, vertical with probability 2/3, each bar
on with 0.2. Shifter (Dayan et al. 1995): a row of 8 bits, each on with 0.2, moved
by one place to the left or right, each of the two rows twice; 508 images of 6.606
bits of entropy.

Every seed has all its samples to itself, --samples of them, new ones for each of
its --restarts fits: of these it keeps the one with the best likelihood of its own
training rows, enumerated. A seed's figure is KL(true || learned) in bits. Every
run appends a row to benchmarks/results/exact.csv.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from _results import append

from sklearn_helmholtz import HelmholtzMachine

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers import divergence_bits, draws
from oracles import bars, shifter


def four_rows():
    """Return the shifter's table with each of its two rows of 8 twice."""
    table = shifter(width=8, p_on=0.2)
    return {x[:8] * 2 + x[8:] * 2: chance for x, chance in table.items()}


TASKS = {"bars": bars, "shifter": four_rows}
#: Rows by which restarts are compared.
N_COMPARED = 2000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--task", choices=sorted(TASKS), default="bars")
    parser.add_argument("--layers", type=int, nargs="+", default=[9, 1])
    parser.add_argument("--rule", default="reweighted-wake-sleep")
    parser.add_argument("--direction", default="natural")
    parser.add_argument("--lateral", action="store_true")
    parser.add_argument("--particles", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.03)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=20)
    return parser.parse_args()


def fit(options, table, seed):
    """Return a machine that saw its rows once, and its own likelihood of them."""
    X = draws(table, options.samples // options.restarts, seed)
    machine = HelmholtzMachine(
        options.layers,
        learning_rule=options.rule,
        direction=options.direction,
        n_particles=options.particles,
        lateral=options.lateral,
        learning_rate=options.rate,
        batch_size=options.batch,
        max_iter=1,
        n_jobs=1,
        random_state=seed,
    ).fit(X)
    return machine, machine.exact_log_likelihood(X[:N_COMPARED]).mean()


def divergence(options, table, seed):
    """Return the divergence in bits of the best of a seed's restarts."""
    seeds = np.random.SeedSequence(seed).generate_state(options.restarts)
    fits = (fit(options, table, int(each % 2**31)) for each in seeds)
    best, _ = max(fits, key=lambda each: each[1])
    return divergence_bits(table, best)


def main():
    options = arguments()
    print("command:", "python", *sys.argv)
    table = TASKS[options.task]()
    chances = np.array(list(table.values()))
    print(f"{len(table)} images, {-(chances * np.log2(chances)).sum():.3f} bits")
    start = time.perf_counter()
    found = []
    for seed in range(options.seeds):
        found.append(divergence(options, table, seed))
        print(f"seed {seed:>2}: {found[-1]:.4f} bits", flush=True)
    row = vars(options) | {
        "layers": "-".join(map(str, options.layers)),
        "median_bits": round(float(np.median(found)), 4),
        "worst_bits": round(max(found), 4),
        "best_bits": round(min(found), 4),
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(row)
    append("exact.csv", [row])


if __name__ == "__main__":
    main()
