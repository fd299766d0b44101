"""Check that singular fits do not depend on the coding of the columns of a random term."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import sc_glmm
from sc_glmm import ScGlmmWarning

TOLERANCES = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)


def frame_of(seed: int, slope: float) -> pd.DataFrame:
    """Make ten groups of eight rows; fits are closer to the boundary for a smaller deviation of the slopes."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(10), 8)
    x = rng.normal(size=80)
    effects = rng.normal(size=(10, 2)) * [0.8, slope]
    eta = effects[group, 0] + effects[group, 1] * x
    kind = np.array(list("abc"))[rng.integers(3, size=80)]
    return pd.DataFrame(
        {
            "y": eta + rng.normal(size=80),
            "count": rng.poisson(np.exp(1.0 + eta)),
            "x": x,
            "kind": pd.Categorical(kind),
            "group": [f"g{i}" for i in group],
        }
    )


def answers(fit) -> list[bool]:
    return [fit.is_singular(tol) for tol in TOLERANCES]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 50),
    slope=st.sampled_from([0.0, 0.1, 0.2, 0.3]),
    shift=st.floats(-1e3, 1e3),
    unit=st.sampled_from([1e-6, 1e-3, 0.5, -1.0, 7.0, 1e4]),
)
def test_the_unit_and_the_zero_of_a_covariate(seed, slope, shift, unit):
    frame = frame_of(seed, slope)
    changed = frame.assign(x=unit * (frame["x"] + shift))
    formula = "y ~ x + (1 + x | group)"
    assert answers(sc_glmm.lmer(formula, frame)) == answers(sc_glmm.lmer(formula, changed))


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_columns_and_the_base_of_a_factor(seed):
    frame = frame_of(seed, 0.2)
    expected = answers(sc_glmm.lmer("y ~ x + (1 + x | group)", frame))
    assert answers(sc_glmm.lmer("y ~ x + (0 + x + I(1 - x) | group)", frame)) == expected
    coded = [
        answers(sc_glmm.lmer("y ~ x + (1 + kind | group)", frame)),
        answers(sc_glmm.lmer("y ~ x + (0 + kind | group)", frame)),
        *(answers(sc_glmm.lmer("y ~ x + (1 + kind | group)", frame, reference={"kind": base})) for base in "bc"),
    ]
    assert all(one == coded[0] for one in coded)


@pytest.mark.parametrize("seed", range(4))
def test_glmer(seed):
    frame = frame_of(seed, 0.2)
    expected = answers(sc_glmm.glmer("count ~ x + (1 + x | group)", frame, family="poisson"))
    for shift, unit in ((30.0, 1.0), (0.0, 1e5), (-4.0, -1e-4)):
        changed = frame.assign(x=unit * (frame["x"] + shift))
        assert answers(sc_glmm.glmer("count ~ x + (1 + x | group)", changed, family="poisson")) == expected


@pytest.mark.parametrize("family", ["nb", "poisson", "gaussian"])
def test_genes(family):
    """Check the flag and the status of genes whose slopes vary little or much."""
    rng = np.random.default_rng(1)
    n_samples, n_cells, n_genes = 8, 25, 40
    sample = np.repeat(np.arange(n_samples), n_cells)
    x = rng.normal(size=len(sample))
    effects = rng.normal(size=(n_samples, n_genes, 2)) * np.stack(
        [np.full(n_genes, 0.4), np.linspace(0, 0.5, n_genes)], 1
    )
    eta = 0.5 + effects[sample, :, 0] + effects[sample, :, 1] * x[:, None]
    mu = np.exp(eta)
    Y = rng.poisson(mu * rng.gamma(4.0, 0.25, mu.shape)) if family != "gaussian" else eta + rng.normal(size=mu.shape)
    obs = pd.DataFrame({"sample": [f"s{i}" for i in sample], "x": x}, index=[f"c{i}" for i in range(len(sample))])
    found = []
    for shift, unit in ((0.0, 1.0), (20.0, 1.0), (-3.0, 1e4), (0.0, -1e-5)):
        adata = ad.AnnData(sp.csr_matrix(Y.astype(np.float64)), obs=obs.assign(x=unit * (x + shift)))
        options = {} if family == "gaussian" else {"size_factors": np.ones(len(sample))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScGlmmWarning)
            sc_glmm.tl.test(adata, "X ~ x + (1 + x | sample)", family=family, test="t", **options)
        found.append(adata.varm["glmm"])
    assert 0.1 < found[0]["singular"].mean() < 0.9 and set(found[0]["status"]) == {"ok", "singular"}
    for other in found[1:]:
        assert list(other["singular"]) == list(found[0]["singular"])
        assert list(other["status"]) == list(found[0]["status"])
