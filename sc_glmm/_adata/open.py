"""Open an AnnData in memory, backed, lazy, or from a path, and find its matrices."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from .._compress.guards import count_problem
from .._compress.matrix import Matrix
from .._compress.source import Source
from .._display.arguments import did_you_mean, quote_some
from .._errors import FormulaError, InputError
from .._formula import MixedFormula
from .sources import lazy_source
from .store import Store, results_of
from .tables import Columns, labels_in

if TYPE_CHECKING:
    from anndata import AnnData
from .slots import other_entry, remove_results, with_free_names


@dataclass(frozen=True)
class Response:
    """Matrix on the left side of the formula.

    Attributes
    ----------
    matrix
        ``(n_obs, n_vars)`` sparse or dense, in memory or a source that reads it chunk by chunk.
    name
        Name as in user code: ``layers['counts']`` or ``X``.
    notes
        Notes for the user.
    """

    matrix: Matrix | Source
    name: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """Opened AnnData.

    Attributes
    ----------
    adata
        `obs` and `var` in memory; the results are added to it.
    layers
        Names of its layers.
    matrix
        Function that returns a layer by name, or X (None): in memory, or a source that reads it chunk by chunk. It
        returns None if there is no X.
    store
        The file for the results, if a path was given.
    labels
        Function that returns the columns of cells with text, categories or whole numbers, even if they were not read.
    """

    adata: AnnData
    layers: tuple[str, ...]
    matrix: Callable[[str | None], Matrix | Source | None]
    store: Store | None
    labels: Callable[[], pd.DataFrame]


def open_data(
    data: AnnData | str | os.PathLike[str],
    key: str,
    obs: pd.DataFrame | None = None,
    columns: Columns | None = None,
) -> Opened:
    """Open an AnnData in memory, backed or lazy, or from a path, without reading a matrix.

    Parameters
    ----------
    data
        The data from the user.
    key
        Name of the results.
    obs
        Replacement of the table of cells; the caller must then call :func:`hand_over`.
    columns
        Columns of the table of cells to read if it is not in memory; None for all.

    Raises
    ------
    InputError
        If it is not an AnnData, is empty, or has duplicate gene names.
    """
    if isinstance(data, str | os.PathLike):
        store = Store(data)
        adata = store.tables(columns)
        check_object(adata, key)
        return Opened(
            adata,
            store.layers,
            lambda name: store.matrix(name) if name is not None or store.has_x else None,
            store,
            store.labels,
        )
    check_object(data, key)

    def matrix(name: str | None) -> Matrix | Source | None:
        held = data.X if name is None else data.layers[name]
        if held is None:
            return None
        source = lazy_source(held, "X" if name is None else f"layers[{name!r}]")
        return _in_memory(held) if source is None else source

    # anndata 0.13 lists X as the layer None
    held_layers: Any = data.layers
    layers = tuple(str(name) for name in held_layers if name is not None)
    tables = _with_tables(data, obs, columns)
    return Opened(tables, layers, matrix, None, lambda: labels_in(tables.obs))


def hand_over(opened: Opened, data: Any, key: str) -> None:
    """Store the results under `key` in the user's data: the file, or an AnnData with lazy tables."""
    if opened.store is not None:
        opened.store.write_results(opened.adata, key)
    elif opened.adata is not data:
        remove_results(data, key)
        for place, value in with_free_names(results_of(opened.adata, key), key, set(data.varm.keys())).items():
            group, _, name = place.partition("/")
            getattr(data, group)[name] = value


def _with_tables(adata: AnnData, obs: pd.DataFrame | None, columns: Columns | None) -> AnnData:
    """Return the same object, or an AnnData with tables only if they are lazy (or if `obs` replaces them)."""
    if obs is None and isinstance(adata.obs, pd.DataFrame) and isinstance(adata.var, pd.DataFrame):
        return adata
    from anndata import AnnData

    if obs is not None:
        return AnnData(obs=obs, var=_in_memory_table(adata.var))
    held: Any = adata.obs
    chosen = None if columns is None else columns.among([str(name) for name in held.columns])
    return AnnData(obs=_in_memory_table(held if chosen is None else held[chosen]), var=_in_memory_table(adata.var))


def _in_memory_table(table: Any) -> pd.DataFrame:
    result: pd.DataFrame = table if isinstance(table, pd.DataFrame) else table.to_memory()
    return result


def check_object(adata: Any, key: str) -> None:
    """Raise an error for an object that is not an AnnData, is empty, or has duplicate gene names."""
    if not hasattr(adata, "obs") or not hasattr(adata, "varm"):
        raise InputError(f"the first argument is a {type(adata).__name__}; it must be an AnnData")
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise InputError(f"the AnnData has {adata.n_obs} cells and {adata.n_vars} genes; is the selection empty?")
    if not adata.var_names.is_unique:
        name = adata.var_names[adata.var_names.duplicated()][0]
        raise InputError(f"the gene name {name!r} occurs more than once; call adata.var_names_make_unique() first")
    check_key(key)


def check_key(key: object) -> None:
    """Raise an error for a key that an .h5ad file or a zarr store cannot store."""
    allowed = "a key is text of 1 to 150 characters without '/', '\\' and control characters, such as 'glmm'"
    if not isinstance(key, str) or not key.strip() or len(key.encode(errors="replace")) > 150:
        raise InputError(f"key_added={key!r}: {allowed}")
    bad = next((char for char in key if char in "/\\" or ord(char) < 32 or 0xD800 <= ord(char) < 0xE000), None)
    if bad is not None or not key.strip("."):
        raise InputError(f"key_added={key!r}: AnnData cannot store {bad or key!r} in a key; {allowed}")


def check_free(opened: Opened, data: Any, key: str, groupby: str | None) -> None:
    """Raise an error for a key that already holds something other than a table of results.

    Results of an earlier run, or of scanpy's ``rank_genes_groups``, may be replaced.
    """
    grouped = groupby is not None
    other = other_entry(data, key, grouped=grouped) if opened.store is None else opened.store.other_entry(key, grouped)
    if other is not None:
        raise InputError(f"key_added={key!r}: {other} has other content, which would be lost; choose another key")


def find_response(opened: Opened, formula: MixedFormula, counts: bool) -> Response:
    """Find the matrix of the response: the layer on the left side, or else X.

    Raises
    ------
    FormulaError
        If the left side is an expression.
    InputError
        If counts are needed but the matrix has other values. Only the first chunk of a matrix on disk is checked here.
    """
    notes: tuple[str, ...] = ()
    wanted = formula.response_name
    if formula.response is not None and wanted is None:
        raise FormulaError(
            "the left side must be the name of a layer (or X); store transformed data as a layer first, and do not "
            "transform counts at all",
            formula.source,
            formula.response_span or (0, len(formula.source)),
        )
    if wanted is not None and wanted in opened.layers:
        matrix, name = opened.matrix(wanted), f"layers[{wanted!r}]"
    else:
        matrix, name = opened.matrix(None), "X"
        if matrix is None:
            raise InputError(f"there is no layer {wanted!r} and no X; layers: {list(opened.layers)}")
        if wanted not in (None, "X"):
            hint = did_you_mean(wanted, opened.layers)
            notes = (f"there is no layer {wanted!r} (layers: {quote_some(opened.layers)}), so X is used{hint}",)
    if counts:
        problem = count_problem(matrix, probe=isinstance(matrix, Source))
        if problem is not None:
            raise InputError(
                f"{name} {problem}. Raw counts are needed; {_where_counts_are(opened)}, or use family='gaussian' for "
                f"log-normalised values.{_rounding(name, problem)}"
            )
    return Response(matrix, name, notes)


def _rounding(name: str, problem: str) -> str:
    """Write advice for counts with decimals, unless they have the totals of normalised values."""
    if "whole number" not in problem or "adds up" in problem or "add up" in problem:
        return ""
    return f" Round counts that were corrected, as by SoupX or DecontX: adata.{name} = np.rint(adata.{name})"


def _where_counts_are(opened: Opened) -> str:
    """Write advice for a response without counts."""
    layers = [name for name in opened.layers if count_problem(opened.matrix(name), probe=True) is None]
    text = f"layers with counts: {quote_some(layers)}"
    if layers:
        return f"{text}. Put that layer's name on the left side of the formula, as in '{layers[0]} ~ ...'"
    raw = getattr(opened.adata, "raw", None)
    if raw is not None and count_problem(_in_memory(raw.X), probe=True) is None:
        return f"{text}, but adata.raw has counts. Test adata.raw.to_adata(), which has them in X with all genes"
    return f"{text}. Store counts in a layer before normalising (adata.layers['counts'] = adata.X.copy())"


def _in_memory(matrix: Any) -> Matrix:
    """Return the matrix behind a view or another type of lazy matrix; matrices in memory are returned unchanged."""
    return matrix.to_memory() if hasattr(matrix, "to_memory") else matrix
