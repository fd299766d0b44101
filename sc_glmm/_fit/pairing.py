"""Find columns that pair the samples of several arms, such as donors with a treated and an untreated sample."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from .._arrays import FloatArray, IntArray
from .._formula import MixedFormula

# A column is reported if at least this number, and this share, of its levels have samples of several arms.
_MIN_PAIRS, _MIN_SHARE = 3, 0.5
# Numbers may be measurements, such as ages, that samples share by chance. They pair samples if this is unlikely by
# chance, or if nearly all levels have several arms and nearly none has two samples of one arm.
_BY_CHANCE, _COMPLETE, _CLEAN = 0.01, 0.8, 0.9
# A numeric column with more distinct values does not define arms.
_MAX_ARMS = 10


def pairing_note(formula: MixedFormula, frame: pd.DataFrame, labels: pd.DataFrame) -> str | None:
    """Write a note if a column that is not in the formula pairs the samples of the compared arms.

    The name of the column does not matter. Each sample (level of the finest grouping factor) is in one of its levels.
    Most levels have samples of several arms, usually one sample per arm. A random effect of the column then removes the
    variation that its samples share from the comparison. A column of numbers needs more evidence, because samples
    can share an age by chance.

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
            is_text = not _are_numbers(labels[name])
            pairs = _pairs(level, sample, arm, measured=not is_text)
            if pairs is not None and not any(_same(level, other) for other in in_formula):
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


def _are_numbers(column: pd.Series) -> bool:
    """Whether all levels are numbers, whatever the type of the column."""
    levels = pd.Series(column.dropna().unique().astype(str))
    return bool(pd.to_numeric(levels, errors="coerce").notna().all())


def _pairs(level: IntArray, sample: IntArray, arm: IntArray, *, measured: bool) -> tuple[int, int] | None:
    """Count the levels with samples of several arms, and all levels; None if the levels do not pair samples."""
    if (level >= 0).sum() < 0.5 * len(level) or not _is_nested(sample, level):
        return None
    present = (level >= 0) & (sample >= 0) & (arm >= 0)
    cells = _distinct(level[present], arm[present], sample[present])
    if not len(cells):
        return None
    pairs, n_samples = np.unique(cells[:, :2], axis=0, return_counts=True)
    _, n_arms = np.unique(pairs[:, 0], return_counts=True)
    several = int(np.count_nonzero(n_arms > 1))
    alone = len(n_arms) == len(np.unique(sample[present]))  # the column is another name of the samples
    if alone or several < max(_MIN_PAIRS, _MIN_SHARE * len(n_arms)) or np.median(n_samples) > 1:
        return None
    if measured and not _is_design(pairs, n_samples):
        return None
    return several, len(n_arms)


def _is_design(pairs: IntArray, n_samples: IntArray) -> bool:
    """Whether samples share levels as in a design with pairs, and not as they share an age by chance.

    A level is clean if no two of its samples are of one arm. If levels are shared by chance, each is clean with the
    probability that samples drawn at random are of different arms.

    Parameters
    ----------
    pairs
        ``(n_pairs, 2)`` level and arm that occur together.
    n_samples
        ``(n_pairs,)`` their number of samples.
    """
    _, place = np.unique(pairs[:, 0], return_inverse=True)
    size, arms = np.bincount(place, weights=n_samples), np.bincount(place)
    shared, clean = size > 1, size == arms
    if np.mean(arms > 1) >= _COMPLETE and np.mean(clean) >= _CLEAN:
        return True
    totals = np.bincount(np.unique(pairs[:, 1], return_inverse=True)[1], weights=n_samples).astype(np.float64)
    different = np.array([_all_different(totals, int(k)) for k in size[shared]])
    return _at_least(int((shared & clean).sum()), different) < _BY_CHANCE


def _all_different(totals: FloatArray, k: int) -> float:
    """Probability that `k` samples drawn at random are of different arms with `totals` samples."""
    ways = np.zeros(k + 1)
    ways[0] = 1.0
    for total in totals:
        ways[1:] = ways[1:] + total * ways[:-1]
    return float(ways[k]) / math.comb(int(totals.sum()), k)


def _at_least(n: int, chances: FloatArray) -> float:
    """Probability that at least `n` of independent events with these chances happen."""
    distribution = np.ones(1)
    for chance in chances:
        distribution = np.convolve(distribution, [1.0 - chance, chance])
    return float(distribution[n:].sum())


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


def _distinct(*codes: IntArray) -> IntArray:
    """Return the distinct combinations of codes, sorted, ``(n_combinations, n_columns)``."""
    # a table of hashes reduces the cells to a few rows, which are then sorted
    few = pd.DataFrame(dict(enumerate(codes))).drop_duplicates().to_numpy()
    return np.unique(few, axis=0)


def _is_nested(sample: IntArray, level: IntArray) -> bool:
    """Check whether the cells of each sample are in one level."""
    present = (sample >= 0) & (level >= 0)
    pairs = _distinct(sample[present], level[present])
    return len(pairs) == len(np.unique(pairs[:, 0]))


def _same(one: IntArray, other: IntArray) -> bool:
    """Check whether two columns divide the cells in the same way."""
    return _is_nested(one, other) and _is_nested(other, one)
