"""Check the fitted objects: frozen, picklable, and consistent."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm.models import LmmFit, bootstrap_lrt, glmer, lmer
from sc_glmm.models.lrt import mixture_p
from tests.reference import load

OWLS = "SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest)"


@pytest.fixture(scope="module")
def sleep():
    return lmer("Reaction ~ Days + (Days | Subject)", load.frame("sleepstudy"))


@pytest.fixture(scope="module", params=["lmm", "crossed", "poisson", "nb", "binomial"])
def fit(request, sleep):
    return {
        "lmm": lambda: sleep,
        "crossed": lambda: lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", load.frame("Penicillin")),
        "poisson": lambda: glmer(OWLS, load.frame("Owls"), family="poisson"),
        "nb": lambda: glmer(OWLS, load.frame("Owls"), family="nb"),
        "binomial": lambda: glmer(
            "cbind(incidence, size - incidence) ~ period + (1 | herd)", load.frame("cbpp"), family="binomial"
        ),
    }[request.param]()


def test_lazy_names_of_the_package():
    assert sc_glmm.lmer is lmer and sc_glmm.glmer is glmer
    assert {"lmer", "glmer", "anova", "lrtest", "emmeans"} <= set(sc_glmm.__all__)


def test_frozen_and_picklable(fit):
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.beta = np.zeros(1)
    again = pickle.loads(pickle.dumps(fit))
    assert str(again.summary()) == str(fit.summary())
    np.testing.assert_array_equal(again.predict(), fit.predict())


def test_coef_is_fixed_plus_random(fit):
    for group, coefficients in fit.coef().items():
        modes = fit.ranef()[group]
        for name in fit.names:
            expected = fit.fixef()[name] + (modes[name] if name in modes.columns else 0.0)
            np.testing.assert_allclose(coefficients[name], expected)


def test_predictions_of_the_data_are_the_fitted_values(fit):
    used = fit.data.loc[fit.prepared.design.rows_used]
    np.testing.assert_allclose(fit.predict(type="response"), fit.fitted())
    np.testing.assert_allclose(fit.predict(used), fit.predict(), atol=1e-10)
    np.testing.assert_allclose(fit.predict(used, re_form="NA"), fit.predict(re_form="~0"), atol=1e-10)
    np.testing.assert_array_equal(fit.predict(re_form=np.nan), fit.predict(re_form="NA"))
    Z, b = fit.model_matrix("random"), fit.get_me("b")
    eta = fit.model_matrix().to_numpy() @ fit.beta + Z @ b + fit.prepared.offset
    np.testing.assert_allclose(eta, fit.predict(), atol=1e-10)


def test_unknown_levels_get_the_average(fit):
    group = fit.prepared.design.random[0].term.group[0]
    new = fit.data.head(3).assign(**{group: "new"})
    some = fit.predict(new, allow_new_levels=True)
    random = fit.prepared.design.random
    without = [i for i, term in enumerate(random) if group not in term.term.group]
    labels = " + ".join(random[i].label for i in without)
    expected = fit.predict(fit.data.head(3), re_form=f"~ {labels}" if labels else "NA")
    np.testing.assert_allclose(some, expected)


def test_refit_to_the_same_response_changes_nothing(fit):
    again = fit.refit(fit.y)
    np.testing.assert_allclose(again.beta, fit.beta, rtol=1e-10)
    np.testing.assert_allclose(again.theta, fit.theta, rtol=1e-8)


def test_theta_gives_the_covariance(fit):
    Lambda = fit.get_me("Lambda").toarray() * fit.sigma
    frame = fit.varcorr()
    variances = frame[frame["var2"].isna() & frame["var1"].notna()]["vcov"].to_numpy()
    assert set(np.round(np.diag(Lambda @ Lambda.T), 10)) == set(np.round(variances, 10))
    assert fit.theta.shape == (fit.n_par - len(fit.beta) - (fit.family in ("gaussian", "nb")),)


def test_simulated_responses_have_the_mean_and_the_spread_of_the_model(fit):
    """Check that the mean of simulated responses, given the random effects, is the fitted value."""
    draws = fit.simulate(400, seed=1, re_form=None).to_numpy()
    mu = fit.fitted()
    error = draws.std(axis=1) / np.sqrt(400)
    z = (draws.mean(axis=1) - mu) / np.maximum(error, 1e-12)
    assert np.mean(np.abs(z) < 3.0) > 0.98
    pearson = (draws - mu[:, None]) / ((fit.y - mu) / fit.residuals("pearson", scaled=True))[:, None]
    assert np.mean(pearson**2) == pytest.approx(1.0, abs=0.05)
    pd.testing.assert_frame_equal(fit.simulate(2, seed=3), fit.simulate(2, seed=3))


def test_new_random_effects_spread_more(sleep):
    one, two = sleep.simulate(200, seed=2, re_form=None), sleep.simulate(200, seed=2)
    assert two.to_numpy().std(axis=1).mean() > 1.3 * one.to_numpy().std(axis=1).mean()


def test_aliases_are_the_same_functions():
    for alias, name in {"VarCorr": "varcorr", "getME": "get_me", "isSingular": "is_singular", "AIC": "aic"}.items():
        assert getattr(LmmFit, alias) is getattr(LmmFit, name)
    assert LmmFit.resid is LmmFit.residuals and LmmFit.logLik is LmmFit.loglik
    assert LmmFit.REMLcrit is LmmFit.remlcrit and LmmFit.refitML is LmmFit.refit_ml


def test_tidy_glance_augment(fit):
    tidy = fit.tidy(conf_level=0.95)
    assert list(tidy["effect"].unique()) == ["fixed", "ran_pars"]
    fixed = tidy[tidy["effect"] == "fixed"]
    np.testing.assert_allclose(fixed["estimate"], fit.beta)
    assert ((fixed["conf_low"] < fixed["estimate"]) & (fixed["estimate"] < fixed["conf_high"])).all()
    assert fit.glance()["loglik"].iloc[0] == fit.loglik()
    augmented = fit.augment()
    assert len(augmented) == fit.nobs
    np.testing.assert_allclose(augmented["fitted"], fit.fitted())


def test_weights_are_replications():
    """Check that weight 2 equals a repeated row, except for the residual degrees of freedom."""
    frame = load.frame("Penicillin")
    w = np.where(np.arange(len(frame)) % 3 == 0, 2.0, 1.0)
    weighted = lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", frame, weights=w, reml=False)
    twice = lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", frame.loc[frame.index.repeat(w.astype(int))], reml=False)
    theta = weighted.solution.theta
    # the penalised sums of squares do not change as functions of theta
    one, two = weighted.point_at(theta, False), twice.point_at(twice.problem.scale_theta(weighted.theta), False)
    assert one.r2 == pytest.approx(two.r2, rel=1e-9)
    assert one.log_det == pytest.approx(two.log_det, rel=1e-9)
    np.testing.assert_allclose(one.beta, two.beta, rtol=1e-9)


def test_order_and_units_do_not_matter(sleep):
    frame = load.frame("sleepstudy").sample(frac=1.0, random_state=3)
    shuffled = lmer("Reaction ~ Days + (Days | Subject)", frame)
    assert shuffled.remlcrit() == pytest.approx(sleep.remlcrit(), abs=1e-8)
    hours = lmer("Reaction ~ h + (h | Subject)", frame.assign(h=24.0 * frame["Days"] + 1e4))
    # REML changes by the log of the unit; the ML criterion, slopes and predictions do not change
    assert hours.refit_ml().deviance() == pytest.approx(sleep.refit_ml().deviance(), abs=1e-6)
    assert 24.0 * hours.beta[1] == pytest.approx(sleep.beta[1], rel=1e-6)
    np.testing.assert_allclose(hours.predict().sort_index(), sleep.predict().sort_index(), rtol=1e-6)


@pytest.mark.parametrize(("family", "correlation"), [("poisson", 0.3), ("nb", -0.6), ("binomial", 1.0)])
def test_a_covariate_far_from_zero_changes_nothing(family, correlation):
    """Check a covariate far from zero, for which intercepts at x = 0 and slopes have correlations near -1."""
    rng = np.random.default_rng(11)
    g, x = np.repeat(np.arange(25), 24), rng.normal(size=600)
    b = rng.multivariate_normal(np.zeros(2), [[0.25, 0.15 * correlation], [0.15 * correlation, 0.09]], 25)
    eta = 0.8 + b[g, 0] + (0.3 + b[g, 1]) * x
    y = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta))) if family == "binomial" else rng.poisson(np.exp(eta))
    frame = pd.DataFrame({"y": y, "x": x, "g": pd.Categorical(g)})
    for reml in (False, True):
        near = glmer("y ~ x + (x | g)", frame, family=family, reml=reml)
        far = glmer("y ~ x + (x | g)", frame.assign(x=x + 100.0), family=family, reml=reml)
        assert near.converged and far.converged
        assert far.loglik() == pytest.approx(near.loglik(), abs=1e-7)
        assert far.beta[1] == pytest.approx(near.beta[1], abs=1e-5)
        np.testing.assert_allclose(far.cov_beta[1, 1], near.cov_beta[1, 1], rtol=1e-3)
        np.testing.assert_allclose(far.fitted(), near.fitted(), rtol=1e-4)
        assert far.is_singular() == near.is_singular()


def test_update(sleep):
    small = sleep.update("~ . - Days")
    assert small.formula == "Reaction ~ 1 + (Days | Subject)"
    assert sleep.update(". ~ . - (Days | Subject) + (1 | Subject)").remlcrit() == pytest.approx(1786.465, abs=1e-3)
    assert sleep.update("log(Reaction) ~ .").beta[0] == pytest.approx(5.53, abs=0.01)
    assert not sleep.update(reml=False).reml
    assert sleep.update("~ . - 1").names == ("Days",)
    cake = lmer("angle ~ recipe * temp + (1 | recipe:replicate)", load.frame("cake"))
    assert cake.update("~ . - recipe:temp").names == ("Intercept", "recipe[T.B]", "recipe[T.C]", "temp")
    assert cake.update("~ . - recipe * temp").names == ("Intercept",)


def test_boundary_mixture():
    """Check the boundary mixture: half the p-value for one variance, less than that of two parameters for a slope."""
    assert mixture_p(2.7055, 1) == pytest.approx(0.05, abs=1e-5)
    assert mixture_p(0.0, 1) == 1.0
    from scipy import stats

    assert mixture_p(5.0, 2) == pytest.approx(0.5 * stats.chi2.sf(5.0, 1) + 0.5 * stats.chi2.sf(5.0, 2))
    assert mixture_p(5.0, 3, variances=2) == pytest.approx(stats.chi2.sf(5.0, 3))


def test_bootstrap_of_a_variance_is_near_the_mixture():
    """Check that about half of the ratios are zero if the true variance is zero."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"g": np.repeat(np.arange(12), 6), "h": np.tile(np.arange(6), 12)}).astype("category")
    frame["y"] = rng.normal(size=72) + rng.normal(size=12)[frame["g"].cat.codes]
    large = lmer("y ~ 1 + (1 | g) + (1 | h)", frame)
    test = bootstrap_lrt(large.update("~ . - (1 | h)"), large, nsim=200, seed=1)
    assert test.df == 1
    assert 0.35 < np.mean(test.reference < 1e-6) < 0.75
    assert test.p_value <= test.p_chisq + 0.05


def test_bootstrap_intervals_are_near_the_profile(sleep):
    boot, profile = sleep.confint(method="boot", nsim=200, seed=4), sleep.confint()
    assert list(boot.index) == list(profile.index)
    width = profile["high"] - profile["low"]
    assert ((boot - profile).abs().div(width, axis=0).drop("cor_Days.Intercept|Subject") < 0.3).all().all()
