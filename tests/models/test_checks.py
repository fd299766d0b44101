"""Check influence, quantile residuals and profile intervals against lme4 (make_checks.R) and known properties."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sc_glmm import InputError, ScGlmmWarning
from sc_glmm.models import glmer, influence, lmer, quantile_residuals
from sc_glmm.models.diagnostics import effects_frame
from sc_glmm.models.profile_glmm import GlmmDeviance
from tests.reference import load

REFERENCE = json.loads((Path(load.__file__).parent / "checks_lme4.json").read_text())
BINOMIAL = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@cache
def sleepstudy():
    return lmer("Reaction ~ Days + (Days | Subject)", load.frame("sleepstudy"))


@cache
def cbpp():
    return glmer(BINOMIAL, load.frame("cbpp"), family="binomial")


@cache
def counts(family="nb"):
    """Simulate counts from the model itself."""
    rng = np.random.default_rng(8)
    group = np.repeat(np.arange(20), 30)
    x = rng.normal(size=600)
    mu = np.exp(0.5 + 0.3 * x + 0.5 * rng.normal(size=20)[group])
    y = rng.poisson(mu * rng.gamma(2.0, 0.5, 600) if family == "nb" else mu)
    frame = pd.DataFrame({"y": y, "x": x, "group": [f"g{i:02d}" for i in group], "depth": rng.normal(size=600) * 0.0})
    return glmer("y ~ x + (1 | group)", frame, family=family, offset="depth")


# --- influence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fit", "tolerance", "close"),
    [("sleepstudy", sleepstudy, 1e-4, 1e-3), ("cbpp", cbpp, 2e-3, 0.04)],
    ids=["lmm", "glmm"],
)
def test_influence_equals_that_of_lme4(name, fit, tolerance, close):
    ref = REFERENCE[f"influence_{name}"]
    result = influence(fit())
    np.testing.assert_allclose(result.estimates.loc[ref["levels"]], ref["fixef"], rtol=tolerance, atol=tolerance)
    # lme4 has an additional factor, and another covariance for GLMMs
    n, p = result.estimates.shape
    np.testing.assert_allclose(result.cooks_distance.loc[ref["levels"]] * (n - p) / n, ref["cooks"], rtol=close)


def test_influence_by_another_column_with_offset_and_weights():
    fit = counts()
    frame = fit.data.assign(half=np.where(np.arange(600) % 3 == 0, "a", "b"))
    fit = glmer("y ~ x + (1 | group)", frame, family="nb", offset=np.linspace(-0.5, 0.5, 600))
    result = fit.influence("half")
    assert list(result.n_obs) == [200, 400]
    rows = frame["half"] == "a"
    alone = glmer("y ~ x + (1 | group)", frame[rows], family="nb", offset=np.linspace(-0.5, 0.5, 600)[rows])
    np.testing.assert_allclose(result.estimates.loc["b"], alone.beta)
    np.testing.assert_allclose(result.dfbetas.loc["b"], (fit.beta - alone.beta) / alone.bse)
    np.testing.assert_allclose(result.sd.loc["b"], [np.sqrt(alone.varcorr()["vcov"][0])])
    weighted = lmer("y ~ x + (1 | group)", frame, weights=np.linspace(1.0, 2.0, 600))
    again = lmer("y ~ x + (1 | group)", frame[rows], weights=np.linspace(1.0, 2.0, 600)[rows])
    np.testing.assert_allclose(influence(weighted, "half").estimates.loc["b"], again.beta)


def test_influence_gives_the_reason_if_a_model_without_a_group_fails():
    frame = load.frame("sleepstudy")
    frame["arm"] = np.where(frame["Subject"] == frame["Subject"].iloc[0], "one", "other")
    fit = lmer("Reaction ~ Days + arm + (1 | Subject)", frame, reference={"arm": "other"})
    result = influence(fit)
    first = str(frame["Subject"].iloc[0])
    assert result.message[first]
    assert np.isnan(result.cooks_distance[first])
    assert (result.message.drop(first) == "").all()
    assert np.isfinite(result.cooks_distance.drop(first)).all()
    assert "largest Cook" in repr(result)
    with pytest.raises(InputError, match="neither a grouping factor"):
        influence(fit, "nonsense")
    with pytest.raises(InputError, match="only one level"):
        influence(lmer("Reaction ~ Days + (1 | Subject)", frame.assign(all="x")), "all")


# --- quantile residuals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["poisson", "nb"])
@pytest.mark.parametrize("marginal", [False, True])
def test_quantile_residuals_of_the_true_model_are_standard_normal(family, marginal):
    result = quantile_residuals(counts(family), marginal=marginal)
    assert result.shape == (600,)
    assert np.isfinite(result).all()
    np.testing.assert_allclose([result.mean(), result.std()], [0.0, 1.0], atol=0.12)
    if not marginal:  # marginal residuals of a group are correlated
        assert stats.kstest(result, "norm").pvalue > 0.01
    np.testing.assert_array_equal(result, quantile_residuals(counts(family), marginal=marginal))


def test_quantile_residuals_show_a_wrong_distribution():
    frame = counts("nb").data
    poisson = glmer("y ~ x + (1 | group)", frame, family="poisson")
    assert quantile_residuals(poisson).std() > 1.2
    assert quantile_residuals(poisson, marginal=True).std() > 1.1
    with pytest.raises(InputError, match="nsim=5"):
        quantile_residuals(poisson, marginal=True, nsim=5)


def test_quantile_residuals_are_between_the_quantiles_of_their_counts():
    """Check that a residual lies between the quantiles of P(Y < y) and P(Y <= y)."""
    fit = cbpp()
    result, trials = stats.norm.cdf(quantile_residuals(fit)), fit.weights
    law = stats.binom(trials, fit.fitted())
    y = np.round(fit.y * trials)
    assert ((result >= law.cdf(y - 1) - 1e-12) & (result <= law.cdf(y) + 1e-12)).all()
    gaussian = sleepstudy()
    np.testing.assert_array_equal(gaussian.quantile_residuals(), gaussian.residuals("pearson", scaled=True))


def test_effects_in_a_frame():
    frame = effects_frame(sleepstudy())
    assert list(frame.columns) == ["group", "level", "effect", "mode", "sd"]
    assert list(dict.fromkeys(frame["effect"])) == ["Intercept", "Days"]
    own = sleepstudy().ranef(cond_var=True)["Subject"]
    np.testing.assert_array_equal(frame.loc[frame["effect"] == "Days", "sd"], own["sd(Days)"])


# --- profiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "formula", "family", "tolerance"),
    [
        ("cbpp", BINOMIAL, "binomial", 1e-4),
        # lme4's Laplace deviance has errors up to 1e-3 (tests/reference/README.md), and so have the limits
        ("grouseticks", "TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)", "poisson", 2e-3),
        ("epil2_slope", "y ~ trt + Visit + (Visit | subject)", "poisson", 5e-4),
    ],
)
def test_profile_intervals_equal_those_of_lme4(name, formula, family, tolerance):
    fit = glmer(formula, load.frame(name.partition("_")[0]), family=family)
    result, ref = fit.confint(method="profile"), REFERENCE[f"profile_{name}"]
    np.testing.assert_allclose(result, ref["values"], atol=tolerance)


def test_profile_of_the_negative_binomial_and_of_a_lone_intercept():
    fit = counts()
    result = fit.confint(method="profile")
    inside = np.concatenate([[np.sqrt(fit.varcorr()["vcov"][0])], fit.beta])
    assert ((result["low"] < inside) & (inside < result["high"])).all()
    # at the limits of x, fixing the coefficient (by an offset) increases the deviance by 3.84
    for bound in result.loc["x"]:
        fixed = glmer("y ~ 1 + (1 | group)", fit.data, family="nb", offset=bound * fit.data["x"])
        np.testing.assert_allclose(2.0 * (fit.loglik() - fixed.loglik()), stats.chi2.ppf(0.95, 1), atol=1e-3)
    alone = glmer("y ~ 1 + (1 | group)", fit.data, family="nb")
    low, high = alone.confint(method="profile").loc["Intercept"]
    wald = alone.confint(method="wald").loc["Intercept"]
    np.testing.assert_allclose([low, high], wald, atol=0.05)
    assert low < wald["low"]  # with twenty groups, the profile accounts for the uncertainty of their variance


def test_gradient_of_the_profiled_deviance():
    fit = glmer("y ~ trt + Visit + (Visit | subject)", load.frame("epil2"), family="nb")
    deviance = GlmmDeviance(fit)
    scaled = deviance.structure.scaling.R @ fit.beta
    psi = np.concatenate([[0.5, 0.2, 0.3], scaled + 0.05, [np.log(fit.dispersion) + 0.3]])
    _, grad = deviance(psi)
    for j in range(len(psi)):
        ends = []
        for sign in (1.0, -1.0):
            moved = psi.copy()
            moved[j] += sign * 1e-5
            ends.append(deviance(moved)[0])
        np.testing.assert_allclose(grad[j], (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-4)


def test_a_singular_variance_has_the_bound_zero():
    y = np.tile([1, 2, 3, 4, 5], 12)  # less variation between groups than within them
    data = pd.DataFrame({"y": y, "g": np.repeat([f"g{i}" for i in range(12)], 5)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        fit = glmer("y ~ 1 + (1 | g)", data, family="poisson")
    assert fit.is_singular()
    low, high = fit.confint(method="profile").loc["sd_Intercept|g"]
    assert low == 0.0
    assert 0.0 < high < 1.0
