"""Check invariances of `tl.test`, and agreement with the same model fitted in other ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from scipy import sparse

import sc_glmm
from sc_glmm._errors import ScGlmmError
from tests import oracle, oracle_fit
from tests.frame_fit import fit_frame
from tests.reference import grammar, load

FORMULA = "counts ~ arm + (1 | sample)"
N_GENES, N_SAMPLES = 10, 10
# batches and donors pair samples here, but the models omit them on purpose
pytestmark = pytest.mark.filterwarnings("ignore:.* levels of '(batch|donor)' have samples of several levels")


def make_adata(n_samples: int = N_SAMPLES, n_cells: int = 80) -> ad.AnnData:
    """Make samples with effects and unequal depth; one gene has no counts, one none in an arm, one large counts."""
    rng = np.random.default_rng(7)
    sample = np.repeat(np.arange(n_samples), n_cells)
    n = len(sample)
    depth = np.exp(rng.normal(0.0, 0.5, size=n))
    mean = np.exp(rng.normal(-0.3, 0.8, size=N_GENES))
    mean[9] = 30.0
    effect = rng.normal(0.0, 0.4, size=(n_samples, N_GENES)) + np.outer(
        np.arange(n_samples) % 2, rng.normal(size=N_GENES)
    )
    mito = rng.normal(5.0, 2.0, size=n)
    mu = depth[:, None] * mean * np.exp(effect[sample] + 0.05 * (mito - 5.0)[:, None])
    Y = rng.poisson(mu * rng.gamma(2.0, 0.5, size=mu.shape))
    Y[:, 0] = 0
    Y[sample % 2 == 1, 1] = 0
    Y[:, 9] += Y.sum(axis=1) == 0  # no cell without a count
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical([f"s{i}" for i in sample]),
            "arm": pd.Categorical(np.where(sample % 2, "case", "control"), ["control", "case"]),
            "batch": pd.Categorical([f"b{i // 2}" for i in sample]),
            "kind": pd.Categorical(np.where(np.arange(n) % 3, "T", "B")),
            "mito": mito,
            "size": depth / depth.mean(),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    counts = sparse.csr_matrix(Y)
    return ad.AnnData(counts, obs, pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)]), layers={"counts": counts})


def run(adata: ad.AnnData, formula: str = FORMULA, **options: Any) -> pd.DataFrame:
    """Compute the table with given size factors and a test of each gene alone, unless `options` differ."""
    options.setdefault("test", "t")
    if not {"size_factors", "offset"} & set(options):
        options["size_factors"] = "size"
    adata = sc_glmm.tl.test(adata, formula, copy=True, **options)
    return sc_glmm.get.results(adata, columns="all")


def same(a: pd.DataFrame, b: pd.DataFrame, rtol: float = 1e-6, but: tuple[str, ...] = ("n_iter",)) -> None:
    """Compare tables: equal text, numbers within `rtol`, coefficients within `rtol` standard errors."""
    assert list(a["variable"]) == list(b["variable"])
    assert list(a["status"]) == list(b["status"])
    numbers = [c for c in a.select_dtypes("number").columns if c not in but]
    for column in numbers:
        scale = a["se"] if column in ("coef", "log_fc", "ci_low", "ci_high", "coef_Intercept") else 1.0
        difference = (a[column] - b[column]).abs() / np.maximum(a[column].abs() if np.isscalar(scale) else scale, 1e-3)
        assert (a[column].isna() == b[column].isna()).all(), column
        assert not (difference > rtol).any(), f"{column}: {difference.max():.2g}"


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return make_adata()


@pytest.fixture(scope="module")
def table(adata: ad.AnnData) -> pd.DataFrame:
    return run(adata)


def test_the_data_are_not_trivial(table: pd.DataFrame) -> None:
    words = dict(zip(table["variable"], table["status"], strict=True))
    assert words["gene0"] == "all_zero"
    assert words["gene1"] == "separated"
    assert list(words.values()).count("ok") >= 6


def test_order_of_cells(adata: ad.AnnData, table: pd.DataFrame) -> None:
    order = np.random.default_rng(0).permutation(adata.n_obs)
    same(table, run(adata[order].copy()))


@pytest.mark.filterwarnings("ignore:Variable names are not unique")  # warning of anndata while genes are doubled
def test_splitting_and_adding_genes(adata: ad.AnnData, table: pd.DataFrame) -> None:
    """Check that a fit does not depend on other genes; only the adjustment of p-values does."""
    halves = pd.concat([run(adata[:, :4].copy()), run(adata[:, 4:].copy())])
    same(table, halves, rtol=1e-12, but=("adj_p_value", "n_iter"))
    double = ad.concat([adata, adata.copy()], axis="var", join="outer", merge="first")
    double.var_names_make_unique()
    same(table, run(double).iloc[:N_GENES], rtol=1e-12, but=("adj_p_value", "n_iter"))


def test_scale_of_size_factors(adata: ad.AnnData, table: pd.DataFrame) -> None:
    """Check ten times larger size factors: the intercept decreases by log 10, and nothing else changes."""
    scaled = run(adata, size_factors=adata.obs["size"].to_numpy() * 10.0)
    intercept = table["coef_Intercept"] - scaled["coef_Intercept"]
    np.testing.assert_allclose(intercept.dropna(), np.log(10.0), atol=1e-6)
    same(table, scaled, but=("coef_Intercept", "n_iter"))


def test_offset_is_the_log_of_size_factors(adata: ad.AnnData, table: pd.DataFrame) -> None:
    same(table, run(adata, offset=np.log(adata.obs["size"].to_numpy())), rtol=1e-9)


def test_names_of_samples(adata: ad.AnnData, table: pd.DataFrame) -> None:
    names = dict(
        zip([f"s{i}" for i in range(N_SAMPLES)], ["z", "s/1", "ä b", "10", "9", "A", "?", "-", "2", "y"], strict=True)
    )
    renamed = adata.copy()
    renamed.obs["sample"] = renamed.obs["sample"].astype(str).map(names)
    same(table, run(renamed))


STORAGES: dict[str, Callable[[Any], Any]] = {
    "csc": sparse.csc_matrix,
    "csr array": sparse.csr_array,
    "csc array": sparse.csc_array,
    "dense": lambda m: m.toarray(),
    "dense, by column": lambda m: np.asfortranarray(m.toarray()),
    "float32": lambda m: m.astype(np.float32),
    "int32": lambda m: m.astype(np.int32),
}


@pytest.mark.parametrize("name", STORAGES)
def test_storage_of_the_counts(adata: ad.AnnData, table: pd.DataFrame, name: str) -> None:
    stored = adata.copy()
    stored.layers["counts"] = STORAGES[name](adata.layers["counts"])
    same(table, run(stored), rtol=1e-7)


def test_layer_or_X(adata: ad.AnnData, table: pd.DataFrame) -> None:
    bare = adata.copy()
    del bare.layers["counts"]
    same(table, run(bare, "~ arm + (1 | sample)"), rtol=1e-12)


def test_number_of_jobs(adata: ad.AnnData) -> None:
    one, three = (run(adata, n_jobs=n) for n in (1, 3))
    pd.testing.assert_frame_equal(one, three)


def test_group_is_the_subset(adata: ad.AnnData) -> None:
    grouped = run(adata, groupby="kind")
    for kind in ("B", "T"):
        part = run(adata[adata.obs["kind"] == kind].copy())
        same(part, grouped[grouped["kind"] == kind])


def test_reference_level(adata: ad.AnnData, table: pd.DataFrame) -> None:
    """Check that another reference level changes sign and label of the contrast, but not its p-value."""
    turned = run(adata, reference={"arm": "case"})
    assert set(table["contrast"]) == {"arm: case vs control"}
    assert set(turned["contrast"]) == {"arm: control vs case"}
    for column in ("coef", "log_fc", "stat"):
        np.testing.assert_allclose(turned[column], -table[column], atol=1e-6)
    np.testing.assert_allclose(turned["p_value"], table["p_value"], rtol=1e-5)


MODELS = [
    ("arm + (1 | sample)", "nb", "reml"),
    ("arm + (1 | sample)", "nb", "ml"),
    ("arm + (1 | sample)", "poisson", "reml"),
    ("arm + (1 | batch) + (1 | sample)", "nb", "reml"),
    ("arm + mito + (1 | sample)", "nb", "reml"),
    ("arm + mito + kind + (1 | sample)", "poisson", "ml"),
    ("arm + mito + (mito | sample)", "nb", "ml"),
]


# the table and the model of a data frame must agree, even if another design would be better
@pytest.mark.filterwarnings("ignore:.*as if they were independent:sc_glmm.ScGlmmWarning")
@pytest.mark.parametrize(("right", "family", "method"), MODELS)
def test_row_is_the_fit_of_the_cells(adata: ad.AnnData, right: str, family: Any, method: Any) -> None:
    """Check every gene of the table against a fit of a data frame with one row per cell."""
    options = {"family": family, "method": method, "size_factors": "size", "contrasts": "arm", "test": "t"}
    result = sc_glmm.tl.test(adata, f"counts ~ {right}", copy=True, **options)
    rows = result.varm["glmm"]
    table = sc_glmm.get.results(result, columns="all").set_index("variable")
    for gene in ("gene3", "gene5", "gene9"):
        data = adata.obs.assign(y=adata[:, gene].X.toarray().ravel(), o=np.log(adata.obs["size"]))
        fit = fit_frame(f"y ~ {right} + offset(o)", data, family=family, method=method)
        row = rows.loc[gene]
        place = fit.names.index("arm[T.case]")
        assert row["loglik"] == pytest.approx(fit.loglik, abs=1e-6)
        assert table.loc[gene, "coef"] == pytest.approx(fit.beta[place], abs=1e-5 * fit.se[place])
        assert table.loc[gene, "se"] == pytest.approx(fit.se[place], rel=1e-5)
        for j, name in enumerate(fit.names):
            assert row[f"coef_{name}"] == pytest.approx(fit.beta[j], abs=1e-5 * fit.se[j])
        if family == "nb":
            assert row["dispersion"] == pytest.approx(fit.dispersion, rel=1e-5)


@pytest.mark.parametrize("method", ["ml", "reml"])
def test_poisson_is_the_pseudobulk_model(adata: ad.AnnData, method: Any) -> None:
    """Check against the arbiter's fit of sums of counts and size factors, with one row per sample."""
    rows = run(adata, family="poisson", method=method).set_index("variable")
    codes = adata.obs["sample"].cat.codes.to_numpy().astype(np.int64)
    offset = np.log(np.bincount(codes, adata.obs["size"]))
    arm = (pd.Series(adata.obs["arm"].to_numpy()).groupby(codes).first() == "case").to_numpy(float)
    X = np.column_stack([np.ones(N_SAMPLES), arm])
    for gene in ("gene2", "gene4", "gene9"):
        y = np.bincount(codes, adata[:, gene].X.toarray().ravel())
        model = oracle.Model("poisson", y, X, (oracle.Term(np.ones(N_SAMPLES), np.arange(N_SAMPLES)),), offset)
        psi = oracle_fit.fit(model, method).psi
        beta = oracle.fixed_effects(model, psi, method)
        se = np.sqrt(np.diag(oracle.conditional_vcov(model, psi, method)))
        assert rows.loc[gene, "coef"] == pytest.approx(beta[1], abs=1e-5 * se[1])
        assert rows.loc[gene, "coef_Intercept"] == pytest.approx(beta[0], abs=1e-5 * se[0])
        assert rows.loc[gene, "se"] == pytest.approx(se[1], rel=1e-5)


def test_covariate_between_samples_as_factor_or_number(adata: ad.AnnData, table: pd.DataFrame) -> None:
    """Check that an arm coded 0/1 by hand gives the same model."""
    coded = adata.copy()
    coded.obs["arm"] = (coded.obs["arm"] == "case").astype(float)
    numeric = run(coded)
    for column in ("coef", "se", "p_value", "df"):
        np.testing.assert_allclose(numeric[column], table[column], rtol=1e-5, atol=1e-8)


@st.composite
def problems(draw: st.DrawFn) -> tuple[ad.AnnData, str, dict[str, Any]]:
    """Make eight genes, one for each kind of counts of the grammar, with a formula and options."""
    seed, n_groups, per_group = draw(st.integers(0, 10_000)), draw(st.integers(2, 8)), draw(st.integers(3, 20))
    x_kind = draw(st.sampled_from(("cell", "group", "binary")))
    frames = [grammar.make_data(seed, n_groups, per_group, 2, kind, x_kind) for kind in grammar.COUNTS]
    obs = frames[0].drop(columns="y")
    obs.index = obs.index.astype(str)
    counts = sparse.csr_matrix(np.column_stack([frame["y"] for frame in frames]))
    formula = f"~ {draw(st.sampled_from(grammar.FIXED))} + {draw(st.sampled_from(grammar.RANDOM))}"
    options = {
        "family": draw(st.sampled_from(("nb", "poisson"))),
        "method": draw(st.sampled_from(("reml", "ml"))),
        "groupby": draw(st.sampled_from((None, None, "h"))),
        "offset": draw(st.sampled_from((None, "o"))),
        "test": draw(st.sampled_from((None, "t", "lrt"))),
    }
    return ad.AnnData(counts, obs), formula, options


@pytest.mark.filterwarnings("ignore::sc_glmm._errors.ScGlmmWarning")
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(problems())
def test_random_models_give_a_table_or_an_error_of_ours(problem: tuple[ad.AnnData, str, dict[str, Any]]) -> None:
    """Check that there are no foreign errors or warnings, and that a status explains every missing number."""
    adata, formula, options = problem
    try:
        sc_glmm.tl.test(adata, formula, **options)
    except ScGlmmError as error:
        assert str(error)
        return
    table = sc_glmm.get.results(adata, columns="all")
    assert len(table) % adata.n_vars == 0
    assert table["p_value"].dropna().between(0.0, 1.0).all()
    # moderated tests, and tests that replace them, use profiles instead of the joint fit
    excused = ["ok", "singular", "separated", *(["not_converged"] if options["test"] is None else [])]
    assert (table["p_value"].isna() | table["status"].isin(excused)).all()
    settled = table[table["status"].isin(["ok", "singular"])]
    assert settled["p_value"].notna().all()
    # a group has no coefficients of dropped terms
    for _, own in settled.groupby(options["groupby"], observed=True) if options["groupby"] else [("", settled)]:
        assert np.isfinite(own.filter(regex="^coef_").dropna(axis=1, how="all")).all(axis=None)


def test_kang8_against_glmmtmb() -> None:
    """Check fifty genes of CD4 T cells from the file, with log library size as offset, NB, REML and ML."""
    cells = pd.read_csv(load.shared_folder("reference", "kang8_cd4", "kang_B_cells.csv"), index_col="barcode")
    theirs = pd.read_csv(load.shared_folder("reference", "kang8_cd4", "kang_B_pergene_ALLMETHODS.csv"))
    genes = theirs["gene"].unique()
    adata = ad.read_h5ad(load.shared_folder("data", "kang8.h5ad"))[cells.index, genes].copy()
    for method in ("ml", "reml"):
        result = sc_glmm.tl.test(
            adata,
            "counts ~ stim + (1|sample)",
            offset=cells["logn"].to_numpy(),
            method=method,
            reference={"stim": "ctrl"},
            test="t",
            copy=True,
        )
        ours = result.varm["glmm"].loc[genes]
        ref = theirs[theirs["method"] == f"glmmTMB_nbinom2_{method.upper()}"].set_index("gene").loc[genes]
        assert ours["converged"].all()
        gain = ours["loglik"] - ref["logLik"]
        assert gain.min() > -1e-6
        assert gain.max() < 5e-6
        z = (ours["coef_stim[T.stim]"] - ref["est"]) / ref["se"]
        assert z.abs().max() < 1e-3
        assert z.abs().median() < 1e-4
