"""Check that any argument gives a result, or a package error that names the allowed values."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest

import sc_glmm.models as models
from sc_glmm import ScGlmmError
from sc_glmm.models import LmmFit, emmeans, glmer, lmer
from tests.reference import load

VALUES = [3, -1, 0.5, True, "nonsense", "", None, [], {}, (), object(), np.nan, np.zeros(3), pd.DataFrame({"q": [1]})]


@pytest.fixture(scope="module")
def fits():
    data = load.frame("sleepstudy").assign(n=lambda d: (d.Reaction // 50).astype(int))
    return {
        "lmm": lmer("Reaction ~ Days + (Days | Subject)", data),
        "glmm": glmer("n ~ Days + (1 | Subject)", data, family="poisson"),
    }


def _arguments(function, skip: int):
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


# Functions that other functions call, and functions that are not for users.
INNER = {"term_lambda", "term_names", "term_modes", "random_part", "infinite", "estimate", "point_at"}
INNER |= {"optimise", "build_fit", "fitter"}
METHODS = [name for name, _ in inspect.getmembers(LmmFit, callable) if not name.startswith("_") and name not in INNER]
FUNCTIONS = [
    name for name in models.__all__ if inspect.isfunction(getattr(models, name)) and name not in ("lmer", "glmer")
]


def _try(function, required: dict, name: str) -> None:
    for value in VALUES:
        try:
            function(**{**required, name: value})
        except ScGlmmError as error:
            assert len(str(error)) > 20, value
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{name}={value!r}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("kind", ["lmm", "glmm"])
@pytest.mark.parametrize("method", METHODS)
def test_methods(fits, kind, method):
    if not hasattr(fits[kind], method):
        assert method == "ranova"
        return
    bound = getattr(fits[kind], method)
    for name in _arguments(bound, 0):
        required = {"specs": "Days", "at": {"Days": [0, 1]}} if method == "emmeans" and name != "specs" else {}
        required |= {"method": "wald"} if method == "confint" and name in ("level", "ddf") else {}
        required |= {"method": "boot"} if method == "confint" and name == "nsim" else {}
        required |= {"nsim": 10} if method == "confint" and name == "seed" else {}
        required |= {"marginal": True} if method == "quantile_residuals" and name == "nsim" else {}
        if method == "confint" and name == "seed":
            required["method"] = "wald"
        _try(bound, required, name)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_reject_objects_that_are_not_fits(fits, function):
    call = getattr(models, function)
    for value in VALUES if function not in ("bootstrap_lrt", "emmeans") else ():
        with pytest.raises(ScGlmmError, match=r"a model from lmer"):
            call(value)
    if function in ("bootstrap_lrt", "emmeans"):
        with pytest.raises(ScGlmmError, match="a model from lmer or glmer"):
            call(3, fits["lmm"])
    if function in ("anova", "lrtest", "bootstrap_lrt"):
        with pytest.raises(ScGlmmError, match="a model from lmer or glmer"):
            call(fits["lmm"], 3)


@pytest.mark.parametrize("function", [lmer, glmer])
def test_fitting(function):
    data = load.frame("sleepstudy").assign(n=lambda d: (d.Reaction // 50).astype(int))
    required = {"formula": "n ~ Days + (1 | Subject)", "data": data}
    if function is glmer:
        required["family"] = "poisson"
    for name in inspect.signature(function).parameters:
        _try(function, required, name)


def test_a_new_response_is_checked(fits):
    for fit in fits.values():
        y = fit.y.copy()
        y[3] = np.nan
        with pytest.raises(ScGlmmError, match="y is nan in row 3"):
            fit.refit(y)
        with pytest.raises(ScGlmmError, match="must contain 180 numbers"):
            fit.refit(y[:5])
    with pytest.raises(ScGlmmError, match="whole numbers"):
        fits["glmm"].refit(fits["glmm"].y + 0.5)


def test_spellings_of_r(fits):
    data = load.frame("sleepstudy").assign(n=lambda d: (d.Reaction // 50).astype(int))
    formula = "Reaction ~ Days + (Days | Subject)"
    assert lmer(data, formula, REML=False).loglik() == lmer(formula, data, reml=False).loglik()
    count = "n ~ Days + (1 | Subject)"
    assert glmer(count, data, "poisson", nAGQ=5).n_agq == 5
    for family in ("negative.binomial", "nbinom2", "NB", "Poisson", "poisson(link='log')"):
        assert glmer(count, data, family=family).family in ("nb", "poisson")
    for options, message in (
        ({"control": 1}, "it is not needed"),
        ({"weight": "n"}, r"did you mean 'weights'\?"),
        ({"family": "Gamma"}, "lmer with log"),
        ({"family": "poisson(link='identity')"}, "link is log"),
        ({"family": "quasipoisson"}, "use 'nb'"),
        ({}, "glmer.. needs family="),
    ):
        with pytest.raises(ScGlmmError, match=message):
            glmer(count, data, **options)
    with pytest.raises(ScGlmmError, match="data frame, but data is missing"):
        lmer(formula)
    with pytest.raises(ScGlmmError, match=r"write C\(x\)"):
        lmer("Reaction ~ factor(Days) + (1 | Subject)", data)
    with pytest.raises(ScGlmmError, match=r"write cr\(x, df=3"):
        lmer("Reaction ~ ns(Days, 3) + (1 | Subject)", data)
    assert list(inspect.signature(lmer).parameters)[:2] == ["formula", "data"]


def test_specs_as_in_r():
    cake = lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", load.frame("cake"))
    plain = emmeans(cake, ["recipe", "temperature"])
    for specs in ("~ recipe * temperature", "pairwise ~ recipe:temperature", "recipe * temperature"):
        pd.testing.assert_frame_equal(emmeans(cake, specs).contrasts, plain.contrasts)
    within = emmeans(cake, "pairwise ~ recipe | temperature")
    assert len(within.contrasts) == 3 * within.means.temperature.nunique()
    assert "3 comparisons within each level of temperature" in within.notes[-1]
    pd.testing.assert_series_equal(
        emmeans(cake, "~ recipe").contrasts.p_value, emmeans(cake, "recipe").contrasts.p_value
    )
