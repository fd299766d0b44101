"""Intermediate result of the parser for a section of the right side."""

from __future__ import annotations

from dataclasses import dataclass, field

from .algebra import Terms
from .random import Bar
from .records import Atom, Span


@dataclass
class Piece:
    """A parsed section of the right side.

    Attributes
    ----------
    terms
        Its terms, without the intercept.
    intercept
        True after ``1``, False after ``0`` or ``- 1``, None if the section does not mention the intercept.
    text, written
        Text for formulaic (terms only), and text as written.
    span
        Position in the source.
    bars, offsets
        Random-effects terms and offsets found so far.
    """

    terms: Terms
    intercept: bool | None
    text: str
    written: str
    span: Span
    bars: list[Bar] = field(default_factory=list)
    offsets: list[Atom] = field(default_factory=list)


def join(left: str, right: str, minus: bool = False) -> str:
    """Join two texts by a plus or minus sign; empty texts are skipped."""
    if not right:
        return left
    if not left:
        return f"-{right}" if minus else right
    if right.startswith("-") and not minus:
        return f"{left} - {right[1:]}"
    return f"{left} {'-' if minus else '+'} {right}"
