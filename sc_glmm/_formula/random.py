"""Expand ``/`` and ``||`` into plain random-effects terms."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import FormulaError
from .algebra import Terms
from .records import RandomTerm, Span, Term, is_word, term_text


@dataclass(frozen=True)
class Bar:
    """A random-effects term in parentheses, as written.

    Attributes
    ----------
    terms, intercept, written
        The left side, as in :class:`sc_glmm._formula.piece.Piece`.
    bar
        ``"|"`` or ``"||"``.
    groups
        The right side: names with their positions; outer list split at ``/``, inner lists at ``:``.
    span
        Position in the source.
    """

    terms: Terms
    intercept: bool
    written: str
    bar: str
    groups: list[list[tuple[str, Span]]]
    span: Span


def expand_bar(bar: Bar, source: str) -> list[RandomTerm]:
    """Expand a term into terms without ``/`` and ``||``, coarse groups first."""
    expanded: list[RandomTerm] = []
    columns: list[tuple[str, Span]] = []
    for depth, group in enumerate(bar.groups):
        columns = columns + group
        names = tuple(name for name, _ in columns)
        for i, (name, span) in enumerate(columns):
            if name in names[:i]:
                raise FormulaError(f"the column {name!r} occurs twice in one grouping factor", source, span)
        for basis, written, terms in _bases(bar):
            expanded.append(
                RandomTerm(
                    basis=basis,
                    group=names,
                    span=bar.span,
                    label=f"({written} | {':'.join(name if is_word(name) else f'`{name}`' for name in names)})",
                    terms=terms,
                    group_spans=tuple(span for _, span in columns),
                    nested=depth > 0,
                )
            )
    return expanded


def _bases(bar: Bar) -> list[tuple[str, str, tuple[Term, ...]]]:
    """Return basis for formulaic, text for the label, and terms: once for ``|``, once per term for ``||``."""
    intercept: tuple[Term, ...] = ((),) if bar.intercept else ()
    if bar.bar == "|" or not bar.terms:
        text = " + ".join(term_text(term) for term in bar.terms)
        basis = "1" if bar.intercept else "0"
        return [(f"{basis} + {text}" if text else basis, bar.written, (*intercept, *bar.terms))]
    single: list[tuple[str, str, tuple[Term, ...]]] = [
        (f"0 + {term_text(term)}", f"0 + {term_text(term)}", (term,)) for term in bar.terms
    ]
    return [("1", "1", intercept), *single] if bar.intercept else single
