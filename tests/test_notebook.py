"""The example notebook runs, and a browser shows the machine with its descriptions."""

import inspect
import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

import sklearn_helmholtz
from sklearn_helmholtz import HelmholtzMachine

NOTEBOOK = Path(__file__).parents[1] / "examples" / "getting_started.ipynb"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)

#: What a reader would do: open both tables, and point at the first name of each. The
#: browser leaves what it then shows at the end of the page.
LOOK = """
<script>
addEventListener("load", () => {
  const machine = document.querySelector(".sk-estimator");
  machine.querySelectorAll("details").forEach((one) => { one.open = true; });
  const box = (one) => { const r = one.getBoundingClientRect();
    return {x: r.x, y: r.y, width: r.width, height: r.height}; };
  const names = [...machine.querySelectorAll("a.param-doc-link")];
  const seen = names.map((link) => ({
    name: link.firstChild.textContent.trim(),
    href: link.getAttribute("href"),
    description: (link.querySelector(".param-doc-description") || {}).textContent || "",
    box: box(link),
  }));
  const link = document.querySelector("a.sk-estimator-doc-link");
  const out = document.createElement("script");
  out.type = "application/json";
  out.id = "seen";
  out.textContent = JSON.stringify({
    machine: box(machine), names: seen, fallback_shown:
      getComputedStyle(document.querySelector(".sk-text-repr-fallback")).display,
    link: link && link.href, n_images: document.querySelectorAll("img").length,
  });
  document.body.append(out);
});
</script>
"""


@pytest.fixture(scope="module")
def executed():
    """Return the notebook after a run from top to bottom."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    client.execute(cwd=str(NOTEBOOK.parent), env=os.environ | inline)
    return notebook


def outputs(notebook, kind):
    """Return the data of the cells' outputs that have a MIME type."""
    return [
        output["data"][kind]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in output.get("data", {})
    ]


@pytest.fixture(scope="module")
def page(executed, tmp_path_factory):
    """Return the notebook's page as an HTML file."""
    nbconvert = pytest.importorskip("nbconvert")
    html, _ = nbconvert.HTMLExporter(template_name="basic").from_notebook_node(executed)
    path = tmp_path_factory.mktemp("page") / "getting_started.html"
    head = "<!doctype html><html><head><meta charset='utf-8'></head><body>"
    path.write_text(f"{head}{html}{LOOK}</body></html>", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browsed(page):
    """Return what a browser shows of the page, and a screenshot's path."""
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    picture = page.with_suffix(".png")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += ["--window-size=1100,2400", "--virtual-time-budget=3000"]
    flags += [f"--user-data-dir={page.parent / 'profile'}"]
    run = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", f"--screenshot={picture}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'id="seen">(.*?)</script>', run.stdout, re.DOTALL).group(1)
    return json.loads(found), picture


@pytest.fixture(scope="module")
def seen(browsed):
    """Return what a browser shows of the page."""
    return browsed[0]


def test_notebook_runs_and_shows_machine_pipeline_and_dreams(executed):
    shown = outputs(executed, "text/html")
    assert len(shown) == 2
    assert all("HelmholtzMachine" in html for html in shown)
    assert len(outputs(executed, "image/png")) == 1
    stdout = "".join(
        output["text"]
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream"
    )
    assert re.fullmatch(r"-\d\d\.\d\d nats a digit\n", stdout)


@pytest.mark.parametrize(
    "estimator",
    [
        found
        for found in (getattr(sklearn_helmholtz, n) for n in sklearn_helmholtz.__all__)
        if inspect.isclass(found) and issubclass(found, BaseEstimator)
    ],
)
def test_representation_links_every_parameter_to_its_description(estimator):
    html = estimator()._repr_html_()
    url = f"readthedocs.io/en/stable/generated/sklearn_helmholtz.{estimator.__name__}"
    assert html.count(f"{url}.html#:~:text=") == len(estimator().get_params(deep=False))


def test_browser_shows_the_machine_and_not_the_fallback(seen):
    assert seen["fallback_shown"] == "none"
    assert seen["machine"]["width"] > 200
    assert seen["machine"]["height"] > 400
    assert seen["n_images"] == 1
    assert seen["link"].endswith("generated/sklearn_helmholtz.HelmholtzMachine.html")


def test_browser_shows_parameters_and_fitted_attributes_with_descriptions(seen):
    names = {one["name"]: one for one in seen["names"]}
    fitted = {"components_", "generative_coefs_", "free_energy_curve_", "n_iter_"}
    assert set(HelmholtzMachine().get_params()) | fitted <= set(names)
    for name, one in names.items():
        assert unescape(one["description"]).strip().startswith(f"{name}:"), name
        assert f"text={name},-" in one["href"]
        assert one["box"]["height"] > 0, f"{name} is not visible"
    assert "Units of the hidden layers" in names["hidden_layer_sizes"]["description"]
    assert "Mean free energy" in names["free_energy_curve_"]["description"]


def test_screenshot_shows_more_than_an_empty_page(browsed):
    image = pytest.importorskip("matplotlib.image")
    seen, picture = browsed
    pixels = image.imread(picture)[..., :3]
    assert pixels.shape[1] >= 1000
    # The machine's box, where the browser says it is, has ink of more than one colour.
    box = {key: int(value) for key, value in seen["machine"].items()}
    part = pixels[
        box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]
    ]
    colours = {tuple(pixel) for pixel in part[::7, ::7].reshape(-1, 3).tolist()}
    assert len(colours) > 10
    assert part.std() > 0.02
