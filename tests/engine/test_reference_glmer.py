"""Check the engine against lme4's glmer (Poisson, Laplace and nAGQ = 9) and 61-node quadrature in plain R.

glmer's own Laplace value is not the Laplace approximation at its estimates: the log determinant uses weights that are
one step old (up to 8e-4 here; `test_oracle.py`). The values are therefore compared by means of the arbiter.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracle
from tests.frame_fit import fit_frame
from tests.reference import build, compare, load

NAMES = load.names("glmer")
# Largest distance of the two optima in standard errors of a coefficient: what glmer's Nelder-Mead leaves on its
# approximate objective. "Model failed to converge" is glmer's own verdict on the two epil2 Laplace fits.
TOLERANCE = {
    "glmer_epil2_poisson": 1e-3,
    "glmer_epil2_poisson_slope": 1e-2,
    "glmer_grouseticks": 1e-4,
    "glmer_grouseticks_2re": 1e-4,
    "glmer_owls_poisson_offset": 1e-4,
    "glmer_owls_poisson_offset_nAGQ9": 1e-4,
    "glmer_epil2_poisson_nAGQ9": 2e-4,
}


@pytest.mark.parametrize("name", NAMES)
def test_log_likelihood(name: str) -> None:
    fit, ref = compare.fitted(name), compare.record(name)
    assert fit.converged
    model, _ = compare.model(name)
    at_ours = oracle.objective(model, compare.psi_of(fit, ref), "ml", ref["n_agq"])
    at_theirs = compare.value_at_reference(name)
    assert fit.loglik == pytest.approx(at_ours, abs=1e-7)
    assert at_theirs - 1e-8 <= at_ours <= at_theirs + 2e-4
    if ref["n_agq"] > 1:
        assert fit.loglik == pytest.approx(ref["loglik"], abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_estimates(name: str) -> None:
    fit, ref = compare.fitted(name), compare.record(name)
    order = compare.in_reference_order(fit, ref["fixef"]["names"])
    difference = (fit.beta[order] - ref["fixef"]["estimate"]) / ref["fixef"]["se"]
    assert np.abs(difference).max() < TOLERANCE[name]
    for block in ref["re"]:
        np.testing.assert_allclose(fit.re_sd[block["group"]], block["sd"], rtol=2e-3)
        ours = fit.ranef[block["group"]].loc[block["levels"]].to_numpy()
        np.testing.assert_allclose(ours, block["mode"], atol=5e-3 * max(block["sd"]))


@pytest.mark.parametrize("name", [n for n in NAMES if "nAGQ" not in n])
def test_standard_errors(name: str) -> None:
    """Check standard errors given the variances (glmer's `use.hessian = FALSE`); glmmTMB checks the joint ones."""
    fit, ref = compare.fitted(name), compare.record(name)
    order = compare.in_reference_order(fit, ref["fixef"]["names"])
    expected = np.sqrt(np.diag(ref["vcov_given_variances"]))
    np.testing.assert_allclose(fit.se[order], expected, rtol=2e-3)


@pytest.mark.parametrize("name", load.names("exact"))
def test_exact_likelihood(name: str) -> None:
    """Check against Laplace with the observed Hessian and quadrature with many nodes, both maximised in plain R."""
    ref = compare.record(name)
    for part, n_agq in (("laplace", 1), ("agq61", 41)):
        est = ref[part]
        fit = fit_frame(ref["formula"], load.frame(ref["data"]), family=ref["family"], method="ml", n_agq=n_agq)
        order = compare.in_reference_order(fit, ref["names"])
        assert fit.converged
        assert fit.loglik == pytest.approx(est["loglik"], abs=1e-6)
        assert np.abs((fit.beta[order] - est["estimate"]) / est["se"]).max() < 1e-4
        joint = np.sqrt(np.diag(fit.vcov_full))[order]
        np.testing.assert_allclose(joint, est["se"], rtol=1e-4)
        (sd,) = fit.re_sd.values()
        assert float(sd[0]) == pytest.approx(est["re_sd"], rel=2e-4)
        if est["log_dispersion"] is not None:
            assert float(np.log(fit.dispersion)) == pytest.approx(est["log_dispersion"], abs=1e-4)
        model, psi = build.at_exact(ref, part)
        assert fit.loglik >= oracle.objective(model, psi, "ml", n_agq) - 1e-8
