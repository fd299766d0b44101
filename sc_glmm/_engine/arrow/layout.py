"""From a design on rows to the arrow: which coefficients touch which, and how theta fills Lambda.

The coefficients are ``v = [u_head | u_border | beta]``. The *head* is the longest chain of nested grouping factors,
finest first: eliminating its blocks in that order makes no fill. The *border* holds the factors that cross the head
and, where they are integrated out or solved for together, the fixed effects. Terms that share a grouping factor are
one block.

Inside, every column is scaled: X is replaced by ``X R^-1`` with ``X' diag(n) X = R'R / N`` (so that the columns are
orthonormal over cells) and the columns of each term of Z by ``Z B^-1``, orthonormal as well, with B lower triangular.
:class:`Scaling` takes results back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from sc_glmm._engine.rowwise import rowwise

from ..._arrays import BoolArray, FloatArray, IntArray


class Arrow(NamedTuple):
    """The structure that all genes share, as compiled code sees it (float64 and int64, C-contiguous).

    Attributes
    ----------
    XZ
        ``(n_rows, kz + p)``: columns of Z, factor by factor, then those of X.
    pos
        ``(n_rows, kz + p)``: the coefficient in ``v`` that each of these columns multiplies.
    lev
        ``(n_rows, n_factors)``: level of each grouping factor.
    fac_k, fac_z, fac_u, fac_lam
        Columns per factor; first column in `XZ`; first coefficient in `v`; first entry in the flat Lambda
        (the last three have one entry more than there are factors).
    n_levels
        Levels per factor.
    head_lev, anc
        ``anc[head_lev[h] + l, m]`` is the level of head factor m that contains level l of head factor h.
    ptr, cols
        Random effects of the border that head level i meets: ``cols[ptr[i]:ptr[i + 1]]``, ascending. A student meets 25
        of 1,128 lecturers, so that couplings are kept as lists.
    base
        ``(n_head_levels + 1,)`` where the k pivot rows of head level i start, if there are no dense columns behind
        them. A pivot row holds the level's own block, its couplings to the coarser levels that contain it, and its
        list.
    width
        ``(n_head_levels,)`` entries of such a row.
    place
        ``(n_rows, n_head, columns of Z in the border)``: place of a column in the list of the row's head level.
    up
        ``(n_head, len(cols))``: place of each list entry in the list of the containing level of head factor m.
    border_fac
        ``(q - q_head,)`` factor of each random effect of the border.
    theta_fac, theta_row, theta_col
        Where each theta stands in the Lambda of its factor.
    grp_ptr, grp_row
        The rows of each level of the first factor (for quadrature).
    n_head
        Number of head factors.
    q, q_head
        Number of random effects; of those in the head.
    p, kz
        Columns of X; columns of Z.
    """

    XZ: FloatArray
    pos: IntArray
    lev: IntArray
    fac_k: IntArray
    fac_z: IntArray
    fac_u: IntArray
    fac_lam: IntArray
    n_levels: IntArray
    head_lev: IntArray
    anc: IntArray
    ptr: IntArray
    cols: IntArray
    base: IntArray
    width: IntArray
    place: IntArray
    up: IntArray
    border_fac: IntArray
    theta_fac: IntArray
    theta_row: IntArray
    theta_col: IntArray
    grp_ptr: IntArray
    grp_row: IntArray
    n_head: int
    q: int
    q_head: int
    p: int
    kz: int


@dataclass(frozen=True)
class Block:
    """One grouping factor with the terms that share it.

    Attributes
    ----------
    codes
        ``(n_rows,)`` level of each row.
    n_levels
        Number of levels.
    Z
        ``(n_rows, k)`` the columns of all its terms.
    terms
        Number of columns of each term: a term's columns are correlated, terms are independent.
    """

    codes: IntArray
    n_levels: int
    Z: FloatArray
    terms: tuple[int, ...]


@dataclass(frozen=True)
class Scaling:
    """How the engine's scaled coefficients relate to the user's.

    Attributes
    ----------
    R
        ``(p, p)`` upper triangular: scaled beta = R beta.
    basis
        Per block ``(k, k)`` B: the columns of Z are those of the arrow times B, so that the engine's Lambda is
        ``B Lambda``.
    order
        The block of the caller that stands at each place of the arrow.
    log_det
        ``log |det R|``: REML integrals over the scaled beta exceed those over beta by this.
    """

    R: FloatArray
    basis: tuple[FloatArray, ...]
    order: tuple[int, ...]
    log_det: float

    def beta(self, scaled: FloatArray) -> FloatArray:
        """``(..., p)`` coefficients on the user's scale."""
        return rowwise(scaled, self.inverse.T) if scaled.ndim == 2 else scaled @ self.inverse.T

    def vcov(self, scaled: FloatArray) -> FloatArray:
        """``(n, p, p)`` covariances on the user's scale."""
        return self.inverse @ scaled @ self.inverse.T

    @cached_property
    def inverse(self) -> FloatArray:
        """``(p, p)`` R^-1."""
        return solve_triangular(self.R, np.eye(len(self.R)), lower=False) if len(self.R) else self.R


def _is_nested(fine: Block, coarse: Block) -> bool:
    """Whether each level of `fine` lies in one level of `coarse`."""
    pairs = np.unique(fine.codes * coarse.n_levels + coarse.codes)
    return len(pairs) == len(np.unique(fine.codes))


def _order_blocks(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Order of the blocks, head chain first, and the length of the chain."""
    by_size = sorted(range(len(blocks)), key=lambda i: (-blocks[i].n_levels * blocks[i].Z.shape[1], i))
    best: list[int] = []
    for start in range(len(by_size)):
        chain = [by_size[start]]
        for i in by_size[start + 1 :]:
            if _is_nested(blocks[chain[-1]], blocks[i]):
                chain.append(i)
        weight = sum(blocks[i].n_levels for i in chain)
        if weight > sum(blocks[i].n_levels for i in best):
            best = chain
    return best + [i for i in by_size if i not in best], len(best)


def orthogonal_basis(block: Block, weight: FloatArray) -> FloatArray:
    """B ``(k, k)`` such that ``Z B^-1`` has orthonormal columns within each term; `weight` is ``(n_rows,)``.

    The optimiser then sees no covariate that is far from zero. As B is lower triangular, so is ``B Lambda``, and its
    diagonal vanishes where that of Lambda does.
    """
    # from the last column to the first, so that the factor is lower triangular
    w = np.sqrt(weight / weight.sum())
    return _bases(block, w, lambda columns: np.asarray(np.linalg.qr(columns[:, ::-1], mode="r"))[::-1, ::-1])


def least_deviation(basis: FloatArray, Lambda: FloatArray) -> FloatArray:
    """``(...)`` least standard deviation of a combination of orthonormal columns: zero where a fit is singular.

    With the `basis` B of :func:`orthogonal_basis` it is the smallest singular value of ``B Lambda``, Lambda being
    ``(..., k, k)``. Another coding of the same columns (a unit, a base level, a covariate minus its mean beside an
    intercept) rotates the orthonormal columns, which leaves singular values as they are; the diagonal of a Cholesky
    factor changes.
    """
    scaled = basis @ Lambda
    if len(basis) == 1:
        return np.abs(scaled[..., 0, 0])
    known: BoolArray = np.all(np.isfinite(scaled), axis=(-2, -1), keepdims=True)
    least: FloatArray = np.min(np.linalg.svd(np.where(known, scaled, 0.0), compute_uv=False), axis=-1)
    return np.where(known[..., 0, 0], least, np.nan)


def centred_basis(block: Block, weight: FloatArray) -> FloatArray:
    """C ``(k, k)`` such that ``Z C^-1`` has orthonormal columns within each term, each with those before it taken off.

    C is upper triangular: an intercept stays one, and a covariate behind it is centred. `weight` is ``(n_rows,)``.
    """
    return _bases(block, np.sqrt(weight / weight.sum()), lambda columns: np.asarray(np.linalg.qr(columns, mode="r")))


def _bases(block: Block, w: FloatArray, factor: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """The triangular factors of the terms in one matrix, with positive diagonals."""
    out = np.zeros((block.Z.shape[1], block.Z.shape[1]))
    first = 0
    for size in block.terms:
        own = slice(first, first + size)
        columns = w[:, None] * block.Z[:, own]
        length = np.sqrt(np.sum(columns**2, axis=0))
        length[length == 0.0] = 1.0
        out[own, own] = np.diag(length)
        if 1 < size <= len(columns):
            R = factor(columns)
            diagonal = np.diagonal(R)
            # columns that depend on each other are only scaled
            if np.abs(diagonal / length).min() > 1e-10:
                out[own, own] = R * np.where(diagonal < 0.0, -1.0, 1.0)[:, None]
        first += size
    return out


def scale_theta(arrow: Arrow, scaling: Scaling, theta: FloatArray) -> FloatArray:
    """From theta of the user's columns, in the order of the arrow, to that of the engine's."""
    return _mapped(arrow, scaling.basis, theta)


def unscale_theta(arrow: Arrow, scaling: Scaling, theta: FloatArray) -> FloatArray:
    """The way back."""
    maps = [solve_triangular(B, np.eye(len(B)), lower=True) for B in scaling.basis]
    return _mapped(arrow, maps, theta)


def _mapped(arrow: Arrow, maps: Sequence[FloatArray], theta: FloatArray) -> FloatArray:
    """``Lambda -> B Lambda`` per factor; B is lower triangular within each term, so that this is linear in theta."""
    out = np.empty(len(arrow.theta_fac))
    for f, B in enumerate(maps):
        mine = arrow.theta_fac == f
        place = arrow.theta_row[mine], arrow.theta_col[mine]
        lam = np.zeros_like(B)
        lam[place] = theta[mine]
        out[mine] = (B @ lam)[place]
    return out


def build_arrow(X: FloatArray, blocks: Sequence[Block], n_cells: FloatArray) -> tuple[Arrow, Scaling]:
    """Lay out a design.

    Parameters
    ----------
    X
        ``(n_rows, p)`` of full column rank.
    blocks
        One per grouping factor.
    n_cells
        ``(n_rows,)`` cells of each row: weights of the internal scaling, without influence on results.
    """
    n_rows, p = X.shape
    w = np.sqrt(np.asarray(n_cells, dtype=np.float64) / np.sum(n_cells))
    R = np.asarray(np.linalg.qr(X * w[:, None], mode="r")) if p else np.zeros((0, 0))
    Xs = solve_triangular(R, X.T, trans="T", lower=False).T if p else X
    order, n_head = _order_blocks(blocks)
    ordered = [blocks[i] for i in order]
    basis = tuple(orthogonal_basis(b, np.asarray(n_cells, dtype=np.float64)) for b in ordered)
    columns = [solve_triangular(B, b.Z.T, trans="T", lower=True).T for b, B in zip(ordered, basis, strict=True)]
    k = np.array([b.Z.shape[1] for b in ordered], dtype=np.int64)
    n_levels = np.array([b.n_levels for b in ordered], dtype=np.int64)
    fac_z = np.concatenate([[0], np.cumsum(k)]).astype(np.int64)
    fac_u = np.concatenate([[0], np.cumsum(k * n_levels)]).astype(np.int64)
    fac_lam = np.concatenate([[0], np.cumsum(k * k)]).astype(np.int64)
    kz, q = int(fac_z[-1]), int(fac_u[-1])
    lev = np.empty((n_rows, len(ordered)), dtype=np.int64)
    pos = np.empty((n_rows, kz + p), dtype=np.int64)
    for f, b in enumerate(ordered):
        lev[:, f] = b.codes
        for c in range(k[f]):
            pos[:, fac_z[f] + c] = fac_u[f] + b.codes * k[f] + c
    pos[:, kz:] = q + np.arange(p)
    head_lev = np.concatenate([[0], np.cumsum(n_levels[:n_head])]).astype(np.int64)
    anc = np.zeros((int(head_lev[-1]), max(n_head, 1)), dtype=np.int64)
    for h in range(n_head):
        for m in range(h, n_head):
            anc[head_lev[h] + lev[:, h], m] = lev[:, m]
    fac, row, col = [], [], []
    for f, b in enumerate(ordered):
        first = 0
        for size in b.terms:
            for c in range(size):
                for r in range(c, size):
                    fac.append(f)
                    row.append(first + r)
                    col.append(first + c)
            first += size
    border = _border_lists(lev, k, fac_z, fac_u, n_levels, head_lev, anc, n_head)
    by_level = np.argsort(lev[:, 0], kind="stable").astype(np.int64)
    grp_ptr = np.concatenate([[0], np.cumsum(np.bincount(lev[:, 0], minlength=n_levels[0]))]).astype(np.int64)
    q_head = int(fac_u[n_head])
    arrow = Arrow(
        XZ=np.ascontiguousarray(np.hstack([*columns, Xs]), dtype=np.float64),
        pos=pos,
        lev=lev,
        fac_k=k,
        fac_z=fac_z,
        fac_u=fac_u,
        fac_lam=fac_lam,
        n_levels=n_levels,
        head_lev=head_lev,
        anc=anc,
        ptr=border.ptr,
        cols=border.cols,
        base=border.base,
        width=border.width,
        place=border.place,
        up=border.up,
        border_fac=border.factor,
        theta_fac=np.array(fac, dtype=np.int64),
        theta_row=np.array(row, dtype=np.int64),
        theta_col=np.array(col, dtype=np.int64),
        grp_ptr=grp_ptr,
        grp_row=by_level,
        n_head=int(n_head),
        q=int(q),
        q_head=int(q_head),
        p=int(p),
        kz=int(kz),
    )
    log_det = float(np.sum(np.log(np.abs(np.diag(R))))) if p else 0.0
    return arrow, Scaling(R=R, basis=basis, order=tuple(order), log_det=log_det)


class _Border(NamedTuple):
    """What :class:`Arrow` holds of the border."""

    ptr: IntArray
    cols: IntArray
    base: IntArray
    width: IntArray
    place: IntArray
    up: IntArray
    factor: IntArray


def _border_lists(
    lev: IntArray,
    k: IntArray,
    fac_z: IntArray,
    fac_u: IntArray,
    n_levels: IntArray,
    head_lev: IntArray,
    anc: IntArray,
    n_head: int,
) -> _Border:
    """Lists of border columns per head level, and for each row the places of its columns in them."""
    n_rows, n_fac = lev.shape
    q_head = int(fac_u[n_head])
    n_border = int(fac_u[-1]) - q_head
    factor = np.repeat(np.arange(n_head, n_fac), (k * n_levels)[n_head:]).astype(np.int64)
    kh = int(fac_z[n_head])
    # the first border column of each row's block of each border factor
    first = [fac_u[f] - q_head + lev[:, f] * k[f] for f in range(n_head, n_fac)]
    cols, lengths = [], []
    place = np.zeros((n_rows, n_head, int(fac_z[-1]) - kh), dtype=np.int64)
    for h in range(n_head):
        levels = lev[:, h]
        keys = np.unique(np.concatenate([levels * n_border + x for x in first])) if first else np.empty(0, np.int64)
        owner, col = keys // max(n_border, 1), keys % max(n_border, 1)
        # every block takes as many places as it has columns
        width = k[factor[col]] if len(keys) else np.empty(0, np.int64)
        of_level = np.bincount(owner, width, minlength=n_levels[h]).astype(np.int64)
        begin = np.cumsum(width) - width
        within = begin - (np.cumsum(of_level) - of_level)[owner]
        for f, x in zip(range(n_head, n_fac), first, strict=True):
            at = within[np.searchsorted(keys, levels * n_border + x)]
            place[:, h, fac_z[f] - kh : fac_z[f + 1] - kh] = at[:, None] + np.arange(k[f])
        cols.append(np.repeat(col - begin, width) + np.arange(int(width.sum())))
        lengths.append(of_level)
    length = np.concatenate(lengths)
    ptr = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    all_cols = np.concatenate(cols).astype(np.int64)
    of_head = np.repeat(np.arange(n_head), n_levels[:n_head])
    width = (kh - fac_z[of_head] + length).astype(np.int64)
    base = np.concatenate([[0], np.cumsum(k[of_head] * width)]).astype(np.int64)
    return _Border(ptr, all_cols, base, width, place, _places_above(ptr, all_cols, head_lev, anc, n_border), factor)


def _places_above(ptr: IntArray, cols: IntArray, head_lev: IntArray, anc: IntArray, n_border: int) -> IntArray:
    """Place of each list entry in the list of the level of head factor m that contains its own."""
    n_head = len(head_lev) - 1
    up = np.zeros((n_head, len(cols)), dtype=np.int64)
    owner = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    keys = owner * n_border + cols
    for m in range(1, n_head):
        finer = owner < head_lev[m]
        above = head_lev[m] + anc[owner[finer], m]
        up[m, finer] = np.searchsorted(keys, above * n_border + cols[finer]) - ptr[above]
    return up
