"""Records of the kernels: statistics of one gene, options, and buffers that are allocated once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sc_glmm._engine.arrow.inverse import new_inverse_work, new_pivots
from sc_glmm._families.jit import allocating
from sc_glmm._families.nb import N_OUT

from ..._arrays import FloatArray, IntArray


class Nodes(NamedTuple):
    """The node table (``sc_glmm._compress``): nodes of row d are ``ptr[d]:ptr[d + 1]``."""

    ptr: IntArray
    ec: FloatArray
    weight: FloatArray


class NodeSets(NamedTuple):
    """Node tables on the same rows: one that all genes share, ``(1, n_nodes)``, or one of each gene."""

    ptr: IntArray
    ec: FloatArray
    weight: FloatArray


class Likelihood(NamedTuple):
    """The likelihood: code of the family, whether phi is a parameter, whether beta is integrated out (REML)."""

    code: int
    has_phi: bool
    joint: bool


class GeneTable(NamedTuple):
    """Statistics of a block of genes.

    Attributes
    ----------
    A
        ``(n_genes, n_nodes)`` sums of the response over the nodes.
    tail
        ``(n_genes, 64)`` number of cells with y > j.
    over_ptr, over_value, over_count
        Counts above 64, ragged per gene.
    """

    A: FloatArray
    tail: FloatArray
    over_ptr: IntArray
    over_value: FloatArray
    over_count: FloatArray


class Gene(NamedTuple):
    """Statistics of one gene: node sums, their totals per row, and counts table."""

    a: FloatArray
    a_sum: FloatArray
    tail: FloatArray
    over_value: FloatArray
    over_count: FloatArray


class Work(NamedTuple):
    """Buffers. Only their sizes are kept between calls."""

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
    tt: FloatArray
    B: FloatArray
    step: FloatArray
    vtry: FloatArray
    w: FloatArray
    out: FloatArray
    dh: FloatArray
    acc: FloatArray
    info: FloatArray
    at_nodes: FloatArray
    sums: FloatArray


@allocating
def read_gene(genes, g, nd, a_sum):
    """Read gene `g`, with row totals in `a_sum`. Returns (statistics, size); a gene of size zero cannot be fitted."""
    size = 0.0
    for d in range(a_sum.shape[0]):
        s = 0.0
        for k in range(nd.ptr[d], nd.ptr[d + 1]):
            s += genes.A[g, k]
        a_sum[d] = s
        size += abs(s)
    over = slice(genes.over_ptr[g], genes.over_ptr[g + 1])
    ge = Gene(genes.A[g], a_sum, genes.tail[g], genes.over_value[over], genes.over_count[over])
    return ge, size


@allocating
def nodes_of(sets, g):
    """Read the node table of gene `g`."""
    own = g if sets.ec.shape[0] > 1 else 0
    return Nodes(sets.ptr, sets.ec[own], sets.weight[own])


@allocating
def row_sums(ar):
    """Room for the totals of a gene's rows."""
    return np.zeros(ar.XZ.shape[0])


@allocating
def new_work(ar, n_par, n_agq):
    """Allocate buffers for the border with beta, `n_par` outer parameters and `n_agq` nodes."""
    n_rows = ar.XZ.shape[0]
    nl = ar.XZ.shape[1]
    n_v = ar.q + ar.p
    nb = n_v - ar.q_head
    tt, B = new_inverse_work(ar, ar.p)
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
        ar.XZ.copy(),
        np.zeros((n_rows, nl)),
        np.zeros(ar.fac_lam[ar.fac_k.shape[0]]),
        new_pivots(ar, ar.p),
        np.zeros(nb * nb + 1),
        new_pivots(ar, ar.p),
        np.zeros(nb * nb + 1),
        tt,
        B,
        np.zeros(n_v),
        np.zeros(n_v),
        np.zeros(n_v),
        np.zeros(N_OUT),
        np.zeros((2, n_par)),
        np.zeros((n_agq, n_par + 2)),
        np.zeros((ar.p, ar.p)),
        np.zeros((3, n_agq, n_rows)),
        np.zeros((10, n_rows)),
    )
