"""Prepare a formula and a data frame for a fit: build the design, compress its rows, and sort terms as lme4 does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from .._arrays import FloatArray, IntArray
from .._compress import unique_rows
from .._design import Design, build_design
from .._display.arguments import check_choice, suggest
from .._engine.arrow.layout import Block
from .._errors import DesignError, InputError, mark
from .._fit.model import Grouping, merge_terms
from .._formula import MixedFormula, parse_formula


@dataclass(frozen=True)
class TermPlace:
    """Position of a random-effects term in the blocks.

    Attributes
    ----------
    name
        Grouping factor, numbered if it has several terms, as in R: ``"Subject"``, ``"Subject.1"``.
    block
        Number of the block.
    columns
        Columns of the term in the block.
    term
        Number of the term in the formula.
    """

    name: str
    block: int
    columns: slice
    term: int


@dataclass(frozen=True)
class Prepared:
    """A design prepared for a fit.

    Attributes
    ----------
    design
        The design on the observations used.
    row_of
        (n_obs,) number of the distinct row of each observation.
    X
        (n_rows, p) fixed-effects matrix of the distinct rows.
    blocks, groupings
        One for each grouping factor.
    places
        Positions of the terms in lme4's order, with more levels first.
    offset_arg
        (n_obs,) offset from the argument; None if there is none.
    offset
        (n_obs,) sum of all offsets.
    """

    design: Design
    row_of: IntArray
    X: FloatArray
    blocks: tuple[Block, ...]
    groupings: tuple[Grouping, ...]
    places: tuple[TermPlace, ...]
    offset_arg: FloatArray | None
    offset: FloatArray


def prepare(
    formula: str,
    data: pd.DataFrame,
    *,
    offset: Any = None,
    reference: Mapping[str, object] | None = None,
    na_action: Literal["drop", "raise"] = "drop",
    split_offset: bool = False,
) -> Prepared:
    """Parse the formula, build the design, and compress it to distinct rows.

    Parameters
    ----------
    formula, data, reference, na_action
        As in :func:`~sc_glmm.lmer`.
    offset
        A column of `data`, or one number per row.
    split_offset
        Whether observations with different offsets become different rows.

    Raises
    ------
    FormulaError, DesignError, InputError
        If the formula, the data or their combination cannot be used.
    """
    parsed = parse_formula(formula)
    check_formula(parsed)
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"data is {type(data).__name__}; it must be a pandas DataFrame with one row per observation")
    if reference is not None and not isinstance(reference, Mapping):
        raise InputError(f"reference={reference!r} must be a dictionary of columns and levels: {{'dose': 'low'}}")
    check_choice("na_action", na_action, ("drop", "raise"))
    design = build_design(
        parsed, data, reference=reference, na_action=na_action, check_replication=False, response=True
    )
    return lay_out(
        design, None if offset is None else per_row("offset", offset, data, design), split_offset=split_offset
    )


def lay_out(design: Design, offset_arg: FloatArray | None, *, split_offset: bool = False) -> Prepared:
    """Compress a design to its distinct rows; `offset_arg` is the (n_obs,) offset from the argument."""
    total = np.zeros(design.n_obs) if design.offset is None else design.offset.copy()
    if offset_arg is not None:
        total += offset_arg
    X = np.column_stack([design.fixed.X, total]) if split_offset else design.fixed.X
    rows = unique_rows(X, [t.Z for t in design.random], [t.codes for t in design.random])
    blocks, groupings = merge_terms(design.random, rows.Z, rows.codes)
    return Prepared(
        design=design,
        row_of=rows.row_of,
        X=np.ascontiguousarray(rows.X[:, : design.fixed.X.shape[1]]),
        blocks=blocks,
        groupings=groupings,
        places=_places(design, groupings),
        offset_arg=offset_arg,
        offset=total,
    )


def check_formula(parsed: MixedFormula) -> None:
    """Raise an error unless the formula has a response and at least one random effect."""
    if parsed.response is None:
        raise InputError(f"the formula {parsed.source!r} has no left side: write the response before '~'")
    if not parsed.random:
        raise InputError(
            f"the formula {parsed.source!r} has no random effect such as (1 | subject), so it is not a mixed model: "
            "use statsmodels (statsmodels.formula.api.ols, or glm with a family)"
        )


def per_row(name: str, values: Any, data: pd.DataFrame, design: Design) -> FloatArray:
    """Return a column of the data, or one number per row, on the rows used; all must be finite."""
    if isinstance(values, str):
        if values not in data.columns:
            raise InputError(f"{name}={values!r} is not a column of the data{suggest(values, data.columns)}")
        values = data[values]
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be converted to numbers: {error}") from error
    if numbers.shape != (len(data),):
        raise InputError(
            f"{name} has shape {numbers.shape}; it must be the name of a column or one number for each of the "
            f"{len(data)} rows of the data"
        )
    used = np.ascontiguousarray(numbers[design.rows_used])
    if not np.isfinite(used).all():
        bad = int(np.flatnonzero(~np.isfinite(used))[0])
        raise InputError(f"{name} is {used[bad]} in row {bad} of the rows used: fill in the value or drop the row")
    return used


def check_sizes(design: Design, *, residual: bool) -> None:
    """Raise an error if a model with a residual variance has too many random effects, as lme4 does."""
    if not residual:
        return
    for term in design.random:
        q = len(term.levels) * term.Z.shape[1]
        if q >= design.n_obs:
            source = design.formula.source
            raise DesignError(
                f"number of observations (={design.n_obs}) <= number of random effects (={q}) for term {term.label}: "
                "the variances of the random effects and the residual variance cannot be separated; use a coarser "
                f"grouping factor or fewer columns\n{mark(source, term.term.span)}"
            )


def _places(design: Design, groupings: tuple[Grouping, ...]) -> tuple[TermPlace, ...]:
    """Sort the terms by their number of levels, the largest first; R's sort reverses ties if it changes the order."""
    sizes = np.array([len(term.levels) for term in design.random])
    order = list(range(len(sizes)))
    if (np.diff(sizes) > 0).any():
        order = [int(i) for i in np.argsort(sizes, kind="stable")[::-1]]
    names = [g.name for g in groupings]
    first = dict.fromkeys(names, 0)
    where = []
    for term in design.random:
        start = first[term.group]
        first[term.group] = start + term.Z.shape[1]
        where.append((names.index(term.group), slice(start, first[term.group])))
    seen: dict[str, int] = {}
    places = []
    for i in order:
        group = design.random[i].group
        count = seen.get(group, 0)
        seen[group] = count + 1
        block, columns = where[i]
        places.append(TermPlace(group if count == 0 else f"{group}.{count}", block, columns, i))
    return tuple(places)


def with_response(prepared: Prepared, data: pd.DataFrame, y: FloatArray) -> pd.DataFrame:
    """Replace the response in the data, for models that are fitted to them later; an expression stays unchanged."""
    name = prepared.design.formula.response_name
    if name is None:
        return data
    values = np.full(len(data), np.nan)
    values[prepared.design.rows_used] = y
    return data.assign(**{name: values})
