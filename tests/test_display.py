"""What the user reads while something runs."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest

import sc_glmm
from sc_glmm._display import logger, progress_over


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        return True


def draw(monkeypatch, stream: io.StringIO, progress: bool | None) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert list(progress_over([(64, "a"), (36, "b")], 100, "genes", progress)) == ["a", "b"]
    return stream.getvalue()


def test_a_bar_counts_genes_with_rate_and_time_left(monkeypatch) -> None:
    said = draw(monkeypatch, Terminal(), None)
    assert re.search(r"genes: 100%.*\| 100/100 \[\d\d:\d\d<\d\d:\d\d, .*gene/s\]", said)


def test_no_bar_where_nobody_looks(monkeypatch) -> None:
    assert draw(monkeypatch, io.StringIO(), None) == ""
    assert draw(monkeypatch, Terminal(), False) == ""
    assert "gene" in draw(monkeypatch, io.StringIO(), True)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        assert draw(monkeypatch, Terminal(), None) == ""
    finally:
        logger.setLevel(level)


@pytest.mark.filterwarnings("ignore::sc_glmm.ScGlmmWarning")
@pytest.mark.parametrize("groupby", [None, "kind"])
def test_one_line_says_what_became_of_the_genes(caplog, groupby: str | None) -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=12, seed=2)
    adata.obs["kind"] = ["a", "b"] * 200
    counts = adata.layers["counts"].tolil()
    counts[:, 3] = 0
    counts[(adata.obs["disease"] == "AD").to_numpy().nonzero()[0], 4] = 0
    adata.layers["counts"] = counts.tocsr()
    with caplog.at_level(logging.INFO, "sc_glmm"):
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, test="t", groupby=groupby)
    # a set: handlers that tests before this one left may show a record twice
    (said,) = {record.getMessage() for record in caplog.records if record.getMessage().startswith("tested ")}
    assert "\n" not in said
    table = sc_glmm.get.results(adata, columns="all")
    n_all = 12 if groupby is None else 24
    where = "" if groupby is None else " in 2 levels of 'kind'"
    assert re.match(rf"tested {table['p_value'].notna().sum()} of {n_all} genes{where} in \d+\.\d s \(", said)
    for word in ("singular", "separated", "all_zero"):
        assert f"{(table['status'] == word).sum()} {word.replace('_', ' ')}" in said
    assert said.endswith("0 failed): sc_glmm.get.results(adata)")
