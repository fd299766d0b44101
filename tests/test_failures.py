"""Check tests that cannot work for most genes: they are rejected early, or give a warning with advice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm import DesignError, ScGlmmWarning
from sc_glmm._engine import entry

FORMULA = "counts ~ disease + x + (1|sample)"


@pytest.fixture(scope="module")
def adata():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=240, n_genes=60, seed=0)
    rng = np.random.default_rng(0)
    adata.obs["x"] = rng.normal(size=adata.n_obs)
    adata.obs["phase"] = pd.Categorical(np.array(["g1", "s"])[rng.integers(2, size=adata.n_obs)])
    # varies within samples in one cell type only
    adata.obs["type"] = pd.Categorical(np.array(["t", "b"])[np.arange(adata.n_obs) % 2])
    adata.obs["z"] = np.where(adata.obs["type"] == "t", adata.obs["x"], 0.0)
    return adata


@pytest.mark.parametrize("test", ["hk", "ql"])
@pytest.mark.parametrize(
    ("formula", "named"),
    [
        (FORMULA, "'x'"),
        ("counts ~ disease + phase + (1|sample)", "'phase'"),
        ("counts ~ disease * x + (1|sample)", "'x', 'disease:x'"),
        ("counts ~ disease + (1 + x|sample)", "'(1 + x | sample)'"),
    ],
)
def test_residuals_between_samples_need_terms_that_are_constant_within_them(adata, test, formula, named):
    with pytest.raises(
        DesignError, match="residuals between the levels of 'sample'.*the default test.*test='t'"
    ) as hit:
        sc_glmm.tl.test(adata, formula, test=test, contrasts="disease")
    assert named in str(hit.value)


@pytest.mark.filterwarnings("ignore:b. z does not vary here")
def test_a_group_in_which_terms_vary_within_samples_is_skipped(adata):
    with pytest.warns(ScGlmmWarning, match="type 't' was skipped: test='hk'"):
        sc_glmm.tl.test(adata, "counts ~ disease + z + (1|sample)", test="hk", groupby="type", contrasts="disease")
    found = sc_glmm.get.results(adata, columns="all")
    assert set(found["type"]) == {"b"} and found["p_value"].notna().any()


@pytest.mark.filterwarnings("ignore:within=.homogeneous. assumes")
def test_joint_contrasts_do_not_need_them(adata):
    sc_glmm.tl.test(adata, FORMULA, test="hk", contrasts={"both": ["disease", "x"]}, within="homogeneous")
    hk = sc_glmm.get.results(adata)
    sc_glmm.tl.test(adata, FORMULA, test="t", contrasts={"both": ["disease", "x"]}, within="homogeneous")
    pd.testing.assert_series_equal(hk["p_value"], sc_glmm.get.results(adata)["p_value"])


@pytest.mark.parametrize("test", ["eb_lr", "t"])
def test_run_without_results_gives_a_warning_and_a_last_line(adata, caplog, monkeypatch, test):
    """Check fits and tests that fail for any reason; results are set to NaN between the stages."""
    from sc_glmm._run import conductor, stages

    spoilt = {"fits": 0, "numbers": 0}
    whole, fitted = stages.contrast_tables, conductor.fit_range

    def without_numbers(used, evidence, *rest):
        if evidence.moderation is not None:
            evidence.moderation.profiles.star[:] = np.nan
        evidence.result.fits.vcov[:] = np.nan
        spoilt["numbers"] += 1
        return whole(used, evidence, *rest)

    def without_fits(*args, **kwargs):
        result = fitted(*args, **kwargs)
        result.result.fits.status[result.result.fits.status == entry.OK] = entry.NOT_CONVERGED
        spoilt["fits"] += 1
        return result

    words = "disease: AD vs ctl: .* genes have no result"
    with monkeypatch.context() as patch, pytest.warns(ScGlmmWarning, match=words) as caught:
        patch.setattr(stages, "contrast_tables", without_numbers)
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", test=test, reference={"disease": "ctl"})
    assert "were fitted, but test=" in str(caught[-1].message) and "Try test=" in str(caught[-1].message)
    assert any("genes have no result" in note for note in adata.uns["glmm"]["params"]["notes"])
    table = sc_glmm.get.results(adata)
    assert f"{(table['status'] == 'not_converged').sum()} failed" in "\n".join(caplog.messages)

    with monkeypatch.context() as patch, pytest.warns(ScGlmmWarning, match="models could not be fitted"):
        patch.setattr(conductor, "fit_range", without_fits)
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", test=test, reference={"disease": "ctl"})
    assert spoilt == {"fits": 1, "numbers": 1}


@pytest.mark.filterwarnings("error")
def test_successful_runs_give_no_warning(adata):
    for test in ("eb_lr", "t", "wald", "lrt", "hk", "ql"):
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", test=test)
        assert "no result" not in str(adata.uns["glmm"]["params"]["notes"])
        assert not sc_glmm.get.results(adata)["status"].isin(["not_converged", "error"]).any()
