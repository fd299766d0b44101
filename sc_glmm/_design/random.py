"""Build the random effects: for each term, the level of every row and the columns of Z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pandas as pd

from .._arrays import FloatArray, IntArray
from .._display.arguments import list_some
from .._errors import DesignError, mark
from .._formula import MixedFormula, RandomTerm, term_label
from .coding import Recipe, code_again, code_terms
from .columns import Column
from .fixed import check_levels


@dataclass(frozen=True)
class ReTerm:
    """One random-effects term on the rows used.

    Attributes
    ----------
    label
        ``"(1 | sample)"``.
    group
        Name of the grouping factor for display: ``"sample"``; ``"a:b"`` for ``a:b``, and ``"b:a"`` for ``a/b``, as in
        lme4. Different factors of a model have different names.
    codes
        (n_obs,) int64, level of each row.
    levels
        Unique names of the levels for display. The levels of an interaction are joined by ``:`` in the order of
        `group`, with quotes where the result would be ambiguous.
    keys
        The level of each column of the grouping factor, as text; one tuple for each level.
    Z
        (n_obs, k) float64, C-contiguous, value of each of the k effects in each row.
    names
        Names of the k effects: ``("Intercept", "x")``.
    term
        The term of the formula.
    recipe
        How to compute `Z` again; None for an intercept only.
    """

    label: str
    group: str
    codes: IntArray
    levels: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    Z: FloatArray
    names: tuple[str, ...]
    term: RandomTerm = field(repr=False)
    recipe: Recipe | None = field(default=None, repr=False)

    def codes_at(self, data: pd.DataFrame) -> IntArray:
        """Find the level of each row of new data, which have the grouping columns; -1 for an unknown level."""
        place = {key: code for code, key in enumerate(self.keys)}
        pieces = [[_level_name(value) for value in data[name]] for name in self.term.columns]
        return np.array([place.get(key, -1) for key in zip(*pieces, strict=True)], dtype=np.int64)

    def at(self, frame: pd.DataFrame, formula: MixedFormula) -> FloatArray:
        """Compute `Z` for new rows; the columns of `frame` are converted."""
        if self.recipe is None:
            return np.ones((len(frame), 1))
        return code_again(self.recipe, frame, formula)


class HasLevels(Protocol):
    """Protocol of a grouping factor or a random-effects term."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of its levels."""


def finest(factors: Sequence[HasLevels]) -> int:
    """Return the index of the grouping factor with the most levels, usually the samples; the first in a tie."""
    return max(range(len(factors)), key=lambda i: len(factors[i].levels))


def build_random(
    formula: MixedFormula,
    frame: pd.DataFrame,
    groups: dict[str, pd.Series],
    columns: dict[str, Column],
    *,
    check_replication: bool,
) -> tuple[ReTerm, ...]:
    """Build all random-effects terms.

    Parameters
    ----------
    formula
        The formula.
    frame
        Converted columns, for the left sides of the bars.
    groups
        Grouping columns as in the data, for the rows used.
    columns
        Conversion of each column of `frame`.
    check_replication
        Whether to reject a grouping factor with a different level for every row.

    Raises
    ------
    FormulaError, DesignError
        If a grouping factor has one level, or the variances of two terms cannot be separated.
    """
    factors = {name: group_levels(values) for name, values in groups.items()}
    terms: list[ReTerm] = []
    for term in formula.random:
        # a:b, b:a and the second part of a/b are one grouping factor
        same = next((other.term for other in terms if {*other.term.group} == {*term.group}), term)
        term = replace(term, group=same.group, group_spans=same.group_spans, nested=same.nested)
        codes, keys = _interaction([factors[name] for name in term.columns])
        levels = display_names(keys)
        _check_group(term, codes, levels, formula, check_replication)
        if term.terms == ((),):
            Z, recipe = np.ones((len(frame), 1)), None
            names: tuple[str, ...] = ("Intercept",)
        else:
            check_levels(term.terms, columns, len(frame), formula)
            Z, recipe = code_terms(term.terms, frame, formula)
            names = recipe.names
        if not names:
            raise DesignError(
                f"{term.label} has no column on the left of its bar: write (1 | {term.group_text}) for an intercept\n"
                f"{mark(formula.source, term.span)}"
            )
        _check_overlap(term, terms, formula)
        group = term.group_name
        if any(other.group == group and other.term.columns != term.columns for other in terms):
            group = ":".join(f"`{name}`" for name in term.columns)
        terms.append(ReTerm(term.label, group, codes, levels, keys, Z, names, term, recipe))
    _check_slopes(terms, formula)
    return tuple(terms)


def _check_slopes(terms: Sequence[ReTerm], formula: MixedFormula) -> None:
    """Raise an error for slopes that do not vary within their groups.

    Such a slope has the same effect as a random intercept. Variances by arm (independent columns, one for each arm, and
    no intercept) can be separated and are allowed.
    """
    before: dict[tuple[str, ...], FloatArray] = {}
    for term in terms:
        place = np.empty(len(term.levels), dtype=np.int64)
        place[term.codes[::-1]] = np.arange(term.codes.size)[::-1]
        spread = np.abs(term.Z - term.Z[place][term.codes]).max(axis=0, initial=0.0)
        constant = spread <= 1e-10 * np.ptp(term.Z, axis=0) + 1e-15 * np.abs(term.Z).max(axis=0, initial=0.0)
        nonzero = np.abs(term.Z[place][:, constant]) > 0.0
        others = before.get(term.term.columns, np.zeros((len(term.levels), 0)))
        if constant.sum() > 1 or (nonzero[:, :, None] & others.astype(bool)[:, None, :]).any():
            slopes = [j for j in np.flatnonzero(constant).tolist() if np.ptp(term.Z[:, j]) > 0.0]
            if slopes:
                raise DesignError(
                    f"{list_some(term.names[j] for j in slopes)} in {term.label} does not vary within the levels of "
                    f"{term.group!r}, so its effect cannot differ between them: write (1 | {term.term.group_text}), "
                    "and keep the variable in the fixed effects; random slopes are for variables that vary within "
                    f"levels\n{mark(formula.source, term.term.span)}"
                )
        before[term.term.columns] = np.hstack([others, nonzero])


def group_levels(values: pd.Series) -> tuple[IntArray, tuple[str, ...]]:
    """Return codes and names of the levels that occur: categories in their order, other types sorted."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        used = values.cat.remove_unused_categories().cat
        codes, levels = used.codes.to_numpy(), list(used.categories)
    else:
        plain = values.astype(object).to_numpy()
        try:
            codes, found = pd.factorize(plain, sort=True)
        except TypeError:  # numbers and text in one column have no common order
            codes, unsorted = pd.factorize(plain)
            order = sorted(range(len(unsorted)), key=lambda code: str(unsorted[code]))
            codes, found = np.argsort(order)[codes], unsorted[order]
        levels = list(found)
    names = tuple(_level_name(level) for level in levels)
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DesignError(f"column {values.name!r} has different levels with the same text {twice!r}: rename them")
    return codes.astype(np.int64), names


def _level_name(level: object) -> str:
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    return str(level)


def _interaction(factors: list[tuple[IntArray, tuple[str, ...]]]) -> tuple[IntArray, tuple[tuple[str, ...], ...]]:
    """Return codes and keys of the combinations that occur; the first factor varies slowest."""
    codes, first = factors[0]
    keys = tuple((name,) for name in first)
    for more, names in factors[1:]:
        pairs, codes = np.unique(codes * len(names) + more, return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        keys = tuple((*keys[pair // len(names)], names[pair % len(names)]) for pair in pairs.tolist())
    return codes, keys


def display_names(keys: Sequence[tuple[str, ...]], separator: str = ":") -> tuple[str, ...]:
    """Make one unique text for each combination of levels.

    The levels are joined by `separator`. If two combinations give the same text (``a:b`` with ``c``, and ``a`` with
    ``b:c``), levels that contain the separator or a quote are quoted.
    """
    plain = tuple(separator.join(key) for key in keys)
    if len(set(plain)) == len(plain):
        return plain
    unclear = (separator, "'", '"')
    return tuple(
        separator.join(repr(name) if any(sign in name for sign in unclear) else name for name in key) for key in keys
    )


def _check_group(
    term: RandomTerm, codes: IntArray, levels: tuple[str, ...], formula: MixedFormula, check_replication: bool
) -> None:
    where = mark(formula.source, term.span)
    if len(levels) < 2:
        raise DesignError(
            f"the grouping factor {term.group_name!r} of {term.label} has one level ({list_some(levels)}) in the "
            f"{codes.size} rows used; a variance between levels needs at least 2 levels, and 5 or more are better: "
            f"drop the term or use more data\n{where}"
        )
    if check_replication and len(levels) == codes.size:
        raise DesignError(
            f"the grouping factor {term.group_name!r} of {term.label} has {len(levels)} levels for {codes.size} "
            "rows, so it does not group the cells; use the column that contains the sample or donor of each "
            f"cell\n{where}"
        )


def _check_overlap(term: RandomTerm, before: list[ReTerm], formula: MixedFormula) -> None:
    for other in before:
        shared = [place for place, each in enumerate(term.terms) if each in other.term.terms]
        if shared and set(other.term.group) == set(term.group):
            effect = "Intercept" if not term.terms[shared[0]] else term_label(term.terms[shared[0]])
            raise DesignError(
                f"{other.label} and {term.label} both have the effect {effect!r} for the same grouping factor, so "
                "the data determine only the sum of their variances: write (0 + x | g) to omit an intercept\n"
                f"{mark(formula.source, term.span)}"
            )
