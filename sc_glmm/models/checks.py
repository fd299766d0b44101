"""Check the arguments of users: allowed values, R's spellings, error messages."""

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

# R's names of arguments, and the names here.
_R_NAMES = {"REML": "reml", "nAGQ": "n_agq", "ref": "reference"}
# R's arguments without an equivalent, and what to do instead.
_R_ONLY = {
    "control": "it is not needed: convergence is judged by the Newton decrement, see fit.converged",
    "start": "it is not needed: the search finds its own start",
    "verbose": "it is not needed: see fit.n_iter",
    "subset": "select the rows of the data first",
    "contrasts": "write the coding into the formula, as in C(x, contr.sum)",
    "ziformula": "zero inflation is not supported; family='nb' allows more zeros than Poisson",
    "dispformula": "the dispersion is the same for all observations",
    "link": "the link is log for counts and logit for trials",
}


def accept_r_style(function: Callable[P, R]) -> Callable[P, R]:
    """Accept R's names of arguments, and data before the formula; reject unknown names and list the known ones."""
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
            raise InputError(f"{function.__name__}() needs a formula and a data frame, but {missing[0]} is missing")
        return function(*given, **renamed)  # type: ignore[arg-type]

    return cast("Callable[P, R]", wrapped)


def _instead(name: str, known: Iterable[str]) -> str:
    if name in _R_ONLY:
        return _R_ONLY[name]
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f"did you mean {close[0]}=?" if close else f"allowed are {', '.join(known)}"


def check_choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """Check that the value is one of the allowed words."""
    allowed = tuple(allowed)
    if not isinstance(value, str) or value not in allowed:
        close = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{name}={value!r}: allowed are {', '.join(map(repr, allowed))}{hint}")


def check_level(level: Any, name: str = "level") -> None:
    """Check that the value is a coverage between 0 and 1."""
    number = isinstance(level, int | float | np.number) and not isinstance(level, bool)
    if number and 0.0 < level < 1.0:
        return
    hint = f": write {level / 100:g}" if number and 1.0 < level < 100.0 else ", such as 0.95"
    raise InputError(f"{name}={level!r} must be a number between 0 and 1{hint}")


def check_flag(name: str, value: Any) -> None:
    """Check that the value is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name}={value!r}: allowed are True and False")


def check_count(name: str, value: Any, at_least: int, why: str) -> None:
    """Check that the value is a whole number, and large enough."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < at_least:
        raise InputError(f"{name}={value!r} must be a whole number, at least {at_least}: {why}")


def random_generator(seed: Any) -> np.random.Generator:
    """The random generator for a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputError(f"seed={seed!r} must be a whole number of at least 0, a numpy Generator or None") from error


def check_response(y: Any, kept: np.ndarray, counts: str = "") -> np.ndarray:
    """``(n_obs,)`` new response for :meth:`refit`: one finite number for each row used, or for each row of the data."""
    try:
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y contains {type(y).__name__}; it must contain one number for each row used") from error
    n_obs = int(kept.sum())
    if values.shape == (len(kept),) and len(kept) != n_obs:
        values = values[kept]
    if values.shape != (n_obs,):
        raise InputError(f"y has shape {values.shape}; it must contain {n_obs} numbers, one for each row used")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"y is {values[bad]} in row {bad} of those used; every row used needs a finite number")
    return np.ascontiguousarray(values)
