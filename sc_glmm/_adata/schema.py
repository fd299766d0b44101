"""Checks of the kinds of values in results, and errors for values of another kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._errors import InputError


def refuse(place: str, problem: str) -> NoReturn:
    """Raise an error about one element of results, such as ``uns/glmm/params/formula``."""
    raise InputError(f"{place} {problem}. The results are damaged: use an intact copy, or run sc_glmm.tl.test again")


def shown(value: Any) -> str:
    """Shorten a value for messages."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    text = f"{type(value).__name__} {value!r}" if not isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def table(value: Any, place: str) -> Mapping[str, Any]:
    """Return a dictionary with names, or raise an error."""
    if not isinstance(value, Mapping):
        refuse(place, f"is {shown(value)}, but must be a group of named values")
    return value


def member(values: Mapping[str, Any], name: str, place: str) -> Any:
    """Return an element, or raise an error if it does not exist."""
    if name not in values:
        refuse(f"{place}/{name}", "is missing")
    return values[name]


def text(value: Any, place: str, allowed: tuple[str, ...] = ()) -> str:
    """Return text, or one of the allowed words; raise an error for other values."""
    if not isinstance(value, str) or (allowed and value not in allowed):
        refuse(place, f"is {shown(value)}, but must be {' or '.join(map(repr, allowed)) if allowed else 'text'}")
    return str(value)


def words(value: Any, place: str, length: int | None = None) -> list[str]:
    """Return a list of text, or raise an error."""
    held = np.atleast_1d(np.asarray(value, dtype=object)) if value is not None else np.zeros(0, dtype=object)
    if held.ndim != 1 or not all(isinstance(each, str) for each in held):
        refuse(place, f"is {shown(value)}, but must be a list of text")
    if length is not None and len(held) != length:
        refuse(place, f"has {len(held)} entries, but must have {length}")
    return [str(each) for each in held]


def number(value: Any, place: str, least: float = -np.inf, most: float = np.inf, whole: bool = False) -> float:
    """Return one finite number, or raise an error."""
    held: Any = value.item() if isinstance(value, np.ndarray) and value.shape == () else value
    real = isinstance(held, (int, np.integer) if whole else (int, float, np.integer, np.floating))
    # a whole number beyond the range of floats cannot be compared with infinity
    good = real and not isinstance(held, bool) and abs(held) < 2**53 and least <= held <= most
    if not good:
        bounds = "" if least == -np.inf else f" from {least:g}" + (f" to {most:g}" if most < np.inf else " on")
        refuse(place, f"is {shown(value)}, but must be a {'whole ' if whole else ''}number{bounds}")
    return float(held)


def numbers(
    value: Any, place: str, shape: tuple[int | None, ...], least: float = -np.inf, most: float = np.inf
) -> FloatArray:
    """Return an array of finite numbers of this shape (None for any length), or raise an error."""
    try:
        held = np.asarray(value)
    except ValueError:
        held = np.zeros(0, dtype=object)
    fits = held.ndim == len(shape) and all(n is None or n == m for n, m in zip(shape, held.shape, strict=True))
    if held.dtype.kind not in "biuf" or not fits:
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        found = f"has shape {held.shape} and type {held.dtype}" if held.size else "is empty, or is not an array"
        refuse(place, f"{found}, but must be {wanted or 'one'} numbers")
    array = held.astype(np.float64)
    bad = ~np.isfinite(array) | (array < least) | (array > most)
    if bad.any():
        limits = f" between {least:g} and {most:g}" if np.isfinite(least) or np.isfinite(most) else ""
        refuse(place, f"contains {array[bad][0]:g}, but must be finite numbers{limits}")
    return array


def from_json(value: Any, place: str) -> Mapping[str, Any]:
    """Read a dictionary that is stored as JSON; return an empty one for None."""
    if value is None:
        return {}
    held = value
    if isinstance(value, str):
        try:
            held = json.loads(value)
        # a deeply nested value exceeds the recursion limit
        except (ValueError, RecursionError) as error:
            refuse(place, f"cannot be read as JSON ({type(error).__name__}: {str(error)[:80]})")
    return {} if held is None else table(held, place)


def text_column(frame: pd.DataFrame, name: str, place: str) -> None:
    """Check a column of text or categories without missing entries."""
    column = frame[name]
    held: Any = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    if not all(isinstance(each, str) for each in held.unique()) or column.isna().any():
        refuse(f"{place}/{name}", f"has type {column.dtype}, but must be text without missing entries")


def number_column(
    frame: pd.DataFrame, name: str, place: str, least: float = -np.inf, most: float = np.inf, finite: bool = False
) -> FloatArray:
    """Check a column of numbers; missing ones are NaN."""
    column = frame[name]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
        refuse(f"{place}/{name}", f"has type {column.dtype}, but must be numbers")
    array: FloatArray = column.to_numpy(dtype=np.float64, na_value=np.nan)
    # sums of rounded numbers may be off by a little
    slack = 1e-6
    bad = (array < least - slack) | (array > most + slack) | (np.isinf(array) if finite else np.zeros(1, dtype=bool))
    if bad.any():
        limits = f" from {least:g}" + (f" to {most:g}" if most < np.inf else " on") if least > -np.inf else ""
        refuse(
            f"{place}/{name}", f"contains {array[bad][0]:g}, but must be {'finite ' if finite else ''}numbers{limits}"
        )
    return array


def flag_column(frame: pd.DataFrame, name: str, place: str) -> None:
    """Check a column of True and False."""
    if not pd.api.types.is_bool_dtype(frame[name].dtype):
        refuse(f"{place}/{name}", f"has type {frame[name].dtype}, but must be True or False")
