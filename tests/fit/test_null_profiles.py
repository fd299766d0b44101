"""Check hypotheses that are far from the slopes of a fit: they are profiled on nodes of their own."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import sc_glmm
from sc_glmm._fit import centred_profiles
from sc_glmm._fit.centre import Centre

from .test_centred import make


def table(adata, formula, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc_glmm.tl.test(adata, formula, size_factors="size", progress=False, within="homogeneous", **options)
    return sc_glmm.get.results(adata, columns="all"), adata.uns["glmm"]["params"]["n_genes_on_cells"]


@pytest.mark.parametrize("family", ["nb", "poisson"])
def test_hypotheses_on_their_own_nodes_give_the_same_tests(monkeypatch, family):
    """Check r* of single rows and likelihood ratios of several rows, for genes whose nodes are accurate for both."""
    adata = make(n_genes=60, n_samples=6, n_cells=1800)
    formula = "counts ~ disease + s_score + mito + (1|sample)"
    contrasts = {"one": "s_score", "arm": "disease", "both": ["s_score", "mito"]}
    usual, _ = table(adata, formula, family=family, contrasts=contrasts)
    errors, put, placed = centred_profiles._profile_errors, centred_profiles.put_hypothesis, []

    def too_large(*args):
        found, limits = errors(*args)
        found[1:] = np.inf
        return found, limits

    monkeypatch.setattr(centred_profiles, "_profile_errors", too_large)
    monkeypatch.setattr(centred_profiles, "put_hypothesis", lambda *args: placed.append(len(args[2])) or put(*args))
    ours, n_on_cells = table(adata, formula, family=family, contrasts=contrasts)
    assert sum(placed) > 150 and n_on_cells < 5
    p, exact = (np.log(np.maximum(each["p_value"], 1e-200)) for each in (ours, usual))
    np.testing.assert_allclose(p, exact, atol=5e-4, rtol=2e-4)


def test_splines_of_skewed_covariates_are_tested_on_nodes():
    """Check that a joint hypothesis about a spline does not send most genes to their cells."""
    adata = make(n_genes=60, n_samples=6, n_cells=1800)
    _, n_on_cells = table(adata, "counts ~ disease + bs(mito, df=4) + (1|sample)")
    assert n_on_cells < 15


@pytest.mark.parametrize("unit", [1e-14, 1.0, 1e14])
def test_random_slopes_are_recognised_in_any_unit(unit):
    """A random slope changes the slopes of the predictor, whatever the unit of its covariate; an intercept does not."""
    Z = np.array([[1.0, 0.3], [1.0, -0.2], [1.0, 0.4], [1.0, 0.1]]) * [1.0, unit]
    rows = SimpleNamespace(base_row=np.array([0, 0, 1, 1]), cells=SimpleNamespace(first=np.array([0, 2, 4])))
    for columns, fixed in ((Z, False), (Z[:, :1], True)):
        assert Centre(rows, None, (SimpleNamespace(Z=columns),), None).fixed_slopes is fixed
