"""Define the expressions that a formula may contain. Nothing else is evaluated.

Every results file stores a formula, so a formula can come from another person. Its code is therefore never executed as
Python. This file defines the whole language, and `_design/evaluate.py` evaluates it node by node.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from .._display.arguments import did_you_mean

MAX_DEPTH = 100
_CONSTANT_TYPES = (int, float, str, bool)
# Whole numbers up to this size are doubles.
MAX_BITS = 1023
# Most columns of a spline, a polynomial or hashed levels: a number in a formula could otherwise fill the memory.
MAX_COLUMNS = 200


@dataclass(frozen=True)
class Signature:
    """Least and largest number of positional arguments, and names of keyword arguments."""

    low: int
    high: int
    keywords: frozenset[str] = frozenset()


def _signature(low: int, high: int, keywords: str = "") -> Signature:
    return Signature(low, high, frozenset(keywords.split()))


_ONE = (
    "log log2 log10 log1p exp exp2 expm1 sqrt cbrt square abs absolute fabs sign sin cos tan arcsin arccos arctan sinh "
    "cosh tanh arcsinh arccosh arctanh floor ceil trunc rint deg2rad rad2deg isnan isfinite logical_not"
)
_TWO = "minimum maximum power hypot arctan2 mod fmod logical_and logical_or logical_xor isin"

#: Functions of NumPy, written ``np.log(x)`` or ``log(x)``.
NUMPY: dict[str, Signature] = {
    **{name: _signature(1, 1) for name in _ONE.split()},
    **{name: _signature(2, 2) for name in _TWO.split()},
    "round": _signature(1, 2, "decimals"),
    "clip": _signature(1, 3, "a_min a_max"),
    "where": _signature(3, 3),
}
#: Constants of NumPy, written ``np.pi``.
NUMPY_CONSTANTS = frozenset({"pi", "e"})

_SPLINE = "df knots lower_bound upper_bound constraints extrapolation"
#: Functions of formulaic. Several store statistics of the data, and use them again for new data.
TRANSFORMS: dict[str, Signature] = {
    "I": _signature(1, 1),
    "Q": _signature(1, 1),
    "C": _signature(1, 2, "contrasts levels spans_intercept"),
    "hashed": _signature(2, 3, "levels contrasts spans_intercept"),
    "bs": _signature(1, 8, "df knots degree include_intercept lower_bound upper_bound extrapolation"),
    "cr": _signature(1, 6, _SPLINE),
    "cs": _signature(1, 6, _SPLINE),
    "cc": _signature(1, 6, _SPLINE),
    "poly": _signature(1, 3, "degree raw"),
    "center": _signature(1, 1),
    "scale": _signature(1, 4, "center scale ddof"),
    "standardize": _signature(1, 4, "center rescale ddof"),
    "exp10": _signature(1, 1),
    "pow": _signature(2, 2),
}
# Arguments that are a number of columns, by position.
_N_COLUMNS: dict[str, dict[int, str]] = {
    "bs": {1: "df", 2: "knots", 3: "degree"},
    **{name: {1: "df", 2: "knots"} for name in ("cr", "cs", "cc")},
    "poly": {1: "degree"},
    "hashed": {1: "levels"},
}
#: Codings of a factor, the second argument of ``C``: ``contr.sum`` or ``contr.sum()``, and patsy's ``Sum``.
CODINGS: dict[str, Signature] = {
    "contr.treatment": _signature(0, 1, "base"),
    "contr.SAS": _signature(0, 1, "base"),
    "contr.sum": _signature(0, 0),
    "contr.helmert": _signature(0, 2, "reverse scale"),
    "contr.poly": _signature(0, 1, "scores"),
    "contr.diff": _signature(0, 1, "backward"),
    "contr.custom": _signature(1, 2, "contrasts names"),
    "Treatment": _signature(0, 1, "reference"),
    "Sum": _signature(0, 0),
    "Helmert": _signature(0, 2, "reverse scale"),
    "Poly": _signature(0, 1, "scores"),
    "Diff": _signature(0, 1, "backward"),
}
FUNCTIONS: dict[str, Signature] = {**NUMPY, **TRANSFORMS, **CODINGS}

#: Functions of R, patsy and pandas that formulas do not have, and what to write instead.
REPLACEMENTS: dict[str, str] = {
    "factor": "write C(x)",
    "as.factor": "write C(x)",
    "ordered": "write C(x, contr.poly)",
    "as.numeric": "convert the column in the data",
    "relevel": "pass reference={'x': 'level'}",
    "ns": "write cr(x, df=3, constraints='center')",
    "rcs": "write cr(x, df=3, constraints='center')",
    "s": "write bs(x, df=4) for a spline",
    "te": "write bs(x, df=4) for a spline",
    "ifelse": "write np.where(condition, a, b)",
    "cut": "add the intervals to the data as a column",
    "pmin": "write np.minimum(x, y)",
    "pmax": "write np.maximum(x, y)",
    "min": "write np.minimum(x, y)",
    "max": "write np.maximum(x, y)",
    "is.na": "rows with missing values are dropped",
    "logit": "write log(x / (1 - x))",
    "qlogis": "write log(x / (1 - x))",
    "plogis": "write 1 / (1 + exp(-x))",
    "expit": "write 1 / (1 + exp(-x))",
    "ln": "write log(x)",
    "interaction": "write a:b",
    "lag": "add the shifted values to the data as a column",
    "int": "write np.floor(x)",
    "float": "numbers are doubles here",
}

_ONLY_OWN_ROW = (
    "a value in a formula can depend only on its own row: use center(), scale(), poly() or a spline, which store the "
    "statistics of the data, or add the result to the data as a column"
)
REPLACEMENTS |= dict.fromkeys("sum mean std var sd median cumsum diff rank argsort len quantile".split(), _ONLY_OWN_ROW)

_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr)
_UNARY = (ast.UAdd, ast.USub, ast.Not, ast.Invert)
_COMPARE = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)

_REFUSED: tuple[tuple[type[ast.AST] | tuple[type[ast.AST], ...], str], ...] = (
    (ast.Subscript, "square brackets after a value: add the selected values to the data as a column"),
    (ast.Lambda, "your own function: compute the values first, and add them to the data as a column"),
    (ast.IfExp, "'if ... else': write np.where(condition, a, b)"),
    (ast.NamedExpr, "an assignment: write the expression itself"),
    (ast.JoinedStr, "a formatted string: write the text itself"),
    ((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), "a loop: write the values out, as in [1, 2, 3]"),
    (ast.Starred, "a starred argument: write out the arguments"),
    ((ast.Await, ast.Yield, ast.YieldFrom), "asynchronous code"),
    (ast.Set, "a set: write a list, as in ['a', 'b']"),
)


class RefusedError(Exception):
    """Raised for code outside the language; `node` is the part that is not allowed."""

    def __init__(self, message: str, node: ast.AST) -> None:
        self.node = node
        super().__init__(message)


def dotted_name(node: ast.AST) -> str | None:
    """Return a name with at most one dot, such as ``np.log``; None for any other node."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return None


def signature_of(name: str) -> Signature | None:
    """Return the signature of a function, written with or without ``np.``; None for an unknown function."""
    return NUMPY.get(name[3:]) if name.startswith("np.") else FUNCTIONS.get(name)


def is_coding(node: ast.AST) -> bool:
    """Return whether the node is the coding of a factor: ``contr.sum`` or ``contr.sum()``."""
    return dotted_name(node.func if isinstance(node, ast.Call) else node) in CODINGS


def column_of_factor(tree: ast.AST | None) -> str | None:
    """Return the column ``x`` of ``C(x)``, which makes any column a factor; None for other nodes."""
    if not isinstance(tree, ast.Call) or dotted_name(tree.func) != "C" or not tree.args:
        return None
    first = tree.args[0]
    return first.id if isinstance(first, ast.Name) else quoted_column(first)


def quoted_column(node: ast.AST) -> str | None:
    """Return the column ``name`` of ``Q("name")``, which gives a column as a string; None for other nodes."""
    if isinstance(node, ast.Call) and dotted_name(node.func) == "Q" and len(node.args) == 1:
        argument = node.args[0]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value
    return None


def check_language(tree: ast.Expression, is_quoted: Callable[[str], bool], *, response: bool = False) -> None:
    """Raise an error if an expression contains anything outside the language.

    Parameters
    ----------
    tree
        The syntax tree of the expression.
    is_quoted
        Function that returns whether a name was in backticks. Such a name is always a column.
    response
        Whether this is the left side of a formula, which may be ``cbind(success, failure)``.

    Raises
    ------
    RefusedError
        If a node is not allowed; the error contains the node.
    """
    body = tree.body
    if response and isinstance(body, ast.Call) and dotted_name(body.func) == "cbind" and not body.keywords:
        for argument in body.args:
            _Checker(is_quoted).value(argument, 1)
    else:
        _Checker(is_quoted).value(body, 0)


def unknown_function(name: str) -> str:
    """Return the error message for an unknown function."""
    if name.removeprefix("np.") in REPLACEMENTS:
        return f"there is no function {name!r} in formulas: {REPLACEMENTS[name.removeprefix('np.')]}"
    known = [f"np.{each}" for each in sorted(NUMPY)] if name.startswith("np.") else sorted(FUNCTIONS)
    return (
        f"there is no function {name!r} in formulas{did_you_mean(name, known)} ({len(FUNCTIONS)} functions are "
        "available, such as log, sqrt, np.where, C, bs, poly, scale; see the page 'Formula syntax')"
    )


class _Checker:
    def __init__(self, is_quoted: Callable[[str], bool]) -> None:
        self.is_quoted = is_quoted

    def value(self, node: ast.expr, depth: int) -> None:
        """Check an expression that has a value for each row."""
        if depth > MAX_DEPTH:
            raise RefusedError(f"more than {MAX_DEPTH} nested operations", node)
        match node:
            case ast.Constant():
                self.constant(node)
            case ast.Name():
                self.name(node)
            case ast.Attribute():
                self.attribute(node)
            case ast.UnaryOp(op=op, operand=operand) if isinstance(op, _UNARY):
                self.value(operand, depth + 1)
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _BINARY):
                self.value(left, depth + 1)
                self.value(right, depth + 1)
            case ast.BoolOp(values=values):
                for part in values:
                    self.value(part, depth + 1)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(isinstance(op, _COMPARE) for op in ops):
                self.value(left, depth + 1)
                for sign, other in zip(ops, others, strict=True):
                    if isinstance(sign, ast.In | ast.NotIn):
                        self.literal(other, depth + 1)
                    else:
                        self.value(other, depth + 1)
            case ast.Call():
                self.call(node, depth)
            case ast.List() | ast.Tuple() | ast.Dict():
                raise RefusedError("a list does not have one value for each row", node)
            case _:
                raise _refused(node)

    def constant(self, node: ast.Constant) -> None:
        if node.value is not None and not isinstance(node.value, _CONSTANT_TYPES):
            raise RefusedError(f"values of type {type(node.value).__name__} are not allowed in a formula", node)
        if isinstance(node.value, int) and node.value.bit_length() > MAX_BITS:
            raise RefusedError("this whole number is too large for a double; the largest is about 1e308", node)

    def name(self, node: ast.Name) -> None:
        if node.id.startswith("__"):
            raise RefusedError("names that begin with two underscores cannot be used", node)

    def attribute(self, node: ast.Attribute) -> None:
        """Allow ``np.pi`` and ``np.e``; any other attribute is an error."""
        name = dotted_name(node)
        if name is not None and name in CODINGS:
            return
        if name is None or not name.startswith("np.") or self.is_quoted(name.split(".")[0]):
            column = name if name is not None and not self.is_quoted(name.split(".")[0]) else None
            hint = f"; a name with a dot needs backticks inside a function: `{column}`" if column else ""
            raise RefusedError(f"values have no attribute {node.attr!r} in a formula{hint}", node)
        if node.attr in NUMPY:
            raise RefusedError(f"{name} is a function: write {name}(x)", node)
        if node.attr not in NUMPY_CONSTANTS:
            constants = " and ".join(f"np.{constant}" for constant in sorted(NUMPY_CONSTANTS, reverse=True))
            raise RefusedError(f"{name} is not available in a formula; the constants are {constants}", node)

    def call(self, node: ast.Call, depth: int) -> None:
        name = dotted_name(node.func)
        if isinstance(node.func, ast.Name):
            self.name(node.func)
        if name is None or self.is_quoted(name.split(".")[0]) or name.split(".")[0] not in ("np", "contr", name):
            if isinstance(node.func, ast.Attribute):
                raise RefusedError(f"values have no method {node.func.attr!r} in a formula: {_ONLY_OWN_ROW}", node.func)
            raise RefusedError("this is not a function that a formula can call, such as log(x) or scale(x)", node.func)
        signature = signature_of(name)
        if signature is None:
            raise RefusedError(unknown_function(name), node.func)
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                raise _refused(argument)
        for keyword in node.keywords:
            if keyword.arg is None:
                raise RefusedError("a starred argument: write out the arguments", keyword.value)
            if keyword.arg not in signature.keywords:
                known = ", ".join(sorted(signature.keywords)) or "no keyword arguments"
                raise RefusedError(f"{name}() has no argument {keyword.arg!r}; it has {known}", node)
        given = [keyword.arg for keyword in node.keywords]
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise RefusedError(f"the argument {twice!r} is given twice", node)
        if not signature.low <= len(node.args) + (len(node.keywords) if signature.low > 1 else 0) or (
            len(node.args) > signature.high
        ):
            count = f"{signature.low}" if signature.low == signature.high else f"{signature.low} to {signature.high}"
            plural = "" if count == "1" else "s"
            raise RefusedError(f"{name}() takes {count} argument{plural}, but received {len(node.args)}", node)
        if name == "Q" and quoted_column(node) is None:
            raise RefusedError('Q() takes the name of a column as a string: Q("a name")', node)
        sizes = _N_COLUMNS.get(name, {})
        for i, argument in enumerate(node.args):
            self.argument(name, argument, i, depth)
            _check_size(name, sizes.get(i), argument)
        for keyword in node.keywords:
            self.argument(name, keyword.value, -1, depth)
            _check_size(name, keyword.arg if keyword.arg in sizes.values() else None, keyword.value)

    def argument(self, function: str, node: ast.expr, position: int, depth: int) -> None:
        """Check an argument of a function: the first ones are values, the others numbers, lists and codings."""
        plain = function in NUMPY or function.startswith("np.") or function in ("I", "exp10", "pow")
        if function.removeprefix("np.") == "isin" and position == 1:
            self.literal(node, depth + 1)
        elif plain or (position == 0 and function not in CODINGS):
            self.value(node, depth + 1)
        elif is_coding(node):
            if isinstance(node, ast.Call):
                self.call(node, depth + 1)
        else:
            self.literal(node, depth + 1)

    def literal(self, node: ast.expr, depth: int) -> None:
        """Check a number, a string, or a list of these."""
        if depth > MAX_DEPTH:
            raise RefusedError(f"more than {MAX_DEPTH} nested brackets", node)
        match node:
            case ast.Constant():
                self.constant(node)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float()) as number):
                self.constant(number)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                for part in parts:
                    self.literal(part, depth + 1)
            case ast.Dict(keys=keys, values=values):
                for entry in (*keys, *values):
                    if entry is None:
                        raise RefusedError("a starred argument: write out the arguments", node)
                    self.literal(entry, depth + 1)
            case _:
                raise _refused(node, "only a number, a string, or a list of these is allowed here")


def _check_size(function: str, argument: str | None, node: ast.expr) -> None:
    """Refuse a number of columns that no data need."""
    size: int | float = len(node.elts) if isinstance(node, ast.List | ast.Tuple) else 0
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        size = node.value
    if argument is not None and size > MAX_COLUMNS:
        raise RefusedError(f"{argument} of {function}() may be at most {MAX_COLUMNS}, but is {str(size)[:20]}", node)


def _refused(node: ast.AST, allowed: str = "") -> RefusedError:
    for kinds, words in _REFUSED:
        if isinstance(node, kinds):
            return RefusedError(f"a formula cannot contain {words}", node)
    if not allowed:
        allowed = (
            "expressions consist of columns, numbers, strings, + - * / // % **, comparisons, & | ~ and known functions"
        )
    return RefusedError(f"this is not allowed in a formula; {allowed}", node)
