"""Sphinx extension: a notebook cell that draws must show a picture, or the build warns (and ``-W`` fails)."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

_DRAWS = re.compile(r"\bpl\.\w+\(|\bplt\.(?!rc|close|get|style|set)\w+\(|\.plot(?:\.\w+)?\(")
_logger = logging.getLogger(__name__)


def cells_without_picture(doctree: nodes.document) -> list[nodes.Element]:
    """The code cells of a page that call a plotting function and have no image among their outputs."""
    return [
        cell
        for cell in doctree.findall(nodes.container)
        if cell.get("nb_element") == "cell_code" and _DRAWS.search(_source(cell)) and not any(cell.findall(nodes.image))
    ]


def _source(cell: nodes.Element) -> str:
    parts = [part for part in cell.findall(nodes.container) if part.get("nb_element") == "cell_code_source"]
    code = "\n".join(part.astext() for part in parts)
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("#"))


def check_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Warn about each cell that should show a picture."""
    for cell in cells_without_picture(doctree):
        first = _source(cell).strip().splitlines()[-1]
        _logger.warning("this cell draws and shows no picture: %s", first, location=cell, type="pictures")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the check."""
    app.connect("doctree-read", check_pictures)
    return {"parallel_read_safe": True}
