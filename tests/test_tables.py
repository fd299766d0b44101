"""Check that tables are complete after writing and reading, and from a MuData."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._errors import InputError

FORMULA = "counts ~ disease + (1|sample)"


@pytest.fixture(scope="module")
def adata():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=500, n_genes=80, n_cell_types=2, seed=12)
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, groupby="cell_type")
    return adata


@pytest.mark.parametrize("table", ["results", "fit_info", "details"])
def test_parquet_keeps_every_column_and_type(adata, tmp_path, table):
    frame = getattr(sc_glmm.get, table)(adata)
    frame.to_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), frame)


def test_csv_keeps_every_number_and_word(adata, tmp_path):
    frame = sc_glmm.get.results(adata, columns="all")
    frame.to_csv(tmp_path / "table.csv", index=False)
    back = pd.read_csv(tmp_path / "table.csv")
    # the file has all digits, but pandas 2 reads fewer of them by default
    words = pd.read_csv(tmp_path / "table.csv", dtype=str)
    assert list(back.columns) == list(frame.columns)
    for name in frame:
        mine, theirs = back[name], frame[name].reset_index(drop=True)
        if theirs.dtype.kind == "f":
            np.testing.assert_array_equal([float(word) for word in words[name]], theirs, err_msg=name)
        elif theirs.dtype.kind == "b":
            assert (mine == theirs).all(), name
        else:
            expected = theirs.astype(object).where(theirs.notna(), None)
            found = mine.astype(object).where(mine.notna(), None)
            assert [x or None for x in found] == [x or None for x in expected], name


def of_two_modalities():
    mudata = pytest.importorskip("mudata")
    rna = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=55, n_cell_types=2, seed=3)
    other = rna[:, :5].copy()
    other.var_names = [f"p{i}" for i in range(5)]
    disease = rna.obs.pop("disease")
    del other.obs["disease"]
    result = mudata.MuData({"rna": rna, "prot": other})
    result.obs["disease"] = disease.reindex(result.obs_names)
    return result


# warnings of mudata about pandas and about future changes
@pytest.mark.filterwarnings("ignore:The inplace keyword", "ignore::FutureWarning", "ignore::UserWarning")
def test_results_of_a_mudata():
    multi = of_two_modalities()
    import matplotlib.pyplot as plt

    from sc_glmm import pl

    with pytest.raises(InputError, match="no modality of"):
        sc_glmm.get.results(multi, columns="all")
    sc_glmm.tl.test(multi, FORMULA, reference={"disease": "ctl"}, groupby="cell_type", modality="rna")
    inside = sc_glmm.get.results(multi["rna"], columns="all")
    for key in ("glmm", "rna:glmm"):
        pd.testing.assert_frame_equal(sc_glmm.get.results(multi, key, columns="all"), inside)
    pd.testing.assert_frame_equal(sc_glmm.get.fit_info(multi), sc_glmm.get.fit_info(multi["rna"]))
    pd.testing.assert_frame_equal(sc_glmm.get.details(multi), sc_glmm.get.details(multi["rna"]))
    gene = inside[inside["status"] == "ok"].sort_values("p_value")["variable"].iloc[0]
    group = str(inside.loc[(inside["variable"] == gene) & (inside["status"] == "ok"), "cell_type"].iloc[0])
    # the formula of the gene also uses a column of the MuData itself
    model = sc_glmm.tl.refit(multi, gene, group=group)
    row = inside[(inside["variable"] == gene) & (inside["cell_type"] == group)].iloc[0]
    assert model.fixef()["disease[T.AD]"] == pytest.approx(row["coef_disease[T.AD]"], rel=1e-9)
    assert gene in pl.samples(multi, gene, group=group).get_title(loc="left")
    assert pl.volcano(multi, key="rna:glmm", group=group).get_title(loc="left")
    assert len(pl.dispersion(multi, what="sample", group=group).lines) == 2
    plt.close("all")
    sc_glmm.tl.test(multi, FORMULA, modality="prot", test="t", size_factors="true_size_factor")
    with pytest.raises(InputError, match=r"several modalities have: \['rna', 'prot'\].*key='rna:glmm'"):
        sc_glmm.get.results(multi, columns="all")
    assert len(sc_glmm.get.results(multi, "prot:glmm", columns="all")) == 5
