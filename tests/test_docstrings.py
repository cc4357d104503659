"""Public docstrings are valid numpydoc and complete; the site names every one."""

import inspect
import re
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate
from sklearn.base import BaseEstimator

import sklearn_helmholtz
from sklearn_helmholtz import HelmholtzMachine

mpl.use("Agg")
ROOT = Path(__file__).parents[1]
#: What scikit-learn's own docstrings do otherwise than numpydoc's list has it: the
#: summary stands on the first line, one paragraph may be enough, a single returned
#: value has a name.
HOUSE_STYLE = {"GL01", "ES01", "RT02"}
#: Asked of classes, not of every method.
CLASSES_ALONE = {"SA01", "EX01"}


def public_names():
    """Return the dotted names of public objects and of the methods they define."""
    for name in sklearn_helmholtz.__all__:
        found = getattr(sklearn_helmholtz, name)
        yield f"sklearn_helmholtz.{name}"
        for attribute, member in inspect.getmembers(found):
            home = getattr(member, "__module__", None) or ""
            own = home.startswith("sklearn_helmholtz") and callable(member)
            if inspect.isclass(found) and own and not attribute.startswith("_"):
                yield f"sklearn_helmholtz.{name}.{attribute}"


@pytest.mark.parametrize("name", sorted(set(public_names())))
def test_docstring_is_valid_numpydoc(name):
    excused = HOUSE_STYLE | (CLASSES_ALONE if name.count(".") > 1 else set())
    errors = [error for error in validate(name)["errors"] if error[0] not in excused]
    assert errors == []


def test_validation_sees_the_methods():
    assert "sklearn_helmholtz.HelmholtzMachine.score_samples" in set(public_names())


def estimators():
    """Return the public estimator classes."""
    found = [getattr(sklearn_helmholtz, name) for name in sklearn_helmholtz.__all__]
    return [c for c in found if inspect.isclass(c) and issubclass(c, BaseEstimator)]


@pytest.mark.parametrize("estimator", estimators())
def test_every_parameter_is_documented_with_its_default(estimator):
    described = {
        item.name: item.type
        for item in NumpyDocString(inspect.getdoc(estimator))["Parameters"]
    }
    signature = inspect.signature(estimator).parameters
    assert list(described) == list(signature)
    for name, parameter in signature.items():
        if parameter.default is not inspect.Parameter.empty:
            default = re.search(r"default=(.*)$", described[name]).group(1)
            assert default.strip("\"'") == str(parameter.default).strip("\"'")


@pytest.mark.parametrize(
    "settings",
    [
        {"visible": "gaussian", "early_stopping": True},
        {"visible": "bernoulli", "lateral": True},
    ],
)
def test_every_fitted_attribute_is_documented(settings):
    X = [[0, 1.0], [1, 0], [1, 1], [0, 0]] * 5
    machine = HelmholtzMachine((2,), max_iter=1, **settings).fit(X)
    fitted = {
        name
        for name in vars(machine)
        if name.endswith("_") and not name.startswith("_")
    }
    documented = NumpyDocString(inspect.getdoc(HelmholtzMachine))["Attributes"]
    assert fitted <= {item.name for item in documented}


# ---------------------------------------------------------------- the site's text


def pages():
    """Return the Markdown files that are written by hand."""
    doc = ROOT / "doc"
    news = doc.glob("whats_new/*.md")
    return [ROOT / "README.md", *sorted(doc.glob("[!_]*.md")), *sorted(news)]


def targets(page):
    """Return where a page's links lead, those in blocks of code left out."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_api_reference_names_every_public_name_once():
    text = (ROOT / "doc" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   (\w+)$", text, flags=re.MULTILINE)
    assert sorted(listed) == sorted(sklearn_helmholtz.__all__)


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.name)
def test_relative_links_lead_to_files(page):
    for target in targets(page):
        path = target.partition("#")[0]
        if "://" in target or not path or path.startswith("auto_examples/"):
            continue
        assert (page.parent / path).exists(), target


def test_links_are_found_at_all():
    assert "doc/design.md" in targets(ROOT / "README.md")


def test_pages_refer_to_examples_that_exist():
    referred = set()
    for page in pages():
        text = page.read_text(encoding="utf-8")
        referred |= set(re.findall(r"sphx_glr_auto_examples_(\w+\.py)", text))
    examples = {path.name for path in (ROOT / "examples").glob("plot_*.py")}
    assert referred
    assert referred <= examples


def test_pictures_are_small():
    pictures = [*(ROOT / "doc" / "images").iterdir()]
    assert pictures
    assert all(picture.stat().st_size < 200_000 for picture in pictures)


@pytest.mark.parametrize("page", ["README.md", "doc/index.md"])
def test_first_steps_run_as_they_stand_but_for_their_length(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    shorter = {
        "(random_state=0)": "(max_iter=1, random_state=0)",
        "max_iter=20": "max_iter=1",
        "X = load_digits().data / 16": "X = load_digits().data[::18] / 16",
        "X = X / 16": "X, y = X[::18] / 16, y[::18]",
    }
    for whole, part in shorter.items():
        code = code.replace(whole, part)
    shown = {}
    exec(code, shown)
    assert shown["machine"].n_iter_ == 1
    assert len(shown["X"]) == 100
    plt.close("all")


def test_public_functions_say_what_type_they_return():
    for name in sklearn_helmholtz.__all__:
        public = getattr(sklearn_helmholtz, name)
        own = vars(public).items() if inspect.isclass(public) else [(name, public)]
        for method, function in own:
            function = inspect.unwrap(getattr(function, "__func__", function))
            if inspect.isfunction(function) and not method.startswith("_"):
                assert "return" in function.__annotations__, (name, method)
