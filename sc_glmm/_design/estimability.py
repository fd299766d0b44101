"""Check whether the data can estimate a hypothesis, and find the terms that it is confounded with.

Columns that depend on earlier ones are dropped from X. Let ``n_j = e_j - sum_k w_kj e_k`` for every dropped column
``j = sum_k w_kj k``. A row ``l`` over all columns can be estimated if and only if ``l n_j = 0`` for every dropped
column. Its value then depends only on its part on the remaining columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._arrays import BoolArray, FloatArray
from .._display.arguments import list_some
from .._errors import DesignError
from .fixed import FixedDesign

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
        (m, p_all) basis of the part that can be estimated, over all columns of the recipe.
    L
        (m, p) the same over the columns of X.
    n_rows
        Degrees of freedom of the whole hypothesis.
    whole
        Whether the part that cannot be estimated affects only dropped columns, and is not confounded with other terms.
        The test then still matches the name of the term.
    """

    label: str
    full: FloatArray
    L: FloatArray
    n_rows: int
    whole: bool


def all_terms(fixed: FixedDesign) -> dict[str, tuple[int, ...]]:
    """Return label -> columns of the recipe for each term, in the order of the formula."""
    labels = fixed.source.labels
    return {labels[term]: tuple(range(at.start, at.stop)) for term, at in fixed.recipe.columns.items()}


def depends_on_aliased(fixed: FixedDesign, full: FloatArray) -> BoolArray:
    """Test whether rows have weight on directions that the data do not determine.

    Returns
    -------
    (q, n_aliased) for each row of `full` and the direction of each dropped column.
    """
    if not fixed.aliased:
        return np.zeros((len(full), 0), dtype=bool)
    depends: BoolArray = np.abs(_undetermined_weights(fixed, full)[0]) > TOLERANCE
    return depends


def estimable_alone(fixed: FixedDesign) -> BoolArray:
    """Find the coefficients of X that the data determine; the others are confounded with dropped columns.

    Returns
    -------
    (p,) for each column of X.
    """
    full = widen(fixed, np.eye(len(fixed.keep)))
    alone: BoolArray = np.logical_not(np.any(depends_on_aliased(fixed, full), axis=1))
    return alone


def check_estimable(fixed: FixedDesign, full: FloatArray, words: str) -> FloatArray:
    """Convert rows over all columns of the recipe to rows over the columns of X.

    Raises
    ------
    DesignError
        If a row cannot be estimated; the message names the terms that it is confounded with.
    """
    hit = depends_on_aliased(fixed, full)
    if hit.any():
        used = np.flatnonzero((full != 0.0).any(axis=0))
        raise DesignError(
            f"the contrast {words!r} cannot be estimated: {confounding(fixed, np.any(hit, axis=0), used)}"
        )
    return np.ascontiguousarray(full[:, list(fixed.keep)])


def widen(fixed: FixedDesign, L: FloatArray) -> FloatArray:
    """Convert rows over the columns of X to rows over all columns of the recipe; dropped columns have weight 0."""
    full = np.zeros((len(L), len(fixed.keep) + len(fixed.aliased)))
    full[:, list(fixed.keep)] = L
    return full


def term_hypothesis(fixed: FixedDesign, label: str, full: FloatArray | None = None) -> TermHypothesis:
    """Find the part of a term's hypothesis that can be estimated.

    Parameters
    ----------
    fixed
        The fixed effects.
    label
        Label of the term.
    full
        (q, p_all) the hypothesis; by default, that all columns of the term are zero.

    Returns
    -------
    The part that can be estimated; it has no rows if nothing can be estimated.
    """
    columns = list(all_terms(fixed)[label])
    if full is None:
        full = np.eye(len(fixed.keep) + len(fixed.aliased))[columns]
    depends = depends_on_aliased(fixed, full)
    hit = np.any(depends, axis=1)
    part = full[~hit]
    if hit.any():
        part = np.vstack([part, _estimable_combinations(fixed, full[hit])])
    weights_on_X = full[hit][:, list(fixed.keep)]
    # the column that was dropped depends on the order of the terms, but the columns it is confounded with do not
    others = [i for i, j in enumerate(fixed.keep) if j not in columns]
    confounded = bool(len(part) < len(full) and fixed.alias_weights[others][:, np.any(depends, axis=0)].any())
    return TermHypothesis(
        label=label,
        full=part,
        L=np.ascontiguousarray(part[:, list(fixed.keep)]),
        n_rows=len(full),
        whole=len(part) > 0 and not weights_on_X.any() and not confounded,
    )


def confounding(fixed: FixedDesign, dropped: npt.ArrayLike, used: Iterable[int]) -> str:
    """Explain which terms a hypothesis is confounded with.

    Parameters
    ----------
    fixed
        The fixed effects.
    dropped
        (n_aliased,) whether the hypothesis has weight on the direction of each dropped column.
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
    """Write a dropped column as a sum of the others."""
    parts = []
    for k in np.flatnonzero(fixed.alias_weights[:, i])[:8]:
        weight = float(fixed.alias_weights[k, i])
        times = "" if abs(abs(weight) - 1.0) < 1e-9 else f"{abs(weight):.4g} * "
        parts.append(f"{'-' if weight < 0 else '+'} {times}{fixed.names[k]}")
    more = " + ..." if np.count_nonzero(fixed.alias_weights[:, i]) > len(parts) else ""
    return f"{fixed.aliased[i]} = {' '.join(parts).removeprefix('+ ')}{more}"


def _undetermined_weights(fixed: FixedDesign, full: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute the weights of rows on directions that the data do not determine.

    Returns
    -------
    weights
        (q, n_aliased) for rows and columns that are scaled to unit size.
    size
        (q, 1) the sizes by which the rows were divided.
    """
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


def _estimable_combinations(fixed: FixedDesign, full: FloatArray) -> FloatArray:
    """Find a basis of the combinations of rows that can be estimated; the largest weight of each is 1."""
    undetermined, size = _undetermined_weights(fixed, full)
    left, values, _ = np.linalg.svd(undetermined, full_matrices=True)
    rank = int(np.sum(values > TOLERANCE))
    # in echelon form, each combination uses as few rows as possible
    rows: FloatArray = _echelon_form(left[:, rank:].T) @ (full / size)
    rows = rows / np.abs(rows).max(axis=1, keepdims=True)
    whole = np.round(rows)
    return np.where(np.abs(rows - whole) < 1e-9, whole, rows)


def _echelon_form(rows: FloatArray) -> FloatArray:
    """Compute the reduced row echelon form, with the largest pivot of each column."""
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
