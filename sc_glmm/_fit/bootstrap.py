"""Compute a parametric bootstrap of the likelihood ratio for named genes; it needs many fits, but no asymptotics.

The model is fitted under the null hypothesis by maximum likelihood. Counts of all cells are drawn from this fit, and
compressed like real counts. The model is then fitted to them with and without the null hypothesis. The simulated data
sets of one gene are treated as the "genes" of one matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .._arrays import FloatArray, IntArray
from .._compress import NodeTable, compress_counts
from .._compress.lists import GeneLists
from .._compress.matrix import rank_of_cells
from .._compress.recentre import CountLists
from .._engine import entry
from .._engine.genes import GeneFits
from .centre import CellData
from .compress import CellGroup, Compressed
from .genes import GeneModel, fit_all, prepare_genes
from .lrt import constrain
from .model import count_nodes, count_stats, engine_nodes
from .rows import design_rows, plain_rows
from .sizes import cell_offsets

# Largest number of simulated counts in memory.
_MAX_COUNTS = 20_000_000


def bootstrap_p_values(
    group: CellGroup,
    compressed: Compressed,
    model: GeneModel,
    L: FloatArray,
    genes: IntArray,
    *,
    n_boot: int,
    seed: int,
    n_jobs: int = 1,
) -> FloatArray:
    """Compute ``(n_genes,)`` bootstrap p-values ``(1 + #{LR* >= LR}) / (1 + B)`` of the named genes, NaN for others.

    B is `n_boot`, minus the number of data sets whose fits fail. The smallest possible p-value is 1 / (B + 1).
    """
    offset = cell_offsets(group, compressed, model)
    row_of, table, flat = _simulated_model(group, model, offset)
    p_value = np.full(len(model.stats), np.nan)
    for gene in genes.tolist():
        rng = np.random.default_rng([seed, gene])
        one = replace(model, reml=False, stats=model.stats.take(gene, gene + 1), cells=_cells_of(model, gene))
        null = constrain(one, L)
        fits = fit_all(null).fits
        observed = float(_ratio(fit_all(one).fits, fits)[0])
        if not np.isfinite(observed) or fits.status[0] != entry.OK:
            continue
        n_larger, n_valid, remaining = 0, 0, n_boot
        while remaining > 0:
            n = min(remaining, max(_MAX_COUNTS // len(offset), 1))
            simulated = _simulate(constrain(flat, L), fits, row_of, offset, n, rng)
            ratios = _refit(flat, table, offset, simulated, L, n_jobs)
            good = np.isfinite(ratios)
            n_larger += int(np.sum(ratios[good] >= observed - 1e-9))
            n_valid += int(good.sum())
            remaining -= n
        p_value[gene] = (1 + n_larger) / (1 + n_valid)
    return p_value


@dataclass(frozen=True)
class _OneList:
    """The counts of a model with a single gene."""

    counts: CountLists

    def pick(self, genes: IntArray) -> CountLists:
        return self.counts


def _cells_of(model: GeneModel, gene: int) -> CellData | None:
    """Build the cell data of a model with this gene only; None for a model without covariates of cells."""
    lists = model.lists(np.array([gene]))
    return None if model.cells is None or lists is None else replace(model.cells, lists=_OneList(lists))


def _simulated_model(group: CellGroup, model: GeneModel, offset: FloatArray) -> tuple[IntArray, NodeTable, GeneModel]:
    """Prepare the row of each cell, the node table and the model for simulated counts, without statistics.

    If covariates differ between cells, the nodes are those of the real counts, and the rows are those of all cells.
    """
    if model.cells is not None:
        table = model.cells.rows.table
        return table.order, table, replace(model, reml=False, stats=model.stats.take(0, 0))
    rows = design_rows(group.design)
    table = count_nodes(model.family)(rows.row_of, rows.n_rows, offset)
    flat = prepare_genes(
        group.design,
        plain_rows(rows),
        engine_nodes(table),
        model.stats.take(0, 0),
        model.family,
        reml=False,
        n_agq=model.n_agq,
    )
    return rows.row_of, table, flat


def _ratio(full: GeneFits, null: GeneFits) -> FloatArray:
    ratio = np.maximum(2.0 * (full.loglik - null.loglik), 0.0)
    return np.where((full.status == entry.OK) & (null.status == entry.OK), ratio, np.nan)


def _simulate(
    null: GeneModel, fits: GeneFits, row_of: IntArray, offset: FloatArray, n: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw ``(n_obs, n)`` counts from the fit under the null hypothesis, with new random effects in each column."""
    eta = np.repeat((null.rows.X @ fits.beta[0])[:, None], n, axis=1)
    for block, lam in zip(null.structure.blocks, fits.Lambda, strict=True):
        b = rng.normal(size=(n, block.n_levels, lam.shape[1])) @ lam[0].T
        eta += np.einsum("nrk,rk->rn", b[:, block.codes, :], block.Z)
    if null.cells is None:
        eta = eta[row_of]
    else:
        at_cells = np.empty((len(offset), n))
        at_cells[row_of] = null.cells.rows.at_cells(eta)
        eta = at_cells
    mu = np.exp(eta + offset[:, None])
    if null.family.has_dispersion:
        phi = float(np.exp(fits.log_dispersion[0]))
        if phi > 1e-6:
            mu = rng.gamma(1.0 / phi, phi, size=mu.shape) * mu
    return rng.poisson(mu).astype(np.int32)


def _refit(
    flat: GeneModel, table: NodeTable, offset: FloatArray, counts: NDArray[np.int32], L: FloatArray, n_jobs: int
) -> FloatArray:
    compressed = compress_counts(counts, table, offset, n_jobs=n_jobs)
    cells, stats = None, count_stats(compressed)
    if flat.cells is not None:
        rank, genes = rank_of_cells(table.order, len(offset)), np.arange(counts.shape[1])
        cells = replace(flat.cells, lists=GeneLists(counts, rank, genes, compressed.n_nonzero))
    full = replace(flat, stats=stats, cells=cells)
    return _ratio(fit_all(full, n_jobs=n_jobs).fits, fit_all(constrain(full, L), n_jobs=n_jobs).fits)
