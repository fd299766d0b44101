"""Check that models derived from a refitted model use its response."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._errors import InputError


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(12), 6)
    x = rng.normal(size=72)
    frame = pd.DataFrame({"g": g.astype(str), "x": x, "y": x + rng.normal(size=12)[g] + rng.normal(size=72)})
    return frame.assign(other=0.5 * x + rng.normal(size=12)[g] + rng.normal(size=72), n=rng.poisson(np.exp(x)))


def test_update_and_ranova_see_the_new_response(data):
    other = sc_glmm.lmer("y ~ x + (1|g)", data).refit(data["other"])
    alone = sc_glmm.lmer("other ~ x + (1|g)", data)
    smaller = sc_glmm.lmer("other ~ 1 + (1|g)", data)
    np.testing.assert_allclose(other.update("~ . - x").fixef(), smaller.fixef(), rtol=1e-8)
    np.testing.assert_allclose(
        other.ranova().table.select_dtypes("number").to_numpy(),
        alone.ranova().table.select_dtypes("number").to_numpy(),
        rtol=1e-8,
    )


def test_counts_as_well(data):
    counts = data["n"].to_numpy()[::-1].copy()
    other = sc_glmm.glmer("n ~ x + (1|g)", data, family="poisson").refit(counts)
    smaller = sc_glmm.glmer("n ~ 1 + (1|g)", data.assign(n=counts), family="poisson")
    np.testing.assert_allclose(other.update("~ . - x").fixef(), smaller.fixef(), rtol=1e-7)


def test_expression_on_the_left_side_is_rejected(data):
    fit = sc_glmm.lmer("I(y * 2) ~ x + (1|g)", data)
    assert len(fit.update("~ . - x").fixef()) == 1
    with pytest.raises(InputError, match="refitted to another response"):
        fit.refit(data["other"]).update("~ . - x")
