"""Define runs of the golden record on data frames: lmer and glmer on the reference tables, and methods of fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from data import frame

import sc_glmm

Frames = dict[str, pd.DataFrame]
CAKE = "angle ~ recipe * temp + (1 | recipe:replicate)"
OWLS = "SiblingNegotiation ~ FoodTreatment * SexParent + offset(logBroodSize) + (1 | Nest)"

# name -> table, formula, options
LINEAR: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sleepstudy": ("sleepstudy", "Reaction ~ Days + (Days | Subject)", {}),
    "sleepstudy_independent": ("sleepstudy", "Reaction ~ Days + (Days || Subject)", {"reml": False}),
    "sleepstudy_quadratic": ("sleepstudy", "Reaction ~ Days + I(Days**2) + (Days | Subject)", {}),
    "dyestuff": ("Dyestuff", "Yield ~ 1 + (1 | Batch)", {}),
    "dyestuff2": ("Dyestuff2", "Yield ~ 1 + (1 | Batch)", {}),
    "penicillin": ("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", {}),
    "pastes": ("Pastes", "strength ~ 1 + (1 | batch / cask)", {}),
    "cake": ("cake", CAKE, {}),
    "cake_factors": ("cake", "angle ~ recipe * temperature + (1 | recipe:replicate)", {}),
}
COUNTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "owls": ("Owls", OWLS, {"family": "poisson"}),
    "owls_agq": ("Owls", OWLS, {"family": "poisson", "n_agq": 9}),
    "owls_nb": ("Owls", OWLS, {"family": "nb"}),
    "owls_nb_reml": ("Owls", OWLS, {"family": "nb", "reml": True}),
    "owls_slope": (
        "Owls",
        "SiblingNegotiation ~ FoodTreatment + offset(logBroodSize) + (FoodTreatment | Nest)",
        {"family": "nb"},
    ),
    "salamanders": ("Salamanders", "count ~ spp + mined + (1 | site)", {"family": "nb"}),
    "epil2": ("epil2", "y ~ Base * trt + Age + Visit + (1 | subject)", {"family": "poisson"}),
    "epil2_slope": ("epil2", "y ~ Base * trt + Age + Visit + (Visit | subject)", {"family": "poisson"}),
    "grouseticks": (
        "grouseticks",
        "TICKS ~ YEAR + cHEIGHT + (1 | LOCATION / BROOD) + (1 | INDEX)",
        {"family": "poisson"},
    ),
    "cbpp": (
        "cbpp",
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        {"family": "binomial"},
    ),
    "cbpp_agq": (
        "cbpp",
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        {"family": "binomial", "n_agq": 9},
    ),
}


def _described(fit: Any) -> Frames:
    """Call the methods that every model has."""
    frames = {
        "tidy": fit.tidy(),
        "glance": fit.glance(),
        "augment": fit.augment().reset_index(drop=True),
        "vcov": fit.vcov(),
        "varcorr": fit.varcorr(),
        "wald": fit.confint(method="wald"),
        "simulated": fit.simulate(2, seed=5),
        "summary": pd.DataFrame({"line": str(fit.summary()).splitlines()}),
    }
    if len(fit.beta) > 1:
        frames["contrasts"] = fit.contrast()
    frames |= {f"ranef_{name}": modes for name, modes in fit.ranef(cond_var=True).items()}
    return frames


def _linear(table: str, formula: str, options: dict[str, Any]) -> Frames:
    fit = sc_glmm.lmer(formula, frame(table), **options)
    frames = _described(fit)
    if fit.reml and len(fit.beta) > 1:
        frames["kenward_roger"] = fit.tidy(ddf="kenward-roger")
        frames |= {f"anova_{kind}": fit.anova(type=kind).table for kind in ("I", "II", "III")}
        frames["anova_kr"] = fit.anova(ddf="kenward-roger").table
    frames["ranova"] = fit.ranova().table
    return frames


def _counts(table: str, formula: str, options: dict[str, Any]) -> Frames:
    return _described(sc_glmm.glmer(formula, frame(table), **options))


def _insteval() -> Frames:
    fit = sc_glmm.lmer("y ~ service + (1 | s) + (1 | d) + (1 | dept)", frame("InstEval"))
    return {"tidy": fit.tidy(ddf="asymptotic"), "glance": fit.glance(), "varcorr": fit.varcorr()}


def _weighted() -> Frames:
    data = frame("sleepstudy").copy()
    data["w"] = 1.0 + data["Days"] % 3
    data["shift"] = 0.5 * data["Days"]
    return _described(sc_glmm.lmer("Reaction ~ Days + (Days | Subject)", data, weights="w", offset="shift", reml=False))


def _questions() -> Frames:
    """Call methods that some models have: marginal means, profiles, likelihood ratios, deletion, prediction."""
    cake = sc_glmm.lmer("angle ~ recipe + temperature + (1 | replicate) + (1 | recipe:replicate)", frame("cake"))
    dyestuff = sc_glmm.lmer("Yield ~ 1 + (1 | Batch)", frame("Dyestuff"))
    slope = sc_glmm.lmer("Reaction ~ Days + (Days | Subject)", frame("sleepstudy"), reml=False)
    intercept = slope.update("~ . - (Days | Subject) + (1 | Subject)")
    cbpp_formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    cbpp = sc_glmm.glmer(cbpp_formula, frame("cbpp"), family="binomial")
    owls = sc_glmm.glmer(OWLS, frame("Owls"), family="poisson")
    means = cake.emmeans("recipe")
    new = pd.DataFrame({"Days": [0.0, 4.0, 12.0], "Subject": ["308", "372", "308"]})
    return {
        "emmeans": means.means,
        "pairs": means.contrasts,
        "emmeans_owls": owls.emmeans(["FoodTreatment"], type="response").means,
        "drop1": cake.drop1().table,
        "drop1_owls": owls.drop1().table,
        "profile_dyestuff": dyestuff.confint(),
        "profile_slope": slope.confint(),
        "profile_cbpp": cbpp.confint(),
        "lrtest": sc_glmm.lrtest(slope, intercept).table,
        "anova_two": slope.anova(intercept).table,
        "predicted": slope.predict(new).to_frame("value"),
        "predicted_fixed": slope.predict(new, re_form="NA").to_frame("value"),
        "quantile_residuals": pd.DataFrame({"value": owls.quantile_residuals(seed=1)}),
    }


def runs() -> Iterator[tuple[str, Callable[[], Frames]]]:
    """Return every run by name."""
    for name, spec in LINEAR.items():
        yield f"lmer_{name}", lambda spec=spec: _linear(*spec)
    for name, spec in COUNTS.items():
        yield f"glmer_{name}", lambda spec=spec: _counts(*spec)
    yield "lmer_insteval", _insteval
    yield "lmer_weights", _weighted
    yield "questions", _questions
