"""Sum counts by sample."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._compress.sums import cells_by_level, sums_by_level
from .._display import warn_notes
from .._errors import InputError
from ._read import constant_columns, cross, read_factor, read_matrix

if TYPE_CHECKING:
    from anndata import AnnData


def pseudobulk(
    adata: AnnData,
    sample_key: str,
    *,
    groupby: str | None = None,
    layer: str | None = None,
    min_cells: int = 1,
) -> AnnData:
    """Sum the counts over the cells of each sample, or of each cell type of each sample.

    Use it for comparisons with other methods, and for tools that need one profile per sample. :func:`sc_glmm.tl.test`
    does not need it. Its models use the single cells, whose number and variation a sum no longer contains.

    Parameters
    ----------
    adata
        Annotated data with raw counts.
    sample_key
        Column of ``.obs`` with the sample of each cell.
    groupby
        Second column of ``.obs`` to sum by, such as the cell type.
    layer
        Layer with the counts. Default: ``.X``.
    min_cells
        Profiles with fewer cells are left out, and a warning reports their number.

    Returns
    -------
    AnnData
        One row for each sample (and group) with cells, named ``sample`` or ``sample_group``:

        ``.X``
            Sums, in double precision; sparse if the counts are sparse.
        ``.layers["psbulk_props"]``
            Fraction of cells with a count of the gene.
        ``.obs``
            The columns of `adata` that are constant within each row, ``psbulk_cells`` (number of cells) and
            ``psbulk_counts`` (sum of all counts). decoupler uses the same names, so its ``filter_samples`` and other
            functions accept the result.
        ``.var``
            As in `adata`.

    Raises
    ------
    InputError
        If a column or layer does not exist, or if no profile remains.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=300, n_genes=50)
    >>> bulk = sc_glmm.pp.pseudobulk(adata, "sample", layer="counts")
    >>> bulk.shape, list(bulk.obs.columns)
    ((6, 50), ['sample', 'donor', 'disease', 'psbulk_cells', 'psbulk_counts'])
    """
    from anndata import AnnData

    matrix = read_matrix(adata, layer)
    keys = [sample_key] if groupby is None else [sample_key, groupby]
    codes, levels = cross([read_factor(adata, key) for key in keys])
    notes = []
    if (codes < 0).any():
        notes.append(f"{int((codes < 0).sum())} cells without a value in {' or '.join(keys)} were left out")
    n_cells = np.bincount(codes[codes >= 0], minlength=len(levels))
    few = np.flatnonzero(n_cells < min_cells)
    if len(few):
        notes.append(f"{len(few)} of {len(levels)} profiles have fewer than {min_cells} cells and were left out")
        place = np.full(len(levels), -1, dtype=np.int64)
        large = np.flatnonzero(n_cells >= min_cells)
        place[large] = np.arange(len(large))
        codes = np.where(codes < 0, -1, place[codes])
        levels, n_cells = [levels[i] for i in large], n_cells[large]
    if not levels:
        raise InputError(
            f"no profile remains, because all {len(few)} have fewer than min_cells={min_cells} cells: reduce min_cells="
        )
    sums = sums_by_level(matrix, codes, len(levels))
    n_expressing = cells_by_level(matrix, codes, len(levels))
    if isinstance(n_expressing, np.ndarray):
        props = n_expressing / n_cells[:, None]
    else:
        props = n_expressing.multiply(1.0 / n_cells[:, None]).tocsr()
    cells: Any = adata.obs
    obs = constant_columns(cells, codes, len(levels))
    obs["psbulk_cells"] = n_cells.astype(np.int64)
    obs["psbulk_counts"] = np.asarray(sums.sum(axis=1), dtype=np.float64).reshape(-1)
    obs.index = pd.Index(_names(levels))
    warn_notes(notes)
    var: Any = adata.var.copy()
    return AnnData(X=sums, obs=obs, var=var, layers={"psbulk_props": props})


def _names(levels: list[tuple[str, ...]]) -> list[str]:
    """Make row names ``sample_group``; duplicates get a number."""
    plain = ["_".join(level) for level in levels]
    total, so_far, out = Counter(plain), Counter[str](), []
    for name in plain:
        so_far[name] += 1
        out.append(name if total[name] == 1 else f"{name}_{so_far[name]}")
    return out
