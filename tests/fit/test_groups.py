"""Check groups of cells: dropped terms, skipped groups, the table of details, adjustment of p-values."""

from __future__ import annotations

import warnings
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import DesignError, InputError, ScGlmmWarning
from sc_glmm._fit.constant import drop_constant
from sc_glmm._formula import parse_formula
from sc_glmm._inference.multiple import benjamini_hochberg

N_GENES = 12


def make() -> ad.AnnData:
    """Make twelve samples; the type ``one batch`` is from a single batch and site, ``small`` has few samples of AD."""
    rng = np.random.default_rng(2)
    sample = np.repeat(np.arange(12), 60)
    kind = np.array(["all", "one batch", "small"])[rng.integers(0, 3, len(sample))]
    batch = np.where(sample // 2 % 2 == 0, "x", "y")
    kind[(kind == "one batch") & (batch == "y")] = "all"
    kind[(kind == "small") & (sample % 2 == 1) & (sample > 3)] = "all"
    counts = rng.poisson(np.exp(rng.normal(0.7, 0.2, (12, N_GENES)))[sample])
    counts[:, 5] = np.where(kind == "all", counts[:, 5], 0)
    obs = pd.DataFrame(
        {
            "sample": [f"s{i:02}" for i in sample],
            "disease": pd.Categorical(np.array(["ctl", "AD"])[sample % 2], categories=["ctl", "AD"]),
            "batch": pd.Categorical(batch),
            "site": np.where(sample % 3 == 0, "p", "q"),
            "age": np.where(batch == "x", 50.0, 50.0 + sample),
            "kind": pd.Categorical(kind),
        },
        index=[f"c{i}" for i in range(len(sample))],
    )
    return ad.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


def run(formula: str, adata: ad.AnnData | None = None, **kwargs: Any) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return results, details and messages."""
    adata = make() if adata is None else adata
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ScGlmmWarning)
        sc_glmm.tl.test(adata, formula, groupby="kind", test="t", n_jobs=1, **kwargs)
    messages = [str(w.message) for w in caught if issubclass(w.category, ScGlmmWarning)]
    return sc_glmm.get.results(adata, columns="all"), sc_glmm.get.details(adata).set_index("kind"), messages


@pytest.mark.parametrize(
    ("formula", "left", "dropped"),
    [
        ("~ disease + batch + (1|sample)", "1 + disease", ("batch",)),
        ("~ disease*batch + (1|sample)", "1 + disease", ("batch", "disease:batch")),
        ("~ disease:batch + (1|sample)", "1 + disease", ("disease:batch",)),
        ("~ disease + log(age) + (1|sample)", "1 + disease", ("log(age)",)),
        ("~ 0 + batch + disease + (1|sample)", "1 + disease", ("batch",)),
        ("~ disease + (1|sample) + (1|batch)", "1 + disease", ("(1 | batch)",)),
        ("~ disease + (1 + age|sample)", "1 + disease", ("(1 + age | sample)",)),
        ("~ disease + (1|sample) + (0 + age|sample)", "1 + disease", ("(0 + age | sample)",)),
        ("~ disease + (1|batch:sample)", "1 + disease", ()),
        ("~ disease + offset(age) + (1|sample)", "1 + disease", ()),
    ],
)
def test_constant_terms_are_dropped(formula: str, left: str, dropped: tuple) -> None:
    obs = make().obs
    short, gone = drop_constant(parse_formula(formula), obs[obs["kind"] == "one batch"])
    assert gone == dropped
    assert short.fixed == left
    assert len(short.random) == 1
    assert short.offsets == parse_formula(formula).offsets
    assert ("batch" in short.source) == ("batch:sample" in formula)
    assert drop_constant(parse_formula(formula), obs)[1] == ()


def test_dropped_terms_give_the_results_of_the_shorter_formula() -> None:
    sizes = np.linspace(0.5, 2.0, 720)
    found, details, notes = run(
        "X ~ disease*batch + (1|sample) + (1|site:batch)", contrasts="disease", size_factors=sizes
    )
    adata = make()
    in_group = (adata.obs["kind"] == "one batch").to_numpy()
    alone = adata[in_group].copy()
    with pytest.warns(ScGlmmWarning, match="only 3 degrees of freedom"):
        sc_glmm.tl.test(alone, "X ~ disease + (1|sample) + (1|site:batch)", test="t", size_factors=sizes[in_group])
    theirs = sc_glmm.get.results(alone, columns="all")
    own = found[found["kind"] == "one batch"]
    assert set(own["contrast"]) == {"disease: AD vs ctl"}
    for column in ("coef", "se", "p_value", "df"):
        np.testing.assert_allclose(own[column], theirs[column], rtol=1e-6)
    assert details.loc["one batch", "dropped"] == "batch; disease:batch"
    assert details.loc["all", "dropped"] == ""
    assert "one batch: batch, disease:batch does not vary here and was dropped from the formula" in notes
    assert set(found.loc[found["kind"] == "all", "contrast"]) == {"disease: AD vs ctl (at batch = x)"}
    # both are the contrast "disease"
    adata = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, "X ~ disease*batch + (1|sample)", groupby="kind", contrasts=["disease"], test="t")
    assert set(sc_glmm.get.results(adata, contrast="disease", columns="all")["kind"]) == {"all", "one batch", "small"}


def test_gene_of_a_type_with_dropped_terms_can_be_refitted() -> None:
    adata = make()
    run("X ~ disease + batch + (1|sample)", adata, contrasts="disease", reference={"batch": "y"})
    rows = sc_glmm.get.results(adata, columns="all")
    for kind in ("all", "one batch"):
        model = sc_glmm.tl.refit(adata, "g1", group=kind)
        expected = rows.loc[rows["kind"] == kind, "coef"]["g1"]
        assert model.fixef()["disease[T.AD]"] == pytest.approx(expected, abs=1e-6)
        assert ("batch[T.x]" in model.fixef()) == (kind == "all")


def test_contrasts_that_a_type_does_not_have() -> None:
    contrasts = {"ill": "disease", "batch": ("batch", "y", "x")}
    found, details, notes = run("X ~ disease + batch + (1|sample)", contrasts=contrasts)
    assert set(found.loc[found["kind"] == "one batch", "contrast"]) == {"ill"}
    assert len(set(found.loc[found["kind"] == "all", "contrast"])) == 2
    assert details.loc["one batch", "not_tested"].startswith("'batch': ")
    assert details.loc["all", "not_tested"] == ""
    assert any(text.startswith("one batch: the contrast 'batch' is not tested: ") for text in notes)
    adata = make()
    with pytest.raises(
        DesignError, match="the contrast 'wrong' cannot be tested in any level of 'kind': there is no term"
    ):
        run("X ~ disease + batch + (1|sample)", adata, contrasts={"ill": "disease", "wrong": "diseas"})
    with pytest.raises(DesignError, match="reference= contains 'diseas'"):
        run("X ~ disease + batch + (1|sample)", adata, reference={"diseas": "ctl"})


def test_one_fit_info_per_gene_and_type_for_any_contrasts() -> None:
    adata = make()
    run("X ~ batch + disease + (1|sample)", adata)
    info = sc_glmm.get.fit_info(adata)
    assert len(info) == 3 * N_GENES
    assert not info.duplicated(["variable", "kind"]).any()


def test_details_count_cells_samples_and_genes() -> None:
    adata = make()
    adata.obs.loc[adata.obs_names[:3], "disease"] = np.nan
    found, details, _ = run("X ~ disease + (1|sample)", adata, min_samples=3)
    assert details["skipped"].tolist() == ["", "", "disease: AD has 2 levels of sample, fewer than min_samples=3"]
    assert set(found["kind"]) == {"all", "one batch"}
    for kind, obs in adata.obs.groupby("kind", observed=True):
        with_value = obs.dropna(subset="disease")
        if kind != "small":
            assert details.loc[kind, "n_cells"] == len(with_value)
        for arm in ("ctl", "AD"):
            samples = with_value.loc[with_value["disease"] == arm, "sample"].nunique()
            assert details.loc[kind, f"n_sample[disease: {arm}]"] == samples
        assert details.loc[kind, "n_sample"] == obs["sample"].nunique()
    assert details["n_tested"].tolist() == [N_GENES, N_GENES - 1, 0]
    assert details["n_all_zero"].tolist() == [0, 1, 0]
    assert (details["n_failed"] == 0).all()
    statuses = [c for c in details.columns if c.startswith("n_") and c[2:] in found["status"].cat.categories]
    assert (details.loc[["all", "one batch"], statuses].sum(axis=1) == N_GENES).all()


def test_thresholds_of_cells_and_samples() -> None:
    cells = make().obs["kind"].value_counts()
    least, fewest = int(cells.min()) + 1, str(cells.idxmin())
    _, details, notes = run("X ~ disease + (1|sample)", min_cells=least)
    assert details.loc[fewest, "skipped"] == f"{least - 1} cells, fewer than min_cells={least}"
    assert f"kind {fewest!r} was skipped: {least - 1} cells, fewer than min_cells={least}" in notes
    assert (details.drop(fewest)["skipped"] == "").all()
    # an arm that is not tested may be small; for a numeric covariate, the total number of samples counts
    _, details, _ = run("X ~ disease + age + (1|sample)", contrasts="age", min_samples=7)
    assert (details["skipped"] == "").tolist() == [True, False, True]
    with pytest.raises(
        DesignError, match="no level of 'kind' can be tested; the reason for the first is: disease: ctl has 6 levels"
    ):
        run("X ~ disease + (1|sample)", min_samples=7)


def test_type_without_a_comparison_gives_the_reason() -> None:
    _, details, _ = run("X ~ age + (1|sample)")
    assert details.loc["one batch", "skipped"] == "nothing can be compared, because age does not vary here"
    _, details, _ = run("X ~ batch + (1|sample)")
    assert details.loc["one batch", "skipped"].startswith("'batch' has only one level in the rows used (x)")


def test_adjusted_over_all_types_together() -> None:
    formula = "X ~ disease + batch + (1|sample)"
    each, _, _ = run(formula)
    together, _, _ = run(formula, adjust="global")
    pd.testing.assert_frame_equal(each.drop(columns="adj_p_value"), together.drop(columns="adj_p_value"))
    for words in ("disease: AD vs ctl", "batch: y vs x"):
        rows = (together["contrast"] == words).to_numpy()
        expected = benjamini_hochberg(together["p_value"].to_numpy()[rows])
        np.testing.assert_array_equal(together["adj_p_value"].to_numpy()[rows], expected)
    for _, part in each.groupby(["kind", "contrast"], observed=True):
        np.testing.assert_array_equal(part["adj_p_value"], benjamini_hochberg(part["p_value"].to_numpy()))
    assert not each["adj_p_value"].equals(together["adj_p_value"])
    with pytest.raises(InputError, match="adjust='all': allowed are 'group'"):
        run(formula, adjust="all")


def test_details_without_groups_are_one_row() -> None:
    adata = make()
    with pytest.raises(InputError, match="there are no results under key='glmm'; run "):
        sc_glmm.get.details(adata)
    sc_glmm.tl.test(adata, "X ~ disease + (1|sample)", test="t")
    (row,) = sc_glmm.get.details(adata).to_dict("records")
    assert row["n_cells"] == adata.n_obs and row["n_sample"] == adata.obs["sample"].nunique()
    assert row["n_tested"] == int(sc_glmm.get.results(adata)["tested"].sum()) and row["skipped"] == ""
    with pytest.raises(InputError, match="no results under key='glm' .existing keys: 'glmm'; did you mean 'glmm'"):
        sc_glmm.get.details(adata, "glm")
