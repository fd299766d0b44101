"""Check arguments of public functions, suggest similar names, and list names in messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from math import isfinite
from numbers import Integral, Real
from typing import Any

from .._errors import InputError


def near_names(word: object, names: Iterable[object], most: int = 1) -> list[str]:
    """Find the names that a misspelt word most likely means, without regard to case; the most similar comes first."""
    folded: dict[str, str] = {}
    for name in map(str, names):
        folded.setdefault(name.casefold(), name)
    return [folded[near] for near in get_close_matches(str(word).casefold(), folded, n=most)]


def did_you_mean(word: object, names: Iterable[object], most: int = 1) -> str:
    """Write a hint such as ``; did you mean 'age'?``; empty if no name is similar."""
    near = near_names(word, names, most)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def suggest(word: object, names: Iterable[object], most: int = 8, *, also: Iterable[object] = ()) -> str:
    """Write the hint and a list of names; names in `also` are mentioned only if they are similar.

    An example is ``; did you mean 'age'? (available: 'age', 'sex')``.
    """
    names = list(names)
    return f"{did_you_mean(word, (*also, *names), 3 if also else 1)} (available: {quote_some(names, most)})"


def list_some(items: Iterable[object], most: int = 8) -> str:
    """Join items as in ``a, b, c, ... (12 in all)``; ``none`` if there are none."""
    texts = [str(item) for item in items]
    if len(texts) <= most:
        return ", ".join(texts) or "none"
    return f"{', '.join(texts[:most])}, ... ({len(texts)} in all)"


def quote_some(names: Iterable[object], most: int = 8) -> str:
    """Join names in quotation marks as in ``'a', 'b', 'c', ... (12 in all)``; ``none`` if there are none."""
    return list_some((repr(str(name)) for name in names), most)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number that a double can represent, as files need."""
    return isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) < 2**53


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def check_choice(name: str, value: Any, allowed: Iterable[str | None], advice: str = "") -> None:
    """Raise an error unless the value is one of the allowed words; `advice` replaces a missing suggestion."""
    allowed = tuple(allowed)
    if not (value is None or isinstance(value, str)) or value not in allowed:
        words = [word for word in allowed if word is not None]
        hint = did_you_mean(value, words) or (advice and f"; {advice}")
        raise InputError(f"{name}={value!r}: allowed are {', '.join(map(repr, words))}{hint}")


def check_flag(name: str, value: Any) -> None:
    """Raise an error unless the value is True or False."""
    # the class of numpy's booleans is called bool or bool_, depending on the version
    if type(value).__name__ not in ("bool", "bool_"):
        raise InputError(f"{name}={value!r}: allowed are True and False")


def check_level(name: str, value: Any) -> None:
    """Raise an error unless the value is a number between 0 and 1."""
    if not (is_number(value) and 0.0 < value < 1.0):
        example = f"{value / 100:g}" if is_number(value) and 1.0 < value < 100.0 else "0.05"
        raise InputError(f"{name}={value!r}: allowed are numbers between 0 and 1, such as {example}")


def check_count(name: str, value: Any, minimum: int, advice: str = "") -> None:
    """Raise an error unless the value is a whole number of at least `minimum`."""
    if not is_whole(value) or value < minimum:
        raise InputError(f"{name}={value!r}: allowed are whole numbers of at least {minimum}{advice and f'; {advice}'}")
