"""The Python code inside a formula: is it valid, how does Python write it, which names does it use."""

from __future__ import annotations

import ast
import keyword
import warnings

from .._errors import FormulaError
from .records import Name
from .tokens import skip_backticks, skip_string


def read_python(source: str, start: int, stop: int) -> tuple[str, tuple[Name, ...]]:
    """Check the code at ``source[start:stop]``.

    Returns
    -------
    The code in Python's own spacing, backticks kept, and the names in it in the order of the source. Names that
    the code binds itself (arguments of a lambda, variables of a comprehension) are not among them.
    """
    code, where, quoted = _replace_backticks(source, start, stop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an odd escape in a string: formulaic's own reading decides
            tree = ast.parse(code, mode="eval")
            text = ast.unparse(tree).replace("\n", " ")
    except SyntaxError as error:
        spot = where[min(max((error.offset or 1) - 1, 0), len(where) - 1)]
        shown = source[start:stop].strip()
        raise FormulaError(f"{shown!r} is not an expression: {error.msg}", source, (spot, spot + 1)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"this expression cannot be read: {error}", source, (start, stop)) from None
    names = _names(tree, code, source, where, quoted)
    for alias, name in quoted.items():
        text = text.replace(alias, f"`{name}`")
    return text, names


def _replace_backticks(source: str, start: int, stop: int) -> tuple[str, list[int], dict[str, str]]:
    """Code that Python can parse, the place in `source` of each of its characters, and the names put in."""
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
            if keyword.iskeyword(name):  # formulaic takes the backticks off such a name
                message = f"{name!r} is a word of Python, which cannot stand inside an expression: rename the column"
                raise FormulaError(message, source, (pos, end))
            piece = aliases.setdefault(name, f"{prefix}{len(aliases)}q_")
            where += [pos] * len(piece)
        elif char in "\"'":
            end = skip_string(source, pos)
            piece = source[pos:end].replace("\n", " ").replace("\r", " ")  # one line, so that columns are places
            where += range(pos, end)
        else:
            end = pos + 1
            # R's power: as Python's, exclusive or, it would silently be another number
            piece = " " if char.isspace() else "**" if char == "^" else char
            where += [pos] * len(piece)
        code.append(piece)
        pos = end
    # leading white space would be an indentation error
    text = "".join(code)
    blank = len(text) - len(text.lstrip())
    return text[blank:], [*where[blank:], stop], {alias: name for name, alias in aliases.items()}


def _names(tree: ast.Expression, code: str, source: str, where: list[int], quoted: dict[str, str]) -> tuple[Name, ...]:
    nodes = list(ast.walk(tree))
    bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    called = {id(_root(node.func)) for node in nodes if isinstance(node, ast.Call)}
    encoded = code.encode()

    def place(node: ast.expr) -> tuple[int, int]:
        # Python counts bytes
        first, last = (len(encoded[:n].decode()) for n in (node.col_offset, node.end_col_offset or node.col_offset + 1))
        stop = where[last - 1]
        return where[first], skip_backticks(source, stop) if source[stop] == "`" else stop + 1

    found: list[Name] = []
    for node in nodes:
        if isinstance(node, ast.Name | ast.Attribute):
            own = node.id if isinstance(node, ast.Name) else node.attr
            if own.startswith("__"):
                raise FormulaError("names that begin with two underscores cannot be used", source, place(node))
        if isinstance(node, ast.Name) and node.id not in bound:
            found.append(Name(quoted.get(node.id, node.id), place(node), id(node) in called))
        elif _is_quote_call(node):
            argument = node.args[0]  # type: ignore[attr-defined]
            found.append(Name(argument.value, place(argument)))
    return tuple(sorted(found, key=lambda name: name.span))


def _root(node: ast.expr) -> ast.expr:
    """``np`` of ``np.random.normal``."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _is_quote_call(node: ast.AST) -> bool:
    """Whether this is ``Q("name")``, which names a column by a string."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Q"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )
