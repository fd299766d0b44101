"""Split the text of a formula into tokens. A call such as ``log(x + 1)`` is one token."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import FormulaError

OPERATORS = ("||", "**", "~", "+", "-", "*", "/", ":", "^", "|", "(", ")")
_CLOSER = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Token:
    """A piece of the formula.

    Attributes
    ----------
    kind
        An operator or a parenthesis, such as ``"+"``; or ``"name"``, ``"quoted"`` (a name in backticks),
        ``"number"``, ``"call"``, ``"braces"`` or ``"end"``.
    text
        The text in the source; a quoted name without its backticks.
    start, stop
        Position in the source.
    """

    kind: str
    text: str
    start: int
    stop: int

    @property
    def span(self) -> tuple[int, int]:
        """Position in the source."""
        return self.start, self.stop

    @property
    def function(self) -> str:
        """Name of the function that a call uses."""
        return self.text[: self.text.index("(")].rstrip()


def tokenize(source: str) -> list[Token]:
    """Split a formula into tokens; the last one is of kind ``"end"``."""
    tokens: list[Token] = []
    pos = 0
    while pos < len(source):
        char = source[pos]
        if char.isspace():
            pos += 1
            continue
        operator = next((op for op in OPERATORS if source.startswith(op, pos)), None)
        if operator is not None:
            token = Token(operator, operator, pos, pos + len(operator))
        elif char == "`":
            stop = skip_backticks(source, pos)
            token = Token("quoted", source[pos + 1 : stop - 1], pos, stop)
        elif char == "{":
            stop = skip_brackets(source, pos, bars=True)
            token = Token("braces", source[pos:stop], pos, stop)
        elif _is_word_char(char):
            token = _word(source, pos)
        else:
            raise FormulaError(_unknown(char), source, (pos, pos + 1))
        tokens.append(token)
        pos = token.stop
    end = len(source.rstrip())
    return [*tokens, Token("end", "", end, end)]


def skip_backticks(source: str, start: int) -> int:
    """Return the index after the backtick that closes the one at `start`."""
    stop = source.find("`", start + 1)
    if stop < 0:
        raise FormulaError("this backtick is not closed", source, (start, start + 1))
    name = source[start + 1 : stop]
    if not name.strip():
        raise FormulaError("there is no name between these backticks", source, (start, stop + 1))
    if "\n" in name:
        raise FormulaError(
            f"a column called {name!r} cannot be used in a formula, because its name contains a line break: rename the "
            "column",
            source,
            (start, stop + 1),
        )
    return stop + 1


def skip_string(source: str, start: int) -> int:
    """Return the index after the string literal that opens at `start`."""
    pos = start + 1
    while pos < len(source):
        if source[pos] == "\\":
            pos += 1
        elif source[pos] == source[start]:
            return pos + 1
        pos += 1
    raise FormulaError("this quotation mark is not closed", source, (start, start + 1))


def skip_brackets(source: str, start: int, *, bars: bool) -> int:
    """Return the index after the bracket that closes the one at `start`.

    A ``|`` in between is an error unless `bars`.
    """
    stack = [start]
    pos = start + 1
    while stack:
        if pos >= len(source):
            raise FormulaError("this bracket is not closed", source, (stack[-1], stack[-1] + 1))
        char = source[pos]
        if char in "\"'":
            pos = skip_string(source, pos)
            continue
        if char == "`":
            pos = skip_backticks(source, pos)
            continue
        if char in _CLOSER:
            stack.append(pos)
        elif char in _CLOSER.values():
            opener = source[stack.pop()]
            if char != _CLOSER[opener]:
                raise FormulaError(f"{char!r} closes {opener!r}", source, (pos, pos + 1))
        elif char == "|" and not bars:
            raise FormulaError(
                "'|' cannot be used inside a function: write a random effect such as (1 | sample) as a separate term, "
                "and a logical 'or' as np.logical_or(a, b); covariance structures such as us(...) or ar1(...) are not "
                "available",
                source,
                (pos, pos + 1 + source.startswith("||", pos)),
            )
        elif char == "#":
            raise FormulaError("comments are not allowed in a formula", source, (pos, pos + 1))
        pos += 1
    return pos


def _is_word_char(char: str) -> bool:
    return char.isalnum() or char in "._"


def _word(source: str, start: int) -> Token:
    """Read a name, a number, or a call."""
    stop = start
    while stop < len(source) and _is_word_char(source[stop]):
        stop += 1
    text = source[start:stop]
    if text == ".":
        message = "'.' (all other columns) is not available: write the names of the columns"
        raise FormulaError(message, source, (start, stop))
    if all(c in "0123456789." for c in text):
        return Token("number", text, start, stop)
    if not (text[0].isalpha() or text[0] in "._"):
        raise FormulaError("a name cannot start with a digit: put it in backticks", source, (start, stop))
    after = stop
    while after < len(source) and source[after].isspace():
        after += 1
    if not source.startswith("(", after):
        return Token("name", text, start, stop)
    if after > stop and _opens_random_term(source, after):
        raise FormulaError("a '+' is missing before this random effect", source, (after, after + 1))
    end = skip_brackets(source, after, bars=False)
    return Token("call", source[start:end], start, end)


def _opens_random_term(source: str, start: int) -> bool:
    """Return whether the parenthesis at `start` opens a random effect, as in ``x (1 | g)``."""
    depth = 0
    for char in source[start:]:
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return False
        if depth == 1 and char == "|":
            return True
    return False


def _unknown(char: str) -> str:
    if char in "\"'":
        return "a string cannot be a term: put a column name with special characters in `backticks`"
    if char in "]}":
        return f"{char!r} closes a bracket that was not opened"
    return f"{char!r} has no meaning in a formula; the operators are + - * / : ** ^ ( ) | || ~"
