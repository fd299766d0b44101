"""Copy an AnnData."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData


def copy_of(adata: AnnData) -> AnnData:
    """Copy an object with all its entries.

    Scipy cannot copy sparse matrices in a foreign byte order. They are converted to the byte order of the machine.
    """
    held: Any = adata
    matrices = {str(name): matrix for name, matrix in held.layers.items() if name is not None}
    if held.is_view or not any(map(_is_foreign, [held.X, *matrices.values()])):
        return adata.copy()
    from anndata import AnnData

    fresh: Any = AnnData(
        obs=held.obs.copy(),
        var=held.var.copy(),
        uns=deepcopy(dict(held.uns)),
        **{name: dict(getattr(held, name)) for name in ("obsm", "varm", "obsp", "varp")},
    ).copy()
    if held.X is not None:
        fresh.X = _native(held.X)
    for name, matrix in matrices.items():
        fresh.layers[name] = _native(matrix)
    if held.raw is not None:
        fresh.raw = held.raw.to_adata()
    result: AnnData = fresh
    return result


def _parts(matrix: Any) -> list[Any]:
    return [getattr(matrix, name, None) for name in ("data", "indices", "indptr")]


def _is_foreign(matrix: Any) -> bool:
    return any(isinstance(part, np.ndarray) and not part.dtype.isnative for part in _parts(matrix))


def _native(matrix: Any) -> Any:
    """Copy a matrix; convert a sparse one in a foreign byte order to the byte order of the machine."""
    if not _is_foreign(matrix) or isinstance(matrix, np.ndarray):
        return matrix.copy()
    parts = (part.astype(part.dtype.newbyteorder("=")) for part in _parts(matrix))
    return type(matrix)(tuple(parts), shape=matrix.shape)
