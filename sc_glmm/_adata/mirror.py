"""Store results also in the format of scanpy's ``rank_genes_groups``, for its plots and getters.

The format only fits contrasts of two levels of a factor. Genes without a result come last, with neutral values: score
0, log fold change 0, p-value 1. The reason is that scanpy draws a missing log fold change as 1 and cannot set axes for
a missing score. Levels without a contrast (the base, skipped groups) have a field of neutral values, because some
plots of scanpy need a field for every category. The genes of such a field are ordered by the most negative score in the
other fields. Plots of its first genes therefore show the genes that are highest in this level.

The fields are named after the levels, without characters that zarr or HDF5 cannot store in the name of a field. For
example, the level ``"CD4:naive"`` is the field ``"CD4_naive"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._results import ContrastTable, GeneTests


def mirror_of(
    tests: Sequence[GeneTests], groupby: str | None, recipe: Mapping[str, Any], levels: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Create the mirror: one field per level of the tested factor, or with `groupby` one per group.

    Without a contrast of two levels it is empty.

    Parameters
    ----------
    tests
        The results.
    groupby
        Column whose levels were fitted separately.
    recipe
        Parameters of the run.
    levels
        Levels that occur in each column of ``obs`` with categories or text.
    """
    if groupby is None:
        chosen = _same_factor(tests[0].contrasts) if tests else []
        fields = {c.levels[1]: c for c in chosen if c.levels is not None}
        if not fields:
            return {}
        factor, _, base = chosen[0].levels or ("", "", "")
        params: dict[str, Any] = {"groupby": factor, "reference": base}
    else:
        # a group may lack some contrasts, so all fields show the first contrast
        first = next((c.levels for t in tests for c in t.contrasts if c.levels is not None), None)
        having = [(t.group, next((c for c in t.contrasts if first and c.levels == first), None)) for t in tests]
        fields = {group: c for group, c in having if c is not None}
        if not fields:
            return {}
        factor = groupby
        params = {"groupby": groupby, "reference": next(iter(fields.values())).words}
    params |= {
        "method": str(recipe.get("test", "")),
        "use_raw": False,
        "layer": None,
        "corr_method": "benjamini-hochberg",
    }
    ranked = {name: _ranked(contrast) for name, contrast in fields.items()}
    neutral = _neutral(ranked)
    named = [*levels.get(factor, ()), *(name for name in ranked if name not in levels.get(factor, ()))]
    columns = {name: ranked.get(name, neutral) for name in named}
    return {"params": params, **{slot: _records(columns, slot, kind) for slot, kind in _SLOTS.items()}}


_SLOTS = {"names": "O", "scores": "float32", "logfoldchanges": "float32", "pvals": "float64", "pvals_adj": "float64"}


def _same_factor(contrasts: Sequence[ContrastTable]) -> list[ContrastTable]:
    """Return the contrasts of the first factor against its first base, one per level."""
    comparisons = [c for c in contrasts if c.levels is not None]
    if not comparisons or comparisons[0].levels is None:
        return []
    factor, _, base = comparisons[0].levels
    chosen: dict[str, ContrastTable] = {}
    for contrast in comparisons:
        if contrast.levels is not None and (contrast.levels[0], contrast.levels[2]) == (factor, base):
            chosen.setdefault(contrast.levels[1], contrast)  # the first, if a contrast exists at several other values
    return list(chosen.values())


def _ranked(contrast: ContrastTable) -> pd.DataFrame:
    table = contrast.table
    tested = np.isfinite(table["p_value"].to_numpy(dtype=np.float64))
    frame = pd.DataFrame(
        {
            "names": table.index.astype(str).to_numpy(dtype=object),
            "scores": np.where(tested, table["stat"], 0.0),
            "logfoldchanges": np.where(tested, table["log_fc"], 0.0),
            "pvals": np.where(tested, table["p_value"], 1.0),
            "pvals_adj": np.where(tested, table["adj_p_value"], 1.0),
            "untested": ~tested,
        }
    )
    return frame.sort_values(["untested", "scores"], ascending=[True, False], kind="stable", ignore_index=True)


def _neutral(ranked: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Create the field of a level without a contrast."""
    scores = pd.concat([table.set_index("names")["scores"] for table in ranked.values()], axis=1).mean(axis=1)
    names = scores.sort_values(kind="stable").index.to_numpy(dtype=object)
    return pd.DataFrame({"names": names, "scores": 0.0, "logfoldchanges": 0.0, "pvals": 1.0, "pvals_adj": 1.0})


def _records(columns: Mapping[str, pd.DataFrame], slot: str, kind: str) -> Any:
    frame = pd.DataFrame(dict(zip(_field_names(columns), (table[slot] for table in columns.values()), strict=True)))
    return frame.to_records(index=False, column_dtypes=kind)


def _field_names(names: Iterable[str]) -> list[str]:
    """Create unique names of fields that zarr and HDF5 can store: without colon, NUL or surrogate."""
    fields: list[str] = []
    for name in names:
        field = "".join("_" if char in ":\0" or 0xD800 <= ord(char) < 0xE000 else char for char in name) or "_"
        while field in fields:
            field += "_"
        fields.append(field)
    return fields
