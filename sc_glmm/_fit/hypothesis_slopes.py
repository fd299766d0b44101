"""Compute how far hypotheses move slopes from those that nodes are around, and measure the error of the nodes there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._arrays import FloatArray
from .._compress.recentre import CountLists
from .centre import Centre, PlacedNodes


def slopes_tested(
    centre: Centre, beta: FloatArray, profiled: FloatArray, vcov: FloatArray, contrasts: Sequence[FloatArray]
) -> FloatArray:
    """Compute how far the slopes of profiles are from the slopes of the fits: free, and under each hypothesis.

    Random effects are held. If they adapt to a hypothesis, the slopes change less than that.

    Parameters
    ----------
    centre
        The rows.
    beta, vcov
        ``(n_genes, p)`` and ``(n_genes, p, p)`` of the fits that nodes are around.
    profiled
        ``(n_genes, p)`` at the likeliest node of the profiles.
    contrasts
        ``(q, p)`` each.

    Returns
    -------
    ``(1 + n_contrasts, n_genes, n_base, n_variables)``.
    """
    moves = [profiled - beta]
    for L in contrasts:
        spread = vcov @ L.T
        size = np.sqrt(np.maximum(np.einsum("qp,gpq->gq", L, spread), 0.0))
        # rows of a hypothesis may have very different units
        unit = np.where(size > 0.0, 1.0 / np.where(size > 0.0, size, 1.0), 0.0)
        covariance = (L @ spread) * unit[:, :, None] * unit[:, None, :]
        weight = np.linalg.pinv(np.nan_to_num(covariance), rcond=1e-10, hermitian=True)
        value = np.einsum("gqr,gr->gq", weight, (profiled @ L.T) * unit) * unit
        moves.append(moves[0] - np.einsum("gpq,gq->gp", spread, value))
    eta = np.nan_to_num(np.stack(moves)) @ centre.X.T
    n_moves, n_genes, n_rows = eta.shape
    change = centre.rows.slopes_of(eta.reshape(-1, n_rows))
    return change.reshape(n_moves, n_genes, *change.shape[1:])


def measured_error(
    centre: Centre,
    slopes: FloatArray,
    level: FloatArray,
    placed: PlacedNodes,
    gene: int,
    lists: CountLists,
    phi: float | None,
) -> float:
    """Measure the error of the log likelihood of a gene on nodes, at slopes that differ from those of the nodes.

    Parameters
    ----------
    centre
        The rows.
    slopes, level
        ``(n_base, n_variables)`` and ``(n_base,)`` of the predictor.
    placed, gene
        The nodes, and the position of the gene among those that they are for.
    lists
        Counts of these genes.
    phi
        The dispersion; None for Poisson counts.
    """
    rows = centre.rows
    cells = rows.cells
    base = np.repeat(np.arange(len(level)), np.diff(cells.ptr))
    used = cells.on_lattice[base] == 1
    at_cells = cells.offset + level[base] + np.sum(cells.v * slopes[base], axis=1)
    at_rows = level[rows.base_row] + np.sum(cells.point * slopes[rows.base_row], axis=1)
    row = np.repeat(np.arange(len(at_rows)), np.diff(placed.sets.ptr))
    on_nodes = cells.on_lattice[placed.base] == 1
    ec, weight, A = placed.sets.ec[gene], placed.sets.weight[gene], placed.stats.A[gene]
    mine = slice(*lists.ptr[gene : gene + 2])
    if phi is None:
        exact, ours = np.exp(at_cells), weight * np.exp(at_rows[row])
    else:
        y = np.zeros(len(at_cells))
        y[lists.cell[mine]] = lists.value[mine]
        exact = (y + 1.0 / phi) * np.log1p(phi * np.exp(at_cells))
        ours = (A + weight / phi) * np.log1p(phi * ec * np.exp(at_rows[row]))
    return abs(float(np.sum(exact[used]) - np.sum(ours[on_nodes])))
