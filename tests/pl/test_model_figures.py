"""Check figures of one fitted model against its numbers."""

from __future__ import annotations

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sc_glmm import InputError, glmer, lmer, pl
from sc_glmm.models import influence, quantile_residuals
from tests.reference import load


@cache
def gaussian():
    return lmer("Reaction ~ Days + (Days | Subject)", load.frame("sleepstudy"))


@cache
def counts():
    return glmer("TICKS ~ YEAR + (1 | LOCATION)", load.frame("grouseticks"), family="nb")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def dots(ax):
    return np.asarray(ax.collections[0].get_offsets())


def test_residuals_against_fitted_values():
    fit = gaussian()
    drawn = dots(pl.residuals(fit))
    np.testing.assert_array_equal(drawn[:, 0], fit.fitted())
    np.testing.assert_array_equal(drawn[:, 1], fit.residuals("pearson", scaled=True))
    ax = pl.residuals(counts())
    assert ax.get_ylabel() == "quantile residual"
    assert ax.get_xlabel() == "fitted mean"
    assert ax.get_xscale() == "log"
    np.testing.assert_array_equal(dots(ax)[:, 1], quantile_residuals(counts()))
    marginal = pl.residuals(counts(), kind="marginal")
    np.testing.assert_array_equal(dots(marginal)[:, 1], quantile_residuals(counts(), marginal=True))
    # the line of medians: slices with equal numbers of observations
    x, y = pl.residuals(fit).lines[-1].get_data()
    assert len(x) == 15
    order = np.argsort(fit.fitted())
    np.testing.assert_allclose(y[0], np.median(fit.residuals("pearson", scaled=True)[order[:12]]))


def test_histogram_has_area_one_and_the_normal_curve():
    ax = pl.residual_histogram(gaussian(), bins=12)
    heights, edges, _ = ax.patches[0].get_data()
    np.testing.assert_allclose(np.sum(heights * np.diff(edges)), 1.0)
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(y, stats.norm.pdf(x))


def test_quantiles_of_residuals_with_their_band():
    fit = gaussian()
    ax = pl.residual_qq(fit)
    drawn = np.asarray(ax.collections[-1].get_offsets())
    np.testing.assert_allclose(drawn[:, 1], np.sort(fit.residuals("pearson", scaled=True)))
    np.testing.assert_allclose(drawn[:, 0], stats.norm.ppf((np.arange(180) + 0.5) / 180))
    band = ax.collections[0].get_paths()[0].vertices
    first = band[np.isclose(band[:, 0], drawn[0, 0])][:, 1]
    np.testing.assert_allclose(first.min(), stats.norm.ppf(stats.beta.ppf(0.025, 1, 180)))


def test_many_residuals_are_thinned_in_the_middle_only():
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(10), 900)
    frame = pd.DataFrame({"y": rng.normal(size=9000) + rng.normal(size=10)[group], "g": [f"g{i}" for i in group]})
    fit = lmer("y ~ 1 + (1 | g)", frame)
    drawn = np.asarray(pl.residual_qq(fit).collections[-1].get_offsets())
    ordered = np.sort(fit.residuals("pearson", scaled=True))
    assert len(drawn) <= 3000
    np.testing.assert_array_equal(drawn[:1000, 1], ordered[:1000])
    np.testing.assert_array_equal(drawn[-1000:, 1], ordered[-1000:])


def test_random_effects_in_units_of_their_standard_deviations():
    fit = gaussian()
    ax = pl.random_effect_qq(fit, column="Days")
    drawn = np.asarray(ax.collections[-1].get_offsets())
    sd = float(fit.varcorr().set_index("var1").loc["Days", "sdcor"])
    np.testing.assert_allclose(drawn[:, 1], np.sort(fit.ranef()["Subject"]["Days"]) / sd)
    both = pl.random_effect_qq(fit)
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["Intercept", "Days"]
    with pytest.raises(InputError, match="term='nonsense'"):
        pl.random_effect_qq(fit, term="nonsense")
    with pytest.raises(InputError, match="column='nonsense'"):
        pl.random_effect_qq(fit, column="nonsense")
    singular = lmer("Yield ~ 1 + (1 | Batch)", load.frame("Dyestuff2"))
    assert [text.get_text() for text in pl.random_effect_qq(singular).texts] == [
        "no variance between levels of Batch:\nall 6 effects are zero"
    ]


def test_influence_in_order_and_by_effect():
    found = influence(gaussian())
    ax = pl.influence(found)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == list(found.cooks_distance.sort_values().index)
    drawn = np.asarray(ax.collections[-1].get_offsets())
    np.testing.assert_allclose(drawn[:, 0], np.sort(found.cooks_distance))
    by_effect = pl.influence(found, effect="Days")
    drawn = np.asarray(by_effect.collections[-1].get_offsets())
    order = found.dfbetas["Days"].abs().sort_values().index
    np.testing.assert_allclose(drawn[:, 0], found.estimates.loc[order, "Days"])
    assert "Days without each Subject" in by_effect.get_xlabel()
    with pytest.raises(InputError, match="effect='nonsense'"):
        pl.influence(found, effect="nonsense")
    for call in (pl.influence, pl.residuals, pl.diagnostics):
        with pytest.raises(InputError, match="allowed are a fitted model"):
            call(pd.DataFrame())


def test_groups_that_are_not_drawn_are_counted():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"y": rng.normal(size=150), "g": [f"g{i // 3}" for i in range(150)]})
    frame["y"] += np.repeat(rng.normal(size=50), 3)
    ax = pl.influence(lmer("y ~ 1 + (1 | g)", frame))
    assert len(ax.get_yticks()) == 40
    assert ax.get_title(loc="right") == "the 40 largest of 50"


def test_the_page_of_checks():
    axes = pl.diagnostics(counts(), term="YEAR")
    assert axes.shape == (6,)
    assert axes[0].get_figure(root=True).get_suptitle() == counts().formula
    assert [label.get_text() for label in axes[5].get_yticklabels()]
    figure, own = plt.subplots(2, 3)
    assert pl.diagnostics(gaussian(), ax=own.ravel())[0] is own[0, 0]
    assert own[1, 2].get_xlabel() == "Cook's distance"
    with pytest.raises(InputError, match="ax holds 3 axes"):
        pl.diagnostics(gaussian(), ax=own[0])
    assert figure.axes
