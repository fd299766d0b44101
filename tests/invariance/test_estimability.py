"""Check that a hypothesis is tested only if it can be estimated, for every form of the contrast."""

from __future__ import annotations

import warnings
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import cli, cond
from sc_glmm._design import build_contrasts, build_design
from sc_glmm._errors import DesignError, ScGlmmError, ScGlmmWarning
from sc_glmm._formula import parse_formula

NESTED = "counts ~ disease + donor + (1|sample)"


def make() -> ad.AnnData:
    """Make eight donors, four per disease group, with two or three samples each and a treatment within donors."""
    rng = np.random.default_rng(5)
    donor = np.repeat(np.arange(8), [3, 2, 3, 2, 3, 2, 3, 2])
    sample = np.repeat(np.arange(len(donor)), 15)
    of_cell = donor[sample]
    counts = rng.poisson(np.exp(0.5 + rng.normal(0.0, 0.4, (len(donor), 20)))[sample]).astype(np.float64)
    first = np.r_[True, donor[1:] != donor[:-1]]
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical([f"s{i:02d}" for i in sample]),
            "donor": pd.Categorical([f"d{i}" for i in of_cell]),
            "disease": pd.Categorical(np.where(of_cell < 4, "A", "B")),
            "number": of_cell.astype(float),
            "treated": pd.Categorical(np.where(first, "no", "yes")[sample]),
            "case": pd.Categorical(np.where(of_cell < 2, "ctl", "case"), ["ctl", "case"]),
            "severity": pd.Categorical(
                np.array(["healthy", "mild", "severe"])[np.array([0, 0, 1, 1, 1, 2, 2, 2])[of_cell]]
            ),
        },
        index=[f"c{i}" for i in range(len(sample))],
    )
    X = sparse.csr_matrix(counts)
    return ad.AnnData(X, obs, pd.DataFrame(index=[f"g{j}" for j in range(20)]), layers={"counts": X})


ADATA = make()
WEIGHTS = np.zeros(8)
WEIGHTS[1] = 1.0
DISEASE = [
    None,
    "disease",
    "disease[T.B]",
    "B",
    "B vs A",
    "disease: B vs A",
    ("disease", "B", "A"),
    cond(disease="B") - cond(disease="A"),
    "cond(disease='B') - cond(disease='A')",
    WEIGHTS,
    pd.Series({"disease[T.B]": 1.0}),
    ["disease"],
    {"named": "disease"},
    {"joint": ["disease", "donor[T.d1]"]},
    {"joint": np.eye(8)[[1, 2]]},
    "donor[T.d5]",
    "donor[T.d7]",
    ("donor", "d5", "d1"),
]


def run(adata: ad.AnnData = ADATA, formula: str = NESTED, **options: Any) -> tuple[pd.DataFrame, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ScGlmmWarning)
        tested = sc_glmm.tl.test(adata, formula, copy=True, test="t", **options)
    return sc_glmm.get.results(tested, columns="all"), [str(w.message) for w in caught]


def model(formula: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        return sc_glmm.lmer(formula, ADATA.obs.assign(y=np.asarray(ADATA.X[:, 0].todense()).ravel()))


@pytest.mark.parametrize("contrasts", DISEASE, ids=[f"way{i}" for i in range(len(DISEASE))])
def test_contrast_that_is_confounded_with_donors_is_rejected(contrasts: Any) -> None:
    """Check the case in which "disease: B vs A" was really donor d7 against donor d0."""
    with pytest.raises(DesignError, match=r"confounded with (donor|disease)"):
        run(contrasts=contrasts)
    fit = model("y ~ disease + donor + (1|sample)")
    with pytest.raises(DesignError, match=r"confounded with (donor|disease)"):
        fit.contrast(contrasts)


def test_estimable_contrasts_are_tested_next_to_others() -> None:
    table, notes = run(formula="counts ~ treated + disease + donor + (1|sample)", reference={"treated": "no"})
    assert set(table["contrast"]) == {
        "treated: yes vs no",
        "donor: 6 of 7 differences; the others are confounded with other terms",
        # within the arm of the base; donors of the other arm are confounded with the disease
        "donor: d1 vs d0",
        "donor: d2 vs d0",
        "donor: d3 vs d0",
    }
    assert any("'disease'" in text and "not tested" in text and "confounded with donor" in text for text in notes)
    alone, _ = run(formula="counts ~ treated + donor + (1|sample)", reference={"treated": "no"}, contrasts="treated")
    both, _ = run(
        formula="counts ~ treated + disease + donor + (1|sample)", reference={"treated": "no"}, contrasts="treated"
    )
    np.testing.assert_allclose(both["coef"], alone["coef"], atol=1e-6)


@pytest.mark.parametrize("contrasts", [("donor", "d2", "d1"), ("donor", "d7", "d5"), "d2"])
def test_donors_of_one_disease_are_compared_as_without_the_factor(contrasts: Any) -> None:
    with_disease, _ = run(contrasts=contrasts)
    without, _ = run(formula="counts ~ donor + (1|sample)", contrasts=contrasts)
    np.testing.assert_allclose(with_disease["coef"], without["coef"], atol=1e-6)


def test_labels_never_describe_another_comparison() -> None:
    """Check the case in which, after a column was dropped, "case vs ctl" was really severe vs healthy."""
    formula = "counts ~ case + severity + (1|sample)"
    for contrasts in ("case", "severity[T.mild]", ("severity", "mild", "healthy"), None):
        with pytest.raises(DesignError, match="confounded with"):
            run(formula=formula, contrasts=contrasts)
    table, _ = run(formula=formula, contrasts=("severity", "severe", "mild"))
    plain, _ = run(formula="counts ~ severity + (1|sample)", contrasts=("severity", "severe", "mild"))
    np.testing.assert_allclose(table["coef"], plain["coef"], atol=1e-6)
    (whole,) = build_contrasts(build_design(parse_formula(formula), ADATA.obs), "severity")
    assert whole.words == "severity[T.mild] - severity[T.severe]"


@pytest.mark.parametrize("base", ["A", "B"])
@pytest.mark.parametrize("order", ["disease + donor", "donor + disease"])
def test_neither_base_level_nor_order_matter(base: str, order: str) -> None:
    design = build_design(parse_formula(f"~ {order} + (1|sample)"), ADATA.obs, reference={"disease": base})
    with pytest.raises(DesignError):
        build_contrasts(design, "disease")
    (donors,) = build_contrasts(design, "donor")
    assert donors.L.shape[0] == 6


def test_tables_of_a_model_name_contrasts_that_are_left_out() -> None:
    fit = model("y ~ treated + disease + donor + (1|sample)")
    without = model("y ~ treated + donor + (1|sample)")
    for kind in ("II", "III"):
        table = fit.anova(type=kind)
        assert table.table.loc["disease"].isna().all()
        assert any("'disease'" in note and "confounded with donor" in note for note in table.notes)
        expected = without.anova(type=kind).table.loc["treated"]
        np.testing.assert_allclose(table.table.loc["treated"], expected, rtol=1e-4)
    dropped = fit.drop1()
    assert np.isnan(dropped.table.loc["disease", "Pr(Chi)"])
    assert any("confounded with donor" in note for note in dropped.notes)
    means = fit.emmeans("disease")
    assert means.contrasts["p_value"].isna().all()
    assert any("confounded with" in note for note in means.notes)
    assert fit.emmeans("treated").contrasts["p_value"].notna().all()
    with pytest.warns(ScGlmmWarning, match="'disease'"):
        assert list(fit.contrast().index) == ["treated", "donor"]


def test_interaction_with_empty_cells_uses_the_existing_cells() -> None:
    """Check that the same part can be estimated for any base level."""
    data = ADATA.obs[~((ADATA.obs["disease"] == "B") & (ADATA.obs["treated"] == "yes"))].copy()
    data = data.assign(three=pd.Categorical(np.array(["p", "q", "r"])[np.arange(len(data)) % 3]))
    data = data[~((data["disease"] == "B") & (data["three"] == "r"))]
    ranks = []
    for base in ("p", "q", "r"):
        design = build_design(parse_formula("~ disease*three + (1|sample)"), data, reference={"three": base})
        (result,) = build_contrasts(design, "disease:three")
        ranks.append(len(result.L))
    assert ranks == [1, 1, 1]


def test_slopes_that_are_constant_within_groups_are_rejected() -> None:
    for term in ("(1 + disease|donor)", "(disease|donor)", "(1 + disease||donor)", "(number|donor)"):
        with pytest.raises(ScGlmmError, match=r"does not vary within the levels of 'donor'"):
            run(formula=f"counts ~ disease + {term}")
        with pytest.raises(ScGlmmError, match=r"does not vary within the levels of 'donor'"):
            model(f"y ~ disease + {term}")
    model("y ~ treated + (treated|donor)")


DOORS = ["command", "command line", "yaml", "config", "chunks"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("estimability") / "in.h5ad"
    ADATA.write_h5ad(path)
    return path


@pytest.mark.parametrize("door", DOORS)
def test_command_rejects_a_confounded_contrast(stored: Any, tmp_path: Any, door: str) -> None:
    more: dict[str, list[str]] = {
        "command": [],
        "command line": ["--contrast", "disease: B vs A"],
        "yaml": ["--contrasts", str(tmp_path / "c.yaml")],
        "config": ["--config", str(tmp_path / "run.yaml")],
        "chunks": ["--n-chunks", "2", "--chunk", "0"],
    }
    (tmp_path / "c.yaml").write_text("effect: [disease, B, A]\n")
    (tmp_path / "run.yaml").write_text("contrasts:\n  effect: disease\n")
    out = ["-o", str(tmp_path / ("parts" if door == "chunks" else "out.csv"))]
    result = CliRunner().invoke(cli.app, ["test", str(stored), NESTED, "--test", "t", *out, *more[door]])
    assert result.exit_code == 2, result.output
    assert "confounded with donor" in " ".join(result.stderr.split()), result.stderr


def test_group_with_a_confounded_contrast_is_skipped() -> None:
    """Check type t, with one arm per donor, and type u, with arms that vary within donors."""
    adata = ADATA.copy()
    number = adata.obs["sample"].cat.codes.to_numpy()
    adata.obs["type"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "t", "u"))
    within = np.where(number % 2, "A", "B")
    adata.obs["arm"] = pd.Categorical(np.where(adata.obs["type"] == "t", adata.obs["disease"].astype(str), within))
    formula = "counts ~ arm + donor + (1|sample)"
    for contrasts in (
        None,
        "arm",
        "arm[T.B]",
        ("arm", "B", "A"),
        {"arm": "arm"},
        {"both": ["arm[T.B]", "donor[T.d1]"]},
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ScGlmmWarning)
            sc_glmm.tl.test(adata, formula, groupby="type", test="t", contrasts=contrasts)
        assert any(
            "type 't' was skipped" in str(w.message) and "confounded with donor" in str(w.message) for w in caught
        )
        assert set(sc_glmm.get.results(adata)["type"]) == {"u"}
        details = sc_glmm.get.details(adata).set_index("type")
        assert "confounded with donor" in details.loc["t", "skipped"] and details.loc["u", "skipped"] == ""
    # if another contrast can be tested, the group is kept, and its note names the dropped contrast
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, "counts ~ treated + arm + donor + (1|sample)", groupby="type", test="t")
    details = sc_glmm.get.details(adata).set_index("type")
    assert details.loc["t", "columns_dropped"] == "donor[T.d7]" and details.loc["u", "columns_dropped"] == ""
    assert "arm" in details.loc["t", "not_tested"]
    table = sc_glmm.get.results(adata, columns="all").set_index("type")
    assert table.loc["t", "coef_arm[T.B]"].isna().all() and table.loc["u", "coef_arm[T.B]"].notna().all()


HIDDEN = ["disease[T.B]", "donor[T.d4]", "donor[T.d5]", "donor[T.d6]"]


def test_coefficients_with_another_meaning_are_not_shown() -> None:
    """Check that disease[T.B], which is d7 against d0 after d7 was dropped, is not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        tested = sc_glmm.tl.test(
            ADATA, "counts ~ treated + disease + donor + (1|sample)", contrasts="treated", copy=True, test="t"
        )
    facts = tested.varm["glmm"]
    assert facts[[f"{kind}_{name}" for name in HIDDEN for kind in ("coef", "se")]].isna().all(axis=None)
    estimated = ["Intercept", "treated[T.yes]", "donor[T.d1]", "donor[T.d3]"]
    assert facts[[f"{kind}_{name}" for name in estimated for kind in ("coef", "se")]].notna().all(axis=None)
    assert tested.uns["glmm"]["params"]["columns_dropped"] == ["donor[T.d7]"]

    fit = model("y ~ treated + disease + donor + (1|sample)")
    table, text = fit.summary().fixed, str(fit.summary())
    assert table.loc[HIDDEN].isna().all(axis=None) and table.loc[estimated].notna().all(axis=None)
    assert "dropped from the design" in text and "donor[T.d7]" in text
    assert f"Not shown, because they are confounded with dropped columns: {', '.join(HIDDEN)}" in text
    assert "fixef()" in text
    assert text.replace("&#x27;", "'").count("donor[T.d7]") == fit.summary()._repr_html_().count("donor[T.d7]")
    tidy = fit.tidy(conf_level=0.9).set_index("term")
    assert tidy.loc[HIDDEN, ["estimate", "se", "p_value", "conf_low"]].isna().all(axis=None)
    for method in ("wald", "profile"):
        bounds = fit.confint(method=method)
        assert bounds.loc[HIDDEN].isna().all(axis=None) and bounds.loc[estimated].notna().all(axis=None)
    # the coefficients of the fit are available for predictions by hand
    np.testing.assert_allclose(
        fit.model_matrix().to_numpy() @ fit.fixef().to_numpy(), fit.predict(re_form="NA"), rtol=1e-8
    )


@pytest.mark.parametrize("base", ["A", "B"])
def test_shown_values_do_not_depend_on_the_dropped_column(base: str) -> None:
    """Check that comparisons of donors with d0 do not depend on the column that was dropped."""
    fits = []
    for order in ("disease + donor", "donor + disease"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScGlmmWarning)
            data = ADATA.obs.assign(y=np.asarray(ADATA.X[:, 0].todense()).ravel())
            fits.append(sc_glmm.lmer(f"y ~ {order} + (1|sample)", data, reference={"disease": base}))
    one, two = (fit.summary().fixed["estimate"].dropna() for fit in fits)
    assert set(one.index) == set(two.index)
    np.testing.assert_allclose(one, two[one.index], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("order", ["stage + batch", "batch + stage"])
def test_level_that_is_confounded_with_a_batch(order: str) -> None:
    """Check a stage that was measured in a batch of its own: the other difference is tested and named."""
    adata = ADATA.copy()
    number = adata.obs["sample"].cat.codes.to_numpy()
    stage = np.array(["a", "b", "c"])[number % 3]
    adata.obs["stage"] = pd.Categorical(stage)
    adata.obs["batch"] = pd.Categorical(np.where(stage == "c", "third", np.where(number % 2, "first", "second")))
    base = {"stage": "a", "batch": "first"}
    formula = f"counts ~ {order} + (1|sample)"
    for contrasts in ("c", "c vs b", "stage[T.c]", ("stage", "c", "a"), {"joint": ["stage[T.b]", "stage[T.c]"]}):
        with pytest.raises(DesignError, match="confounded with batch"):
            run(adata, formula, reference=base, contrasts=contrasts)
    table, _ = run(adata, formula, reference=base)
    assert set(table["contrast"]) == {"stage[T.b]", "stage: b vs a", "batch[T.second]", "batch: second vs first"}
    for term, words in (("stage", "stage[T.b]"), ("batch", "batch[T.second]")):
        table, _ = run(adata, formula, reference=base, contrasts=term)
        assert set(table["contrast"]) == {words}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        fit = sc_glmm.lmer(f"y ~ {order} + (1|sample)", adata.obs.assign(y=np.asarray(adata.X[:, 0].todense()).ravel()))
    for kind in ("II", "III"):
        tests = fit.anova(type=kind)
        assert tests.table["NumDF"].tolist() == [1, 1]
        for term in ("stage", "batch"):
            assert f"{term}: 1 of 2 differences; the others are confounded with other terms" in tests.notes
