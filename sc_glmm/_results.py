"""Define immutable records of the results of a run, with named arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

# Columns of a contrast's table, in the order of storage.
CONTRAST_COLUMNS = (
    "coef",
    "se",
    "log_fc",
    "log_fc_se",
    "ci_low",
    "ci_high",
    "stat",
    "df",
    "p_value",
    "adj_p_value",
    "status",
    "p_hk",
    "log_fc_shrunk",
    "lfsr",
    "s_value",
)


@dataclass(frozen=True)
class ContrastTable:
    """Tests of one contrast.

    Attributes
    ----------
    name
        Key of the contrast.
    words
        Label of the contrast, such as ``"disease: AD vs ctl"``.
    levels
        ``(factor, level, base)`` if it compares two levels of one factor, otherwise None.
    df
        Degrees of freedom between samples.
    table
        One row per gene, indexed by gene, with :data:`CONTRAST_COLUMNS`.
    """

    name: str
    words: str
    levels: tuple[str, str, str] | None
    df: float
    table: pd.DataFrame


@dataclass(frozen=True)
class GeneTests:
    """Results of one model for all genes of one group of cells.

    Attributes
    ----------
    group
        Level of `groupby`; an empty string without groups.
    genes
        One row per gene, indexed by gene: status, message, flags, estimates.
    contrasts
        The tests.
    recipe
        Parameters of the run, as plain values.
    notes
        Notes for the user.
    arrays
        The prior of the moderated tests, by name; empty without one.
    grid
        The variances at which genes were profiled, by name; empty without profiles.
    variances
        Arrays for splitting the variance of the linear predictor (:func:`sc_glmm.get.variance_fractions`), by name.
    """

    group: str
    genes: pd.DataFrame
    contrasts: tuple[ContrastTable, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    arrays: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Any] = field(default_factory=dict)
    variances: Mapping[str, Any] = field(default_factory=dict)


def sd_name(variance: str) -> str:
    """Convert the name of a variance for use in column names: ``"sample: x"`` becomes ``"sample_x"``."""
    return variance.replace(": ", "_").replace("/", "|")


def long_frame(tests: GeneTests) -> pd.DataFrame:
    """Build a table with one row per contrast and gene: ``variable, contrast``, the test, then the fit of the gene."""
    parts = []
    shared = tests.genes.drop(columns=["status"])
    for contrast in tests.contrasts:
        part = contrast.table.join(shared)
        part.insert(0, "variable", part.index.astype(str))
        part.insert(1, "contrast", contrast.words)
        parts.append(part)
    frame = stack(parts)
    frame["contrast"] = pd.Categorical(frame["contrast"], categories=list(dict.fromkeys(frame["contrast"])))
    return frame


def results_by_group(tests: Sequence[GeneTests], groupby: str) -> pd.DataFrame:
    """Build one long table of all groups, with the group in the first column."""
    parts = []
    for group in tests:
        frame = long_frame(group)
        frame["contrast"] = frame["contrast"].astype(str)
        frame.insert(0, groupby, group.group)
        parts.append(frame)
    out = stack(parts)
    for column in (groupby, "contrast"):
        out[column] = pd.Categorical(out[column], categories=list(dict.fromkeys(out[column])))
    out.index = out.index.astype(str)
    return out


def stack(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables whose columns may differ; every column gets one type that files can store.

    Categories are those of all parts. For a part without a column, numbers are NaN, categories are missing, text is
    empty and flags are False.
    """
    names = list(dict.fromkeys(name for part in parts for name in part.columns))
    return pd.DataFrame({name: _stacked([part.get(name) for part in parts], parts) for name in names})


def _stacked(columns: Sequence[pd.Series | None], parts: Sequence[pd.DataFrame]) -> Any:
    present = [column for column in columns if column is not None]
    if all(isinstance(column.dtype, pd.CategoricalDtype) for column in present):
        categories = pd.Index(list(dict.fromkeys(level for column in present for level in column.cat.categories)))
        codes = [
            np.full(len(part), -1) if column is None else categories.get_indexer(pd.Index(column.astype(object)))
            for column, part in zip(columns, parts, strict=True)
        ]
        return pd.Categorical.from_codes(np.concatenate(codes).astype(np.int64), categories=categories)
    kinds = {column.dtype.kind for column in present}
    absent: Any = False if kinds == {"b"} else np.nan if kinds <= set("iuf") else ""
    filled = [
        np.full(len(part), absent, dtype=None if absent != "" else object) if column is None else column.to_numpy()
        for column, part in zip(columns, parts, strict=True)
    ]
    return np.concatenate(filled)
