"""The package runs no strings, opens no connection and writes only where asked."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import skops.io
from helpers import binary_rows

import sklearn_helmholtz
from sklearn_helmholtz import HelmholtzMachine

ROOT = Path(__file__).parents[1]
MODULES = sorted(Path(sklearn_helmholtz.__file__).parent.glob("*.py"))
STRINGS_RUN = {"eval", "exec", "compile", "__import__"}
NETWORK = {"socket", "ssl", "http", "urllib", "requests", "ftplib", "smtplib"}
PROCESSES = {"subprocess", "multiprocessing", "pty", "ctypes"}
#: Modules that may write files or load pickles: Checkpoint, which is there for it.
WRITERS = {"_checkpoint"}


def names_called(tree):
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {getattr(f, "id", getattr(f, "attr", None)) for f in calls}


def packages_imported(tree):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_source_runs_no_strings_and_knows_neither_network_nor_processes(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not names_called(tree) & STRINGS_RUN
    assert not packages_imported(tree) & (NETWORK | PROCESSES)
    if path.stem not in WRITERS:
        assert not packages_imported(tree) & {"pickle", "tempfile", "shutil"}
        assert not names_called(tree) & {"open", "write_text", "write_bytes"}


#: Trains, scores and samples while Python reports what it does to the system.
PROGRAM = """
    import sys
    sys.dont_write_bytecode = True
    from pathlib import Path
    import numpy as np
    from sklearn_helmholtz import Checkpoint, HelmholtzMachine

    seen = []
    def note(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & 3:
            seen.append(arguments[0])
        if event.startswith(("socket.", "subprocess.", "os.system", "os.exec")):
            seen.append(event)
    sys.addaudithook(note)

    X = np.random.default_rng(0).integers(0, 2, (60, 5)).astype(float)
    for settings in ({}, {"early_stopping": True}, {"visible": "gaussian"}):
        machine = HelmholtzMachine((4, 2), max_iter=2, n_jobs=2, **settings)
        machine.fit(X).partial_fit(X)
        machine.reconstruct(X), machine.sample(3), machine.log_likelihood(X, 5)
    print(seen)
    seen.clear()
    path = Path(sys.argv[1]) / "machine.pickle"
    machine.set_callbacks(Checkpoint(path)).fit(X)
    print([Path(name).parent == path.parent for name in seen])
"""


def test_system_sees_no_connection_no_process_and_no_file_but_the_checkpoint(tmp_path):
    program = textwrap.dedent(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["[]", "[True, True]"]
    assert [path.name for path in tmp_path.iterdir()] == ["machine.pickle"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lateral": True, "direction": "plain"},
        {"direction": "natural", "optimizer": "adam", "learning_rate": 0.01},
        {"visible": "gaussian", "early_stopping": True},
        {"random_state": np.random.RandomState(0)},
    ],
    ids=lambda settings: "-".join(settings) or "default",
)
def test_skops_asks_to_trust_what_the_documentation_lists(settings):
    machine = HelmholtzMachine((4, 2), max_iter=1, **settings).fit(binary_rows())
    asked = skops.io.get_untrusted_types(data=skops.io.dumps(machine))
    text = (ROOT / "doc" / "persistence.md").read_text(encoding="utf-8")
    listed = text.split("trusted = [")[1].split("]")[0]
    assert set(asked) <= {name.strip(' \n"') for name in listed.split(",")}
