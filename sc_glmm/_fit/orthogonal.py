"""Reduce the rows of a Gaussian response to an orthogonal basis of the design within cells of the same groups.

Let A be the rows of ``[X Z]`` that share all their groups, each multiplied by the root of its number of cells. With the
singular value decomposition ``A = U S V'``, the likelihood depends on the response only through ``U'y`` and its sum of
squares. The design of ``U'y`` is ``S V'``, with as many rows as A has independent columns. A covariate that differs
from cell to cell therefore adds a few rows per sample, instead of one row per cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .._compress import DesignRows
from .rows import ModelRows

# Singular values below this share of the largest come from columns that depend on others.
_RANK = 1e-10


@dataclass(frozen=True)
class OrthogonalRows:
    """A few rows that replace many.

    Attributes
    ----------
    rows
        The rows; each counts as one observation.
    projection
        ``(n_rows, n_distinct)`` sparse matrix; it converts sums of the response over the distinct rows to sums over
        these rows.
    """

    rows: ModelRows
    projection: sparse.csr_matrix


def orthogonal_rows(distinct: DesignRows) -> OrthogonalRows | None:
    """Compute the basis; None if it would not have fewer rows than `distinct`."""
    groups = np.unique(np.column_stack(distinct.codes), axis=0, return_inverse=True)[1].reshape(-1)
    design = np.hstack([distinct.X, *distinct.Z])
    if distinct.n_rows <= (int(groups.max(initial=-1)) + 1) * design.shape[1]:
        return None
    root = np.sqrt(distinct.n_cells.astype(np.float64))
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups))
    result, codes, where, values, lengths = [], [], [], [], []
    for first, last in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True):
        members = order[first:last]
        u, s, vt = np.linalg.svd(root[members, None] * design[members], full_matrices=False)
        kept = s > _RANK * s[0]
        result.append(s[kept, None] * vt[kept])
        codes += [members[0]] * int(kept.sum())
        where += [members] * int(kept.sum())
        values += list((u[:, kept] / root[members, None]).T)
        lengths += [len(members)] * int(kept.sum())
    basis = np.vstack(result)
    splits = np.cumsum([distinct.X.shape[1], *(z.shape[1] for z in distinct.Z)])[:-1]
    X, *Z = (np.ascontiguousarray(part) for part in np.split(basis, splits, axis=1))
    n = len(basis)
    projection = sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(where), np.concatenate([[0], np.cumsum(lengths)])),
        shape=(n, distinct.n_rows),
    )
    rows = ModelRows(
        X, tuple(Z), tuple(np.ascontiguousarray(c[codes]) for c in distinct.codes), np.ones(n), np.arange(n)
    )
    return OrthogonalRows(rows, projection)
