"""Estimability: hypotheses in the row space of the design, and what the others are confounded with.

Columns that depend on earlier ones are dropped from X. With ``n_j = e_j - sum_k w_kj e_k`` for every dropped column
``j = sum_k w_kj k``, a row ``l`` over all columns can be estimated if and only if ``l n_j = 0`` for all of them. Its
value is then that of its part on the remaining columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._arrays import BoolArray
from .._errors import DesignError
from .._formula import term_label
from .coding import FloatArray, term_columns
from .fixed import FixedDesign
from .names import list_some

# Weight on a direction that the data do not determine, relative to the size of the row (columns of unit length).
TOLERANCE = 1e-8


@dataclass(frozen=True)
class TermHypothesis:
    """The hypothesis that all columns of a term are zero.

    Attributes
    ----------
    label
        Label of the term.
    full
        ``(m, p_all)`` a basis of the part that can be estimated, over all columns of the recipe.
    L
        ``(m, p)`` the same over the columns of X.
    n_rows
        Degrees of freedom of the whole hypothesis.
    whole
        Whether only dropped columns are missing, so that the test still matches the name of the term.
    """

    label: str
    full: FloatArray
    L: FloatArray
    n_rows: int
    whole: bool


def all_terms(fixed: FixedDesign) -> dict[str, tuple[int, ...]]:
    """Label of each term -> its columns among all columns of the recipe, in the order of the formula."""
    found = term_columns(fixed.spec, fixed.source.fixed_terms)
    return {term_label(term): tuple(range(at.start, at.stop)) for term, at in found.items()}


def unseen(fixed: FixedDesign, full: FloatArray) -> BoolArray:
    """``(q, n_aliased)`` whether each row of `full` has weight on the direction of each dropped column."""
    if not fixed.aliased:
        return np.zeros((len(full), 0), dtype=bool)
    found: BoolArray = np.abs(_gaps(fixed, full)[0]) > TOLERANCE
    return found


def told_alone(fixed: FixedDesign) -> BoolArray:
    """``(p,)`` coefficients of X that mean what their column is called; others stand for sums with those dropped."""
    label: BoolArray = np.logical_not(np.any(unseen(fixed, widen(fixed, np.eye(len(fixed.keep)))), axis=1))
    return label


def check_estimable(fixed: FixedDesign, full: FloatArray, words: str) -> FloatArray:
    """Convert rows over all columns of the recipe to rows over those of X.

    Raises
    ------
    DesignError
        If the data cannot tell the value of a row; the message names what it is confounded with.
    """
    hit = unseen(fixed, full)
    if hit.any():
        used = np.flatnonzero((full != 0.0).any(axis=0))
        raise DesignError(
            f"the contrast {words!r} cannot be estimated: {confounding(fixed, np.any(hit, axis=0), used)}"
        )
    return np.ascontiguousarray(full[:, list(fixed.keep)])


def widen(fixed: FixedDesign, L: FloatArray) -> FloatArray:
    """Rows over the columns of X as rows over all columns of the recipe, with weight zero on dropped ones."""
    full = np.zeros((len(L), len(fixed.keep) + len(fixed.aliased)))
    full[:, list(fixed.keep)] = L
    return full


def term_hypothesis(fixed: FixedDesign, label: str, full: FloatArray | None = None) -> TermHypothesis:
    """The part of a term's hypothesis that can be estimated; no row if there is none.

    Parameters
    ----------
    fixed
        The fixed effects.
    label
        Label of the term.
    full
        ``(q, p_all)`` the hypothesis; by default that all columns of the term are zero.
    """
    if full is None:
        columns = list(all_terms(fixed)[label])
        full = np.eye(len(fixed.keep) + len(fixed.aliased))[columns]
    hit = unseen(fixed, full).any(axis=1)
    part = full[~hit]
    if hit.any():
        part = np.vstack([part, _seen_combinations(fixed, full[hit])])
    kept_part = full[hit][:, list(fixed.keep)]
    return TermHypothesis(
        label=label,
        full=part,
        L=np.ascontiguousarray(part[:, list(fixed.keep)]),
        n_rows=len(full),
        whole=len(part) > 0 and not kept_part.any(),
    )


def confounding(fixed: FixedDesign, dropped: npt.ArrayLike, used: Iterable[int]) -> str:
    """Explain what columns are confounded with.

    Parameters
    ----------
    fixed
        The fixed part.
    dropped
        ``(n_aliased,)`` the dropped columns on whose directions the hypothesis has weight.
    used
        The columns of the hypothesis, among all columns of the recipe.
    """
    aliased = [j for j in range(len(fixed.keep) + len(fixed.aliased)) if j not in set(fixed.keep)]
    owner = {j: label for label, columns in all_terms(fixed).items() for j in columns}
    own = {owner[j] for j in used}
    dropped = np.asarray(dropped, dtype=bool)
    first = int(np.flatnonzero(dropped)[0])
    weights = fixed.alias_weights[:, first]
    if not weights.any():
        return f"column {fixed.aliased[first]!r} is zero in all rows used"
    equation = _equation(fixed, first)
    involved = [fixed.keep[i] for i in np.flatnonzero(fixed.alias_weights[:, dropped].any(axis=1))]
    involved += [j for j, hit in zip(aliased, dropped, strict=True) if hit]
    others = [label for label in dict.fromkeys(owner[j] for j in sorted(involved)) if label not in own and label != "1"]
    if not others:
        others = [name for name in dict.fromkeys(owner[j] for j in sorted(involved)) if name != "1"]
    return (
        f"it is confounded with {list_some(others)} ({equation}), and the data cannot separate them; remove one of "
        "them from the formula, or make a factor of samples a random effect"
    )


def _equation(fixed: FixedDesign, i: int) -> str:
    """A dropped column as a sum of the others."""
    parts = []
    for k in np.flatnonzero(fixed.alias_weights[:, i])[:8]:
        weight = float(fixed.alias_weights[k, i])
        times = "" if abs(abs(weight) - 1.0) < 1e-9 else f"{abs(weight):.4g} * "
        parts.append(f"{'-' if weight < 0 else '+'} {times}{fixed.names[k]}")
    more = " + ..." if np.count_nonzero(fixed.alias_weights[:, i]) > len(parts) else ""
    return f"{fixed.aliased[i]} = {' '.join(parts).removeprefix('+ ')}{more}"


def _gaps(fixed: FixedDesign, full: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``(q, n_aliased)`` weights on undetermined directions, for rows and columns of unit size; sizes of the rows."""
    keep = list(fixed.keep)
    aliased = [j for j in range(full.shape[1]) if j not in set(keep)]
    size = np.empty(full.shape[1])
    size[keep] = np.linalg.norm(fixed.X, axis=0)
    size[aliased] = np.linalg.norm(fixed.X @ fixed.alias_weights, axis=0)
    size[size == 0.0] = 1.0
    scaled = full / size
    row = np.abs(scaled).max(axis=1, keepdims=True, initial=0.0)
    row[row == 0.0] = 1.0
    scaled = scaled / row
    weights = fixed.alias_weights * size[keep][:, None] / size[aliased]
    return scaled[:, aliased] - scaled[:, keep] @ weights, row


def _seen_combinations(fixed: FixedDesign, full: FloatArray) -> FloatArray:
    """A basis of the combinations of rows that can be estimated, each with largest weight 1."""
    gaps, size = _gaps(fixed, full)
    left, values, _ = np.linalg.svd(gaps, full_matrices=True)
    rank = int(np.sum(values > TOLERANCE))
    # reduced to echelon form, so that each combination uses as few rows as possible
    rows: FloatArray = _reduced(left[:, rank:].T) @ (full / size)
    rows = rows / np.abs(rows).max(axis=1, keepdims=True)
    whole = np.round(rows)
    return np.where(np.abs(rows - whole) < 1e-9, whole, rows)


def _reduced(rows: FloatArray) -> FloatArray:
    """Row echelon form, by the largest pivot of each row from the left."""
    rows = rows.copy()
    at = 0
    for j in range(rows.shape[1]):
        if at == len(rows):
            break
        pivot = at + int(np.argmax(np.abs(rows[at:, j])))
        if abs(rows[pivot, j]) < 1e-6:
            continue
        rows[[at, pivot]] = rows[[pivot, at]]
        rows[at] /= rows[at, j]
        others = np.arange(len(rows)) != at
        rows[others] -= np.outer(rows[others, j], rows[at])
        at += 1
    rows[np.abs(rows) < 1e-10] = 0.0
    return rows
