"""What the parser knows about a stretch of the right side."""

from __future__ import annotations

from dataclasses import dataclass, field

from .algebra import Terms
from .random import Bar
from .records import Atom, Span


@dataclass
class Piece:
    """What a stretch of the right side means so far.

    Attributes
    ----------
    terms
        Its terms, without the intercept.
    intercept
        True after ``1``, False after ``0`` or ``- 1``, None when nothing was said.
    text, written
        For formulaic (terms only), and as written.
    span
        Place in the source.
    bars, offsets
        Random-effects terms and offsets found on the way.
    """

    terms: Terms
    intercept: bool | None
    text: str
    written: str
    span: Span
    bars: list[Bar] = field(default_factory=list)
    offsets: list[Atom] = field(default_factory=list)


def join(left: str, right: str, minus: bool = False) -> str:
    """Join two texts by a sign; an empty one leaves no trace."""
    if not right:
        return left
    if not left:
        return f"-{right}" if minus else right
    if right.startswith("-") and not minus:
        return f"{left} - {right[1:]}"
    return f"{left} {'-' if minus else '+'} {right}"
