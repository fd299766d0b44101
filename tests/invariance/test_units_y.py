"""Check that the unit and zero of a Gaussian response change estimates accordingly, and do not change tests."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import ScGlmmWarning

# y -> shift * SD + scale * y
CHANGES = [(0.0, 1e-12), (0.0, 1e-4), (0.0, 1e6), (0.0, 1e12), (1e5, 1.0), (-1e8, 1.0), (1e8, 1e-12), (1e6, 1e12)]
MODELS = {
    "intercept": "y ~ arm + age + (1 | sample)",
    "slope": "y ~ arm * x + (1 + x | sample)",
    "independent": "y ~ arm + x + (x || sample)",
    "crossed": "y ~ arm + (1 | sample) + (1 | plate)",
    "no intercept": "y ~ 0 + arm + x + (1 | sample)",
    "zero variance": "noise ~ arm + (1 | sample)",
}


def make_frame(seed: int = 4) -> pd.DataFrame:
    """Make twelve samples of unequal size on four plates, with effects of samples and plates."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(12), rng.integers(8, 20, 12))
    n = len(sample)
    plate, x = rng.integers(0, 4, n), rng.normal(size=n)
    effects = rng.normal(size=(12, 2)) * [0.8, 0.5]
    y = 1.0 + effects[sample, 0] + (0.3 + effects[sample, 1]) * x + 0.5 * rng.normal(size=4)[plate]
    within = rng.normal(size=n)
    noise = within - pd.Series(within).groupby(sample).transform("mean").to_numpy()
    return pd.DataFrame(
        {
            "y": y + rng.normal(size=n),
            "noise": noise,
            "arm": pd.Categorical(np.array(["a", "b", "c"])[sample % 3]),
            "age": 40.0 + 3.0 * (sample % 7),
            "sample": [f"s{i}" for i in sample],
            "plate": [f"p{i}" for i in plate],
            "x": x,
        }
    )


def moved(y: np.ndarray, shift: float, scale: float) -> np.ndarray:
    """Change the unit of the response."""
    return scale * (y + shift * y.std())


def tolerance(shift: float) -> float:
    """Compute the effect of rounding errors of the shifted values."""
    return 1e-6 + 100.0 * abs(shift) * np.finfo(float).eps


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return make_frame()


@pytest.fixture(scope="module")
def fits(frame) -> dict[str, sc_glmm.models.LmmFit]:
    return {name: sc_glmm.lmer(formula, frame) for name, formula in MODELS.items()}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("model", MODELS)
def test_lmer(fits, frame, model, change):
    """Check Satterthwaite, Kenward-Roger, anova of all types, and status."""
    shift, scale = change
    fit = fits[model]
    response = MODELS[model].split(" ~ ")[0]
    other = sc_glmm.lmer(MODELS[model], frame.assign(**{response: moved(fit.y, shift, scale)}))
    rtol = tolerance(shift)
    assert other.converged == fit.converged
    assert other.is_singular() == fit.is_singular()
    np.testing.assert_allclose(other.sigma, scale * fit.sigma, rtol=rtol)
    np.testing.assert_allclose(other.bse, scale * fit.bse, rtol=rtol)
    m = fit.nobs - len(fit.beta)
    np.testing.assert_allclose(other.loglik(), fit.loglik() - m * np.log(scale), rtol=rtol)
    L = np.eye(len(fit.beta))[0 if model == "no intercept" else 1 :]
    if model == "no intercept":
        L = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    np.testing.assert_allclose(L @ other.beta / scale, L @ fit.beta, atol=rtol * fit.sigma)
    for ddf in ("satterthwaite", "kenward-roger"):
        one, two = (sc_glmm.models.wald.single_tests(f, L, ddf) for f in (fit, other))
        np.testing.assert_allclose(two["df"], one["df"], rtol=10 * rtol)
        np.testing.assert_allclose(two["p_value"], one["p_value"], rtol=100 * rtol, atol=1e-12)
        for kind in ("I", "II", "III"):
            if model != "no intercept":
                a, b = (f.anova(type=kind, ddf=ddf).table for f in (fit, other))
                np.testing.assert_allclose(b["DenDF"], a["DenDF"], rtol=10 * rtol)
                np.testing.assert_allclose(b["Pr(>F)"], a["Pr(>F)"], rtol=100 * rtol, atol=1e-12)


@pytest.mark.parametrize("change", [(0.0, 1e-9), (0.0, 1e9), (1e7, 1.0)])
@pytest.mark.parametrize("model", ["intercept", "slope"])
def test_profile_intervals(fits, frame, model, change):
    shift, scale = change
    fit = fits[model]
    other = sc_glmm.lmer(MODELS[model], frame.assign(y=moved(fit.y, shift, scale)))
    one, two = (f.confint(method="profile") for f in (fit, other))
    for name in one.index:
        is_cor = name.startswith("cor_")
        expected = one.loc[name] + (shift * fit.y.std() if name == "Intercept" else 0.0)
        expected = expected if is_cor else scale * expected
        atol = 2e-5 * (1.0 if is_cor else scale * fit.sigma) + 1e-7 * abs(shift) * scale * 1e-7
        np.testing.assert_allclose(two.loc[name], expected, atol=atol, err_msg=name)


@pytest.mark.parametrize("change", [(0.0, 1e-9), (1e6, 1e6)])
def test_other_functions_of_a_linear_model(fits, frame, change):
    """Check likelihood ratios, ranova, weights, offsets and refit."""
    shift, scale = change
    fit = fits["slope"]
    y = moved(fit.y, shift, scale)
    other = sc_glmm.lmer(MODELS["slope"], frame.assign(y=y))
    np.testing.assert_allclose(fit.refit(y).beta, other.beta)
    rtol = tolerance(shift)
    one, two = (f.ranova().table for f in (fit, other))
    np.testing.assert_allclose(two["LRT"].dropna(), one["LRT"].dropna(), rtol=100 * rtol, atol=1e-7)
    small = "y ~ arm + x + (1 + x | sample)"
    first = fit.anova(sc_glmm.lmer(small, frame)).table
    second = other.anova(sc_glmm.lmer(small, frame.assign(y=y))).table
    np.testing.assert_allclose(second["Chisq"].dropna(), first["Chisq"].dropna(), rtol=100 * rtol)
    weights = np.linspace(0.5, 2.0, len(frame))
    pair = [
        sc_glmm.lmer(MODELS["crossed"], frame.assign(y=values), weights=weights, offset=b * frame["age"])
        for values, b in ((fit.y, 0.1), (y, 0.1 * scale))
    ]
    np.testing.assert_allclose(*[f.anova().table["DenDF"] for f in pair], rtol=10 * rtol)
    assert "converged" not in str(other.summary()) or "converged" in str(fit.summary())


def genes_of(frame: pd.DataFrame, form=np.asarray) -> ad.AnnData:
    """Make one gene for each change of unit; the first has the original values."""
    y = frame["y"].to_numpy()
    X = np.column_stack([y, *(moved(y, *change) for change in CHANGES)])
    obs = frame.drop(columns=["y", "noise"]).set_axis([f"c{i}" for i in range(len(y))])
    names = [f"g{i}" for i in range(X.shape[1])]
    return ad.AnnData(form(X), obs=obs, var=pd.DataFrame(index=names))


@pytest.mark.parametrize("formula", [MODELS["intercept"], MODELS["slope"], MODELS["crossed"]])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_gaussian_genes(frame, formula, form):
    adata = genes_of(frame, form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, formula.replace("y ~", "X ~"), family="gaussian")
    table = sc_glmm.get.results(adata, columns="all")
    assert set(table["status"]) == {"ok"}
    for _, rows in table.groupby("contrast", observed=True):
        first = rows.iloc[0]
        for (shift, scale), (_, row) in zip(CHANGES, rows.iloc[1:].iterrows(), strict=True):
            rtol = tolerance(shift)
            assert row["coef"] / scale == pytest.approx(first["coef"], abs=10 * rtol * first["se"], nan_ok=True)
            np.testing.assert_allclose(row[["df"]].astype(float), first[["df"]].astype(float), rtol=100 * rtol)
            assert row["p_value"] == pytest.approx(first["p_value"], rel=100 * rtol, abs=1e-12)


def test_a_gene_of_tiny_values_among_others(frame):
    """Check values whose squares underflow."""
    y = frame["y"].to_numpy()
    X = np.column_stack([y, 1e-83 * y, 1e-150 * y, 1e120 * y])
    adata = ad.AnnData(X, obs=frame.drop(columns=["y", "noise"]).set_axis([f"c{i}" for i in range(len(y))]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, MODELS["intercept"].replace("y ~", "X ~"), family="gaussian", contrasts="age")
    table = sc_glmm.get.results(adata, columns="all")
    assert set(table["status"]) == {"ok"}
    np.testing.assert_allclose(table["df"], table["df"].iloc[0], rtol=1e-5)
    np.testing.assert_allclose(table["p_value"], table["p_value"].iloc[0], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-9, 1.0])
def test_a_response_on_the_right_side(frame, scale):
    """Check the response as a random slope: the package gives a clear error."""
    part = frame.iloc[:60].assign(y=scale * frame["y"].iloc[:60])
    with pytest.raises(sc_glmm.InputError, match="the random effects of .* explain the response completely"):
        sc_glmm.lmer("y ~ (x + y || sample)", part)
    with pytest.raises(sc_glmm.InputError, match="the fixed effects of .* explain the response completely"):
        sc_glmm.lmer("y ~ y + (1 | sample)", part.assign(y=scale * part["x"]))
