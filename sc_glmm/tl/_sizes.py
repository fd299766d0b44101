"""Size factors of all cells, as the user gave them or by default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._anndata import cut_note, obs_numbers
from .._compress.matrix import Matrix
from .._compress.size_factors import library_size
from .._compress.source import Source
from .._errors import InputError
from .._families.registry import Family
from .._fit.sizes import CellSizes, check_offset, check_size_factors, library_sizes
from .._formula import MixedFormula

if TYPE_CHECKING:
    from anndata import AnnData


def find_sizes(
    adata: AnnData,
    matrix: Matrix | Source,
    formula: MixedFormula,
    family: Family,
    size_factors: Any,
    offset: Any,
    *,
    n_jobs: int = 1,
    progress: bool | None = False,
) -> CellSizes:
    """Size factors as given or by default; only the default looks at the matrix."""
    if size_factors is not None and offset is not None:
        raise InputError(
            "size_factors and offset were both given; size_factors are linear, offset is their natural log: pass one"
        )
    everything = np.ones(adata.n_obs, dtype=bool)
    if not family.counts:
        if size_factors is not None:
            raise InputError("size_factors do not go with family='gaussian', whose response is not counts")
        if offset is None:
            return CellSizes(np.zeros(adata.n_obs), everything, False, "none", ())
        values = check_offset(obs_numbers(adata, offset, "offset"), everything, False)
        return CellSizes(values, everything, False, "offset", ())
    if size_factors is not None:
        values = obs_numbers(adata, size_factors, "size_factors")
        source = size_factors if isinstance(size_factors, str) else "given"
        return CellSizes(check_size_factors(values, everything), everything, False, source, ())
    if offset is not None:
        values = obs_numbers(adata, offset, "offset")
        source = f"offset {offset}" if isinstance(offset, str) else "offset"
        return CellSizes(check_offset(values, everything, True), everything, False, source, ())
    if formula.offsets:
        return CellSizes(np.zeros(adata.n_obs), everything, False, "offset(...) in the formula", ())
    library = library_size(matrix, check=isinstance(matrix, Source), n_jobs=n_jobs, progress=progress)
    note = cut_note(adata, library)
    return library_sizes(library, () if note is None else (note,))
