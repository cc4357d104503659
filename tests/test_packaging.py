"""What is published: the wheel holds the package alone, the sdist everything."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import sklearn_helmholtz

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the wheel and the sdist that the build backend makes of the tree."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def test_wheel_holds_every_module_and_the_type_marker_and_no_tests(built):
    names = set(zipfile.ZipFile(built[0]).namelist())
    modules = {
        f"sklearn_helmholtz/{path.name}"
        for path in (ROOT / "sklearn_helmholtz").glob("*.py")
    }
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == modules | {"sklearn_helmholtz/py.typed"}


def test_wheel_names_version_licence_readme_and_core_dependencies(built):
    wheel = zipfile.ZipFile(built[0])
    name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = wheel.read(name).decode()
    assert f"\nVersion: {sklearn_helmholtz.__version__}\n" in metadata
    assert "\nLicense-Expression: BSD-3-Clause\n" in metadata
    assert "\nDescription-Content-Type: text/markdown\n" in metadata
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)
    core = {"joblib", "numpy", "scikit-learn", "scipy", "threadpoolctl"}
    assert set(required) == core
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_sdist_holds_tests_documentation_and_examples(built):
    with tarfile.open(built[1]) as archive:
        names = {
            str(PurePosixPath(*PurePosixPath(name).parts[1:]))
            for name in archive.getnames()
        }
    expected = {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "doc/conf.py"}
    for pattern in ("tests/*.py", "doc/*.md", "doc/images/*", "examples/plot_*.py"):
        found = {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)}
        assert found
        expected |= found
    assert expected <= names
    assert not any(name.startswith(("doc/_build", "doc/generated")) for name in names)


def test_citation_and_package_name_the_same_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = re.search(r"^version: (.*)$", text, re.MULTILINE).group(1)
    assert version == sklearn_helmholtz.__version__
    assert (ROOT / f"doc/whats_new/v{version.rpartition('.')[0]}.md").exists()
