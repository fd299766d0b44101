"""Translate names that users of R, scanpy and other packages write into the names of this package."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from .._errors import InputError
from .arguments import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")

# Names of the same distributions in other packages.
_FAMILIES = {
    "negative.binomial": "nb",
    "negative_binomial": "nb",
    "negativebinomial": "nb",
    "negbin": "nb",
    "negbinomial": "nb",
    "nbinom": "nb",
    "nbinom2": "nb",
    "bernoulli": "binomial",
    "logistic": "binomial",
    "normal": "gaussian",
}
# Name at the top of the package -> what to write.
_ELSEWHERE = {
    **{
        name: f"model.{own}()"
        for name, own in {
            "fixef": "fixef", "ranef": "ranef", "coef": "coef", "vcov": "vcov", "VarCorr": "VarCorr",
            "summary": "summary", "confint": "confint", "predict": "predict", "fitted": "fitted", "resid": "residuals",
            "residuals": "residuals", "simulate": "simulate", "isSingular": "isSingular", "refit": "refit",
            "update": "update", "drop1": "drop1", "logLik": "loglik", "AIC": "AIC", "BIC": "BIC", "getME": "getME",
            "ngrps": "ngrps", "tidy": "tidy", "glance": "glance", "augment": "augment", "influence": "influence",
            "contest": "contrast", "r2": "r2", "icc": "icc",
        }.items()
    },
    "sigma": "model.sigma",
    "nobs": "model.nobs",
    "glmer_nb": "sc_glmm.glmer(formula, data, family='nb')",
    "glmmTMB": "sc_glmm.glmer(formula, data, family='nb')",
    "mixedlm": "sc_glmm.lmer(formula, data)",
    "lm": "statsmodels.formula.api.ols(formula, data), since lmer needs a random effect",
    "glm": "statsmodels.formula.api.glm(formula, data), since glmer needs a random effect",
    "contrast": "sc_glmm.cond(...) - sc_glmm.cond(...), or contrasts=(factor, level, base)",
    "rank_genes_groups": "sc_glmm.tl.test(adata, formula)",
    "test": "sc_glmm.tl.test(adata, formula)",
    "DESeq": "sc_glmm.tl.test(adata, formula)",
    "nebula": "sc_glmm.tl.test(adata, formula)",
    "pseudobulk": "sc_glmm.pp.pseudobulk(adata, ...)",
    "results": "sc_glmm.get.results(adata)",
    "rank_genes_groups_df": "sc_glmm.get.results(adata)",
    "volcano": "sc_glmm.pl.volcano(adata)",
    "simulate_counts": "sc_glmm.datasets.simulate()",
}  # fmt: skip


def hint(name: str) -> str:
    """Write a hint for a name that the package does not have; empty without a known replacement."""
    return f"; write {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""


def family_name(family: str) -> str:
    """Return the name of a family in this package, such as ``"nb"`` for ``"negative.binomial"``."""
    name = family.lower().partition("(")[0].strip()
    return _FAMILIES.get(name, name)


def explain_arguments(
    renamed: Mapping[str, str], advice: Mapping[str, str]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Accept other names of arguments; reject unknown ones with advice, a similar name, or the known names.

    Parameters
    ----------
    renamed
        Other name -> name of the argument.
    advice
        Name of an argument that the function does not have -> what to do instead.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function).parameters
        known = [name for name, one in signature.items() if one.kind != one.VAR_POSITIONAL]

        @functools.wraps(function)
        def explained(*args: P.args, **options: P.kwargs) -> R:
            given: dict[str, Any] = {}
            for name, value in options.items():
                own = renamed.get(name, name)
                if own not in known:
                    raise InputError(f"{function.__name__}() has no argument {name!r}{_instead(name, known, advice)}")
                if own in given:
                    raise InputError(f"{function.__name__}(): {own}= is given twice")
                given[own] = value
            return function(*args, **given)  # type: ignore[arg-type]

        return cast("Callable[P, R]", explained)

    return decorate


def _instead(name: str, known: Iterable[str], advice: Mapping[str, str]) -> str:
    if name in advice:
        return f": {advice[name]}"
    return did_you_mean(name, known) or f": allowed are {', '.join(known)}"
