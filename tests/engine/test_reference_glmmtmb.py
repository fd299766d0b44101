"""Check the engine against glmmTMB: Poisson and NB (nbinom2), ML and REML, offsets, slopes, three random effects.

Each model is fitted once, from R's own formula. If an estimate differs from glmmTMB's, the arbiter decides which is
closer to the optimum: glmmTMB stops up to 1.5e-4 standard errors early, when its likelihood changes little.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracle
from tests.reference import compare, load

NAMES = load.names("glmmTMB")
SINGULAR = "glmmTMB_owls_nbinom2_slope"
LARGE = "glmmTMB_grouseticks_poisson_ML"  # 584 random effects: the arbiter's Hessian takes a minute
REGULAR = [n for n in NAMES if n not in (SINGULAR, LARGE)]


@pytest.mark.parametrize("name", NAMES)
def test_log_likelihood(name: str) -> None:
    fit, ref = compare.fitted(name), compare.record(name)
    assert fit.converged
    model, _ = compare.model(name)
    at_ours = oracle.objective(model, compare.psi_of(fit, ref), ref["method"])
    assert fit.loglik == pytest.approx(at_ours, abs=1e-7)
    assert at_ours >= compare.value_at_reference(name) - 1e-8
    gain = fit.loglik - ref["loglik"]
    assert -1e-6 < gain < (1e-5 if name == SINGULAR else 1e-6)


@pytest.mark.parametrize("name", REGULAR)
def test_coefficients(name: str) -> None:
    """Check within 1e-4 standard errors, after a last Newton step from glmmTMB's estimates; ours need no such step."""
    fit, ref = compare.fitted(name), compare.record(name)
    model, theirs = compare.model(name)
    method = ref["method"]
    order = compare.in_reference_order(fit, ref["fixef"]["names"])
    ours = compare.psi_of(fit, ref)
    curvature = oracle.hessian(model, theirs, method)
    se = np.sqrt(np.diag(oracle.joint_vcov(model, theirs, method, curvature=curvature)))
    step = oracle.newton_step(model, theirs, method, curvature=curvature)
    left = oracle.newton_step(model, ours, method, curvature=curvature)
    assert np.abs(left / se[-len(left) :]).max() < 1e-5
    assert np.abs((ours - theirs - step) / se[-len(left) :]).max() < 1e-4
    if method == "reml":
        step = oracle.laplace(model, theirs, method).mode_slope[-len(order) :] @ step
    else:
        step = step[: len(order)]
    difference = fit.beta[order] - np.array(ref["fixef"]["estimate"]) - step
    assert np.abs(difference / ref["fixef"]["se"]).max() < 1e-4


def test_coefficients_of_three_random_effects() -> None:
    fit, ref = compare.fitted(LARGE), compare.record(LARGE)
    order = compare.in_reference_order(fit, ref["fixef"]["names"])
    assert np.abs((fit.beta[order] - ref["fixef"]["estimate"]) / ref["fixef"]["se"]).max() < 1e-4


@pytest.mark.parametrize("name", [n for n in NAMES if n != SINGULAR])
def test_covariance_of_all_parameters(name: str) -> None:
    """Check the joint Hessian, in units of glmmTMB's standard errors."""
    fit, ref = compare.fitted(name), compare.record(name)
    order = compare.in_reference_order(fit, ref["fixef"]["names"])
    se = np.array(ref["fixef"]["se"])
    ours = fit.vcov_full[np.ix_(order, order)]
    np.testing.assert_allclose(ours / np.outer(se, se), np.array(ref["vcov"]) / np.outer(se, se), atol=5e-5)


@pytest.mark.parametrize("name", REGULAR)
def test_standard_errors_given_the_variances(name: str) -> None:
    fit, ref = compare.fitted(name), compare.record(name)
    model, _ = compare.model(name)
    vcov = oracle.conditional_vcov(model, compare.psi_of(fit, ref), ref["method"])
    order = compare.in_reference_order(fit, ref["fixef"]["names"])
    np.testing.assert_allclose(fit.se[order], np.sqrt(np.diag(vcov)), rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if n != SINGULAR])
def test_variances_and_modes(name: str) -> None:
    fit, ref = compare.fitted(name), compare.record(name)
    if ref["log_dispersion"] is not None:
        # in units of its standard error, because glmmTMB stops early here too
        z = (np.log(fit.dispersion) - ref["log_dispersion"]) / ref["log_dispersion_se"]
        assert abs(z) < 2e-4
    for block in ref["re"]:
        np.testing.assert_allclose(fit.re_sd[block["group"]], block["sd"], rtol=1e-4)
        np.testing.assert_allclose(fit.re_corr[block["group"]], block["corr"], atol=1e-3)
        ours = fit.ranef[block["group"]].loc[block["levels"]].to_numpy()
        np.testing.assert_allclose(ours, block["mode"], atol=2e-4 * max(block["sd"]))


def test_singular_slope() -> None:
    """Check a correlation of one: glmmTMB reports "singular convergence"; this package reports a singular fit."""
    fit, ref = compare.fitted(SINGULAR), compare.record(SINGULAR)
    assert fit.singular
    assert abs(fit.re_corr["Nest"][0, 1]) > 1 - 1e-4
    assert fit.loglik >= ref["loglik"] - 1e-8
