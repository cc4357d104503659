"""Sphinx configuration: `python -m sphinx -W doc doc/_build/html` builds the site."""

import os
import warnings

import sklearn_helmholtz

project = "sklearn_helmholtz"
author = "The sklearn_helmholtz developers"
copyright = f"2026, {author}"
version = release = sklearn_helmholtz.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

# ---------------------------------------------------------------------- checks

# Every internal reference must resolve; with -W a dangling one fails the build.
nitpicky = True
# Links into other projects need their inventories, which need a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(sklearn|numpy|scipy|matplotlib|joblib)\..*"),
]
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
    }
linkcheck_ignore = [r"https?://"]

# ---------------------------------------------------------------------- markup

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autosummary_generate = True
autodoc_default_options = {"inherited-members": False}

# --------------------------------------------------------------------- gallery

# Examples show figures without a window to show them in.
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "doc_module": ("sklearn_helmholtz",),
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"sklearn_helmholtz": None},
    "capture_repr": (),
    "show_memory": False,
    "within_subsection_order": "ExampleTitleSortKey",
}

# ------------------------------------------------------------------------ HTML

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_helmholtz"
html_theme_options = {
    "logo": {"text": "sklearn_helmholtz"},
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": []}
html_copy_source = False
