"""Check that columns of results are found by position or origin, not by names that a user can choose."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm.models.varcorr import is_correlation, variance_names


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(12), 10)
    x, z = rng.normal(size=(2, 120))
    y = 1 + x + rng.normal(size=12)[g] + x * rng.normal(size=12)[g] + z * rng.normal(size=12)[g] + rng.normal(size=120)
    return pd.DataFrame({"y": y, "x": x, "z": z, "g": [f"g{i}" for i in g]})


def test_random_effects_of_a_column_named_like_a_standard_deviation(frame):
    plain = sc_glmm.lmer("y ~ x + (x + z | g)", frame)
    odd = frame.rename(columns={"x": "sd(Intercept)", "z": "sd(x)"})
    named = sc_glmm.lmer("y ~ `sd(Intercept)` + (`sd(Intercept)` + `sd(x)` | g)", odd)
    ours, theirs = plain.ranef(cond_var=True)["g"], named.ranef(cond_var=True)["g"]
    assert ours.shape[1] == theirs.shape[1] == 6
    np.testing.assert_array_equal(ours.to_numpy(), theirs.to_numpy())
    for fit in (plain, named):
        ax = sc_glmm.pl.random_effect_qq(fit, show=False)
        assert ax is not None
        plt.close("all")


def test_random_slope_named_like_a_correlation(frame):
    plain = sc_glmm.lmer("y ~ x + (x | g)", frame)
    named = sc_glmm.lmer("y ~ cor_x + (cor_x | g)", frame.rename(columns={"x": "cor_x"}))
    assert is_correlation(named).tolist() == [False, True, False, False]
    assert variance_names(named) == ["sd_Intercept|g", "cor_cor_x.Intercept|g", "sd_cor_x|g", "sigma"]
    np.testing.assert_array_equal(plain.confint().to_numpy(), named.confint().to_numpy())


@pytest.mark.parametrize("test", ["t", "eb_lr"])
def test_grouping_factor_named_like_a_moderated_variance(test):
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=120, seed=5)
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", test=test, progress=False)
    adata.obs["sample_eb"] = adata.obs["sample"]
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample_eb)", test=test, progress=False, key_added="odd")
    drawn = []
    for key, column in (("glmm", "sample"), ("odd", "sample_eb")):
        ax = sc_glmm.pl.dispersion(adata, what=column, key=key, show=False)
        drawn.append(np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections]))
        plt.close("all")
    np.testing.assert_array_equal(*drawn)
