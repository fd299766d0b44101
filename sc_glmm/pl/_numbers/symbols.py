"""Show gene symbols instead of gene names."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd

from ..._adata.mudata import results_in
from ..._display.arguments import did_you_mean, suggest
from ..._errors import InputError


def symbols_of(data: Any, key: str, column: str) -> pd.Series:
    """Symbol of each gene, indexed by its name.

    A gene without a symbol keeps its name. If several genes share a symbol, the name follows in brackets.

    Raises
    ------
    InputError
        If ``var`` or the data frame has no such column.
    """
    if isinstance(data, pd.DataFrame):
        where, table = "the data frame", data.drop_duplicates("variable").set_index("variable")
    elif isinstance(data, str | os.PathLike):
        from ..._adata.store import Store

        where, table = "var", results_in(Store(data).with_results(), key)[0].var
    else:
        where, table = "var", results_in(data, key)[0].var
    if column not in table:
        raise InputError(f"gene_symbols={column!r} is not a column of {where}{suggest(column, table.columns)}")
    names = pd.Series(table.index.astype(str), index=table.index.astype(str))
    symbols = pd.Series(table[column].astype(object).to_numpy(), index=names.index)
    symbols = symbols.where(symbols.notna() & (symbols.astype(str) != ""), names).astype(str)
    shared = symbols.duplicated(keep=False)
    return symbols.where(~shared, symbols + " (" + names + ")")


def with_symbols(frame: pd.DataFrame, data: Any, key: str, column: str | None) -> pd.DataFrame:
    """The results with symbols in the column ``variable``; unchanged without `column`."""
    if column is None:
        return frame
    symbols = symbols_of(data, key, column)
    return frame.assign(variable=symbols.loc[frame["variable"].astype(str)].to_numpy())


def name_and_symbol(gene: str, data: Any, key: str, column: str | None) -> tuple[str, str]:
    """Name and symbol of the gene with this symbol or name.

    Raises
    ------
    InputError
        If there is no such gene.
    """
    if column is None:
        return gene, gene
    symbols = symbols_of(data, key, column)
    found = symbols[symbols == gene]
    if len(found):
        return str(found.index[0]), gene
    if gene in symbols.index:
        return gene, str(symbols.loc[gene])
    hint = did_you_mean(gene, symbols)
    raise InputError(f"gene={gene!r} is neither a symbol in var[{column!r}] nor the name of a gene{hint}")
