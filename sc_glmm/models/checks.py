"""Arguments as users give them: what is allowed, R's spellings, and what to say about the rest."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd

from .._errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

# R's names of arguments, and what they are called here.
_R_NAMES = {"REML": "reml", "nAGQ": "n_agq", "ref": "reference"}
# R's arguments without a counterpart, and what to do instead.
_R_ONLY = {
    "control": "there is nothing to set: convergence is judged on the Newton decrement, see fit.converged",
    "start": "there is nothing to set: the search finds its own start",
    "verbose": "there is nothing to print; see fit.n_iter",
    "subset": "select the rows of the data first",
    "contrasts": "write the coding into the formula, as in C(x, contr.sum)",
    "ziformula": "zero inflation is not modelled; family='nb' has more zeros than Poisson",
    "dispformula": "the dispersion is one number for all observations",
    "link": "counts have the log link, trials the logit",
}


def accept_r_style(function: Callable[P, R]) -> Callable[P, R]:
    """Take R's names of arguments as well, and data before the formula; refuse unknown names with the known ones."""
    known = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        given: list[Any] = list(args)
        if len(given) > 1 and isinstance(given[0], pd.DataFrame) and isinstance(given[1], str):
            given[:2] = given[1::-1]
        renamed: dict[str, Any] = {}
        for name, value in options.items():
            own = _R_NAMES.get(name, name)
            if own not in known:
                raise InputError(f"{function.__name__}() has no argument {name!r}: {_instead(name, known)}")
            if own in renamed:
                raise InputError(f"{function.__name__}(): {own}= is given twice")
            renamed[own] = value
        missing = [name for name in ("formula", "data") if name not in renamed and known.index(name) >= len(given)]
        if missing:
            raise InputError(f"{function.__name__}() needs a formula and a data frame, and {missing[0]} is missing")
        return function(*given, **renamed)  # type: ignore[arg-type]

    return cast("Callable[P, R]", wrapped)


def _instead(name: str, known: Iterable[str]) -> str:
    if name in _R_ONLY:
        return _R_ONLY[name]
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f"did you mean {close[0]}=?" if close else f"there are {', '.join(known)}"


def check_choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """One of some words."""
    allowed = tuple(allowed)
    if not isinstance(value, str) or value not in allowed:
        close = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{name}={value!r}: allowed are {', '.join(map(repr, allowed))}{hint}")


def check_level(level: Any, name: str = "level") -> None:
    """A coverage between 0 and 1."""
    number = isinstance(level, int | float | np.number) and not isinstance(level, bool)
    if number and 0.0 < level < 1.0:
        return
    hint = f": write {level / 100:g}" if number and 1.0 < level < 100.0 else ", such as 0.95"
    raise InputError(f"{name}={level!r} must be a number between 0 and 1{hint}")


def check_flag(name: str, value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name}={value!r}: allowed are True and False")


def check_count(name: str, value: Any, at_least: int, why: str) -> None:
    """A whole number, large enough."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < at_least:
        raise InputError(f"{name}={value!r} must be a whole number from {at_least} on: {why}")


def random_generator(seed: Any) -> np.random.Generator:
    """The generator of a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputError(f"seed={seed!r} must be a whole number from 0 on, a numpy Generator or None") from error


def check_response(y: Any, kept: np.ndarray, counts: str = "") -> np.ndarray:
    """``(n_obs,)`` a new response for :meth:`refit`: one finite number for each row used, or for each of the data."""
    try:
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y holds {type(y).__name__}; one number for each row used is needed") from error
    n_obs = int(kept.sum())
    if values.shape == (len(kept),) and len(kept) != n_obs:
        values = values[kept]
    if values.shape != (n_obs,):
        raise InputError(f"y has shape {values.shape}; {n_obs} numbers are needed, one for each row used")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"y is {values[bad]} in row {bad} of those used; every row used needs a finite number")
    return np.ascontiguousarray(values)
