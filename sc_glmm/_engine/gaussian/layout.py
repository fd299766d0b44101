"""Which border columns each level of the head touches: the sparsity of the Gaussian engine's cross-products."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sc_glmm._engine.arrow.layout import Arrow

from ..._arrays import IntArray


class Layout(NamedTuple):
    """Where the cross-products of each level are.

    Attributes
    ----------
    fac_k, fac_z, fac_u, fac_lam, n_levels, head_lev, anc
        As in :class:`~sc_glmm._engine.arrow.layout.Arrow`.
    ptr
        ``(n_head_levels + 1,)``: border columns of head level i are ``cols[ptr[i]:ptr[i + 1]]``, ascending; the fixed
        effects and the response are always among them.
    cols
        Border columns.
    base
        ``(n_head_levels + 1,)``: the k rows of head level i start here; each row holds the level's own block, its
        blocks with the coarser levels that contain it, and its list.
    up
        ``(n_head, len(cols))``: place of each list entry in the list of the containing level of head factor m.
    border_fac
        ``(n_border,)`` factor of each border column, -1 for a fixed effect or the response.
    theta_fac, theta_row, theta_col
        Where each theta stands.
    n_head, q, q_head, p
        As in :class:`~sc_glmm._engine.arrow.layout.Arrow`.
    """

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
    up: IntArray
    border_fac: IntArray
    theta_fac: IntArray
    theta_row: IntArray
    theta_col: IntArray
    n_head: int
    q: int
    q_head: int
    p: int


def build_layout(arrow: Arrow) -> tuple[Layout, IntArray]:
    """Lists of border columns per head level, and for each row the place of its blocks in them.

    Returns
    -------
    layout
        The places.
    at
        ``(n_rows, n_head, n_border_factors)``.
    """
    n_head, q, q_head, p = arrow.n_head, arrow.q, arrow.q_head, arrow.p
    n_fac = len(arrow.fac_k)
    n_border = q - q_head + p + 1
    border_fac = np.full(n_border, -1, dtype=np.int64)
    for f in range(n_head, n_fac):
        border_fac[arrow.fac_u[f] - q_head : arrow.fac_u[f + 1] - q_head] = f
    kh = int(arrow.fac_z[n_head])
    cols, lengths, base = [], [], [np.zeros(1, dtype=np.int64)]
    at = np.zeros((len(arrow.lev), n_head, n_fac - n_head), dtype=np.int64)
    start = 0
    for h in range(n_head):
        levels = arrow.lev[:, h]
        n_levels, k = int(arrow.n_levels[h]), int(arrow.fac_k[h])
        first = [arrow.fac_u[f] - q_head + arrow.lev[:, f] * arrow.fac_k[f] for f in range(n_head, n_fac)]
        keys = np.unique(np.concatenate([levels * n_border + x for x in first])) if first else np.empty(0, np.int64)
        lev, col = keys // n_border, keys % n_border
        width = arrow.fac_k[border_fac[col]]
        # every block takes as many places as it has columns; fixed effects and response come last
        ends = np.cumsum(width)
        within = np.concatenate([[0], ends[:-1]]) if len(keys) else ends
        of_level = np.bincount(lev, width, minlength=n_levels).astype(np.int64)
        level_start = np.concatenate([[0], np.cumsum(of_level)[:-1]])
        place = within - level_start[lev]
        for j, x in enumerate(first):
            at[:, h, j] = place[np.searchsorted(keys, levels * n_border + x)]
        m = of_level + p + 1
        list_start = np.concatenate([[0], np.cumsum(m)])
        mine = np.empty(int(list_start[-1]), dtype=np.int64)
        for c in range(int(width.max(initial=0))):
            there = width > c
            mine[(list_start[lev] + place + c)[there]] = col[there] + c
        for c in range(p + 1):
            mine[list_start[1:] - (p + 1) + c] = n_border - p - 1 + c
        cols.append(mine)
        lengths.append(m)
        base.append(start + np.cumsum(k * (kh - int(arrow.fac_z[h]) + m)))
        start = int(base[-1][-1])
    length = np.concatenate(lengths)
    ptr = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    all_cols = np.concatenate(cols)
    layout = Layout(
        fac_k=arrow.fac_k,
        fac_z=arrow.fac_z,
        fac_u=arrow.fac_u,
        fac_lam=arrow.fac_lam,
        n_levels=arrow.n_levels,
        head_lev=arrow.head_lev,
        anc=arrow.anc,
        ptr=ptr,
        cols=all_cols,
        base=np.concatenate(base).astype(np.int64),
        up=_places_above(arrow, ptr, all_cols, length, n_border),
        border_fac=border_fac,
        theta_fac=arrow.theta_fac,
        theta_row=arrow.theta_row,
        theta_col=arrow.theta_col,
        n_head=n_head,
        q=q,
        q_head=q_head,
        p=p,
    )
    return layout, at


def _places_above(arrow: Arrow, ptr: IntArray, cols: IntArray, length: IntArray, n_border: int) -> IntArray:
    """Place of each list entry in the list of the level of head factor m that contains its own."""
    n_head = arrow.n_head
    up = np.zeros((n_head, len(cols)), dtype=np.int64)
    owner = np.repeat(np.arange(len(length)), length)
    keys = owner * n_border + cols
    for m in range(1, n_head):
        finer = owner < arrow.head_lev[m]
        above = arrow.head_lev[m] + arrow.anc[owner[finer], m]
        up[m, finer] = np.searchsorted(keys, above * n_border + cols[finer]) - ptr[above]
    return up
