"""Check glmer with trials against glmmTMB (Laplace) and lme4 (quadrature) on cbpp.

lme4's own Laplace value uses weights that are one step old and is 3e-4 too low here, so glmmTMB is the reference.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sc_glmm.models import glmer
from tests.models import compare
from tests.reference import load

NAMES = [n.removeprefix("trials_") for n in load.names("trials_")]


@pytest.mark.parametrize("name", NAMES)
def test_fit(name):
    fit, ref = compare.trials(name), compare.record(f"trials_{name}")
    order = compare.order(fit, ref["names"])
    assert fit.converged
    assert fit.loglik() == pytest.approx(ref["loglik"], abs=1e-6)
    assert np.abs((fit.beta[order] - ref["estimate"]) / ref["se"]).max() < 1e-4
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov_beta))[order], ref["se"], rtol=1e-4)
    sd = fit.varcorr().set_index("grp").loc["herd", "sdcor"]
    assert sd == pytest.approx(ref["sd"], rel=1e-4)


def test_residuals_deviance_and_modes():
    fit, ref = compare.trials("cbpp_agq9"), compare.record("trials_cbpp_agq9")
    assert fit.deviance() == pytest.approx(ref["deviance"], abs=1e-4)
    for kind, theirs in ref["residuals"].items():
        np.testing.assert_allclose(fit.residuals(kind), theirs, atol=1e-4)
    ours, theirs = fit.ranef(cond_var=True)["herd"], ref["ranef"]["herd"]
    np.testing.assert_allclose(ours["Intercept"], np.ravel(theirs["mode"]), atol=2e-5)
    np.testing.assert_allclose(ours["sd(Intercept)"], np.ravel(theirs["condsd"]), rtol=1e-4)


def test_three_ways_to_write_the_same_data():
    cbpp = load.frame("cbpp")
    two = glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, family="binomial")
    share = cbpp.assign(p=cbpp["incidence"] / cbpp["size"])
    weighted = glmer("p ~ period + (1 | herd)", share, family="binomial", weights="size")
    rows = [
        {"herd": h, "period": t, "sick": int(k < s)}
        for h, t, s, n in zip(cbpp["herd"], cbpp["period"], cbpp["incidence"], cbpp["size"], strict=True)
        for k in range(int(n))
    ]
    single = glmer("sick ~ period + (1 | herd)", pd.DataFrame(rows).astype({"period": "category"}), family="binomial")
    assert weighted.loglik() == pytest.approx(two.loglik(), abs=1e-10)
    for other in (weighted, single):
        np.testing.assert_allclose(other.beta, two.beta, atol=1e-7)
        np.testing.assert_allclose(other.cov_beta, two.cov_beta, rtol=1e-5)


def test_offset_is_a_coefficient_fixed_at_one():
    cbpp = load.frame("cbpp")
    shift = np.linspace(-1.0, 1.0, len(cbpp))
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    fit = glmer(formula, cbpp, family="binomial", offset=shift)
    x = glmer(formula.replace("period", "period + x"), cbpp.assign(x=shift), family="binomial")
    # with an offset at the estimate of x, the likelihood equals that of the model with x
    again = glmer(formula, cbpp, family="binomial", offset=shift * x.fixef()["x"])
    assert again.loglik() == pytest.approx(x.loglik(), abs=1e-8)
    assert fit.loglik() < x.loglik()
    np.testing.assert_allclose(again.fitted(), x.fitted(), rtol=1e-5)
