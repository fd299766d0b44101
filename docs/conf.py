"""Sphinx configuration. Notebooks are text, are executed at build, and an error in one of them fails the build."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import date
from importlib.metadata import metadata
from pathlib import Path

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

html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
