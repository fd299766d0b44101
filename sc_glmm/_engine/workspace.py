"""The records that the kernels pass around: statistics of one gene, options, and buffers that are allocated once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sc_glmm._families.jit import allocating

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Nodes(NamedTuple):
    """The node table (``sc_glmm._compress``): nodes of row d are ``ptr[d]:ptr[d + 1]``."""

    ptr: IntArray
    ec: FloatArray
    weight: FloatArray


class Gene(NamedTuple):
    """Statistics of one gene: node sums, their totals per row, counts table, and what the family adds."""

    a: FloatArray
    a_sum: FloatArray
    tail: FloatArray
    over_value: FloatArray
    over_count: FloatArray
    extra: FloatArray


class Work(NamedTuple):
    """Buffers; nothing in them outlives a call but the sizes."""

    eta: FloatArray
    d1: FloatArray
    d2: FloatArray
    d3: FloatArray
    e0: FloatArray
    e1: FloatArray
    e2: FloatArray
    W: FloatArray
    lever: FloatArray
    J: FloatArray
    yj: FloatArray
    lam: FloatArray
    piv: FloatArray
    S: FloatArray
    vpiv: FloatArray
    vS: FloatArray
    off: IntArray
    tt: FloatArray
    B: FloatArray
    step: FloatArray
    vtry: FloatArray
    w: FloatArray
    out: FloatArray


@allocating
def new_work(ar):
    """Buffers for the larger of the two borders (with beta)."""
    n_rows = ar.XZ.shape[0]
    nl = ar.XZ.shape[1]
    n_head = ar.size[0]
    n_v = ar.size[1] + ar.size[3]
    nb = n_v - ar.size[2]
    kh = ar.fac_z[n_head]
    n_piv = 1
    kmax = 1
    for h in range(n_head):
        n_piv += ar.n_levels[h] * ar.fac_k[h] * (kh - ar.fac_z[h] + nb)
        kmax = max(kmax, ar.fac_k[h])
    wide = kh + nb
    return Work(
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros(n_rows),
        np.zeros((n_rows, nl)),
        np.zeros((n_rows, nl)),
        np.zeros(ar.fac_lam[ar.fac_k.shape[0]]),
        np.zeros(n_piv),
        np.zeros(nb * nb + 1),
        np.zeros(n_piv),
        np.zeros(nb * nb + 1),
        np.zeros(n_head + 1, np.int64),
        np.zeros(wide * wide + 1),
        np.zeros(kmax * wide + 1),
        np.zeros(n_v),
        np.zeros(n_v),
        np.zeros(n_v),
        np.zeros(8),
    )
