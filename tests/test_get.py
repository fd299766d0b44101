"""Check the table of results: its columns, its filters, and errors about unknown names."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import InputError

MAIN = "variable contrast log_fc ci_low ci_high p_value adj_p_value mean pct status tested".split()


@pytest.fixture(scope="module")
def adata() -> Any:
    adata = sc_glmm.datasets.simulate(n_samples=10, n_cells=400, n_genes=12, seed=1)
    adata.obs["type"] = np.where(np.arange(adata.n_obs) % 2, "B", "T")
    adata.obs["sex"] = pd.Categorical(np.where(adata.obs["sample"].astype(str).str[-1].isin(list("024")), "F", "M"))
    counts = adata.layers["counts"].toarray()
    counts[:, 3] = 0
    adata.layers["counts"] = type(adata.layers["counts"])(counts)
    options: Any = {"reference": {"disease": "ctl", "sex": "F"}, "test": "t", "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
        sc_glmm.tl.test(adata, "counts ~ disease + sex + (1|sample)", **options)
        del options["reference"]["sex"]
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", groupby="type", key_added="types", **options)
    return adata


def test_default_columns(adata: Any, tmp_path: Path) -> None:
    assert list(sc_glmm.get.results(adata).columns) == MAIN
    assert list(sc_glmm.get.results(adata, key="types").columns) == ["type", *MAIN]
    every = sc_glmm.get.results(adata, columns="all")
    assert {"se", "stat", "df", "coef_Intercept", "loglik", *MAIN} <= set(every)
    assert list(sc_glmm.get.results(adata, columns=["se", "loglik"]).columns) == [
        "variable",
        "contrast",
        "se",
        "loglik",
    ]
    assert list(sc_glmm.get.results(adata, columns="df").columns) == ["variable", "contrast", "df"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(sc_glmm.get.results(tmp_path / "a.h5ad"), sc_glmm.get.results(adata))


def test_tested_column_marks_genes_with_a_p_value(adata: Any) -> None:
    table = sc_glmm.get.results(adata, columns="all")
    assert table["tested"].dtype == bool
    np.testing.assert_array_equal(table["tested"], np.isfinite(table["p_value"]))
    assert 0 < (~table["tested"]).sum() < len(table)
    assert sc_glmm.get.results(adata, tested=True)["p_value"].notna().all()


def test_filters(adata: Any) -> None:
    table = sc_glmm.get.results(adata)
    genes = list(adata.var_names[[5, 2]])
    assert set(sc_glmm.get.results(adata, genes=genes)["variable"]) == set(genes)
    assert set(sc_glmm.get.results(adata, genes=genes[0])["variable"]) == {genes[0]}
    pd.testing.assert_frame_equal(sc_glmm.get.results(adata, alpha=0.3), table[table["adj_p_value"] < 0.3])
    pd.testing.assert_frame_equal(sc_glmm.get.results(adata, min_log_fc=0.5), table[table["log_fc"].abs() >= 0.5])
    for name in ("disease", "disease: AD vs ctl", "AD vs ctl", "AD"):
        chosen = sc_glmm.get.results(adata, contrast=name)
        assert set(chosen["contrast"]) == {"disease: AD vs ctl"}
    assert len(sc_glmm.get.results(adata, contrast=["AD", "sex"])) == len(table)
    assert set(sc_glmm.get.results(adata, key="types", group="B")["type"]) == {"B"}
    assert len(sc_glmm.get.results(adata, key="types", group=["B", "T"])) == 2 * adata.n_vars


def test_sorting(adata: Any) -> None:
    by_p = sc_glmm.get.results(adata, sort="p_value")["p_value"].dropna()
    assert by_p.is_monotonic_increasing
    assert sc_glmm.get.results(adata, sort="p_value")["p_value"].isna().iloc[-1]
    assert sc_glmm.get.results(adata, sort="log_fc")["log_fc"].abs().dropna().is_monotonic_decreasing
    assert sc_glmm.get.results(adata, sort="mean")["mean"].is_monotonic_decreasing
    assert sc_glmm.get.results(adata, sort="variable")["variable"].is_monotonic_increasing
    assert sc_glmm.get.results(adata, sort="se").shape[1] == len(MAIN)  # a column that is not shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contrast": "diseas: AD vs ctl"}, "did you mean 'disease: AD vs ctl'"),
        ({"genes": ["GENE0002", "zzz"]}, "the results have no gene 'GENE0002'.*did you mean"),
        ({"genes": "nothing like it"}, "the results have no gene 'nothing like it' .available:"),
        ({"group": "B"}, "has no groups"),
        ({"key": "types", "group": "b"}, "the results have no group 'b'.*did you mean 'B'"),
        ({"key": "type"}, "existing keys: 'glmm', 'types'; did you mean 'types'"),
        ({"sort": "pvalue"}, "no such column; did you mean 'p_value'"),
        ({"columns": "log_FC"}, "no column 'log_FC'; did you mean 'log_fc'"),
        ({"alpha": 5}, "alpha=5: allowed are numbers from 0 to 1, such as 0.05"),
        ({"alpha": "0.05"}, "alpha='0.05'"),
        ({"min_log_fc": -1}, "min_log_fc=-1: allowed are numbers of at least 0"),
    ],
)
def test_unknown_names(adata: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sc_glmm.get.results(adata, **options)


@pytest.mark.parametrize("key", ["glmm", "types"])
def test_every_column_is_described(adata: Any, key: str) -> None:
    description = sc_glmm.get.describe(adata, key=key)
    assert set(description.index) == set(sc_glmm.get.results(adata, key=key, columns="all").columns)
    assert description.index.is_unique
    assert (description["meaning"] != "").all()
    assert list(description.index[description["main"]]) == list(sc_glmm.get.results(adata, key=key).columns)


def test_every_column_of_the_default_test_is_described() -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=60, seed=0)
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, progress=False)
    assert (sc_glmm.get.describe(adata)["meaning"] != "").all()
