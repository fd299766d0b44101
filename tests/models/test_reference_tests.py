"""Check comparisons of models, intervals, marginal means and predictions against lme4 and lmerTest."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from sc_glmm.models import anova, glmer, lmer, lrtest
from sc_glmm.models.lrt import REFIT_NOTE
from tests.models import compare
from tests.reference import load

REF = load.record("tests_lmer")
FORMULAS = {
    "m0": "Reaction ~ 1 + (Days | Subject)",
    "m1": "Reaction ~ Days + (Days | Subject)",
    "mi": "Reaction ~ Days + (1 | Subject)",
    "md": "Reaction ~ Days + (Days || Subject)",
}


@pytest.fixture(scope="module")
def fits():
    sleep = load.frame("sleepstudy")
    return {name: lmer(formula, sleep) for name, formula in FORMULAS.items()}


def check(table, ref):
    for name, tolerance in (
        ("npar", 0.0),
        ("logLik", 1e-6),
        ("AIC", 1e-6),
        ("BIC", 1e-6),
        ("Chisq", 1e-4),
        ("Df", 0.0),
    ):
        if name in table.columns:
            np.testing.assert_allclose(table[name], compare.column(ref, name), atol=tolerance, rtol=0.0)
    np.testing.assert_allclose(table["Pr(>Chisq)"], compare.column(ref, "Pr(>Chisq)"), rtol=1e-3)


def test_different_fixed_effects_are_compared_by_ml_with_a_note(fits, caplog):
    with caplog.at_level(logging.INFO, logger="sc_glmm"):
        logging.getLogger("sc_glmm").addHandler(caplog.handler)
        table = anova(fits["m1"], fits["m0"])
    check(table.table, REF["fixed_refit"])
    assert REFIT_NOTE in table.notes
    assert REFIT_NOTE in caplog.text


def test_both_numbers_are_shown(fits):
    """Check that the note warns that the ratio of restricted likelihoods is not a test."""
    wrong = compare.column(REF["fixed_norefit"], "Chisq")[1]
    for table in (anova(fits["m0"], fits["m1"]), lrtest(fits["m0"], fits["m1"])):
        assert any(f"{wrong:.4f}" in note and "not a valid test" in note for note in table.notes)
        right = compare.column(REF["fixed_refit"], "Chisq")[1]
        assert table.table["Chisq"].iloc[1] == pytest.approx(right, abs=1e-4)


def test_reml_fits_with_different_fixed_effects_are_rejected(fits):
    with pytest.raises(ValueError, match="different fixed effects"):
        anova(fits["m0"], fits["m1"], refit=False)


def test_random_effects_may_be_compared_either_way(fits):
    three = fits["mi"], fits["md"], fits["m1"]
    check(anova(*three).table, REF["random_refit"])
    check(anova(*three, refit=False).table, REF["random_norefit"])
    check(lrtest(*three).table, REF["random_norefit"])


def test_drop1():
    fit = lmer("angle ~ recipe + temp + (1 | recipe:replicate)", load.frame("cake"))
    table, ref = fit.drop1().table, REF["drop1"]
    assert list(table.index) == ref["rows"]
    np.testing.assert_allclose(table["AIC"], compare.column(ref, "AIC"), atol=1e-6)
    np.testing.assert_allclose(table["LRT"], compare.column(ref, "LRT"), atol=1e-4)
    np.testing.assert_allclose(table["Pr(Chi)"], compare.column(ref, "Pr(Chi)"), rtol=1e-3)


def test_profile_intervals(fits):
    """Check profile intervals within 1e-4 of their width, because lme4 interpolates its profile with a spline."""
    ours = fits["m1"].confint().to_numpy()
    theirs = np.array(REF["profile_sleepstudy"])
    width = theirs[:, 1] - theirs[:, 0]
    assert (np.abs(ours - theirs) / width[:, None]).max() < 1e-4
    ours = lmer("Yield ~ 1 + (1 | Batch)", load.frame("Dyestuff")).confint().to_numpy()
    np.testing.assert_allclose(ours, REF["profile_dyestuff"], rtol=2e-4)


def test_wald_intervals(fits):
    ours, theirs = fits["m1"].confint(method="wald"), np.array(REF["wald_sleepstudy"], dtype=float)
    np.testing.assert_allclose(ours.to_numpy(), theirs, rtol=1e-5)


def test_predictions(fits):
    new = pd.DataFrame({"Days": [0, 12, 3], "Subject": ["308", "999", "372"]})
    ours = fits["m1"].predict(new, allow_new_levels=True)
    np.testing.assert_allclose(ours, REF["predict_new"], rtol=1e-5)
    np.testing.assert_allclose(fits["m1"].predict(new, re_form="NA"), REF["predict_fixed"], rtol=1e-7)
    with pytest.raises(ValueError, match="999"):
        fits["m1"].predict(new)


def test_marginal_means():
    """Check marginal means against lmerTest's least-squares means for unbalanced data."""
    cake = load.frame("cake")
    cake = cake[(np.arange(len(cake)) + 1) % 7 != 0]
    fit = lmer("angle ~ recipe + temp + (1 | recipe:replicate)", cake)
    means = fit.emmeans("recipe", adjust="none")
    columns = ["emmean", "se", "df", "low", "high"]
    np.testing.assert_allclose(means.means[columns], REF["means"]["values"], rtol=1e-4)
    np.testing.assert_allclose(
        means.contrasts[["estimate", "se", "df", "stat", "p_value"]], REF["pairs"]["values"], rtol=1e-3
    )


def test_comparison_of_glmms():
    owls = load.frame("Owls")
    formula = "SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest)"
    large = glmer(formula, owls, family="poisson", n_agq=9)
    small = large.update("~ . - FoodTreatment - FoodTreatment:SexParent")
    table, ref = anova(small, large).table, REF["owls"]
    np.testing.assert_array_equal(table["npar"], compare.column(ref, "npar"))
    assert table["Chisq"].iloc[1] == pytest.approx(compare.column(ref, "Chisq")[1], abs=1e-4)
