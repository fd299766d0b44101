"""Check that shrunken effects, p-values and intervals agree, even for sparse genes; they come from one function."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm._inference.mixture import mixture_test
from sc_glmm._inference.shrink import shrink
from sc_glmm._inference.signed_root import SignedRoots

N_SAMPLES, N_CELLS, N_GENES = 8, 40, 900


@pytest.fixture(scope="module")
def sparse() -> pd.DataFrame:
    """Make results of genes with 2 to 100 counts in total; 40 % have an effect, and many are separated."""
    rng = np.random.default_rng(3)
    sample = np.repeat(np.arange(N_SAMPLES), N_CELLS)
    arm = np.arange(N_SAMPLES) % 2
    effect = np.where(rng.uniform(size=N_GENES) < 0.6, 0.0, rng.normal(0.0, 2.0, N_GENES))
    eta = rng.uniform(np.log(0.006), np.log(0.3), N_GENES) + rng.normal(0.0, 0.2, (N_SAMPLES, N_GENES))
    mu = np.exp(eta + (arm[:, None] - 0.5) * effect)[sample]
    counts = rng.poisson(mu * rng.gamma(2.0, 0.5, mu.shape))
    adata = ad.AnnData(sp.csr_matrix(counts.astype(float)))
    adata.obs["sample"] = [f"s{i}" for i in sample]
    adata.obs["arm"] = np.where(arm[sample], "B", "A")
    adata.obs["sf"] = 1.0
    sc_glmm.tl.test(
        adata, "X ~ arm + (1|sample)", reference={"arm": "A"}, size_factors="sf", min_counts=2, progress=False
    )
    results = sc_glmm.get.results(adata, columns="all")
    results["truth"] = effect / np.log(2.0)
    return results[results["p_value"].notna()]


def test_no_discovery_has_an_uncertain_sign(sparse: pd.DataFrame) -> None:
    certain = sparse[sparse["adj_p_value"] < 0.001]
    assert len(certain) > 30
    assert (certain["status"] == "separated").sum() > 5
    assert certain["lfsr"].max() < 0.05


def test_the_interval_excludes_zero_if_and_only_if_p_is_small(sparse: pd.DataFrame) -> None:
    excludes = (sparse["ci_low"] > 0.0) | (sparse["ci_high"] < 0.0)
    pd.testing.assert_series_equal(excludes, sparse["p_value"] < 0.05, check_names=False)


def test_false_sign_rates_are_calibrated(sparse: pd.DataFrame) -> None:
    wrong = np.sign(sparse["truth"]) != np.sign(sparse["log_fc_shrunk"])
    chosen = sparse["s_value"] < 0.05
    assert chosen.sum() > 50
    assert wrong[chosen].mean() < 0.08
    assert sparse["lfsr"].mean() == pytest.approx(wrong.mean(), abs=0.1)
    assert np.mean((sparse["log_fc_shrunk"] - sparse["truth"]) ** 2) < 0.7 * np.mean(
        (sparse["log_fc"] - sparse["truth"]) ** 2
    )


@pytest.mark.parametrize("steep", [0.2, 0.6, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("z", [-4.0, -0.9, -0.05, 0.0, 0.3, 1.3, 6.0])
def test_one_function_gives_p_value_and_interval(z: float, steep: float) -> None:
    weights = np.array([[0.2, 0.5, 0.3]])
    sd = np.array([[0.3, 0.5, 0.9]])
    delta = z * 0.5 + np.array([[-0.02, 0.0, 0.02]])
    root = np.sign(delta / sd) * np.abs(delta / sd) * steep
    result = mixture_test(weights, delta, sd**2, root)
    roots = SignedRoots.through(weights, delta, sd**2, root)
    b = np.linspace(-40.0, 40.0, 4001)[None]
    F = roots.tail(b, np.array([-1.0]))
    assert (np.diff(F) <= 1e-15).all()
    at_zero = roots.tail(np.zeros((1, 1)), np.array([-1.0]))[0, 0]
    assert 2.0 * min(at_zero, 1.0 - at_zero) == pytest.approx(min(result.p_value[0], 2.0), abs=1e-12)
    for limit, target in ((result.low, 0.975), (result.high, 0.025)):
        assert roots.tail(limit[:, None], np.array([-1.0]))[0, 0] == pytest.approx(target, abs=1e-8)


def test_a_false_sign_is_never_less_probable_than_half_the_p_value() -> None:
    """Check that the false sign rate is at least p / 2, which is its value under a flat prior."""
    rng = np.random.default_rng(1)
    n = 2000
    truth = rng.normal(0.0, 10.0, n)
    delta = truth[:, None] + rng.normal(size=(n, 1))
    var, weights = np.ones((n, 1)), np.ones((n, 1))
    result = shrink(weights, delta, var, delta)
    p = mixture_test(weights, delta, var, delta).p_value
    some = (p > 1e-8) & (p < 0.5)
    assert (result.lfsr[some] >= 0.499 * p[some]).all()
    assert (result.lfsr[some] <= 10.0 * p[some]).all()
    large = p < 1e-8
    np.testing.assert_allclose(result.mean[large], delta[large, 0], atol=0.5)
