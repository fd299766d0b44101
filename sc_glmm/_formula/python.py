"""Read the expressions inside a formula: check them, normalise them, and list their names."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable

from .._errors import FormulaError
from .language import (
    REPLACEMENTS,
    RefusedError,
    check_language,
    dotted_name,
    is_coding,
    quoted_column,
    unknown_function,
)
from .records import Name
from .tokens import skip_backticks, skip_string


def read_python(
    source: str, start: int, stop: int, *, response: bool = False
) -> tuple[str, tuple[Name, ...], ast.expr]:
    """Check the expression at ``source[start:stop]``.

    Returns
    -------
    text
        The expression with Python's spacing, and names in backticks where they need them.
    names
        The names of columns and functions, in the order of the source.
    tree
        The syntax tree; its names are those of the columns, with any characters.

    Raises
    ------
    FormulaError
        If the expression cannot be parsed or is outside the language; the message marks the position.
    """
    code, where, quoted = _replace_backticks(source, start, stop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape in a string
            tree = ast.parse(code, mode="eval")
    except SyntaxError as error:
        called = re.match(r"\s*([\w.]+)\s*\(", source[start:stop])
        if called is not None and called[1] in REPLACEMENTS:  # as.factor and is.na contain keywords of Python
            raise FormulaError(unknown_function(called[1]), source, (start, start + called.end(1))) from None
        spot = where[min(max((error.offset or 1) - 1, 0), len(where) - 1)]
        shown = source[start:stop].strip()
        raise FormulaError(f"{shown!r} is not an expression: {error.msg}", source, (spot, spot + 1)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"this expression cannot be parsed: {error}", source, (start, stop)) from None
    place = _places(code, source, where)
    try:
        check_language(tree, quoted.__contains__, response=response)
    except RefusedError as error:
        raise FormulaError(str(error), source, place(error.node)) from None
    text = ast.unparse(tree).replace("\n", " ")
    names = _names(tree, place, quoted)
    for alias, name in quoted.items():
        text = text.replace(alias, f"`{name}`")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = quoted.get(node.id, node.id)
    return text, names, tree.body


def _replace_backticks(source: str, start: int, stop: int) -> tuple[str, list[int], dict[str, str]]:
    """Return code that Python can parse, the position in `source` of each character, and alias -> name."""
    prefix = "_sc"
    while prefix in source:
        prefix += "c"
    aliases: dict[str, str] = {}  # name -> alias
    code: list[str] = []
    where: list[int] = []
    pos = start
    while pos < stop:
        char = source[pos]
        if char == "`":
            end = skip_backticks(source, pos)
            name = source[pos + 1 : end - 1]
            piece = aliases.setdefault(name, f"{prefix}{len(aliases)}q_")
            where += [pos] * len(piece)
        elif char in "\"'":
            end = skip_string(source, pos)
            piece = source[pos:end].replace("\n", " ").replace("\r", " ")  # one line, so that columns are positions
            where += range(pos, end)
        else:
            end = pos + 1
            # R's power operator; in Python it would silently be an exclusive or
            piece = " " if char.isspace() else "**" if char == "^" else char
            where += [pos] * len(piece)
        code.append(piece)
        pos = end
    # leading white space would be an indentation error
    text = "".join(code)
    blank = len(text) - len(text.lstrip())
    return text[blank:], [*where[blank:], stop], {alias: name for name, alias in aliases.items()}


def _places(code: str, source: str, where: list[int]) -> Callable[[ast.AST], tuple[int, int]]:
    """Return a function that gives the position of a node in the formula."""
    encoded = code.encode()

    def place(node: ast.AST) -> tuple[int, int]:
        # Python's offsets count bytes, not characters
        start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None)
        first, last = len(encoded[:start].decode()), len(encoded[: end or start + 1].decode())
        stop = where[last - 1]
        return where[first], skip_backticks(source, stop) if source[stop] == "`" else stop + 1

    return place


def _names(
    tree: ast.Expression, place: Callable[[ast.AST], tuple[int, int]], quoted: dict[str, str]
) -> tuple[Name, ...]:
    """List the names of columns, and those of functions as `called`."""
    found: list[Name] = []
    not_columns: set[int] = set()
    for node in ast.walk(tree):  # parents come before their children
        if isinstance(node, ast.Call):
            not_columns.add(id(node.func))
            found.append(Name(str(dotted_name(node.func)), place(node.func), called=True))
            not_columns.update(id(inner) for inner in ast.walk(node.func))
            column = quoted_column(node)
            if column is not None:
                found.append(Name(column, place(node.args[0])))
            elif dotted_name(node.func) == "C":
                codings = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
                not_columns.update(id(inner) for coding in codings if is_coding(coding) for inner in ast.walk(coding))
        elif isinstance(node, ast.Attribute):
            not_columns.update(id(inner) for inner in ast.walk(node))
        elif isinstance(node, ast.Name) and id(node) not in not_columns:
            found.append(Name(quoted.get(node.id, node.id), place(node)))
    return tuple(sorted(found, key=lambda name: name.span))
