"""Check that the unit and zero of a covariate, and the base level, do not change tests."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import ScGlmmWarning

# x -> scale * (x + shift)
CHANGES = [(0.0, 1e6), (0.0, 1e-9), (1e3, 1.0), (-2e3, 1e6)]


def make_adata(n_genes: int = 60, n_samples: int = 12, n_cells: int = 30) -> ad.AnnData:
    """Make samples in two arms and three sites, with a covariate of samples (`umi`) and one of cells (`x`)."""
    rng = np.random.default_rng(3)
    sample = np.repeat(np.arange(n_samples), n_cells)
    n = len(sample)
    depth = np.exp(rng.normal(0.0, 0.3, n))
    effect = rng.normal(0.0, 0.4, (n_samples, n_genes)) + np.log(rng.uniform(0.5, 4.0, n_genes))
    x = rng.normal(size=n)
    mu = depth[:, None] * np.exp(effect[sample] + 0.1 * x[:, None])
    Y = rng.poisson(mu * rng.gamma(2.0, 0.5, mu.shape))
    Y[:, 0] += 1
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical([f"s{i}" for i in sample]),
            "arm": pd.Categorical(np.where(sample % 2, "B", "A")),
            "site": pd.Categorical(np.array(list("abc"))[(sample // 2) % 3]),
            "umi": rng.uniform(2.0, 5.0, n_samples)[sample],
            "x": x,
            "size": depth,
        },
        index=[f"c{i}" for i in range(n)],
    )
    return ad.AnnData(sp.csr_matrix(Y.astype(np.float64)), obs=obs)


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return make_adata()


def table_of(adata, formula, contrasts, **options) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        tested = sc_glmm.tl.test(adata, formula, contrasts=contrasts, copy=True, **options)
    return sc_glmm.get.results(tested, columns="all")


def same_tests(one: pd.DataFrame, two: pd.DataFrame, rtol: float = 1e-5) -> None:
    assert list(one["status"]) == list(two["status"])
    for column in ("df", "p_value", "adj_p_value"):
        np.testing.assert_allclose(two[column], one[column], rtol=rtol, atol=1e-12, err_msg=column)


@pytest.mark.parametrize("test", ["eb_lr", "eb_wald", "hk", "ql", "satterthwaite", "lrt", "t"])
def test_counts_with_a_covariate_of_samples(adata, test):
    """Check the covariate itself and a contrast adjusted for it; library sizes in UMIs once failed."""
    contrasts = ["arm", "umi"]
    first = table_of(adata, "X ~ arm + umi + (1 | sample)", contrasts, test=test, size_factors="size")
    assert first["status"].isin(["ok", "singular"]).all()
    for shift, scale in CHANGES:
        other = adata.copy()
        other.obs["umi"] = scale * (other.obs["umi"] + shift)
        table = table_of(other, "X ~ arm + umi + (1 | sample)", contrasts, test=test, size_factors="size")
        same_tests(first, table)
        slope = np.arange(len(first)) >= len(first) // 2  # the second contrast
        unit = np.where(slope, scale, 1.0)
        np.testing.assert_allclose(table["coef"] * unit, first["coef"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(table["se"] * unit, first["se"], rtol=1e-4)
        for column in ("log_fc_shrunk", "lfsr") if test == "eb_lr" else ():
            rescaled = table[column] * (unit if column != "lfsr" else 1.0)
            np.testing.assert_allclose(rescaled, first[column], rtol=1e-4, atol=1e-6, err_msg=column)


@pytest.mark.parametrize("family", ["nb", "gaussian"])
def test_an_interaction_with_a_covariate(adata, family):
    options = {"size_factors": "size", "test": "eb_lr"} if family == "nb" else {"family": "gaussian"}
    first = table_of(adata, "X ~ arm * umi + (1 | sample)", "arm:umi", **options)
    for shift, scale in CHANGES:
        other = adata.copy()
        other.obs["umi"] = scale * (other.obs["umi"] + shift)
        same_tests(first, table_of(other, "X ~ arm * umi + (1 | sample)", "arm:umi", **options), rtol=1e-4)


def test_a_covariate_of_cells(adata):
    """Check that the random slope is that of a centred covariate, for any zero."""
    few = adata[:, :12].copy()
    for options in ({"size_factors": "size", "test": "t"}, {"family": "gaussian"}):
        first = table_of(few, "X ~ arm + x + (1 | sample)", ["arm", "x"], **options)
        for shift, scale in CHANGES[:3]:
            other = few.copy()
            other.obs["x"] = scale * (other.obs["x"] + shift)
            same_tests(first, table_of(other, "X ~ arm + x + (1 | sample)", ["arm", "x"], **options), rtol=1e-3)


@pytest.mark.parametrize("family", ["nb", "gaussian"])
def test_base_levels(adata, family):
    """Check that a joint hypothesis and its reference distribution do not depend on the base level."""
    options = {"size_factors": "size", "test": "eb_lr"} if family == "nb" else {"family": "gaussian"}
    tables = [
        table_of(adata, "X ~ site + umi + (1 | sample)", "site", reference={"site": base}, **options) for base in "abc"
    ]
    for table in tables[1:]:
        same_tests(tables[0], table)


def frame_of(seed: int = 5) -> pd.DataFrame:
    """Make unbalanced data: treatments within and between blocks, and a covariate of blocks."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(14), rng.integers(3, 9, 14))
    n = len(block)
    arm = rng.choice(list("abcd"), n, p=[0.4, 0.3, 0.2, 0.1])
    site = np.array(list("uvw"))[block % 3]
    x, age = rng.normal(size=n), rng.uniform(20.0, 70.0, 14)[block]
    effects = rng.normal(size=(14, 2)) * [1.0, 0.9]
    y = effects[block, 0] + (0.3 + effects[block, 1]) * x + 0.4 * (arm == "b") + rng.normal(size=n)
    frame = {
        "y": y,
        "arm": pd.Categorical(arm),
        "site": pd.Categorical(site),
        "block": [f"b{i}" for i in block],
        "x": x,
        "age": age,
    }
    return pd.DataFrame(frame).assign(count=rng.poisson(np.exp(0.5 + 0.3 * y)), half=(y > 0).astype(float))


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("random", ["(1 | block)", "(1 + x | block)"])
def test_lmer_joint_tests(ddf, random):
    """Check terms with two and three degrees of freedom; types II and III agree without an interaction."""
    frame = frame_of()
    formula = f"y ~ arm + site + age + x + {random}"
    fit = sc_glmm.lmer(formula, frame)
    expected = fit.anova(type="III", ddf=ddf).table
    np.testing.assert_allclose(fit.anova(type="II", ddf=ddf).table["DenDF"], expected["DenDF"], rtol=1e-5)
    others = [sc_glmm.lmer(formula, frame, reference={"arm": a, "site": s}) for a, s in ("bu", "cv", "dw")]
    # the slope is correlated with the intercept, so the model does not depend on the zero of the covariate
    for shift, scale in CHANGES[:3]:
        changed = frame.assign(age=scale * (frame["age"] + 10 * shift), x=scale * (frame["x"] + 0.01 * shift))
        others.append(sc_glmm.lmer(formula, changed))
    for other in others:
        table = other.anova(type="III", ddf=ddf).table
        # a search ends when the criterion changes by less than 1e-9
        rtol = 1e-5 if random == "(1 | block)" else 3e-4
        np.testing.assert_allclose(table["F value"], expected["F value"], rtol=rtol)
        np.testing.assert_allclose(table["DenDF"], expected["DenDF"], rtol=10 * rtol)
        np.testing.assert_allclose(table["Pr(>F)"], expected["Pr(>F)"], rtol=10 * rtol)
        assert other.is_singular() == fit.is_singular() and other.converged


@pytest.mark.parametrize("change", CHANGES[:3])
def test_lmer_profiles(change):
    """Check profile intervals of standard deviations and slopes in other units."""
    shift, scale = change
    frame = frame_of()
    formula = "y ~ age + x + (1 | block) + (0 + x | block)"
    fit = sc_glmm.lmer(formula, frame)
    other = sc_glmm.lmer(formula, frame.assign(age=scale * (frame["age"] + shift), x=scale * frame["x"]))
    one, two = (f.confint(method="profile") for f in (fit, other))
    for name in one.index.drop("Intercept"):
        unit = scale if name in ("age", "x") or name.startswith("sd_x") else 1.0
        np.testing.assert_allclose(two.loc[name] * unit, one.loc[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("family", ["poisson", "nb"])
@pytest.mark.parametrize("change", CHANGES[:3])
def test_glmer(family, change):
    """Check estimates, Wald and likelihood-ratio tests, and profile intervals."""
    shift, scale = change
    frame = frame_of()
    formula = "count ~ arm + age + (1 | block)"
    fit = sc_glmm.glmer(formula, frame, family=family)
    other = sc_glmm.glmer(formula, frame.assign(age=scale * (frame["age"] + shift)), family=family)
    assert other.converged and other.is_singular() == fit.is_singular()
    np.testing.assert_allclose(other.loglik(), fit.loglik(), rtol=1e-8)
    one, two = (f.anova().table for f in (fit, other))
    np.testing.assert_allclose(two["Chisq"], one["Chisq"], rtol=1e-4)
    if family == "poisson":
        a, b = (f.confint(method="profile") for f in (fit, other))
        np.testing.assert_allclose(b.loc["age"] * scale, a.loc["age"], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(b.loc[["arm[b]", "arm[c]"]] if "arm[b]" in b.index else b.iloc[2:4],
                                   a.loc[["arm[b]", "arm[c]"]] if "arm[b]" in a.index else a.iloc[2:4],
                                   rtol=1e-3, atol=1e-4)  # fmt: skip
