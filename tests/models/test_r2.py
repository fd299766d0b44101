"""Check R squared and intra-class correlation against their definition, computed in R, and published values."""

from __future__ import annotations

import doctest
import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sc_glmm import ScGlmmError
from sc_glmm.models import glmer, lmer
from tests.reference import load

REFERENCE = json.loads((Path(load.__file__).parent / "r2_lme4.json").read_text())
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def _check(fit, reference: dict, rtol: float, **options) -> None:
    found = {**fit.r2(**options), **fit.icc(**options).loc["all"]}
    np.testing.assert_allclose([found[name] for name in reference], list(reference.values()), rtol=rtol)


def test_measurements():
    sleep = lmer("Reaction ~ Days + (Days | Subject)", load.frame("sleepstudy"))
    _check(sleep, REFERENCE["sleepstudy"], 1e-4)
    iris = pd.DataFrame(REFERENCE["iris_data"])
    fit = lmer("Sepal_Length ~ Petal_Length + (1 | Species)", iris)
    _check(fit, REFERENCE["iris"], 1e-4)
    # from the documentation of the R package performance
    assert fit.r2().round(3).tolist() == [0.658, 0.969]
    assert fit.icc().loc["(1 | Species)"].equals(fit.icc().loc["all"])


@pytest.mark.parametrize("method", ["lognormal", "delta"])
def test_trials(method):
    _check(glmer(CBPP, load.frame("cbpp"), family="binomial"), REFERENCE["cbpp"][method], 1e-3, method=method)


@pytest.mark.parametrize("family", ["poisson", "nb"])
@pytest.mark.parametrize("method", ["lognormal", "trigamma", "delta"])
def test_counts(family, method):
    fit = glmer("count ~ mined + (1 | site)", load.frame("Salamanders"), family=family)
    name = "salamanders_nbinom2" if family == "nb" else "salamanders_poisson"
    _check(fit, REFERENCE[name][method], 2e-3, method=method)


def test_units_and_base_levels_do_not_matter():
    data = load.frame("cake")
    fit = lmer("angle ~ recipe * temp + (1 | recipe:replicate)", data)
    other = lmer(
        "I(1000 * angle) ~ recipe * temp + (1 | recipe:replicate)",
        data.assign(temp=lambda d: d.temp * 9 / 5 + 32),
        reference={"recipe": "C"},
    )
    np.testing.assert_allclose(other.r2(), fit.r2(), rtol=1e-6)
    np.testing.assert_allclose(other.icc(), fit.icc(), rtol=1e-6)


def test_known_fractions_are_found():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(400), 25)
    data = pd.DataFrame({"g": g, "x": rng.normal(size=10_000)})
    data["y"] = 2.0 * data.x + rng.normal(size=400)[g] * np.sqrt(3.0) + rng.normal(size=10_000) * np.sqrt(3.0)
    fit = lmer("y ~ x + (1 | g)", data)
    np.testing.assert_allclose(fit.r2(), [0.4, 0.7], atol=0.03)
    np.testing.assert_allclose(fit.icc().loc["all"], [0.5, 0.3], atol=0.03)


def test_effects_of_single_observations_are_not_groups():
    data = load.frame("grouseticks").assign(row=lambda d: np.arange(len(d)))
    fit = glmer("TICKS ~ YEAR + (1 | BROOD) + (1 | row)", data, family="poisson")
    assert fit.icc().index.tolist() == ["(1 | BROOD)", "all"]


def test_a_model_without_intercept_has_the_same_null_model():
    data = load.frame("Salamanders")
    fits = [glmer(f"count ~ {rest}mined + (1 | site)", data, family="poisson") for rest in ("", "0 + ")]
    np.testing.assert_allclose(fits[1].r2(), fits[0].r2(), rtol=1e-5)


def test_separated_model_has_no_r_squared():
    data = load.frame("cbpp").assign(incidence=lambda d: d.incidence.where(d.period.astype(str) != "4", 0))
    with pytest.warns(match="separation"):
        fit = glmer(CBPP, data, family="binomial")
    with pytest.raises(ScGlmmError, match="needs finite estimates"):
        fit.r2()


def test_example_of_the_docstring():
    assert doctest.testmod(importlib.import_module("sc_glmm.models.r2")) == (0, 3)
