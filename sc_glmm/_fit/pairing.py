"""Find columns that pair the samples of several arms, such as donors with a treated and an untreated sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from .._arrays import IntArray
from .._formula import MixedFormula

# A column is reported if at least this number, and this share, of its levels have samples of several arms.
_MIN_PAIRS, _MIN_SHARE = 3, 0.5
# A numeric column with more distinct values does not define arms.
_MAX_ARMS = 10


def pairing_note(formula: MixedFormula, frame: pd.DataFrame, labels: pd.DataFrame) -> str | None:
    """Write a note if a column that is not in the formula pairs the samples of the compared arms.

    The name of the column does not matter. Each sample (level of the finest grouping factor) is in one of its levels.
    Most levels have samples of several arms, usually one sample per arm. A random effect of the column then removes the
    variation that its samples share from the comparison.

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
    used = {name for term in formula.fixed_terms for atom in term for name in atom.columns}
    used |= {name for term in formula.random for name in term.group}
    in_formula = [_codes(frame[name]) for name in used if name in frame]
    for factor, arm in _arms(formula, frame, sample):
        candidates = []
        for place, name in enumerate(labels.columns):
            if name in used:
                continue
            level = _codes(labels[name])
            pairs = _pairs(level, sample, arm)
            if pairs is not None and not any(_same(level, other) for other in in_formula):
                is_text = not pd.api.types.is_numeric_dtype(labels[name])
                candidates.append((pairs, is_text, -place, str(name)))
        if candidates:
            (paired, n_levels), _, _, name = max(candidates)
            text = name if name.isidentifier() else f"`{name}`"
            return (
                f"{paired} of {n_levels} levels of {name!r} have samples of several levels of {factor}, and the "
                f"formula compares the levels of {sample_name} as if they were independent. Add (1|{text}) to compare "
                f"within {name}, which usually has more power: {formula.source} + (1|{text})"
            )
    return None


def _finest(formula: MixedFormula, frame: pd.DataFrame) -> tuple[IntArray, str] | None:
    """Find the grouping factor with the most levels: its codes and its name."""
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
    """Find columns of the fixed part with a few levels, such that each sample is in one level."""
    for name in dict.fromkeys(name for term in formula.fixed_terms for atom in term for name in atom.columns):
        if name not in frame:
            continue
        codes = _codes(frame[name])
        n_levels = len(np.unique(codes[codes >= 0]))
        few = n_levels <= _MAX_ARMS or not pd.api.types.is_numeric_dtype(frame[name])
        if n_levels > 1 and few and _is_nested(sample, codes):
            yield name, codes


def _pairs(level: IntArray, sample: IntArray, arm: IntArray) -> tuple[int, int] | None:
    """Count the levels with samples of several arms, and all levels; None if the levels do not pair samples."""
    if (level >= 0).sum() < 0.5 * len(level) or not _is_nested(sample, level):
        return None
    present = (level >= 0) & (sample >= 0) & (arm >= 0)
    cells = np.unique(np.column_stack([level[present], arm[present], sample[present]]), axis=0)
    if not len(cells):
        return None
    pairs, n_samples = np.unique(cells[:, :2], axis=0, return_counts=True)
    _, n_arms = np.unique(pairs[:, 0], return_counts=True)
    several = int(np.count_nonzero(n_arms > 1))
    alone = len(n_arms) == len(np.unique(sample[present]))  # the column is another name of the samples
    if alone or several < max(_MIN_PAIRS, _MIN_SHARE * len(n_arms)) or np.median(n_samples) > 1:
        return None
    return several, len(n_arms)


def _codes(column: pd.Series) -> IntArray:
    """Number the levels of a column, ``(n_obs,)``; -1 for missing values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes, dtype=np.int64)
    return np.asarray(pd.factorize(column)[0], dtype=np.int64)


def _joined(codes: list[IntArray]) -> IntArray:
    """Number the levels of an interaction of columns."""
    out = codes[0]
    for more in codes[1:]:
        missing = (out < 0) | (more < 0)
        out = out * (int(more.max(initial=0)) + 1) + more
        out = np.where(missing, -1, pd.factorize(out)[0])
    return out


def _is_nested(sample: IntArray, level: IntArray) -> bool:
    """Check whether the cells of each sample are in one level."""
    present = (sample >= 0) & (level >= 0)
    pairs = np.unique(np.column_stack([sample[present], level[present]]), axis=0)
    return len(pairs) == len(np.unique(pairs[:, 0]))


def _same(one: IntArray, other: IntArray) -> bool:
    """Check whether two columns divide the cells in the same way."""
    return _is_nested(one, other) and _is_nested(other, one)
