"""Check the arguments that users pass, and accept the names of R's arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd

from .._display.habits import explain_arguments
from .._errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

# R's name of an argument -> name in this package.
_R_NAMES = {
    "REML": "reml",
    "nAGQ": "n_agq",
    "ref": "reference",
    "condVar": "cond_var",
    "postVar": "cond_var",
    "conf.level": "conf_level",
    "re.form": "re_form",
    "allow.new.levels": "allow_new_levels",
    "na.action": "na_action",
}
# R's arguments without an equivalent -> what to do instead.
_R_ONLY = {
    "control": "it is not needed; the Newton decrement decides about convergence, see fit.converged",
    "start": "it is not needed; start values are chosen automatically",
    "verbose": "it is not needed; see fit.n_iter",
    "subset": "select the rows of the data first",
    "contrasts": "write the coding into the formula, as in C(x, contr.sum)",
    "ziformula": "zero inflation is not supported; family='nb' allows more zeros than Poisson",
    "dispformula": "the dispersion is the same for all observations",
    "link": "the link is log for counts and logit for trials",
    "parm": "select rows of the result, as in .loc['x']",
    "oldNames": "it is not needed: variances are named by their grouping factor",
    "test": "it is not needed: models are compared by likelihood ratio",
    "use_u": "re_form=None keeps the random effects of the fit, re_form='NA' draws new ones",
    "use.u": "re_form=None keeps the random effects of the fit, re_form='NA' draws new ones",
    "by": "name all factors in specs, and select pairs of the result",
}


accept_r_names = explain_arguments(_R_NAMES, _R_ONLY)


def accept_r_style(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function accept R's names of arguments, and the data before the formula."""
    parameters = inspect.signature(function).parameters
    by_position = [name for name, one in parameters.items() if one.kind != one.KEYWORD_ONLY]
    explained: Callable[..., R] = accept_r_names(function)

    @functools.wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        given: list[Any] = list(args)
        if len(given) > 1 and isinstance(given[0], pd.DataFrame) and isinstance(given[1], str):
            given[:2] = given[1::-1]
        if len(given) == 1 and isinstance(given[0], pd.DataFrame) and "formula" in options:
            given.insert(0, options.pop("formula"))
        if len(given) > len(by_position):
            raise InputError(
                f"{function.__name__}() was called with {len(given)} arguments without a name: after "
                f"{', '.join(by_position)}, name them, as in reml=False"
            )
        named = {*by_position[: len(given)], *options}
        missing = [name for name in ("formula", "data") if name not in named]
        if missing:
            raise InputError(f"{function.__name__}() needs a formula and a data frame, but {missing[0]} is missing")
        return explained(*given, **options)

    return cast("Callable[P, R]", wrapped)


def random_generator(seed: Any) -> np.random.Generator:
    """Create the random generator for a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputError(f"seed={seed!r} must be a whole number of at least 0, a numpy Generator or None") from error
