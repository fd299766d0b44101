"""Conditions and their differences: ``cond(disease="AD") - cond(disease="ctl")``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from .._arrays import FloatArray
from .._display.arguments import list_some
from .._errors import DesignError
from .build import Design
from .cells import rows_at, typical_values
from .estimability import check_estimable
from .words import interaction_setting, value_words

_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SUM_TOLERANCE = 1e-9
_HOW = "write a difference such as cond(disease='AD', sex='M') - cond(disease='ctl', sex='M')"


@dataclass(frozen=True)
class Condition:
    """A weighted sum of conditions, which can be added, subtracted, and multiplied or divided by numbers.

    Attributes
    ----------
    parts
        Pairs of a weight and the values that the user set.
    """

    parts: tuple[tuple[float, Mapping[str, object]], ...]

    def __add__(self, other: object) -> Condition:
        return Condition((*self.parts, *other.parts)) if isinstance(other, Condition) else NotImplemented

    def __sub__(self, other: object) -> Condition:
        return self + (-1.0) * other if isinstance(other, Condition) else NotImplemented

    def __neg__(self) -> Condition:
        return -1.0 * self

    def __mul__(self, factor: object) -> Condition:
        if isinstance(factor, bool) or not isinstance(factor, int | float | np.number):
            return NotImplemented
        return Condition(tuple((float(factor) * weight, values) for weight, values in self.parts))

    __rmul__ = __mul__

    def __truediv__(self, divisor: object) -> Condition:
        if isinstance(divisor, bool) or not isinstance(divisor, int | float | np.number):
            return NotImplemented
        return self * (1.0 / float(divisor))

    def __repr__(self) -> str:
        texts = []
        for weight, values in self.parts:
            times = "" if abs(weight) == 1.0 else f"{abs(weight):g} * "
            inside = ", ".join(f"{name}={value!r}" for name, value in values.items())
            texts.append(f"{'-' if weight < 0 else '+'} {times}cond({inside})")
        return " ".join(texts).removeprefix("+ ")


def cond(**values: object) -> Condition:
    """Describe a condition for a contrast: the difference of two conditions is a comparison.

    Parameters
    ----------
    **values
        Values of columns of ``obs``. Other columns of the formula have a typical value: the base (or first) level of a
        factor, the mean of a number, and False. Pass a name with a space as ``cond(**{"cell type": "B"})``.

    Returns
    -------
    A condition. Sums, differences and multiples of conditions are contrasts if their weights add up to zero. In strings
    (on the command line or in a file), write ``"cond(disease='AD') - cond(disease='ctl')"``.

    Notes
    -----
    ``formulaic_contrasts.FormulaicContrasts.cond`` does the same arithmetic with vectors, and these vectors are also
    accepted as contrasts. It sets other numbers to 0 and not to their mean. This matters if a number takes part in an
    interaction.

    Examples
    --------
    The effect of a disease in women, and how much it differs between the sexes:

    >>> from sc_glmm import cond
    >>> women = cond(disease="AD", sex="F") - cond(disease="ctl", sex="F")
    >>> women
    cond(disease='AD', sex='F') - cond(disease='ctl', sex='F')
    >>> men = cond(disease="AD", sex="M") - cond(disease="ctl", sex="M")
    >>> contrasts = {"women": women, "men": men, "difference": men - women}
    """
    return Condition(((1.0, values),))


def parse_conditions(text: str) -> Condition:
    """Parse a string of conditions, without executing it as code.

    Raises
    ------
    DesignError
        If the text is not an expression of conditions.
    """
    try:
        result = _read(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ZeroDivisionError):
        result = None
    if not isinstance(result, Condition):
        raise DesignError(f"the contrast {text!r} cannot be read: {_HOW}")
    return result


def _read(node: ast.AST) -> Any:
    """Return a condition or a number; operations without a meaning, such as ``cond() + 1``, raise TypeError."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_read(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_read(left), _read(right))
        case ast.Call(func=ast.Name(id="cond"), args=[], keywords=keywords):
            values: dict[str, object] = {}
            for keyword in keywords:
                value = ast.literal_eval(keyword.value)
                values |= value if keyword.arg is None else {keyword.arg: value}
            return cond(**values)
    raise ValueError("not an expression of conditions")


def condition_contrast(
    design: Design, condition: Condition
) -> tuple[FloatArray, str, str, tuple[str, str, str] | None]:
    """Convert a condition to a contrast.

    Returns
    -------
    L
        (1, p) the row over the columns of X.
    name
        Name of the contrast.
    label
        Words for tables and figures.
    levels
        (factor, level, base) if the contrast compares two levels of one factor, otherwise None.

    Raises
    ------
    DesignError
        If a variable or level is unknown, the weights do not add up to zero, or the difference cannot be estimated.
    """
    parts = _merge_parts(design, condition)
    total = sum(weight for weight, _ in parts)
    if abs(total) > _SUM_TOLERANCE * sum(abs(weight) for weight, _ in parts):
        raise DesignError(
            f"the weights of the contrast {condition!r} add up to {total:g}, but must add up to 0: {_HOW}"
        )
    name, words, levels = _describe(design, parts)
    rows = rows_at(design, [values for _, values in parts])
    full = np.array([[weight for weight, _ in parts]]) @ rows
    # remove rounding errors column by column, because columns have different units
    full = np.where(np.abs(full) < 1e-12 * np.abs(rows).max(axis=0), 0.0, full)
    return check_estimable(design.fixed, full, words), name, words, levels


Parts = list[tuple[float, dict[str, object]]]


def _merge_parts(design: Design, condition: Condition) -> Parts:
    """Merge parts with the same values; levels become those of the design, and every part has all variables."""
    names = list(dict.fromkeys(name for _, values in condition.parts for name in values))
    for name in names:
        if name not in design.columns:
            raise DesignError(
                f"the contrast {condition!r} contains {name!r}, which is not a variable of the fixed effects; the "
                f"variables are {list_some(design.columns, 20)}"
            )
    typical = typical_values(design)
    cells: dict[tuple[object, ...], float] = {}
    for weight, values in condition.parts:
        cell = tuple(_design_value(design, name, values[name]) if name in values else typical[name] for name in names)
        cells[cell] = cells.get(cell, 0.0) + weight
    parts = [(weight, dict(zip(names, cell, strict=True))) for cell, weight in cells.items() if weight != 0.0]
    if not parts:
        raise DesignError(f"the contrast {condition!r} is zero, so it compares nothing")
    return parts


def _design_value(design: Design, name: str, value: object) -> object:
    """Return a value as the design stores it; an unknown level or a text for a number is an error."""
    column = design.columns[name]
    if column.kind == "factor":
        place = column.find([value])[0]
        if place is None:
            raise DesignError(
                f"cond({name}={value!r}): {name!r} has no level {str(value)!r} in the rows used; "
                f"the levels are {list_some(column.categories, 20)}"
            )
        return column.categories[place]
    if not isinstance(value, bool | int | float | np.number | np.bool_):
        raise DesignError(f"cond({name}={value!r}): {name!r} is numeric in this formula, so give a number")
    return bool(value) if column.kind == "bool" else float(value)


def _describe(design: Design, parts: Parts) -> tuple[str, str, tuple[str, str, str] | None]:
    """Return a name, a label, and (factor, level, base) if two levels of one factor are compared."""
    signs = sorted(weight for weight, _ in parts)
    if signs == [-1.0, 1.0]:
        (up,) = (values for weight, values in parts if weight > 0)
        (down,) = (values for weight, values in parts if weight < 0)
        key = _only_difference(up, down)
        if key is None:
            return "contrast", f"{_cell(up)} vs {_cell(down)}", None
        a, b = value_words(up[key]), value_words(down[key])
        where = interaction_setting(design, key, {**typical_values(design), **up})
        levels = (key, a, b) if design.columns[key].kind == "factor" and key in design.fixed.factors else None
        return f"{key}_{a}_vs_{b}", f"{key}: {a} vs {b}{where}", levels
    if signs == [-1.0, -1.0, 1.0, 1.0]:
        ups = [values for weight, values in parts if weight > 0]
        downs = [values for weight, values in parts if weight < 0]
        for (up, other), (down, rest) in ((tuple(ups), pair) for pair in permutations(downs)):
            inner, outer = _only_difference(up, down), _only_difference(up, rest)
            if inner is None or outer is None or inner == outer:
                continue
            if other == {**down, outer: rest[outer]} and rest == {**up, outer: rest[outer]}:
                first = f"{inner}: {value_words(up[inner])} vs {value_words(down[inner])}"
                second = f"{outer}: {value_words(up[outer])} vs {value_words(rest[outer])}"
                return "contrast", f"{first}, {second} (interaction)", None
    texts = []
    for weight, values in parts:
        times = "" if abs(weight) == 1.0 else f"{abs(weight):g} * "
        texts.append(f"{'-' if weight < 0 else '+'} {times}[{_cell(values)}]")
    return "contrast", _means_in_words(design, parts) or " ".join(texts).removeprefix("+ "), None


def _means_in_words(design: Design, parts: Parts) -> str | None:
    """Words for a comparison of two levels averaged over others, or of means of levels; None for other sums."""
    ups = [values for weight, values in parts if weight > 0]
    downs = [values for weight, values in parts if weight < 0]
    if not all(abs(abs(weight) * len(ups if weight > 0 else downs) - 1.0) < _SUM_TOLERANCE for weight, _ in parts):
        return None
    (first, *_), keys = ups, list(ups[0])
    for key in keys:
        a, b = first[key], downs[0][key]
        matched = [{**values, key: b} for values in ups if values[key] == a and {**values, key: b} in downs]
        if len(matched) == len(ups) == len(downs):
            where = " and ".join(_cell({name: value for name, value in up.items() if name != key}) for up in ups)
            return f"{key}: {value_words(a)} vs {value_words(b)} (mean of {where})"
    varied = [key for key in keys if any(values[key] != first[key] for values in (*ups, *downs))]
    if len(varied) != 1:
        return None
    (key,) = varied
    up, down = (" and ".join(value_words(values[key]) for values in side) for side in (ups, downs))
    where = interaction_setting(design, key, {**typical_values(design), **first})
    return f"{key}: {'mean of ' * (len(ups) > 1)}{up} vs {'mean of ' * (len(downs) > 1)}{down}{where}"


def _only_difference(one: Mapping[str, object], other: Mapping[str, object]) -> str | None:
    keys = [key for key in one if one[key] != other[key]]
    return keys[0] if len(keys) == 1 else None


def _cell(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} = {value_words(value)}" for key, value in values.items())
