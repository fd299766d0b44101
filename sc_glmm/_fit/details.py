"""Build the table of details: contents and results of each group of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._arrays import BoolArray
from .._formula import MixedFormula
from .._results import GeneTests
from .genes import STATUS

# Separator of the levels of a nested factor. It does not occur in text. NUL would not work: pandas 2 compares text only
# up to a NUL.
SEPARATOR = "\x1f"
# Statuses of genes with counts but without estimates.
FAILED = ("error", "not_converged")


def samples_of(formula: MixedFormula, frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Map each grouping factor to the level of every row, the factor with the most levels first."""
    levels = {
        term.group_name: _levels(frame, term.group) for term in formula.random if set(term.group) <= set(frame.columns)
    }
    return dict(sorted(levels.items(), key=lambda item: -item[1].nunique()))


def _levels(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Join the levels of several columns by SEPARATOR, as categories; missing if one of them is missing."""
    codes, names = np.zeros(len(frame), dtype=np.int64), [""]
    for k, column in enumerate(columns):
        values = frame[column].astype("category")
        own, levels = values.cat.codes.to_numpy(dtype=np.int64), [str(level) for level in values.cat.categories]
        used = (codes >= 0) & (own >= 0)
        present, places = np.unique(codes[used] * len(levels) + own[used], return_inverse=True)
        joined = [
            f"{names[pair // len(levels)]}{SEPARATOR}{levels[pair % len(levels)]}" if k else levels[pair]
            for pair in present
        ]
        same, unique = pd.factorize(np.array(joined, dtype=object))
        codes, names = np.full(len(frame), -1, dtype=np.int64), [str(name) for name in unique]
        codes[used] = same[places.reshape(-1)]
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype=object)), index=frame.index)


def arms_of(formula: MixedFormula, frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Select the columns of the fixed effects that contain text, categories or booleans."""
    names = dict.fromkeys(name for term in formula.fixed_terms for atom in term for name in atom.columns)
    categorical = {}
    for name in names:
        if name in frame.columns and (
            not pd.api.types.is_numeric_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name])
        ):
            categorical[name] = frame[name].astype("category").cat.remove_unused_categories()
    return categorical


@dataclass(frozen=True)
class ArmSamples:
    """Number of samples with a cell in an arm (a level of a fixed-effects factor)."""

    factor: str
    level: str
    n_samples: int


def arm_samples(formula: MixedFormula, frame: pd.DataFrame) -> list[ArmSamples]:
    """Count the samples (levels of the finest grouping factor) in each arm."""
    samples = samples_of(formula, frame)
    if not samples:
        return []
    levels = next(iter(samples.values()))
    return [
        ArmSamples(name, str(arm), int(inside.nunique()))
        for name, arms in arms_of(formula, frame).items()
        for arm, inside in levels.groupby(arms, observed=True)
    ]


def count_samples(formula: MixedFormula, frame: pd.DataFrame) -> dict[str, int]:
    """Count the levels of every grouping factor and the samples in each arm, by column of the table of details.

    Such columns are ``n_sample`` and ``n_sample[disease: AD]``, the number of samples with a cell in the arm.
    """
    samples = samples_of(formula, frame)
    counts = {f"n_{name}": int(levels.nunique()) for name, levels in samples.items()}
    finest = next(iter(samples), "")
    return counts | {f"n_{finest}[{a.factor}: {a.level}]": a.n_samples for a in arm_samples(formula, frame)}


def samples_in_words(formula: MixedFormula, frame: pd.DataFrame) -> str:
    """Describe the number of samples in each arm: ``sample: 1 in disease ctl, 1 in disease AD``; empty without arms."""
    arms = arm_samples(formula, frame)
    if not arms:
        return ""
    listed = ", ".join(f"{arm.n_samples} in {arm.factor} {arm.level}" for arm in arms)
    return f"{next(iter(samples_of(formula, frame)))}: {listed}"


# If a smaller share of the samples has cells in several arms, this is probably a mistake.
_FEW_MIXED = 0.34


def mixed_samples(formula: MixedFormula, frame: pd.DataFrame) -> list[str]:
    """Describe factors that are constant in most samples but vary within a few of them, one sentence each."""
    samples = samples_of(formula, frame)
    if not samples:
        return []
    finest, levels = next(iter(samples.items()))
    sentences = []
    for name, arms in arms_of(formula, frame).items():
        codes = arms.cat.codes
        n_arms = codes.where(codes >= 0).groupby(levels, observed=True).nunique()
        mixed = [str(level).replace(SEPARATOR, ":") for level in n_arms.index[n_arms > 1]]
        if 0 < len(mixed) < _FEW_MIXED * len(n_arms):
            sentences.append(
                f"{len(mixed)} of {len(n_arms)} levels of {finest} ({', '.join(mixed[:3])}) have cells of several "
                f"levels of {name}, and the others of only one. If this is a mistake, correct obs[{name!r}]"
            )
    return sentences


_RATIOS = ("eigen_ratio", "sample_factor_shift")


def details_table(
    tests: Sequence[GeneTests],
    skipped: dict[str, str],
    obs: pd.DataFrame,
    groups: Sequence[tuple[str, BoolArray]],
    formula: MixedFormula,
    groupby: str | None,
) -> pd.DataFrame:
    """Build a table with one row per group, including groups that were skipped; with one row without groups.

    Columns: the group; ``n_cells``; ``n_<group>`` levels of each grouping factor; ``n_<sample>[<factor>: <level>]``
    samples in each arm; ``n_tested`` genes with a p-value; ``n_failed``; ``n_<status>`` genes of each status;
    ``eigen_ratio`` the correlation between genes, after a moderated test; ``sample_factor_shift`` the largest change of
    the size factors of a sample by composition (natural log); ``dropped`` terms that are constant in the group;
    ``columns_dropped`` columns of the design that are linear combinations of others; ``not_tested`` contrasts that
    cannot be estimated from its data; ``skipped`` the reason if the group was not fitted.

    Parameters
    ----------
    tests
        The groups that were fitted.
    skipped
        Group -> reason for skipping it.
    obs
        One row per cell.
    groups
        Name and ``(n_obs,)`` mask of the cells used of every group.
    formula
        The model for all cells.
    groupby
        Name of the first column; None without groups.
    """
    first = [] if groupby is None else [groupby]
    tested = {group.group: group for group in tests}
    rows: list[dict[str, Any]] = []
    sample_columns: list[str] = []
    for name, mask in groups:
        counts = count_samples(formula, obs.loc[mask])
        sample_columns += [column for column in counts if column not in sample_columns]
        row = {**dict.fromkeys(first, name), "n_cells": int(mask.sum()), **counts}
        if name in tested:
            row |= {"n_cells": tested[name].recipe["n_cells"], **_genes(tested[name])}
        row["skipped"] = skipped.get(name, "")
        rows.append(row)
    frame = pd.DataFrame(rows)
    numbers = ["n_cells", *sample_columns, "n_tested", "n_failed", *(f"n_{status}" for status in STATUS)]
    texts = ["dropped", "columns_dropped", "not_tested", "skipped"]
    frame = frame.reindex(columns=[*first, *dict.fromkeys(numbers), *_RATIOS, *texts])
    frame[numbers] = frame[numbers].fillna(0).astype(np.int64)
    frame[list(_RATIOS)] = frame[list(_RATIOS)].astype(np.float64)
    frame[texts] = frame[texts].fillna("")
    frame.columns = pd.Index([str(column).replace("/", "|") for column in frame.columns])
    frame.index = frame.index.astype(str)
    return frame


def _genes(group: GeneTests) -> dict[str, Any]:
    counts = group.genes["status"].value_counts()
    tested = np.zeros(len(group.genes), dtype=bool)
    for contrast in group.contrasts:
        tested |= np.isfinite(contrast.table["p_value"].to_numpy(dtype=np.float64))
    return {
        "n_tested": int(tested.sum()),
        "n_failed": int(failed_genes(group).sum()),
        **{f"n_{word}": int(counts.get(word, 0)) for word in STATUS},
        **{name: group.recipe.get(name, np.nan) for name in _RATIOS},
        "dropped": "; ".join(group.recipe.get("dropped_terms", ())),
        "columns_dropped": "; ".join(group.recipe.get("columns_dropped", ())),
        "not_tested": "; ".join(group.recipe.get("contrasts_not_tested", ())),
    }


def failed_genes(group: GeneTests) -> BoolArray:
    """Find genes whose fit failed, and genes with a fit but without a p-value for a contrast: ``(n_genes,)``."""
    failed = group.genes["status"].isin(FAILED).to_numpy()
    for contrast in group.contrasts:
        failed = failed | contrast.table["status"].isin(FAILED).to_numpy()
    return np.asarray(failed, dtype=bool)
