"""Adapt a run to abundance tables, whose rows are samples and not cells."""

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
    """Adapt the options to a table of samples, and return them with the table.

    If a sample has only one row, its overdispersion and its random effect are the same. Counts are therefore Poisson
    given the sample, and ``(1 | sample)`` is added to the formula unless a random effect has a level for each row. If
    rows are cells, the options are unchanged and the table is None.

    Raises
    ------
    InputError
        If the table does not have a column that the formula needs, or a sample has several rows.
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
                f"the sample {twice!r} has several rows in the table, but the formula has no random effect with one "
                f"level for each row: add the column that distinguishes the rows, as in (1 | {table.sample}:tissue)"
            )
        name = table.sample if is_word(table.sample) else f"`{table.sample}`"
        options = replace(options, formula=f"{options.formula} + (1 | {name})")
    if options.size_factors is None and options.offset is None and not formula.offsets:
        options = replace(options, size_factors=SIZES)
    else:
        table = replace(table, reference="total", reference_types=())
    return replace(options, family="poisson"), table


def samples_line(table: AbundanceTable, test: str, n_types: int) -> str:
    """Write one line about the treatment of the rows of a table, and the test that was used."""
    relative = {"robust": "the change of most types", "types": ", ".join(table.reference_types)}
    prior = f" with a prior of the variances from {n_types} types" if test.startswith("eb_") else ""
    return (
        f"rows are samples, and the variance of (1 | sample) is their overdispersion; changes are relative to "
        f"{relative.get(table.reference, 'the given sizes, all cells by default')}; test={test!r}{prior}"
    )


def tested_types(adata: AnnData, table: AbundanceTable, selected: BoolArray | None) -> BoolArray | None:
    """Return the selected types without the reference types, with which all others are compared."""
    if not table.reference_types:
        return selected
    others = ~np.isin(adata.var_names.astype(str), table.reference_types)
    return others if selected is None else selected & others


def _check_columns(obs: pd.DataFrame, table: AbundanceTable, formula: MixedFormula) -> None:
    varying = [name for name in sorted(formula.names) if name in table.varying and name not in obs]
    if varying:
        raise InputError(
            f"the table of samples has no column {varying[0]!r}, because its cells have several values of it within a "
            f"sample. Pass as sample= a column whose levels have one value of {varying[0]!r} each (for example donor "
            "and time point, if donors have cells before and after treatment), or correct the column of the cells"
        )
    for name in (table.sample, SIZES):
        if name not in obs:
            raise InputError(
                f"the table of samples no longer has the column {name!r} in obs: create the table again with "
                "sc_glmm.pp.abundance"
            )


def _tells_rows_apart(obs: pd.DataFrame, columns: tuple[str, ...]) -> bool:
    return all(name in obs for name in columns) and not obs[list(columns)].duplicated().any()
