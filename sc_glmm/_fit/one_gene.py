"""One gene by the path of all genes: the same rows, nodes, size factors and search, hence the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._compress.matrix import Matrix
from .._families.registry import Family
from .compress import CellGroup, Compressed, compress_groups
from .gaussian import GaussianParts, finish_gaussian
from .genes import AllFits, GeneModel, fit_all, prepare_genes, rescale
from .grid import refit_outside_grid
from .sizes import cell_offsets, finest_block

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class OneGene:
    """A gene and its fit.

    Attributes
    ----------
    cells
        The cells with their design.
    model, compressed, result, parts
        As in the run over all genes; `parts` for Gaussian responses only.
    offset
        ``(n_obs,)`` log size factors with the factors of the samples, or what is subtracted from a Gaussian response.
    """

    cells: CellGroup
    model: GeneModel
    compressed: Compressed
    result: AllFits
    parts: GaussianParts | None
    offset: FloatArray


def fit_one(
    matrix: Matrix,
    cells: CellGroup,
    family: Family,
    *,
    reml: bool,
    n_agq: int,
    log_sample_factors: Mapping[str, float],
) -> OneGene:
    """Fit the only column of `matrix` ``(n_cells of the object, 1)``.

    Parameters
    ----------
    log_sample_factors
        Level of the finest grouping factor -> log factor that its size factors were multiplied by; may be empty.
    """
    (compressed,) = compress_groups(matrix, [cells], family)
    model = prepare_genes(
        cells.design, compressed.rows, compressed.nodes, compressed.stats, family, reml=reml, n_agq=n_agq
    )
    if log_sample_factors:
        finest, levels = finest_block(model)
        model = rescale(model, np.array([log_sample_factors[level] for level in levels])[finest.codes])
    result, parts = fit_all(model), None
    if compressed.grid is not None:
        result = refit_outside_grid(matrix, cells, compressed, model, result, 1)
    if not family.counts:
        result, parts = finish_gaussian(model, result)
    offset = cell_offsets(cells, compressed, model) if family.counts else cells.offset
    return OneGene(cells, model, compressed, result, parts, offset)
