"""Compute how far hypotheses move slopes from those that nodes are around, and measure the error of the nodes there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._arrays import FloatArray, IntArray
from .._compress.recentre import CountLists
from .centre import Centre, PlacedNodes

# Error of a restricted log likelihood for a relative error of the information at the farthest cell; others are closer.
INFORMATION = 0.1


def coefficients_tested(profiled: FloatArray, vcov: FloatArray, contrasts: Sequence[FloatArray]) -> FloatArray:
    """Compute the coefficients of profiles: free, and under each hypothesis.

    Parameters
    ----------
    profiled
        ``(n_genes, n_grid, p)`` of the free profiles.
    vcov
        ``(n_genes, p, p)`` of the fits that nodes are around.
    contrasts
        ``(q, p)`` each.

    Returns
    -------
    ``(1 + n_contrasts, n_genes, n_grid, p)``.
    """
    found = [profiled]
    for L in contrasts:
        spread = vcov @ L.T
        size = np.sqrt(np.maximum(np.einsum("qp,gpq->gq", L, spread), 0.0))
        # rows of a hypothesis may have very different units
        unit = np.where(size > 0.0, 1.0 / np.where(size > 0.0, size, 1.0), 0.0)
        covariance = (L @ spread) * unit[:, :, None] * unit[:, None, :]
        weight = np.linalg.pinv(np.nan_to_num(covariance), rcond=1e-10, hermitian=True)
        value = ((profiled @ L.T) * unit[:, None, :]) @ weight * unit[:, None, :]
        found.append(profiled - value @ spread.swapaxes(1, 2))
    return np.stack(found)


def slopes_at(centre: Centre, beta: FloatArray) -> FloatArray:
    """Compute the ``(..., n_base, n_variables)`` slopes of fixed effects ``beta (..., p)``, without random effects."""
    of_columns = centre.rows.slopes_of(centre.X.T)
    slopes = np.nan_to_num(beta) @ of_columns.reshape(len(of_columns), -1)
    return np.ascontiguousarray(slopes.reshape(*beta.shape[:-1], *of_columns.shape[1:]))


def bound_errors(
    centre: Centre, moves: FloatArray, counts: FloatArray, weight: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Bound the errors of restricted log likelihoods over the grid.

    Parameters
    ----------
    centre
        The rows.
    moves
        ``(n_hypotheses, n_genes, n_grid, n_base, n_variables)`` differences of slopes from those of the nodes.
    counts
        ``(n_genes, n_base)`` sums of counts in the base rows.
    weight
        ``(n_genes, n_grid)`` weights of the nodes of the grid, by which their errors are multiplied.

    Returns
    -------
    error
        ``(n_hypotheses, n_genes)`` largest errors.
    worst
        ``(n_hypotheses, n_genes)`` nodes of the grid with the largest errors.
    """
    gene, node = np.nonzero(weight)
    error = np.zeros((len(moves), *weight.shape))
    for i, change in enumerate(moves[:, gene, node]):
        value, information = centre.rows.error_of(change, counts[gene]), centre.rows.curvature_error_of(change)
        error[i, gene, node] = weight[gene, node] * np.maximum(value, INFORMATION * information)
    return error.max(axis=2), error.argmax(axis=2)


def measured_error(
    centre: Centre,
    slopes: FloatArray,
    level: FloatArray,
    placed: PlacedNodes,
    gene: int,
    lists: CountLists,
    phi: float | None,
) -> float:
    """Measure the error of a restricted log likelihood on nodes, at slopes that differ from those of the nodes.

    It is the larger error of the log likelihood and of half the log determinant of the information on fixed effects.

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
    if phi is None:
        exact = information = np.exp(at_cells)
        ours = our_information = weight * np.exp(at_rows[row])
    else:
        y = np.zeros(len(at_cells))
        cell, count = lists.of(gene)
        y[cell] = count
        odds, our_odds = phi * np.exp(at_cells), phi * ec * np.exp(at_rows[row])
        total, our_total = y + 1.0 / phi, A + weight / phi
        exact, ours = total * np.log1p(odds), our_total * np.log1p(our_odds)
        information, our_information = total * odds / (1.0 + odds) ** 2, our_total * our_odds / (1.0 + our_odds) ** 2
    value = abs(float(np.sum(exact[used]) - np.sum(ours[on_nodes])))
    on_cells = centre.X_of_cells
    whole = (on_cells * information[:, None]).T @ on_cells
    per_row = np.bincount(row[on_nodes], our_information[on_nodes], len(at_rows))
    rest = ~used
    our_whole = (centre.X * per_row[:, None]).T @ centre.X + (on_cells[rest] * information[rest, None]).T @ on_cells[
        rest
    ]
    (sign, size), (our_sign, our_size) = np.linalg.slogdet(whole), np.linalg.slogdet(our_whole)
    return max(value, 0.5 * abs(float(size - our_size))) if sign > 0.0 and our_sign > 0.0 else np.inf
