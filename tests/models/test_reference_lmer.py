"""Check lmer against lme4, lmerTest and pbkrtest on the classical tables.

lme4's optimiser stops up to 1e-4 in theta before the optimum; make_lmer.R completes it by Newton's method.
"""

from __future__ import annotations

import numpy as np
import pytest

from sc_glmm._inference.ddf import kenward_roger, satterthwaite
from sc_glmm.models import LmmFit
from tests.models import compare
from tests.reference import load

NAMES = [n.removeprefix("lmer_") for n in load.names("lmer_") if n != "lmer_insteval"]


@pytest.mark.parametrize("name", NAMES)
def test_criterion(name):
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")
    ours = fit.remlcrit() if ref["reml"] else fit.deviance()
    assert fit.converged
    assert ours == pytest.approx(ref["criterion"], abs=1e-6)
    assert ours <= ref["criterion"] + 1e-9
    assert fit.loglik() == pytest.approx(ref["loglik"], abs=1e-6)
    assert fit.aic() == pytest.approx(ref["aic"], abs=1e-6)
    assert fit.bic() == pytest.approx(ref["bic"], abs=1e-6)
    assert (fit.df_resid, fit.nobs, fit.is_singular()) == (ref["df_resid"], ref["nobs"], ref["singular"])


@pytest.mark.parametrize("name", NAMES)
def test_estimates(name):
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")
    order = compare.order(fit, ref["names"])
    np.testing.assert_allclose(fit.theta, ref["theta"], atol=1e-5)
    assert fit.sigma == pytest.approx(ref["sigma"], rel=1e-6)
    assert fit.loglik(False) == pytest.approx(ref["loglik_ml"], abs=1e-6)
    np.testing.assert_allclose(fit.beta[order], ref["estimate"], rtol=1e-6)
    se = np.sqrt(np.diag(ref["vcov"]))
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov_beta))[order], se, rtol=2e-6)
    correlation = np.array(ref["vcov"]) / np.outer(se, se)
    ours = fit.cov_beta[np.ix_(order, order)] / np.outer(se, se)
    np.testing.assert_allclose(ours, correlation, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_satterthwaite(name):
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")
    order = compare.order(fit, ref["names"])
    df = satterthwaite(np.eye(len(order)), fit.satterthwaite_parts)[0][order]
    np.testing.assert_allclose(df, ref["df"], rtol=0.0, atol=1e-3)
    p_value = fit.summary().fixed["p_value"].to_numpy()[order]
    np.testing.assert_allclose(p_value, ref["p_value"], rtol=1e-4)


@pytest.mark.parametrize("name", [n for n in NAMES if "df_kr" in compare.record(f"lmer_{n}")])
def test_kenward_roger(name):
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")
    order = compare.order(fit, ref["names"])
    parts = fit.kenward_roger_parts
    df = np.array([kenward_roger(row[None, :], parts)[0] for row in np.eye(len(order))])[order]
    np.testing.assert_allclose(df, ref["df_kr"], rtol=0.0, atol=1e-3)
    np.testing.assert_allclose(parts.adjusted[np.ix_(order, order)], ref["vcov_kr"], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", ["1", "2", "3"])
@pytest.mark.parametrize("name", [n for n in NAMES if compare.record(f"lmer_{n}")["anova"]])
def test_analysis_of_variance(name, kind):
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")["anova"][kind]
    table = fit.anova(type=kind).table
    assert [load.plain_name(n.replace(" ** ", "^")) for n in table.index] == [load.plain_name(n) for n in ref["rows"]]
    np.testing.assert_array_equal(table["NumDF"], compare.column(ref, "NumDF"))
    np.testing.assert_allclose(table["F value"], compare.column(ref, "F value"), rtol=1e-5)
    np.testing.assert_allclose(table["DenDF"], compare.column(ref, "DenDF"), rtol=0.0, atol=1e-3)
    np.testing.assert_allclose(table["Sum Sq"], compare.column(ref, "Sum Sq"), rtol=1e-5)
    np.testing.assert_allclose(table["Pr(>F)"], compare.column(ref, "Pr(>F)"), rtol=1e-4)


@pytest.mark.parametrize("name", [n for n in NAMES if "anova_kr" in compare.record(f"lmer_{n}")])
def test_analysis_of_variance_by_kenward_roger(name):
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")["anova_kr"]
    table = fit.anova(ddf="kr").table
    np.testing.assert_allclose(table["F value"], compare.column(ref, "F value"), rtol=1e-5)
    np.testing.assert_allclose(table["DenDF"], compare.column(ref, "DenDF"), rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_random_effects(name):
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")
    frames = fit.ranef(cond_var=True)
    assert list(frames) == list(ref["ranef"])
    for group, theirs in ref["ranef"].items():
        ours = frames[group].loc[theirs["levels"]].to_numpy()
        k = len(theirs["names"])
        scale = max(np.abs(theirs["mode"]).max(), 1e-3)
        np.testing.assert_allclose(ours[:, :k], theirs["mode"], atol=1e-5 * scale)
        np.testing.assert_allclose(ours[:, k:], theirs["condsd"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_varcorr(name):
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")["varcorr"]
    ours = fit.varcorr()
    assert list(ours["grp"]) == ref["grp"]
    assert [None if isinstance(v, float) else v for v in ours["var2"]] == ref["var2"]
    np.testing.assert_allclose(ours["sdcor"], ref["sdcor"], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(ours["vcov"], ref["vcov"], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if "slopeonly" not in n])
def test_ranova(name):
    """Check all terms except lone slopes, which lmerTest replaces by an intercept; this is not a smaller model."""
    fit, ref = compare.lmm(name), compare.record(f"lmer_{name}")["ranova"]
    table = fit.ranova().table
    # lme4 writes batch/cask as cask:batch + batch, in reverse order
    ours, theirs = np.argsort(table["logLik"]), np.argsort(compare.column(ref, "logLik"))
    np.testing.assert_array_equal(table["npar"].iloc[ours], compare.column(ref, "npar")[theirs])
    np.testing.assert_allclose(table["logLik"].iloc[ours], compare.column(ref, "logLik")[theirs], atol=1e-6)
    np.testing.assert_allclose(table["LRT"].iloc[ours], compare.column(ref, "LRT")[theirs], atol=1e-4)
    np.testing.assert_array_equal(table["Df"].iloc[ours], compare.column(ref, "Df")[theirs])
    np.testing.assert_allclose(table["Pr(>Chisq)"].iloc[ours], compare.column(ref, "Pr(>Chisq)")[theirs], rtol=1e-4)


def test_insteval():
    """Check a large crossed design: 73,421 rows, 2,972 students, 1,128 lecturers, 14 departments."""
    fit, ref = compare.lmm("insteval"), compare.record("lmer_insteval")
    assert fit.converged
    assert fit.remlcrit() == pytest.approx(ref["criterion"], abs=1e-6)
    np.testing.assert_allclose(fit.theta, ref["theta"], rtol=1e-5)
    np.testing.assert_allclose(fit.beta, ref["estimate"], rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov_beta)), np.sqrt(np.diag(ref["vcov"])), rtol=1e-5)
    df = satterthwaite(np.eye(2), fit.satterthwaite_parts)[0]
    # lmerTest differences a criterion of 237,734, so the eighth digit of its 37,614 degrees of freedom is uncertain
    np.testing.assert_allclose(df, ref["df"], rtol=1e-6, atol=1e-3)


def test_optimise_is_a_function_of_its_arguments():
    fit = compare.lmm("sleepstudy_slope_reml")
    again = LmmFit.optimise(fit.prepared, fit.data, fit.y, fit.weights, True, fit.options, fit.problem)
    np.testing.assert_array_equal(again.theta, fit.theta)
    np.testing.assert_array_equal(again.beta, fit.beta)
