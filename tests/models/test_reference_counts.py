"""Check glmer on counts against glmmTMB: Poisson and negative binomial, ML and REML."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from sc_glmm import ScGlmmWarning
from sc_glmm.models import glmer
from tests.reference import compare, load

NAMES = [name for name in load.names("glmmTMB") if name.split("_")[1] in ("epil2", "owls", "salamanders")]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("slope")])
def test_fit(name):
    ref = load.record(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        fit = glmer(ref["formula"], load.frame(ref["data"]), family=ref["family"], reml=ref["method"] == "reml")
    order = compare.in_reference_order(fit, ref["fixef"]["names"])
    se = np.array(ref["fixef"]["se"])
    assert fit.converged
    assert fit.loglik() == pytest.approx(ref["loglik"], abs=2e-6)
    # glmmTMB stops up to 1.5e-4 standard errors early (tests/reference/README.md)
    assert np.abs((fit.beta[order] - ref["fixef"]["estimate"]) / se).max() < 3e-4
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov_beta))[order], se, rtol=1e-4)
    if ref["family"] == "nb":
        assert np.log(fit.dispersion) == pytest.approx(ref["log_dispersion"], abs=2e-4)


def test_glmer_of_lme4_on_epil2():
    """Check against lme4's glmer. Its Laplace value is up to 8e-4 too low, it stops 8e-4 standard errors early, and its
    standard errors are finite differences of that value.
    """
    for name in ("glmer_epil2_poisson", "glmer_epil2_poisson_nAGQ9"):
        ref = load.record(name)
        fit = glmer(ref["formula"], load.frame("epil2"), family="poisson", n_agq=ref["n_agq"])
        order = compare.in_reference_order(fit, ref["fixef"]["names"])
        assert np.abs((fit.beta[order] - ref["fixef"]["estimate"]) / ref["fixef"]["se"]).max() < 2e-3
        np.testing.assert_allclose(np.sqrt(np.diag(fit.cov_beta))[order], ref["fixef"]["se"], rtol=6e-3)
