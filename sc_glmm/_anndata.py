"""The only reader and writer of AnnData: where counts, columns and results are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._arrays import FloatArray
from ._compress.guards import count_problem
from ._compress.matrix import Matrix
from ._compress.source import Source
from ._design.columns import native
from ._errors import FormulaError, InputError
from ._formula import MixedFormula
from ._io.sources import lazy_source
from ._io.store import Store, results_of
from ._io.tables import TOTAL_COLUMNS, Columns
from ._mirror import mirror_of
from ._results import GeneTests, results_by_group

if TYPE_CHECKING:
    from anndata import AnnData


# A matrix with less than this share of the library size was probably cut to some genes.
CUT_SHARE = 0.8


@dataclass(frozen=True)
class Response:
    """The matrix that the left side of the formula names.

    Attributes
    ----------
    matrix
        ``(n_obs, n_vars)`` sparse or dense, in memory or a source that reads it chunk by chunk.
    name
        As the user would write it: ``layers['counts']`` or ``X``.
    notes
        What the user should know.
    """

    matrix: Matrix | Source
    name: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """An AnnData, wherever it is.

    Attributes
    ----------
    adata
        `obs` and `var` in memory; the results are put here.
    layers
        Names of its layers.
    matrix
        A layer by its name, or X (None): as it is in memory, else a source that reads it chunk by chunk. None if there
        is no X.
    store
        The file that results go to, if a path was given.
    """

    adata: AnnData
    layers: tuple[str, ...]
    matrix: Callable[[str | None], Matrix | Source | None]
    store: Store | None


def open_data(
    data: AnnData | str | os.PathLike[str],
    key: str,
    obs: pd.DataFrame | None = None,
    columns: Columns | None = None,
) -> Opened:
    """An AnnData in memory, backed or lazy, or the path of one; no matrix is read.

    Parameters
    ----------
    data
        What the user gave.
    key
        Name of the results.
    obs
        Takes the place of the table of cells; the results are still to be handed over then.
    columns
        Columns of the table of cells that are read if it is not in memory; None for all.

    Raises
    ------
    InputError
        If it is none, is empty, or has gene names that do not tell the genes apart.
    """
    if isinstance(data, str | os.PathLike):
        store = Store(data)
        adata = store.tables(columns)
        check_object(adata, key)
        return Opened(
            adata, store.layers, lambda name: store.matrix(name) if name is not None or store.has_x else None, store
        )
    check_object(data, key)

    def matrix(name: str | None) -> Matrix | Source | None:
        held = data.X if name is None else data.layers[name]
        if held is None:
            return None
        source = lazy_source(held, "X" if name is None else f"layers[{name!r}]")
        return _in_memory(held) if source is None else source

    # anndata 0.13 lists X among the layers, as None
    held_layers: Any = data.layers
    layers = tuple(str(name) for name in held_layers if name is not None)
    return Opened(_with_tables(data, obs, columns), layers, matrix, None)


def hand_over(opened: Opened, data: Any, key: str) -> None:
    """Take the results under `key` to where the user looks for them: the file, or an AnnData whose tables are lazy."""
    if opened.store is not None:
        opened.store.write_results(opened.adata, key)
    elif opened.adata is not data:
        remove_results(data, key)
        for place, value in results_of(opened.adata, key).items():
            group, _, name = place.partition("/")
            getattr(data, group)[name] = value


def _with_tables(adata: AnnData, obs: pd.DataFrame | None, columns: Columns | None) -> AnnData:
    """Itself, or if its tables are lazy (or `obs` takes their place) an AnnData with nothing but tables."""
    if obs is None and isinstance(adata.obs, pd.DataFrame) and isinstance(adata.var, pd.DataFrame):
        return adata
    from anndata import AnnData

    if obs is not None:
        return AnnData(obs=obs, var=_in_memory_table(adata.var))
    held: Any = adata.obs
    chosen = None if columns is None else columns.among([str(name) for name in held.columns])
    return AnnData(obs=_in_memory_table(held if chosen is None else held[chosen]), var=_in_memory_table(adata.var))


def _in_memory_table(table: Any) -> pd.DataFrame:
    made: pd.DataFrame = table if isinstance(table, pd.DataFrame) else table.to_memory()
    return made


def check_object(adata: Any, key: str) -> None:
    """Refuse what is no AnnData, is empty, or has gene names that do not tell the genes apart."""
    if not hasattr(adata, "obs") or not hasattr(adata, "varm"):
        raise InputError(f"the first argument is a {type(adata).__name__}; it must be an AnnData")
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise InputError(f"the AnnData has {adata.n_obs} cells and {adata.n_vars} genes; is the selection empty?")
    if not adata.var_names.is_unique:
        name = adata.var_names[adata.var_names.duplicated()][0]
        raise InputError(f"the gene name {name!r} occurs more than once; call adata.var_names_make_unique() first")
    check_key(key)


def check_key(key: object) -> None:
    """Refuse a name of results that an .h5ad file or a zarr store cannot hold."""
    allowed = "a key is text of 1 to 150 characters without '/', '\\' and control characters, such as 'glmm'"
    if not isinstance(key, str) or not key.strip() or len(key.encode(errors="replace")) > 150:
        raise InputError(f"key_added={key!r}: {allowed}")
    bad = next((char for char in key if char in "/\\" or ord(char) < 32 or 0xD800 <= ord(char) < 0xE000), None)
    if bad is not None or not key.strip("."):
        raise InputError(f"key_added={key!r}: AnnData cannot write {bad or key!r} in a key; {allowed}")


def check_free(opened: Opened, data: Any, key: str) -> None:
    """Refuse a key under which something lies that is not a table of results.

    Results of an earlier run, also those of scanpy's ``rank_genes_groups``, may be replaced.
    """
    if opened.store is not None:
        other = opened.store.other_entry(key)
    else:
        entry = data.uns.get(key)
        ours = isinstance(entry, Mapping) and isinstance(entry.get("params"), Mapping)
        place = f".uns[{key!r}]" if entry is not None else f".varm[{key!r}]"
        other = place if (entry is not None or key in data.varm) and not ours else None
    if other is not None:
        raise InputError(f"key_added={key!r}: {other} holds something else, which would be lost; choose another key")


def find_response(opened: Opened, formula: MixedFormula, counts: bool) -> Response:
    """The matrix to model: the layer that the left side names, else X.

    Raises
    ------
    FormulaError
        If the left side is an expression.
    InputError
        If counts are needed and the matrix holds something else. Of a matrix on disk only the first chunk is looked at
        here.
    """
    notes: tuple[str, ...] = ()
    wanted = formula.response_name
    if formula.response is not None and wanted is None:
        raise FormulaError(
            "the left side is the name of a layer (or of X); transform the data into a layer first, and for counts do "
            "not transform them at all",
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
            notes = (f"there is no layer {wanted!r} (layers: {_some(list(opened.layers))}): X is used",)
    if counts:
        problem = count_problem(matrix, probe=isinstance(matrix, Source))
        if problem is not None:
            raise InputError(
                f"{name} {problem}. Raw counts are needed; {_where_counts_are(opened)}, or use family='gaussian' for "
                "log-normalised values"
            )
    return Response(matrix, name, notes)


def _where_counts_are(opened: Opened) -> str:
    """What to do about a response that holds no counts."""
    layers = [name for name in opened.layers if count_problem(opened.matrix(name), probe=True) is None]
    said = f"layers that hold them: {_some(layers)}"
    if layers:
        return f"{said}. Put that layer's name on the left side of the formula, as in '{layers[0]} ~ ...'"
    raw = getattr(opened.adata, "raw", None)
    if raw is not None and count_problem(_in_memory(raw.X), probe=True) is None:
        return (
            f"{said}, but adata.raw does. Test counts = adata.raw.to_adata(), which has them in X with all genes of raw"
        )
    return f"{said}. Keep them in one before normalising (adata.layers['counts'] = adata.X.copy())"


def _in_memory(matrix: Any) -> Matrix:
    """What is behind a view or a lazy matrix of some other kind; matrices in memory as they are."""
    return matrix.to_memory() if hasattr(matrix, "to_memory") else matrix


def _some(names: Sequence[object], n: int = 8) -> str:
    if not names:
        return "none"
    shown = ", ".join(repr(str(name)) for name in names[:n])
    return shown if len(names) <= n else f"{shown}, ... ({len(names)} in all)"


def obs_numbers(adata: AnnData, value: Any, what: str) -> FloatArray:
    """One number per cell: from a column of obs, a Series that names the cells, or an array in their order.

    Raises
    ------
    InputError
        If the column does not exist, holds no numbers, or the length is wrong. Missing values are left to the caller.
    """
    if isinstance(value, str):
        if value not in adata.obs:
            near = get_close_matches(value, list(map(str, adata.obs.columns)), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{what}={value!r} is no column of obs, which has {_some(list(adata.obs.columns))}.{hint}")
        value = adata.obs[value]
    elif isinstance(value, pd.Series):
        if not value.index.is_unique or not adata.obs_names.isin(value.index).all():
            raise InputError(f"{what} is a Series that does not name every cell once; index it by adata.obs_names")
        value = value.reindex(adata.obs_names)
    try:
        numbers = np.asarray(pd.to_numeric(pd.Series(np.asarray(value).ravel())), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} does not hold numbers: {error}") from error
    if len(numbers) != adata.n_obs:
        raise InputError(f"{what} has {len(numbers)} values, the AnnData {adata.n_obs} cells; give one value per cell")
    return numbers


def cut_note(adata: AnnData, library: FloatArray) -> str | None:
    """A note if the library sizes are far below those that obs remembers: a matrix cut to some genes."""
    for column in TOTAL_COLUMNS:
        if column in adata.obs and pd.api.types.is_numeric_dtype(adata.obs[column]):
            known = np.asarray(adata.obs[column], dtype=np.float64)
            good = (known > 0) & np.isfinite(known)
            share = float(np.median(library[good] / known[good])) if good.any() else 1.0
            if share < CUT_SHARE:
                return (
                    f"the counts of a cell add up to {share:.0%} of obs[{column!r}] (median): the matrix seems to be "
                    f"cut to some genes, and its sums are poor size factors; pass size_factors={column!r}, or test "
                    "before cutting"
                )
            return None
    return None


def groups_of(adata: AnnData, groupby: str | None) -> tuple[list[tuple[str, NDArray[np.bool_]]], list[str]]:
    """The groups of cells as (name, mask), and notes; without `groupby` one group of all cells."""
    if groupby is None:
        return [("", np.ones(adata.n_obs, dtype=bool))], []
    if groupby not in adata.obs:
        near = get_close_matches(groupby, list(map(str, adata.obs.columns)), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"groupby={groupby!r} is no column of obs, which has {_some(list(adata.obs.columns))}.{hint}")
    column = native(adata.obs, [groupby])[groupby].astype("category").cat.remove_unused_categories()
    groups = [(str(level), (column == level).to_numpy(dtype=bool)) for level in column.cat.categories]
    missing = int(column.isna().sum())
    return groups, ([f"{missing} cells without a value in obs[{groupby!r}] are in no group"] if missing else [])


def write_results(
    adata: AnnData,
    key: str,
    tests: Sequence[GeneTests],
    recipe: Mapping[str, Any],
    *,
    groupby: str | None,
    details: pd.DataFrame | None,
    sizes: FloatArray | None = None,
) -> None:
    """Put the results where scanpy users look for them; older results under the same key are removed first."""
    remove_results(adata, key)
    varm = []
    if groupby is None:
        (only,) = tests
        adata.varm[key] = only.genes.reindex(adata.var_names)
        for contrast in only.contrasts:
            table = contrast.table.reindex(adata.var_names)
            table.insert(0, "variable", table.index.astype(str))
            table.insert(1, "contrast", contrast.words)
            name = f"{key}_{contrast.name}"
            while name in adata.varm:  # that of another run, such as one with key_added="glmm_disease"
                name += "_"
            adata.varm[name] = table
            varm.append(name)
    else:
        adata.uns[f"{key}_results"] = results_by_group(tests, groupby)
    entry: dict[str, Any] = dict(mirror_of(tests, groupby, recipe, _levels(adata, tests, groupby)))
    entry["params"] = {**entry.get("params", {}), **_plain(recipe), "varm": varm}
    entry["contrasts"] = list(dict.fromkeys(contrast.words for group in tests for contrast in group.contrasts))
    if details is not None:
        entry["details"] = details
    priors = {str(i): {"group": group.group, **group.arrays} for i, group in enumerate(tests) if group.arrays}
    if priors:
        entry["priors"] = priors
    grids = {str(i): dict(group.grid) for i, group in enumerate(tests) if group.grid}
    if grids:
        entry["grids"] = grids
    if sizes is not None:
        entry["log_sizes"] = sizes
    adata.uns[key] = entry


def _levels(adata: AnnData, tests: Sequence[GeneTests], groupby: str | None) -> dict[str, list[str]]:
    """Levels that occur in the columns of obs that hold text or categories, as far as the tests are about them."""
    obs: pd.DataFrame = adata.obs  # type: ignore[assignment]
    texts = obs.select_dtypes(exclude=["number", "bool", "datetime", "timedelta"])
    compared = {contrast.levels[0] for group in tests for contrast in group.contrasts if contrast.levels is not None}
    out: dict[str, list[str]] = {}
    for name in texts.columns:
        if name != groupby and name not in compared:
            continue
        column = texts[name].astype("category").cat.remove_unused_categories()
        out[str(name)] = [str(level) for level in column.cat.categories]
    return out


def remove_results(adata: AnnData, key: str) -> None:
    """Remove what an earlier run wrote under `key`."""
    old = adata.uns.get(key)
    if isinstance(old, Mapping) and isinstance(old.get("params"), Mapping):
        for name in np.atleast_1d(old["params"].get("varm", [])):
            if str(name) in adata.varm:
                del adata.varm[str(name)]
    if key in adata.varm:
        del adata.varm[key]
    adata.uns.pop(f"{key}_results", None)
    adata.uns.pop(key, None)


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What h5ad and zarr can hold: plain values and lists of strings; anything richer as JSON."""
    out: dict[str, Any] = {}
    for name, value in recipe.items():
        if value is None or isinstance(value, str | bool | int | float):
            out[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            out[name] = list(value)
        else:
            out[name] = json.dumps(value, default=str)
    return out
