"""Find the columns that a formula uses, and raise an error that marks an unknown name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from .._display.arguments import did_you_mean, list_some
from .._errors import DesignError, FormulaError, mark
from .._formula import Atom, MixedFormula, Name


@dataclass
class Use:
    """The uses of one column in a formula.

    Attributes
    ----------
    span
        First position in the formula.
    bare
        Whether it is a term or part of an interaction, where text is a factor.
    categorical
        Whether it is in ``C(...)``, where any column is a factor.
    computed
        Whether it is in another expression, so its values must not be changed.
    group
        Whether it is a grouping factor.
    """

    span: tuple[int, int]
    bare: bool = False
    categorical: bool = False
    computed: bool = False
    group: bool = False


def find_columns(formula: MixedFormula, data: pd.DataFrame, *, response: bool = False) -> dict[str, Use]:
    """Find every column of `data` that `formula` uses, in the order of the source.

    Raises
    ------
    FormulaError
        If a name is not a column.
    DesignError
        If two columns have the same name.
    """
    uses: dict[str, Use] = {}
    for atom, is_term in _atoms(formula, response):
        columns = [name for name in atom.names if not name.called]
        if not columns:
            raise FormulaError(f"{atom.text!r} does not use a column of the data", formula.source, atom.span)
        for name in columns:
            if name.name not in data.columns:
                raise _missing(name, data, formula.source)
            use = uses.setdefault(name.name, Use(name.span))
            if not is_term:
                use.computed = True
            elif atom.kind == "column":
                use.bare = True
            elif atom.factor_column == name.name:
                use.categorical = True
            else:
                use.computed = True
    for term in formula.random:
        for column, span in zip(term.group, term.group_spans, strict=True):
            if column not in data.columns:
                raise _missing(Name(column, span), data, formula.source)
            uses.setdefault(column, Use(span)).group = True
    for column, use in uses.items():
        if isinstance(data[column], pd.DataFrame):
            raise DesignError(
                f"the data have {data[column].shape[1]} columns with the name {column!r}, but names of columns must be "
                f"unique: rename them, or drop all except one\n{mark(formula.source, use.span)}"
            )
    return dict(sorted(uses.items(), key=lambda item: item[1].span))


def _atoms(formula: MixedFormula, response: bool) -> Iterator[tuple[Atom, bool]]:
    """Yield all expressions, and whether each is a factor of a term."""
    if response and formula.response_atom is not None:
        yield formula.response_atom, False
    for terms in (formula.fixed_terms, *(random.terms for random in formula.random)):
        for term in terms:
            for atom in term:
                yield atom, True
    for atom in formula.offset_atoms:
        yield atom, False


def _missing(name: Name, data: pd.DataFrame, source: str) -> FormulaError:
    columns = [column for column in data.columns if isinstance(column, str)]
    hint = did_you_mean(name.name, columns)
    written = [c for c in columns if c in source and not c.isidentifier() and source.find(c) == name.span[0]]
    if written:  # my-col is read as my - col
        hint = f"; a column with other signs in its name needs backticks: `{max(written, key=len)}`"
    message = f"there is no column {name.name!r}{hint} (available: {list_some(columns, 20)})"
    return FormulaError(message, source, name.span)
