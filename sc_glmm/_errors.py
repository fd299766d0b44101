"""The exceptions and warnings that users see; everything raised on purpose derives from :class:`ScGlmmError`."""

from __future__ import annotations


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
        self.source = source
        self.span = span
        start, stop = span
        caret = " " * start + "^" * max(stop - start, 1)
        super().__init__(f"{message}\n    {source}\n    {caret}")


class ScGlmmWarning(UserWarning):
    """Something changed what is analysed, or how the result must be read."""
