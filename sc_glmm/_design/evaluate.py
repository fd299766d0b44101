"""Evaluate the expressions in a formula node by node, without executing Python code.

`_formula/language.py` defines the allowed expressions. As in R, integers and booleans become doubles in every
computation.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, MutableMapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from .._arrays import AnyArray
from .._formula import NUMPY, Atom, dotted_name, quoted_column

State = MutableMapping[str, Any]

# A character of private use before levels, see guard_levels.
GUARD = "\ue002"

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
_SIGN = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
# Transforms that also accept the several columns of a spline.
_COLUMN_BY_COLUMN = frozenset({"center", "scale", "standardize"})
_LOGICAL = frozenset({"logical_not", "logical_and", "logical_or", "logical_xor"})


def evaluate(atom: Atom, frame: pd.DataFrame, state: State) -> Any:
    """Evaluate an expression for the rows of `frame`, in a form that formulaic accepts.

    Parameters
    ----------
    atom
        The expression.
    frame
        Converted columns.
    state
        State of ``scale``, ``bs`` and similar functions. An empty state is filled; a filled state is used.

    Raises
    ------
    ValueError, TypeError
        If the operations do not match the values.
    """
    if atom.tree is None:
        raise TypeError(f"{atom.text!r} is a column, not an expression")
    with np.errstate(all="ignore"):
        value = _Evaluator(frame, state).value(atom.tree)
    if isinstance(value, np.ndarray) and value.ndim == 1 and len(value) == len(frame):
        return pd.Series(value, index=frame.index)
    return value


class _Evaluator:
    """Evaluator of one expression."""

    def __init__(self, frame: pd.DataFrame, state: State) -> None:
        self.frame = frame
        self.state = state

    def value(self, node: ast.expr) -> Any:
        """Compute a node: a column, an array, a scalar, or the result of a transform of formulaic."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.frame[name]
            case ast.Attribute(attr=attr):
                return {"pi": np.pi, "e": np.e}[attr]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.number(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.number(operand)
            case ast.UnaryOp(operand=operand):
                return np.logical_not(self.truth(operand))
            case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
                return np.logical_and(self.truth(left), self.truth(right))
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return np.logical_or(self.truth(left), self.truth(right))
            case ast.BinOp(left=left, op=op, right=right):
                return _BINARY[type(op)](self.number(left), self.number(right))
            case ast.BoolOp(op=op, values=values):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return join.reduce([self.rows(self.truth(part)) for part in values])
            case ast.Compare():
                return self.comparison(node)
            case ast.Call():
                return self.call(node)
            case _:
                raise TypeError(f"{ast.unparse(node)} does not have one value for each row")

    def number(self, node: ast.expr) -> Any:
        """Compute a node as doubles."""
        return _doubles(self.value(node), node)

    def truth(self, node: ast.expr) -> Any:
        """Compute a node that is true or false."""
        value = _plain(self.value(node))
        if np.asarray(value).dtype != bool:
            raise TypeError(f"{ast.unparse(node)} is not true or false: put comparisons in parentheses, as in (x > 3)")
        return value

    def rows(self, value: Any) -> AnyArray:
        """Repeat a scalar, to have one value for each row."""
        return np.broadcast_to(np.asarray(value), (len(self.frame),))

    def comparison(self, node: ast.Compare) -> AnyArray:
        """Compute ``a < b <= c`` and ``f in ["u", "v"]``."""
        result = np.ones(len(self.frame), dtype=bool)
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                inside = self.is_in(left, right)
                result &= ~inside if isinstance(op, ast.NotIn) else inside
            else:
                result &= self.compare(left, op, right)
            left = right
        return result

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> AnyArray:
        one, two = self.value(left), self.value(right)
        one, two = _numbers_if_compared_with(one, two), _numbers_if_compared_with(two, one)
        texts = [_is_text(value) for value in (one, two)]
        if not any(texts):
            return self.rows(_COMPARE[type(op)](_doubles(one, left), _doubles(two, right)))
        words = f"{ast.unparse(left)} {_SIGN[type(op)]} {ast.unparse(right)}"
        if not isinstance(op, ast.Eq | ast.NotEq):
            raise TypeError(f"{words}: text has no order, so only == and != can compare it")
        if not all(texts):
            raise TypeError(f"{words}: text cannot be compared with a number")
        _check_level(one, two)
        _check_level(two, one)
        return self.rows(_COMPARE[type(op)](_texts(one), _texts(two)))

    def is_in(self, left: ast.expr, right: ast.expr) -> AnyArray:
        value, members = self.value(left), ast.literal_eval(right)
        members = list(members) if isinstance(members, list | tuple) else [members]
        value = _numbers_if_compared_with(value, members[0]) if members else value
        if _is_text(value):
            for level in members:
                _check_level(value, level)
            return self.rows(np.isin(_texts(value), np.array(members, dtype=object)))
        return self.rows(np.isin(_doubles(value, left), _doubles(np.array(members), right)))

    def call(self, node: ast.Call) -> Any:
        name = str(dotted_name(node.func))
        short = name.removeprefix("np.")
        if name == "cbind":
            return np.column_stack([self.rows(self.number(argument)) for argument in node.args])
        if name == "Q":
            return self.frame[str(quoted_column(node))]
        if name == "I":
            value = self.value(node.args[0])
            return _doubles(value, node.args[0]) if _is_integer(value) else value
        if name in ("pow", "exp10"):
            numbers = [self.number(argument) for argument in node.args]
            return np.power(10.0, numbers[0]) if name == "exp10" else np.power(*numbers)
        if short in NUMPY:
            return self.numpy(short, node)
        return self.transform(name, node)

    def numpy(self, name: str, node: ast.Call) -> Any:
        if name == "isin":
            return self.is_in(node.args[0], node.args[1])
        if name in _LOGICAL:
            return getattr(np, name)(*(self.truth(argument) for argument in node.args))
        if name == "where":
            condition, *values = node.args
            return np.where(self.truth(condition), *self.same_type(values))
        numbers = [self.number(argument) for argument in node.args]
        named = {str(keyword.arg): self.number(keyword.value) for keyword in node.keywords}
        if name == "clip":
            low = numbers[1] if len(numbers) > 1 else named.get("a_min", -np.inf)
            high = numbers[2] if len(numbers) > 2 else named.get("a_max", np.inf)
            return np.clip(numbers[0], low, high)
        if name == "round":
            decimals = numbers[1] if len(numbers) > 1 else named.get("decimals", 0)
            return np.round(numbers[0], int(decimals))
        return getattr(np, name)(*numbers)

    def same_type(self, nodes: list[ast.expr]) -> list[Any]:
        """Compute nodes and convert their values to one type: text, booleans or doubles."""
        values = [self.value(node) for node in nodes]
        if all(_is_text(value) for value in values):
            return [_texts(value) for value in values]
        if all(np.asarray(_plain(value)).dtype == bool for value in values):
            return [_plain(value) for value in values]
        return [_doubles(value, node) for value, node in zip(values, nodes, strict=True)]

    def transform(self, name: str, node: ast.Call) -> Any:
        """Call a function of formulaic with its stored state."""
        first, *others = node.args
        data = self.value(first)
        if name in ("C", "hashed"):
            if not isinstance(first, ast.Name):
                data = _levels(data, len(self.frame))
            data = guard_levels(data)
        elif name in _COLUMN_BY_COLUMN and isinstance(_plain(data), dict):
            data = np.column_stack([_doubles(column, first) for column in _plain(data).values()])
        else:
            data = _doubles(data, first)
            data = pd.Series(data, index=self.frame.index) if np.ndim(data) == 1 else data
        positional = [_parameter(argument) for argument in others]
        named = {str(keyword.arg): _parameter(keyword.value) for keyword in node.keywords}
        function = _formulaic()[name]
        if getattr(function, "__is_stateful_transform__", False):
            named["_state"] = self.state.setdefault(ast.dump(node), {})
        return function(data, *positional, **named)


def guard_levels(values: Any) -> Any:
    """Mark levels that start with two underscores, because formulaic drops their columns.

    Parameters
    ----------
    values
        A factor, values of any other type, or what a coding is told of levels.
    """
    if isinstance(values, str):
        return f"{GUARD}{values}" if values.startswith("__") else values
    if type(values) in (list, tuple):
        return type(values)(guard_levels(value) for value in values)
    if type(values) is dict:
        return {guard_levels(name): value for name, value in values.items()}
    if type(values) is not pd.Series:  # formulaic's own records behave like dictionaries and columns
        return values
    if values.dtype.kind in "OUT" and not _is_factor(values):
        values = values.astype("category")  # sorted before the mark is set
    return values.cat.rename_categories(guard_levels) if _is_factor(values) else values


def level_text(level: object) -> str:
    """Return a level as text, without the mark of :func:`guard_levels`."""
    return str(level).removeprefix(GUARD)


def _parameter(node: ast.expr) -> Any:
    """Return a number, a string, a list of these, or the coding of a factor."""
    called = isinstance(node, ast.Call)
    name = dotted_name(node.func) if isinstance(node, ast.Call) else dotted_name(node)
    if name is None or not (called or isinstance(node, ast.Name | ast.Attribute)):
        return guard_levels(ast.literal_eval(node))
    if isinstance(node, ast.Call):
        named = {str(keyword.arg): _parameter(keyword.value) for keyword in node.keywords}
        return _codings()[name](*(_parameter(argument) for argument in node.args), **named)
    return _codings()[name]()


@cache
def _formulaic() -> Mapping[str, Callable[..., Any]]:
    from formulaic.transforms import TRANSFORMS  # importing formulaic is slow

    result: Mapping[str, Callable[..., Any]] = TRANSFORMS
    return result


@cache
def _codings() -> Mapping[str, Callable[..., Any]]:
    from formulaic.transforms import ContrastsRegistry

    result = dict(_formulaic())
    for name in ("treatment", "SAS", "sum", "helmert", "poly", "diff", "custom"):
        result[f"contr.{name}"] = getattr(ContrastsRegistry, name)
    return result


def _plain(value: Any) -> Any:
    """Return the value without formulaic's wrapping and without the index of pandas."""
    value = getattr(value, "__wrapped__", value)
    return value.to_numpy() if isinstance(value, pd.Series) and not _is_factor(value) else value


def _is_factor(value: Any) -> bool:
    return isinstance(getattr(value, "dtype", None), pd.CategoricalDtype)


def _numbers_if_compared_with(value: Any, other: Any) -> Any:
    """Convert a factor with numeric categories to numbers if `other` is not text."""
    if _is_factor(value) and not _is_text(other) and value.cat.categories.dtype.kind in "biuf":
        return value.astype(np.float64).to_numpy()
    return value


def _is_text(value: Any) -> bool:
    if isinstance(value, str) or _is_factor(value):
        return True
    return isinstance(value, np.ndarray | pd.Series) and value.dtype.kind in "OUT"


def _is_integer(value: Any) -> bool:
    return isinstance(value, np.ndarray | pd.Series) and not _is_factor(value) and value.dtype.kind in "iu"


def _doubles(value: Any, node: ast.expr) -> Any:
    """Convert numbers and booleans to doubles; other types raise an error."""
    value = _plain(value)
    if isinstance(value, dict):
        raise TypeError(f"{ast.unparse(node)} gives several columns, so it must be a separate term")
    if value is None or _is_text(value) or np.asarray(value).dtype.kind not in "biuf":
        raise TypeError(f"{ast.unparse(node)} is not a number; to compare text, write x == 'level'")
    return np.asarray(value, dtype=np.float64) if np.ndim(value) else np.float64(value)


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return np.array([str(level) for level in value], dtype=object)


def _check_level(value: Any, level: Any) -> None:
    """Raise an error for a level that the factor does not have."""
    if not _is_factor(value) or not np.isscalar(level):
        return
    known = [str(category) for category in value.cat.categories]
    if not isinstance(level, str):
        raise TypeError(f"{level!r} is not text, but the column contains text")
    if level not in known:
        raise ValueError(f"there is no level {level!r}")


def _levels(value: Any, n_rows: int) -> Any:
    """Convert computed values to levels, where whole numbers have no decimal point."""
    plain = _plain(value)
    if isinstance(plain, np.ndarray) and plain.dtype.kind == "f" and plain.ndim == 1:
        whole = np.isfinite(plain).all() and (plain == np.floor(plain)).all() and (np.abs(plain) < 2**53).all()
        plain = plain.astype(np.int64) if whole else plain
    if np.ndim(plain) != 1 or len(plain) != n_rows:
        raise ValueError("it does not have one value for each row")
    return plain if isinstance(plain, pd.Series) else pd.Series(plain)
