"""Write hidden factors to an AnnData, read them, and check them against the formula that uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arrays import FloatArray, IntArray
from .._errors import InputError
from .._formula import MixedFormula, Term
from .._inference.latent import LatentFactors

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class GroupFactors:
    """Hidden factors of the samples of one group of cells.

    Attributes
    ----------
    group
        Level of `groupby`; an empty string without groups.
    found
        The factors.
    cells
        ``(n_obs,)`` positions of the group's cells.
    sample_of_cell
        ``(n_obs,)`` index of each cell's sample.
    samples
        Names of the samples.
    log_depth
        ``(n_samples,)`` natural log of the sum of the size factors of each sample's cells.
    """

    group: str
    found: LatentFactors
    cells: IntArray
    sample_of_cell: IntArray
    samples: tuple[str, ...]
    log_depth: FloatArray


def fixed_labels(formula: MixedFormula) -> list[str]:
    """Return the sorted labels of the fixed terms for which factors are estimated."""
    return sorted(formula.labels.values())


def write_factors(
    adata: AnnData, key: str, formula: MixedFormula, groupby: str | None, groups: Sequence[GroupFactors]
) -> list[str]:
    """Write factors to ``obs`` and the report to ``uns``, replacing older ones under `key`; return the columns."""
    most = max((group.found.n_factors for group in groups), default=0)
    columns = [f"{key}_{j + 1}" for j in range(most)]
    older = list(adata.uns[key]["columns"]) if _holds_factors(adata.uns.get(key)) else []
    taken = [column for column in columns if column in adata.obs and column not in older]
    if taken:
        raise InputError(
            f"obs has a column {taken[0]!r} that is not a hidden factor of key_added={key!r}: choose another "
            "key_added, or rename the column"
        )
    remove_factors(adata, key)
    values = np.full((adata.n_obs, most), np.nan)
    for group in groups:
        # a group with fewer factors gets zeros, because missing values would remove its cells
        values[group.cells] = 0.0
        values[group.cells, : group.found.n_factors] = group.found.factors[group.sample_of_cell]
    for j, column in enumerate(columns):
        adata.obs[column] = values[:, j]
    first_sample = np.cumsum([0, *(len(group.samples) for group in groups)])
    sample_of_cell = np.full(adata.n_obs, -1, dtype=np.int64)
    for group, first in zip(groups, first_sample[:-1], strict=True):
        sample_of_cell[group.cells] = first + group.sample_of_cell
    adata.uns[key] = {
        "formula": formula.source,
        "fixed": fixed_labels(formula),
        "groupby": groupby or "",
        "columns": columns,
        "sample_of_cell": sample_of_cell,
        "samples": pd.concat([_sample_frame(group) for group in groups], ignore_index=True),
        "loadings": pd.concat([_loading_frame(group, adata.var_names) for group in groups], ignore_index=True),
        "groups": {str(i): _report(group) for i, group in enumerate(groups)},
    }
    return columns


def remove_factors(adata: AnnData, key: str) -> None:
    """Remove the factors that an earlier call wrote under `key`."""
    if _holds_factors(adata.uns.get(key)):
        for column in list(adata.uns[key]["columns"]):
            if column in adata.obs:
                del adata.obs[column]
        del adata.uns[key]


def read_factors(adata: AnnData, key: str) -> Mapping[str, Any]:
    """Read the entry that :func:`write_factors` stored under `key`.

    Raises
    ------
    InputError
        If there is no such entry.
    """
    entry = adata.uns.get(key)
    if not _holds_factors(entry):
        stored = [name for name, other in adata.uns.items() if _holds_factors(other)]
        advice = f"the stored keys are {stored}" if stored else "run sc_glmm.pp.latent_factors first"
        raise InputError(f"there are no hidden factors under key={key!r}; {advice}")
    return entry


def factor_notes(adata: AnnData, formula: MixedFormula, contrasts_given: bool) -> list[str]:
    """Write warnings about hidden factors in `formula`: different fixed effects, and circular tests."""
    notes = []
    labels = fixed_labels(formula)
    for entry in adata.uns.values():
        if not _holds_factors(entry):
            continue
        columns = set(map(str, entry["columns"]))
        plain = {label: term[0].text for term, label in formula.labels.items() if _is_column(term)}
        used = [label for label in labels if plain.get(label) in columns]
        if not used:
            continue
        others, stored = [label for label in labels if label not in used], list(map(str, entry["fixed"]))
        if others != stored:
            notes.append(
                f"{', '.join(used)} were estimated for the fixed effects of {entry['formula']!r}, but this formula has "
                "other fixed effects, and the factors are not corrected for them. Run sc_glmm.pp.latent_factors with "
                "this formula"
            )
        if not contrasts_given:
            notes.append(
                f"{', '.join(used)} were estimated from these counts, so a test of them is circular. Choose the tested "
                f"effects with contrasts=, such as contrasts={[label for label in others if label != '1'][:1]}"
            )
    return notes


def _is_column(term: Term) -> bool:
    return len(term) == 1 and term[0].kind == "column"


def _holds_factors(entry: Any) -> bool:
    return isinstance(entry, Mapping) and {"fixed", "columns", "loadings", "samples"} <= set(entry)


def _names(group: GroupFactors) -> list[str]:
    return [f"factor_{j + 1}" for j in range(group.found.n_factors)]


def _sample_frame(group: GroupFactors) -> pd.DataFrame:
    frame = pd.DataFrame({"group": group.group, "sample": list(group.samples)})
    frame["n_cells"] = np.bincount(group.sample_of_cell, minlength=len(group.samples))
    frame["log_depth"] = group.log_depth
    for j, name in enumerate(_names(group)):
        frame[name] = group.found.factors[:, j]
    return frame


def _loading_frame(group: GroupFactors, genes: pd.Index) -> pd.DataFrame:
    frame = pd.DataFrame({"group": group.group, "variable": genes[group.found.used].astype(str)})
    for j, name in enumerate(_names(group)):
        frame[name] = group.found.loadings[:, j]
    return frame


def _report(group: GroupFactors) -> dict[str, Any]:
    found = group.found
    return {
        "group": group.group,
        "n_factors": found.n_factors,
        "n_genes": int(found.used.sum()),
        "n_samples": len(group.samples),
        "strength": found.strength,
        "agreement": found.agreement,
        "r_tested": found.r_tested,
    }
