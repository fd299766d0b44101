"""Check the tables of results: kinds and ranges of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._results import CONTRAST_COLUMNS
from .schema import flag_column, member, number_column, refuse, text_column, words

# Prefix of the names of columns of genes -> smallest and largest allowed number.
_RANGES: dict[str, tuple[float, float]] = {
    "n_empty_": (0.0, np.inf),
    "sd_": (0.0, np.inf),
    "se_": (0.0, np.inf),
    "p_sd_": (0.0, 1.0),
    "share_": (0.0, 1.0),
    "corr_": (-1.0, 1.0),
    "coef_": (-np.inf, np.inf),
}
_OF_GENES: dict[str, tuple[float, float]] = {
    "n_iter": (0.0, np.inf),
    "n_agq": (0.0, np.inf),
    "pct": (0.0, 100.0),
    "loglik": (-np.inf, np.inf),
    "dispersion": (0.0, np.inf),
    "log_dispersion_se": (0.0, np.inf),
    "information": (0.0, np.inf),
}
_FLAGS = ("converged", "singular", "separated", "dispersion_at_bound", "phi_from_trend", "more_variable")
_OF_CONTRASTS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("coef", "log_fc", "ci_low", "ci_high", "stat", "log_fc_shrunk"), (-np.inf, np.inf)),
    **dict.fromkeys(("se", "log_fc_se", "df"), (0.0, np.inf)),
    **dict.fromkeys(("p_value", "adj_p_value", "p_hk", "lfsr", "s_value"), (0.0, 1.0)),
}


def check_tables(
    varm: Mapping[str, Any], key: str, params: Mapping[str, Any], contrasts: Sequence[str], counts: bool
) -> list[str]:
    """Check the tables of a run without groups; return the columns of genes."""
    genes = _frame(varm, "varm", key, ("status",))
    _check_genes(genes, f"varm/{key}", counts, ())
    for name in words(params["varm"], f"uns/{key}/params/varm"):
        held = _frame(varm, "varm", name, ("variable", "contrast", *CONTRAST_COLUMNS))
        _check_contrasts(held, f"varm/{name}", contrasts)
        if held["contrast"].nunique() > 1 or held["variable"].duplicated().any():
            refuse(f"varm/{name}", "has several rows for one gene, or several contrasts")
    return [str(name) for name in genes.columns]


def check_long_table(
    uns: Mapping[str, Any],
    key: str,
    params: Mapping[str, Any],
    groups: Sequence[str],
    contrasts: Sequence[str],
    counts: bool,
) -> list[str]:
    """Check the table and the details of a run with groups; return the columns."""
    name, groupby = f"{key}_results", str(params["cells_grouped_by"])
    frame = _frame(uns, "uns", name, (groupby, "variable", "contrast", *CONTRAST_COLUMNS))
    _check_contrasts(frame, f"uns/{name}", contrasts)
    _among(frame, groupby, f"uns/{name}", groups)
    _check_genes(frame, f"uns/{name}", counts, (groupby, "variable", "contrast", *CONTRAST_COLUMNS))
    if frame.duplicated([groupby, "variable", "contrast"]).any():
        refuse(f"uns/{name}", "has several rows for one gene and contrast")
    details = uns[key].get("details")
    if details is not None:
        place = f"uns/{key}/details"
        # the column of the groups is renamed here if its own name cannot be written
        held = _frame(uns[key], f"uns/{key}", "details", ("n_cells", "skipped"))
        for column in map(str, held.columns):
            if pd.api.types.is_numeric_dtype(held[column]):
                number_column(held, column, place, least=0.0)
            else:
                text_column(held, column, place)
    return [str(column) for column in frame.columns]


def _frame(held: Mapping[str, Any], group: str, name: str, columns: Sequence[str]) -> pd.DataFrame:
    frame = member(held, name, group)
    if not isinstance(frame, pd.DataFrame):
        refuse(f"{group}/{name}", f"is a {type(frame).__name__}, but must be a table")
    for column in columns:
        if column not in frame.columns:
            refuse(f"{group}/{name}/{column}", "is missing")
    if not frame.columns.is_unique:
        refuse(f"{group}/{name}", "has several columns of one name")
    return frame


def _check_genes(frame: pd.DataFrame, place: str, counts: bool, others: Sequence[str]) -> None:
    """Check the columns of genes; columns that a run does not write are not checked."""
    for column in map(str, frame.columns):
        if column in others:
            continue
        if column in ("status", "message"):
            text_column(frame, column, place)
        elif column in _FLAGS:
            flag_column(frame, column, place)
        elif column in ("mean", "baseMean", "total"):
            number_column(frame, column, place, least=0.0 if counts else -np.inf, finite=True)
        else:
            limits = _OF_GENES.get(column) or next((r for s, r in _RANGES.items() if column.startswith(s)), None)
            if limits is not None:
                number_column(frame, column, place, *limits)


def _check_contrasts(frame: pd.DataFrame, place: str, contrasts: Sequence[str]) -> None:
    """Check the columns of contrasts."""
    for column in ("variable", "status"):
        text_column(frame, column, place)
    _among(frame, "contrast", place, contrasts)
    for name, limits in _OF_CONTRASTS.items():
        number_column(frame, name, place, *limits)


def _among(frame: pd.DataFrame, column: str, place: str, allowed: Sequence[str]) -> None:
    text_column(frame, column, place)
    odd = [each for each in frame[column].unique() if each not in allowed]
    if odd:
        refuse(f"{place}/{column}", f"contains {odd[0]!r}; the run has {list(allowed)[:6]}")
