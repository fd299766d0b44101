"""Exceptions and warnings for users; every error raised on purpose derives from :class:`ScGlmmError`."""

from __future__ import annotations

import unicodedata


class ScGlmmError(Exception):
    """Base class of all errors raised by sc_glmm."""


class InputError(ScGlmmError, ValueError):
    """The input cannot be used; the message states what was found, what is allowed and what to do."""


class DesignError(InputError):
    """The model of the formula cannot be built or tested with these data."""


class FormulaError(InputError):
    """A formula that cannot be parsed; the message shows it and marks the position.

    Parameters
    ----------
    message
        What is wrong, and what to do.
    source
        The whole formula.
    span
        Start and stop of the marked part of `source`.
    """

    def __init__(self, message: str, source: str, span: tuple[int, int]) -> None:
        self.message = message
        self.source = source
        self.span = span
        super().__init__(f"{message}\n{mark(source, span)}")

    def __reduce__(self) -> tuple[type[FormulaError], tuple[str, str, tuple[int, int]]]:
        # the default would call __init__ with only the finished message, which fails in another process
        return type(self), (self.message, self.source, self.span)


class ScGlmmWarning(UserWarning):
    """Something changed the analysis, or affects how to read the result."""


def mark(source: str, span: tuple[int, int]) -> str:
    """Two lines: the formula, and carets under the characters of `span`."""
    # white space becomes a plain space, so that carets stay aligned in formulas with several lines
    shown = "".join(" " if char.isspace() or not char.isprintable() else char for char in source)
    start, stop = span
    before, under = _width(shown[:start]), _width(shown[start:stop])
    return f"    {shown}\n    {' ' * before}{'^' * max(under, 1)}"


def _width(text: str) -> int:
    """Columns of `text` in a terminal: two for wide East Asian characters, none for combining marks."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
