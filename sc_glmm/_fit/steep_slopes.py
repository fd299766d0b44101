"""Genes with a slope in the covariate beyond the range of the grid are fitted on their cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .._compress import chebyshev_nodes, compress_counts
from .._compress.matrix import Matrix
from .._compress.source import Source
from .compress import CellGroup, Compressed
from .genes import AllFits, GeneModel, fit_all, prepare_genes, put_fits
from .model import count_stats, engine_nodes
from .rows import design_rows, plain_rows
from .sizes import cell_offsets


def steep_genes(compressed: Compressed, result: AllFits) -> NDArray[np.int64]:
    """Genes with a fixed slope beyond the grid's bound."""
    grid = compressed.grid
    if grid is None:
        return np.zeros(0, dtype=np.int64)
    distinct = np.unique(grid.dX, axis=0)
    slopes = np.abs(np.nan_to_num(result.fits.beta) @ distinct.T).max(axis=1, initial=0.0)
    return np.flatnonzero(slopes > grid.slope_checked)


def refit_outside_grid(
    matrix: Matrix | Source,
    group: CellGroup,
    compressed: Compressed,
    model: GeneModel,
    result: AllFits,
    n_jobs: int,
    first_gene: int = 0,
) -> AllFits:
    """Replace the fits of genes with steep slopes by fits on the cells; all others stay as they are.

    The genes of `model` are the columns of `matrix` from `first_gene` on.
    """
    genes = steep_genes(compressed, result)
    if len(genes) == 0 or compressed.grid is None:
        return result
    rows = design_rows(group.design)
    # the size factors of the model: those of the cells, times the factors of their samples
    offset = cell_offsets(group, compressed, model)
    table = chebyshev_nodes(rows.row_of, rows.n_rows, offset)
    stats = compress_counts(matrix, table, offset, obs_index=group.cells, genes=genes + first_gene, n_jobs=n_jobs)
    cells = prepare_genes(
        group.design,
        plain_rows(rows),
        engine_nodes(table),
        count_stats(stats),
        model.family,
        reml=model.reml,
        n_agq=model.n_agq,
    )
    again = fit_all(cells, n_jobs=n_jobs)
    put_fits(again.fits, genes, result.fits)
    separations = {g: s for g, s in result.separations.items() if g not in set(genes.tolist())}
    separations.update({int(genes[g]): s for g, s in again.separations.items()})
    return replace(result, separations=separations)
