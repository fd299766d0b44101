"""Tables whose rows are samples: what a run does with them that it does not do with cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._adata.abundance import SIZES, AbundanceTable, table_of
from .._arrays import BoolArray
from .._errors import InputError
from .._fit.model import get_family
from .._formula import MixedFormula, is_word, parse_formula
from .options import RunOptions

if TYPE_CHECKING:
    from anndata import AnnData


def for_samples(adata: AnnData, options: RunOptions) -> tuple[RunOptions, AbundanceTable | None]:
    """The options as a table of samples needs them, and the table; as they are, and None, for cells.

    In a row of its own, the overdispersion of a sample and its random effect are one and the same. So counts are
    Poisson given the sample, and ``(1 | sample)`` is added unless some random effect has a level for each row.
    """
    table = table_of(adata)
    if table is None or not get_family(options.family).counts:
        return options, None
    obs: pd.DataFrame = adata.obs  # type: ignore[assignment]
    formula = parse_formula(options.formula)
    _check_columns(obs, table, formula)
    if not any(_tells_rows_apart(obs, term.group) for term in formula.random):
        if not _tells_rows_apart(obs, (table.sample,)):
            twice = obs[table.sample][obs[table.sample].duplicated()].iloc[0]
            raise InputError(
                f"the sample {twice!r} stands in several rows of the table. Each row is a sample of its own: name what "
                f"tells the rows apart in the formula, as in (1 | {table.sample}:tissue)"
            )
        name = table.sample if is_word(table.sample) else f"`{table.sample}`"
        options = replace(options, formula=f"{options.formula} + (1 | {name})")
    if options.size_factors is None and options.offset is None and not formula.offsets:
        options = replace(options, size_factors=SIZES)
    else:
        table = replace(table, reference="total", reference_types=())
    return replace(options, family="poisson"), table


def samples_line(table: AbundanceTable, test: str, n_types: int) -> str:
    """One line on how the rows of a table are treated, and which test was used."""
    relative = {"robust": "what most types do", "types": ", ".join(table.reference_types)}
    over = f" with a prior of the variances over {n_types} types" if test.startswith("eb_") else ""
    return (
        f"rows are samples, and the variance of (1 | sample) is their overdispersion; changes are relative to "
        f"{relative.get(table.reference, 'the given sizes, all cells by default')}; test={test!r}{over}"
    )


def tested_types(adata: AnnData, table: AbundanceTable, selected: BoolArray | None) -> BoolArray | None:
    """The types that are tested: not those that all others are compared with."""
    if not table.reference_types:
        return selected
    others = ~np.isin(adata.var_names.astype(str), table.reference_types)
    return others if selected is None else selected & others


def _check_columns(obs: pd.DataFrame, table: AbundanceTable, formula: MixedFormula) -> None:
    varying = [name for name in sorted(formula.names) if name in table.varying and name not in obs]
    if varying:
        raise InputError(
            f"the table of samples has no column {varying[0]!r}: its cells have several values of it within a sample, "
            f"so that samples cannot be compared by it. Name as sample= what has one value of {varying[0]!r} (for a "
            "donor with cells before and after treatment, the donor at one time), or correct the column of the cells"
        )
    for name in (table.sample, SIZES):
        if name not in obs:
            raise InputError(
                f"the table of samples has lost its column {name!r} of obs; make it again with sc_glmm.pp.abundance"
            )


def _tells_rows_apart(obs: pd.DataFrame, columns: tuple[str, ...]) -> bool:
    return all(name in obs for name in columns) and not obs[list(columns)].duplicated().any()
