"""Check the numbers in figures of p-values against simulations and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

import sc_glmm as sg
from sc_glmm.pl._numbers.evidence import finite_p_values, inflation, p_value_histogram, p_value_quantiles


def test_uniform_p_values_are_flat_and_not_inflated(rng):
    p = rng.random(20_000)
    shape = p_value_histogram(p, 20)
    assert shape.counts.sum() == 20_000
    assert shape.null_share == pytest.approx(1.0, abs=0.02)
    assert inflation(p) == pytest.approx(1.0, abs=0.05)
    quantiles = p_value_quantiles(p)
    inside = (quantiles.observed >= quantiles.low) & (quantiles.observed <= quantiles.high)
    assert inside.mean() > 0.8


def test_inflated_statistics_give_their_inflation(rng):
    z2 = 1.7 * rng.standard_normal(200_000) ** 2
    assert inflation(chi2.sf(z2, 1)) == pytest.approx(1.7, rel=0.02)


def test_share_of_genes_without_effect(rng):
    p = np.concatenate([rng.random(7_000), 1e-4 * rng.random(3_000)])
    shape = p_value_histogram(p, 20)
    assert shape.null_share == pytest.approx(0.7, abs=0.02)
    assert shape.null_count == pytest.approx(350, rel=0.03)


def test_band_covers_each_order_statistic(rng):
    draws = np.sort(rng.random((4_000, 30)), axis=1)
    shape = p_value_quantiles(draws[0])
    low, high = 10**-shape.high, 10**-shape.low
    np.testing.assert_allclose(((draws >= low) & (draws <= high)).mean(axis=0), 0.95, atol=0.015)


def test_p_value_of_zero_is_above_all_others():
    shape = p_value_quantiles(np.array([0.0, 1e-12, 0.5, 0.0]))
    assert list(shape.cut) == [True, True, False, False]
    assert shape.observed[0] > 12
    assert np.isfinite(shape.observed).all()
    assert np.isfinite(p_value_quantiles(np.zeros(3)).observed).all()


@pytest.mark.parametrize(("p", "words"), [([np.nan, np.nan], "none of the 2 rows"), ([0.5, 1.5], "from 0.5 to 1.5")])
def test_values_that_are_not_p_values(p, words):
    with pytest.raises(sg.InputError, match=words):
        finite_p_values(np.array(p), plot="qq")
