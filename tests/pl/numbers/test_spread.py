"""Check dispersions and variances along abundance, and the lines of the stored prior."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sc_glmm as sg
from sc_glmm.pl._numbers.spread import dispersion_trend, prior_line, running_median, variance_spread


@pytest.fixture
def info(rng):
    n = 400
    mean = np.exp(rng.normal(-1, 1.5, n))
    return pd.DataFrame(
        {
            "mean": mean,
            "dispersion": 0.5 / mean * np.exp(0.3 * rng.standard_normal(n)),
            "phi_from_trend": mean < 0.05,
            "sd_sample": rng.random(n),
            "sd_sample_eb": 0.2 + 0.1 * rng.random(n),
            "more_variable": np.arange(n) < 7,
        }
    )


def test_running_median_follows_the_trend(rng):
    x = rng.uniform(0, 10, 3_000)
    at, trend = running_median(x, 2 * x + rng.standard_cauchy(3_000))
    np.testing.assert_allclose(trend[5:-5], 2 * at[5:-5], atol=0.6)
    assert len(running_median(x[:5], x[:5])[0]) == 0


def test_dispersions_along_the_mean(info):
    info.loc[0, "dispersion"] = np.nan
    shape = dispersion_trend(info)
    assert len(shape.mean) == 399
    middle = slice(10, -10)
    np.testing.assert_allclose(shape.trend[middle], 0.5 / shape.at[middle], rtol=0.5)
    # the trend uses genes with their own dispersion
    assert shape.at.min() >= 0.05
    with pytest.raises(sg.InputError, match="Poisson or Gaussian family"):
        dispersion_trend(info.drop(columns="dispersion"))


def test_prior_as_lines(info):
    nodes = np.array([1.0, 0.25, 0.0])[:, None]
    prior = {
        "variance": nodes,
        "anchors": np.array([0.25, 0.75]),
        "marginal_0": np.array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]]),
    }
    at, centre, limit = prior_line(info["mean"].to_numpy(), prior, 0)
    assert (np.diff(at) >= 0).all()
    # mean of the standard deviations at both anchors, and values beyond them
    assert centre[0] == pytest.approx(0.75) and centre[-1] == pytest.approx(0.1)
    assert limit[0] == 1.0 and limit[-1] == 0.5
    shape = variance_spread(info, prior, ["sample"], None)
    assert shape.group == "sample" and shape.surprising.sum() == 7
    np.testing.assert_array_equal(shape.sd, info["sd_sample_eb"])
    np.testing.assert_array_equal(shape.centre, centre)


def test_without_a_prior_the_estimates_are_drawn(info):
    info = info.drop(columns=["sd_sample_eb", "more_variable"])
    shape = variance_spread(info, {}, [], "sample")
    np.testing.assert_array_equal(shape.sd, info["sd_sample"])
    assert len(shape.at) == 0 and not shape.surprising.any()
    with pytest.raises(sg.InputError, match="what='donor' is not a variance.*'sample'"):
        variance_spread(info, {}, [], "donor")
