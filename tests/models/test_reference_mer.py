"""Check glmer against lme4's glmer, Laplace and quadrature, on its classical tables.

make_lmer.R takes lme4 to the optimum of a Laplace value whose weights are those of the mode (its own are one step old).
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.models import compare
from tests.reference import load

NAMES = [n.removeprefix("mer_") for n in load.names("mer_")]


def test_all_classical_tables_are_stored():
    assert {"grouseticks", "cbpp", "cbpp_agq9", "owls", "owls_agq9", "epil2", "epil2_agq9", "epil2_slope"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_fit(name):
    fit, ref = compare.mer(name), compare.record(f"mer_{name}")
    order = compare.order(fit, ref["names"])
    se = np.array(ref["se"])
    assert fit.converged
    assert fit.loglik() == pytest.approx(ref["loglik"], abs=1e-6)
    assert (fit.nobs, fit.df_resid) == (ref["nobs"], ref["df_resid"])
    np.testing.assert_allclose(fit.beta[order], ref["estimate"], rtol=1e-5, atol=1e-5 * se.max())
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov_beta))[order], se, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_random_effects(name):
    fit, ref = compare.mer(name), compare.record(f"mer_{name}")
    ours = fit.varcorr()
    assert list(ours["grp"]) == ref["varcorr"]["grp"]
    np.testing.assert_allclose(ours["sdcor"], ref["varcorr"]["sdcor"], rtol=1e-5)
    np.testing.assert_allclose(fit.theta, ref["theta"], rtol=1e-5, atol=1e-6)
    frames = fit.ranef(cond_var=True)
    assert list(frames) == list(ref["ranef"])
    for group, theirs in ref["ranef"].items():
        frame = frames[group].loc[theirs["levels"]].to_numpy()
        k = len(theirs["names"])
        np.testing.assert_allclose(frame[:, :k], theirs["mode"], atol=1e-5)
        np.testing.assert_allclose(frame[:, k:], theirs["condsd"], rtol=1e-4)
