"""Columns that pair the samples of several arms, such as the donors who gave a treated and an untreated sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from .._arrays import IntArray
from .._formula import MixedFormula

# Levels with several arms from which on a column is worth naming, and their least share.
_LEAST_PAIRS, _LEAST_SHARE = 3, 0.5
# Numbers with more values are not arms.
_MOST_ARMS = 10


def pairing_note(formula: MixedFormula, frame: pd.DataFrame, labels: pd.DataFrame) -> str | None:
    """A note if a column that the formula lacks pairs the samples of the arms that it compares.

    What a column is called does not matter. Its levels hold whole samples (levels of the finest grouping factor), most
    of them samples of several arms, and mostly one sample of each: a random effect of the column takes what its
    samples share out of the comparison.

    Parameters
    ----------
    formula
        The model.
    frame
        Columns of the formula, one row per cell.
    labels
        Columns that may pair samples, with the same rows.
    """
    finest = _finest(formula, frame)
    if finest is None:
        return None
    sample, sample_name = finest
    used = {name.name for term in formula.fixed_terms for atom in term for name in atom.names}
    used |= {name for term in formula.random for name in term.group}
    known = [_codes(frame[name]) for name in used if name in frame]
    for factor, arm in _arms(formula, frame, sample):
        found = []
        for place, name in enumerate(labels.columns):
            if name in used:
                continue
            level = _codes(labels[name])
            pairs = _pairs(level, sample, arm)
            if pairs is not None and not any(_same(level, other) for other in known):
                words = not pd.api.types.is_numeric_dtype(labels[name])
                found.append((pairs, words, -place, str(name)))
        if found:
            (paired, n_levels), _, _, name = max(found)
            text = name if name.isidentifier() else f"`{name}`"
            return (
                f"{paired} of {n_levels} levels of {name!r} have samples of several levels of {factor}, and the "
                f"formula compares the levels of {sample_name} as if they were independent. Add (1|{text}) to compare "
                f"within {name}, which mostly finds more: {formula.source} + (1|{text})"
            )
    return None


def _finest(formula: MixedFormula, frame: pd.DataFrame) -> tuple[IntArray, str] | None:
    """The grouping factor with the most levels."""
    result = []
    for term in formula.random:
        if set(term.group) <= set(frame.columns):
            codes = _joined([_codes(frame[name]) for name in term.group])
            result.append((len(np.unique(codes[codes >= 0])), codes, term.group_name))
    if not result:
        return None
    most = max(range(len(result)), key=lambda i: result[i][0])
    return result[most][1], result[most][2]


def _arms(formula: MixedFormula, frame: pd.DataFrame, sample: IntArray) -> Iterator[tuple[str, IntArray]]:
    """Columns of the fixed part with a few levels, each sample in one of them."""
    for name in dict.fromkeys(name.name for term in formula.fixed_terms for atom in term for name in atom.names):
        if name not in frame:
            continue
        codes = _codes(frame[name])
        n_levels = len(np.unique(codes[codes >= 0]))
        few = n_levels <= _MOST_ARMS or not pd.api.types.is_numeric_dtype(frame[name])
        if n_levels > 1 and few and _is_nested(sample, codes):
            yield name, codes


def _pairs(level: IntArray, sample: IntArray, arm: IntArray) -> tuple[int, int] | None:
    """How many levels have samples of several arms, and how many levels there are; None if they do not pair."""
    if (level >= 0).sum() < 0.5 * len(level) or not _is_nested(sample, level):
        return None
    there = (level >= 0) & (sample >= 0) & (arm >= 0)
    cells = np.unique(np.column_stack([level[there], arm[there], sample[there]]), axis=0)
    if not len(cells):
        return None
    pairs, n_samples = np.unique(cells[:, :2], axis=0, return_counts=True)
    _, n_arms = np.unique(pairs[:, 0], return_counts=True)
    several = int(np.count_nonzero(n_arms > 1))
    alone = len(n_arms) == len(np.unique(sample[there]))  # the samples under another name
    if alone or several < max(_LEAST_PAIRS, _LEAST_SHARE * len(n_arms)) or np.median(n_samples) > 1:
        return None
    return several, len(n_arms)


def _codes(column: pd.Series) -> IntArray:
    """``(n_obs,)`` number of each cell's level, -1 where it is missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes, dtype=np.int64)
    return np.asarray(pd.factorize(column)[0], dtype=np.int64)


def _joined(codes: list[IntArray]) -> IntArray:
    """Levels of an interaction of columns."""
    out = codes[0]
    for more in codes[1:]:
        missing = (out < 0) | (more < 0)
        out = out * (int(more.max(initial=0)) + 1) + more
        out = np.where(missing, -1, pd.factorize(out)[0])
    return out


def _is_nested(sample: IntArray, level: IntArray) -> bool:
    """Whether the cells of each sample are in one level."""
    there = (sample >= 0) & (level >= 0)
    pairs = np.unique(np.column_stack([sample[there], level[there]]), axis=0)
    return len(pairs) == len(np.unique(pairs[:, 0]))


def _same(one: IntArray, other: IntArray) -> bool:
    """Whether two columns part the cells in the same way."""
    return _is_nested(one, other) and _is_nested(other, one)
