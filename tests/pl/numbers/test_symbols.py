"""Check gene symbols: labels in figures, and the search for genes by symbol."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._errors import InputError
from sc_glmm.pl._numbers.symbols import name_and_symbol, symbols_of, with_symbols
from sc_glmm.pl._style import italic


@pytest.fixture
def adata():
    var = pd.DataFrame({"symbol": ["A", "B", "B", None, ""]}, index=["e1", "e2", "e3", "e4", "e5"])
    return ad.AnnData(np.zeros((2, 5)), var=var)


def test_every_gene_has_a_symbol_of_its_own(adata):
    assert list(symbols_of(adata, "glmm", "symbol")) == ["A", "B (e2)", "B (e3)", "e4", "e5"]
    frame = pd.DataFrame({"variable": ["e4", "e1", "e3"], "p_value": [0.1, 0.2, 0.3]})
    assert list(with_symbols(frame, adata, "glmm", "symbol")["variable"]) == ["e4", "A", "B (e3)"]
    assert with_symbols(frame, adata, "glmm", None) is frame


def test_a_gene_is_found_by_symbol_and_by_name(adata):
    assert name_and_symbol("A", adata, "glmm", "symbol") == ("e1", "A")
    assert name_and_symbol("e2", adata, "glmm", "symbol") == ("e2", "B (e2)")
    assert name_and_symbol("e2", adata, "glmm", None) == ("e2", "e2")
    with pytest.raises(InputError, match="neither a symbol"):
        name_and_symbol("Z", adata, "glmm", "symbol")


def test_data_without_symbols_are_rejected(adata):
    with pytest.raises(InputError, match="did you mean 'symbol'"):
        symbols_of(adata, "glmm", "symbols")
    frame = pd.DataFrame({"variable": ["e1", "e1", "e2"], "symbol": ["A", "A", "B"]})
    assert list(with_symbols(frame, frame, "glmm", "symbol")["variable"]) == ["A", "A", "B"]
    with pytest.raises(InputError, match="not a column of the data frame"):
        with_symbols(frame, frame, "glmm", "name")


def test_figures_call_genes_by_symbol():
    import matplotlib.pyplot as plt

    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=700, n_genes=60, frac_de=0.4, seed=4)
    adata.var["symbol"] = [f"SYM{i}" for i in range(adata.n_vars)]
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    table = sc_glmm.get.results(adata, columns="all")
    best = table[table["status"] == "ok"].sort_values("p_value")["variable"].iloc[0]
    symbol = adata.var.loc[best, "symbol"]
    for plot in (sc_glmm.pl.volcano, sc_glmm.pl.ma):
        ax = plot(adata, gene_symbols="symbol", labels=[symbol])
        assert symbol in {text.get_text() for text in ax.texts}
    assert sc_glmm.pl.forest(adata, symbol, gene_symbols="symbol").get_title(loc="left") == italic(symbol)
    shown = sc_glmm.pl.heatmap(adata, genes=[symbol], gene_symbols="symbol")
    assert [text.get_text() for text in shown.get_yticklabels()] == [symbol]
    for plot in (sc_glmm.pl.samples, sc_glmm.pl.caterpillar):
        assert plot(adata, symbol, gene_symbols="symbol").get_title(loc="left") == italic(symbol)
    plt.close("all")
