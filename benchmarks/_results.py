"""Appends rows to the benchmarks' results."""

import csv
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


def append(name, rows):
    """Append rows, dicts of the same keys, to results/name, under a header."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / name
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)
