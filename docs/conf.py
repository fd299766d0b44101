"""Sphinx configuration. Notebooks are text, are executed at build, and an error in one of them fails the build."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import date
from importlib.metadata import metadata
from pathlib import Path

from sphinx.application import Sphinx

here = Path(__file__).parent
sys.path.insert(0, str(here))

info = metadata("sc-glmm")
project = "sc_glmm"
author = info["Author"]
copyright = f"{date.today().year}, {author}"
version = release = info["Version"]

extensions = [
    "myst_nb",
    "pictures",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

# The tutorials live at the top of the project, where people look for them; sphinx reads only what lies below docs.
shutil.rmtree(here / "tutorials", ignore_errors=True)
shutil.copytree(here.parent / "tutorials", here / "tutorials", ignore=shutil.ignore_patterns(".*"))

nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True
# A progress bar is for someone who waits; on a page it is a column of numbers.
os.environ["TQDM_DISABLE"] = "1"
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # napoleon shows the signature's types; the text gives shapes and units
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes of a record are no objects of their own
templates_path = ["_templates"]

# A reference that leads nowhere fails the build. Names of other packages are looked up where there is a network for it.
nitpicky = True
others = {
    "anndata": "https://anndata.readthedocs.io/en/stable",
    "matplotlib": "https://matplotlib.org/stable",
    "numpy": "https://numpy.org/doc/stable",
    "pandas": "https://pandas.pydata.org/docs",
    "python": "https://docs.python.org/3",
    "scanpy": "https://scanpy.readthedocs.io/en/stable",
    "scipy": "https://docs.scipy.org/doc/scipy",
}
if os.environ.get("READTHEDOCS") == "True":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {name: (address, None) for name, address in others.items()}

# The bibliography is the one that the report cites.
bibtex_bibfiles = ["../sc_glmm/_report/references.bib"]
bibtex_reference_style = "author_year"

html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {
    "repository_url": "https://github.com/sc-glmm/sc_glmm",
    "show_toc_level": 2,
    "use_download_button": False,
    "use_repository_button": True,
}
(here / "_extra").mkdir(exist_ok=True)
html_extra_path = ["_extra"]


def make_example_report(_: object) -> None:
    """Write the report that the page about reports links to, unless it is there."""
    import sc_glmm

    path = here / "_extra" / "example_report.html"
    if path.exists():
        return
    adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=3000, n_genes=400, seed=0)
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    sc_glmm.report(adata, path, title="A simulated case-control study", null=1)


def setup(app: Sphinx) -> None:
    """Make what the pages link to."""
    app.connect("builder-inited", make_example_report)


copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
