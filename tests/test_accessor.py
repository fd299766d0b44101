"""Check ``adata.glmm`` and MuData, which call the same functions."""

from __future__ import annotations

import subprocess
import sys

import anndata as ad
import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import InputError

FORMULA = "counts ~ disease + (1|sample)"
CTL = {"disease": "ctl"}
# warnings of mudata about pandas and about future changes
of_mudata = pytest.mark.filterwarnings("ignore:The inplace keyword", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def adata() -> ad.AnnData:
    return sc_glmm.datasets.simulate(n_samples=8, n_cells=240, n_genes=10, seed=6)


def test_methods_do_what_the_functions_do(adata: ad.AnnData) -> None:
    assert adata.glmm.test(FORMULA, reference=CTL, test="t") is None
    pd.testing.assert_frame_equal(adata.glmm.results(), sc_glmm.get.results(adata))
    pd.testing.assert_frame_equal(adata.glmm.fit_info(), sc_glmm.get.fit_info(adata))
    pd.testing.assert_frame_equal(adata.glmm.variance_fractions(), sc_glmm.get.variance_fractions(adata))
    gene = adata.var_names[0]
    assert adata.glmm.refit(gene).loglik() == pytest.approx(sc_glmm.tl.refit(adata, gene).loglik())
    pd.testing.assert_frame_equal(adata.glmm.details(), sc_glmm.get.details(adata))
    ax = adata.glmm.pl.volcano()
    assert isinstance(ax, plt.Axes)
    plt.close("all")
    assert set(sc_glmm.pl.__all__) == set(dir(adata.glmm.pl))
    with pytest.raises(AttributeError, match="no function 'vulcano'; it has .*volcano"):
        adata.glmm.pl.vulcano()
    copied = adata.glmm.test(FORMULA, reference=CTL, test="t", copy=True, key_added="again")
    assert "again" in copied.uns
    assert "again" not in adata.uns


@pytest.mark.parametrize("order", ["sc_glmm, anndata", "anndata, sc_glmm", "sc_glmm, sc_glmm.tl, anndata"])
def test_accessor_exists_for_any_order_of_imports(order: str) -> None:
    code = (
        f"import {order}, numpy, sys\n"
        "adata = anndata.AnnData(numpy.ones((2, 2)))\n"
        "assert type(adata.glmm).__name__ == 'GlmmAccessor'\n"
        "assert not [f for f in sys.meta_path if type(f).__module__.startswith('sc_glmm')]\n"
    )
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True)


@of_mudata
def test_mudata_by_modality(adata: ad.AnnData, tmp_path) -> None:
    protein = ad.AnnData(np.ones((adata.n_obs, 2), dtype=np.float32), obs=adata.obs[[]].copy())
    protein.var_names = ["p0", "p1"]
    expected = sc_glmm.tl.test(adata, FORMULA, reference=CTL, test="t", copy=True)
    above = adata.obs[["disease"]].copy()
    del adata.obs["disease"]
    mdata = mudata.MuData({"rna": adata, "protein": protein[::-1].copy()})
    mdata.obs["disease"] = above["disease"].reindex(mdata.obs_names)  # found at the top
    sc_glmm.tl.test(mdata, FORMULA, reference=CTL, test="t", modality="rna")
    found = sc_glmm.get.results(mdata["rna"], columns="all")
    pd.testing.assert_frame_equal(found, sc_glmm.get.results(expected, columns="all"))
    assert "disease" not in mdata["rna"].obs.columns
    mdata.write_h5mu(tmp_path / "a.h5mu")
    back = sc_glmm.get.results(mudata.read_h5mu(tmp_path / "a.h5mu")["rna"], columns="all")
    pd.testing.assert_frame_equal(back, found, check_dtype=False, check_categorical=False)


@of_mudata
def test_invalid_arguments_are_rejected(adata: ad.AnnData) -> None:
    mdata = mudata.MuData({"rna": adata})
    with pytest.raises(InputError, match=r"no modality was given; the MuData has \['rna'\]"):
        sc_glmm.tl.test(mdata, FORMULA)
    with pytest.raises(InputError, match="there is no modality 'RNA'"):
        sc_glmm.tl.test(mdata, FORMULA, modality="RNA")
    with pytest.raises(InputError, match="copy it first"):
        sc_glmm.tl.test(mdata, FORMULA, modality="rna", copy=True)
    with pytest.raises(InputError, match="modality='rna' needs a MuData, but the data are a AnnData"):
        sc_glmm.tl.test(adata, FORMULA, modality="rna")
