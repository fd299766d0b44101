"""Make small runs for reports, and read the page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import numpy as np
from anndata import AnnData

import sc_glmm

HOSTILE = [
    "<script>window.hit=1</script>",
    "</script><img src=x onerror=window.hit=1>",
    '"><svg onload=window.hit=1>',
    "' onmouseover='window.hit=1",
    "<!--<script>",
    "]]><b>",
    "&lt;b&gt;",
    "=HYPERLINK(1)",
    "@SUM(1)",
    "javascript:window.hit=1",
    "${window.hit=1}",
    "a b\u202eecalp\u2028x",
    'comma, "quote"',
    "$x_2$ \\frac{1}{0}",
]


def hostile_run() -> AnnData:
    """Make a run with malicious names of genes, levels, samples and columns."""
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=500, n_genes=60, seed=3, depth=900)
    names = list(adata.var_names)
    order = np.argsort(-np.asarray(adata.layers["counts"].sum(0)).ravel())
    for place, name in zip(order, HOSTILE, strict=False):
        names[place] = name
    adata.var_names = names
    adata.obs["disease"] = adata.obs["disease"].cat.rename_categories({"AD": "<b onclick=window.hit=1>AD</b>"})
    samples = adata.obs["sample"].cat.categories
    adata.obs["sample"] = adata.obs["sample"].cat.rename_categories(
        {name: f"{name}{HOSTILE[i % len(HOSTILE)]}" for i, name in enumerate(samples)}
    )
    adata.obs = adata.obs.rename(columns={"sample": "<i>sample</i>"})
    sc_glmm.tl.test(
        adata, "counts ~ disease + (1|`<i>sample</i>`)", reference={"disease": "ctl"}, test="t", progress=False
    )
    return adata


class Reader(HTMLParser):
    """Elements of a page with their attributes, its text, and the data of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data: dict[str, Any] = {}
        self._inside: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = (tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.texts.append(data)
        elif self._inside[1].get("type") == "application/json":
            self.data[str(self._inside[1]["id"])] = json.loads(data)

    @property
    def text(self) -> str:
        """Visible text of the page, with single spaces."""
        return " ".join(" ".join(self.texts).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements with this name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def columns(self, table: str) -> dict[str, list[Any]]:
        """Return the columns of a table by label."""
        return {
            column["label"]: (
                column["values"] if column["number"] else [column["levels"][code] for code in column["codes"]]
            )
            for column in self.data[f"{table}-data"]["columns"]
        }
