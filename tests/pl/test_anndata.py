"""Check every figure of an AnnData after the test, with and without groups, and after reading a file."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import sc_glmm as sg
from sc_glmm import pl


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """Test two cell types, write the results and read them again."""
    adata = sg.datasets.simulate(n_samples=8, n_cells=1000, n_genes=60, n_cell_types=2, frac_de=0.3, seed=4)
    sg.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, groupby="cell_type")
    path = tmp_path_factory.mktemp("written") / "grouped.h5ad"
    adata.write_h5ad(path)
    return ad.read_h5ad(path)


def test_one_cell_type(grouped):
    results = sg.get.results(grouped, columns="all")
    well = results[(results["status"] == "ok") & (results["cell_type"] == "type_2")]
    gene = well.sort_values("p_value")["variable"].iloc[0]
    for plot in (pl.volcano, pl.ma):
        assert "type_2" in plot(grouped, group="type_2").get_title(loc="left")
    ax = pl.samples(grouped, gene, group="type_2")
    assert ax.get_title(loc="left") == f"{gene}, type_2"
    assert ax.get_title(loc="right") == f"adjusted p = {well.set_index('variable').loc[gene, 'adj_p_value']:.2g}"
    cells = grouped.obs["cell_type"] == "type_2"
    assert len(pl.caterpillar(grouped, gene, group="type_2").get_yticks()) == grouped.obs["sample"][cells].nunique()
    ax = pl.dispersion(grouped, what="sample", group="type_2")
    assert [t.get_text() for t in ax.get_legend().get_texts()][:2] == ["prior: mean", "prior: 95 %"]


def test_all_cell_types(grouped):
    results = sg.get.results(grouped, columns="all")
    gene = results.sort_values("p_value")["variable"].iloc[0]
    assert [t.get_text() for t in pl.heatmap(grouped, genes=[gene]).get_xticklabels()] == ["type_1", "type_2"]
    assert [t.get_text() for t in pl.forest(grouped, gene).get_yticklabels()] == ["type_1", "type_2"]
    assert len(pl.counts(grouped).get_yticks()) == 2
    assert len(pl.qq(grouped)) == 2
    assert len(pl.p_values(grouped, contrast="disease")) == 2


def test_a_gene_without_a_model_raises(grouped):
    results = sg.get.results(grouped, columns="all")
    bad = results[results["status"] == "all_zero"]
    if not len(bad):
        pytest.fail("the simulated data were to hold a gene without counts in some cells")
    row = bad.iloc[0]
    with pytest.raises(sg.InputError, match=f"'{row['variable']}' has status '{row['status']}'"):
        pl.samples(grouped, row["variable"], group=row["cell_type"])


def test_without_groups():
    adata = sg.datasets.simulate(n_samples=8, n_cells=600, n_genes=60, frac_de=0.3, seed=4)
    sg.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    info = sg.get.fit_info(adata)
    gene = info[info["status"] == "ok"].sort_values("total")["variable"].iloc[-1]
    ax = pl.samples(adata, gene)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["ctl", "AD"]
    assert len(pl.dispersion(adata, what="sample").lines) == 2
    assert np.isfinite(pl.qq(adata).collections[1].get_offsets()).all()
    with pytest.raises(sg.InputError, match="group='B'.*no groups"):
        pl.volcano(adata, group="B")
