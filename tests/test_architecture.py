"""Modules import only what stands below them in doc/design's table."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sklearn_helmholtz"
MODULES = sorted(path.stem for path in PACKAGE.glob("_[a-z]*.py"))
#: The only modules that know scikit-learn.
FACES = {
    "_displays",
    "_classifier",
    "_machine",
    "_fitting",
    "_settings",
    "_input",
    "_random",
}


def order():
    """Return the modules of the design's table, from the top."""
    lines = (ROOT / "doc" / "design.md").read_text(encoding="utf-8").splitlines()
    names = [line.split()[0] for line in lines if line.startswith("    _")]
    return [name.removesuffix(".py") for name in names if name != "__init__.py"]


def imports(module):
    """Return (the package's modules, other top-level packages) that it imports."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    own, other = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            other |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            own |= {node.module} if node.module else {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            other.add(node.module.split(".")[0])
    return own, other


def test_table_names_every_module():
    assert sorted(order()) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_stands_below_it(module):
    below = order()[order().index(module) + 1 :]
    assert imports(module)[0] <= set(below)


def test_training_gets_rules_directions_and_optimisers_as_arguments():
    assert not imports("_training")[0] & {
        "_learning_rules",
        "_particles",
        "_phases",
        "_directions",
        "_optimizers",
    }


def test_scikit_learn_is_imported_at_the_faces_alone():
    found = {module for module in MODULES if "sklearn" in imports(module)[1]}
    assert found == FACES


def test_package_shows_its_public_names_and_nothing_else():
    import sklearn_helmholtz  # noqa: PLC0415

    shown = {name for name in vars(sklearn_helmholtz) if not name.startswith("_")}
    assert shown == set(sklearn_helmholtz.__all__)


def test_lowest_versions_under_test_are_those_that_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    bounds = dict(need.split(">=") for need in project["project"]["dependencies"])
    text = (ROOT / "tests" / "constraints-lowest.txt").read_text(encoding="utf-8")
    pins = dict(line.split("==") for line in text.split() if "==" in line)
    for name, bound in bounds.items():
        assert f"{pins[name]}.".startswith(f"{bound}."), name
