"""Read the results of a run from an AnnData."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._display.arguments import did_you_mean
from .._errors import InputError
from .._inference.minimum import Alternative
from .._results import CONTRAST_COLUMNS
from .checks import check_run, has_results
from .contrasts import meanings

if TYPE_CHECKING:
    from anndata import AnnData


# Entries of a recipe that are stored as JSON.
_AS_JSON = ("given_reference", "groups", "contrast_rows", "contrast_facts", "log_sample_factors", "df", "pilot")


@dataclass(frozen=True)
class StoredRun:
    """Stored parameters and results of an earlier run, for one group of cells.

    Attributes
    ----------
    params
        Recipe of the run and of the group.
    frame
        Results, one row per gene and contrast, as in ``get.results``.
    prior, grid
        Arrays of the moderated tests; empty if there are none.
    log_sizes
        ``(n_obs,)`` given size factors or offsets, natural log; None if none were given.
    """

    params: Mapping[str, Any]
    frame: pd.DataFrame
    prior: Mapping[str, Any]
    grid: Mapping[str, Any]
    log_sizes: FloatArray | None


def run_entry(adata: AnnData, key: str) -> Mapping[str, Any]:
    """Return the entry of ``uns`` of the run under `key`, after checking all its elements.

    Raises
    ------
    InputError
        If there is no such run, or if an element of its results is missing or damaged.
    """
    entry = adata.uns.get(key)
    if not has_results(entry):
        raise InputError(
            f"there are no results under key={key!r}{_other_keys(adata, key)}; run sc_glmm.tl.test(adata, ..., "
            f"key_added={key!r})"
        )
    varm: Any = adata.varm
    check_run(adata.uns, varm, key)
    return adata.uns[key]  # type: ignore[no-any-return]


def read_results(adata: AnnData, key: str) -> pd.DataFrame:
    """Return a tidy data frame of all contrasts (and groups) under `key`."""
    entry = run_entry(adata, key)
    if entry["params"].get("cells_grouped_by") is not None and f"{key}_results" in adata.uns:
        return _readable(adata.uns[f"{key}_results"], entry["params"])
    varm: Mapping[str, Any] = adata.varm
    genes = varm[key].drop(columns=["status"])
    parts = []
    for name in np.atleast_1d(entry["params"]["varm"]):
        table = varm[str(name)]
        parts.append(table[["variable", "contrast", *CONTRAST_COLUMNS]].join(genes))
    frame = pd.concat(parts, ignore_index=True)
    frame["contrast"] = pd.Categorical(frame["contrast"], categories=list(dict.fromkeys(frame["contrast"].astype(str))))
    return _readable(frame, entry["params"])


def _other_keys(adata: AnnData, key: str) -> str:
    """Write a hint with the keys that have results."""
    held = [str(name) for name, entry in adata.uns.items() if has_results(entry)]
    return f" (existing keys: {', '.join(map(repr, held))}{did_you_mean(key, held)})" if held else ""


def _readable(frame: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
    """Index results by gene, so that columns align with those of `var`, and decoupler finds its labels.

    The column `tested` marks rows with a valid p-value; `meaning` states what each contrast compares.
    """
    result = frame.set_axis(pd.Index([str(gene) for gene in frame["variable"]]), axis=0)
    place = list(result.columns).index("status") + 1
    result.insert(place, "tested", np.isfinite(result["p_value"].to_numpy(dtype=np.float64)))
    result.insert(place + 1, "meaning", meanings(result, params))
    return result


def read_run(adata: AnnData, key: str, group: str | None) -> StoredRun:
    """Read the run under `key` for one group of cells (None without groups).

    Raises
    ------
    InputError
        If there is no such run or group, or if an old version wrote it.
    """
    frame = read_results(adata, key)
    entry = adata.uns[key]
    params = {
        name: json.loads(value) if name in _AS_JSON and isinstance(value, str) else value
        for name, value in entry["params"].items()
    }
    groupby = params.get("cells_grouped_by")
    place = 0
    if groupby is None:
        if group is not None:
            raise without_groups(group, key)
    else:
        known = list(params["groups"])
        if group is None or str(group) not in known:
            raise InputError(
                f"group={group!r}: the run under key={key!r} has one model for each level of {groupby!r}; choose one "
                f"of {known}"
            )
        place = known.index(str(group))
        params = {**params, **params["groups"][str(group)]}
        frame = frame[frame[groupby].astype(str) == str(group)].reset_index(drop=True)
    if "contrast_rows" not in params:
        raise InputError(
            f"uns/{key}/params has no contrast_rows, so the results were written by an older version; run "
            "sc_glmm.tl.test again"
        )
    sizes = entry.get("log_sizes")
    return StoredRun(
        params=params,
        frame=frame,
        prior=entry.get("priors", {}).get(str(place), {}),
        grid=entry.get("grids", {}).get(str(place), {}),
        log_sizes=None if sizes is None else np.asarray(sizes, dtype=np.float64),
    )


def without_groups(group: Any, key: str) -> InputError:
    """Return the error for a group of a run that has none."""
    return InputError(f"group={group!r}: the run under key={key!r} has no groups (it was run without groupby=)")


def read_alternative(adata: AnnData, key: str) -> Alternative:
    """Read the hypothesis against which the run under `key` tested fold changes."""
    params = run_entry(adata, key)["params"]
    minimum = float(params.get("min_log_fc", 0.0)) * math.log(2.0)
    return Alternative(str(params.get("alternative", "two-sided")), minimum)


def read_details(adata: AnnData, key: str) -> pd.DataFrame:
    """Read the table of details of the groups under `key`."""
    entry = run_entry(adata, key)
    if "details" not in entry:
        raise InputError(
            f"there are no details under key={key!r}{_other_keys(adata, key)}; run sc_glmm.tl.test(adata, ..., "
            f"key_added={key!r})"
        )
    return entry["details"].reset_index(drop=True)


def read_fit_info(adata: AnnData, key: str) -> pd.DataFrame:
    """Read one row per gene and group, without the columns of contrasts."""
    frame = read_results(adata, key)
    group = adata.uns[key]["params"].get("cells_grouped_by")
    first = frame[~frame.duplicated(["variable", *([group] if group else [])])]
    drop = [c for c in ("contrast", "tested", "meaning", *CONTRAST_COLUMNS) if c in first and c != "status"]
    return first.drop(columns=drop)


def read_variances(adata: AnnData, key: str) -> dict[str, Mapping[str, Any]]:
    """Read the split of the variance of the linear predictor, by group in order (an empty string without groups).

    Raises
    ------
    InputError
        If an older version wrote the results.
    """
    stored = run_entry(adata, key).get("variances")
    if stored is None:
        raise InputError(
            f"uns/{key} has no variances, so the results were written by an older version; run sc_glmm.tl.test again"
        )
    return {str(stored[place]["group"]): stored[place] for place in sorted(stored, key=int)}


def read_prior(adata: AnnData, key: str, group: str | None) -> tuple[dict[str, FloatArray], list[str]]:
    """Read the arrays of the prior of the moderated tests of one group, and the names of its variances.

    Both are empty after tests without a prior.
    """
    entry = run_entry(adata, key)
    params = entry["params"]
    if group is not None:
        params = json.loads(params["groups"]).get(group, {})
    names = [str(name) for name in np.atleast_1d(params.get("variances_on_grid", []))]
    for stored in entry.get("priors", {}).values():
        if str(stored["group"]) == (group or ""):
            arrays = {k: np.asarray(v, dtype=np.float64) for k, v in stored.items() if k != "group"}
            return arrays, names
    return {}, names
