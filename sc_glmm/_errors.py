"""The exceptions and warnings that users see; everything raised on purpose derives from :class:`ScGlmmError`."""

from __future__ import annotations

import unicodedata


class ScGlmmError(Exception):
    """Base class of all errors raised by sc_glmm."""


class InputError(ScGlmmError, ValueError):
    """The input cannot be used as it is; the message says what was seen, what is allowed and what to do."""


class DesignError(InputError):
    """The model that the formula describes cannot be built or tested on these data."""


class FormulaError(InputError):
    """A formula that cannot be read; the message shows it with the culprit marked.

    Parameters
    ----------
    message
        What is wrong and what to do.
    source
        The whole formula.
    span
        Start and stop of the culprit in `source`.
    """

    def __init__(self, message: str, source: str, span: tuple[int, int]) -> None:
        self.message = message
        self.source = source
        self.span = span
        super().__init__(f"{message}\n{mark(source, span)}")

    def __reduce__(self) -> tuple[type[FormulaError], tuple[str, str, tuple[int, int]]]:
        # the default would call __init__ with the finished message only, and fail in another process
        return type(self), (self.message, self.source, self.span)


class ScGlmmWarning(UserWarning):
    """Something changed what is analysed, or how the result must be read."""


def mark(source: str, span: tuple[int, int]) -> str:
    """Two lines: the formula on one line, and carets under the characters of `span`."""
    # white space becomes a plain space, so that a formula over several lines keeps its carets in place
    shown = "".join(" " if char.isspace() or not char.isprintable() else char for char in source)
    start, stop = span
    before, under = _width(shown[:start]), _width(shown[start:stop])
    return f"    {shown}\n    {' ' * before}{'^' * max(under, 1)}"


def _width(text: str) -> int:
    """Columns that `text` takes in a terminal: two for wide East Asian characters, none for combining marks."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
