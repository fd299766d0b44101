"""Filter genes by the number of cells and samples that express them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.copy import copy_of
from .._compress.sums import cells_by_level
from .._display import logger, warn_notes
from .._display.arguments import check_choice
from .._errors import InputError
from ._read import cross, read_counts, read_factor

if TYPE_CHECKING:
    from anndata import AnnData


def filter_genes(
    adata: AnnData,
    sample_key: str,
    *,
    groupby: str | Sequence[str] | None = None,
    min_cells: int = 10,
    min_samples: int = 2,
    arms: Literal["any", "all"] = "any",
    layer: str | None = None,
    key_added: str = "expressed",
    subset: bool = False,
    copy: bool = False,
) -> AnnData | None:
    """Find genes that are expressed in enough cells of enough samples.

    A gene passes in an arm (a level of `groupby`) if at least `min_cells` cells of the arm express it, and if these
    cells come from at least `min_samples` samples. By default, one arm is enough, because a gene that only treated
    cells express is of interest. A disadvantage is that, near the limits, genes whose arms differ by chance pass more
    easily. Without `groupby`, the filter ignores the arms and does not have this disadvantage.

    :func:`sc_glmm.tl.test` does not need a filter. A filter saves time, and it removes genes that cannot become
    significant from the multiple-testing adjustment. Compute size factors first, because they must come from all genes.

    Parameters
    ----------
    adata
        Annotated data with raw counts.
    sample_key
        Column of ``.obs`` with the sample of each cell.
    groupby
        Column of ``.obs`` with the arms, such as the condition. With several columns, the arms are their combinations.
        Default: one arm.
    min_cells
        Minimum number of cells of an arm that express the gene.
    min_samples
        Minimum number of samples of the arm with such a cell.
    arms
        ``"any"``: one arm is enough; ``"all"``: the gene must pass in every arm.
    layer
        Layer with the counts. Default: ``.X``.
    key_added
        Column of ``.var`` for the result.
    subset
        Keep only the genes that pass, as scanpy's ``filter_genes`` does. By default, they are only marked.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    None, or the new AnnData with ``copy=True``. The number of genes that pass is logged. The columns written are

    ``.var[key_added]``
        Whether the gene passes.
    ``.var[key_added + "_cells"]``, ``.var[key_added + "_samples"]``
        Number of cells with a count, and number of samples with such a cell, over all arms.

    Raises
    ------
    InputError
        If a column or layer does not exist, if the values are not counts, or, with `subset`, if no gene passes.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=300, n_genes=50)
    >>> sc_glmm.pp.filter_genes(adata, "sample", groupby="disease", layer="counts")
    >>> int(adata.var["expressed"].sum())
    46
    """
    check_choice("arms", arms, ("any", "all"))
    if min_cells < 0 or min_samples < 0:
        raise InputError(f"min_cells={min_cells}, min_samples={min_samples}: both must be at least 0.")
    matrix = read_counts(adata, layer, "filter_genes needs counts, because a cell expresses a gene if it has a count")
    columns = [] if groupby is None else [groupby] if isinstance(groupby, str) else list(groupby)
    codes, levels = cross([read_factor(adata, key) for key in (*columns, sample_key)])
    arm_names = list(dict.fromkeys(level[:-1] for level in levels))
    arm_of = np.array([arm_names.index(level[:-1]) for level in levels], dtype=np.int64)
    cells, samples = _per_arm(cells_by_level(matrix, codes, len(levels)), arm_of, len(arm_names))
    _check_reachable(np.bincount(arm_of), min_samples, arms, sample_key)
    passes = (cells >= min_cells) & (samples >= min_samples)
    expressed = passes.any(axis=0) if arms == "any" else passes.all(axis=0)
    if subset and not expressed.any():
        raise InputError(
            f"none of the {adata.n_vars} genes passes min_cells={min_cells} and min_samples={min_samples}; the best "
            f"gene has {int(cells.max(initial=0))} cells in an arm. Reduce the limits."
        )
    target = copy_of(adata) if copy else adata
    if (codes < 0).any():
        warn_notes(
            [f"{int((codes < 0).sum())} cells without a value in {', '.join([*columns, sample_key])} were ignored"]
        )
    target.var[key_added] = expressed
    target.var[f"{key_added}_cells"] = cells.sum(axis=0).astype(np.int64)
    target.var[f"{key_added}_samples"] = samples.sum(axis=0).astype(np.int64)
    scope = f"{arms} of {len(arm_names)} arms" if columns else "all cells"
    logger.info(
        "filter_genes: %s of %s genes are expressed in at least %d cells and %d samples (%s)%s",
        f"{int(expressed.sum()):,}",
        f"{adata.n_vars:,}",
        min_cells,
        min_samples,
        scope,
        "; the others were removed" if subset else f"; see .var[{key_added!r}]",
    )
    if subset:
        target._inplace_subset_var(expressed)
    return target if copy else None


def _per_arm(n_expressing: object, arm_of: np.ndarray, n_arms: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (n_arms, n_genes) numbers of cells with a count, and numbers of samples with such a cell."""
    dense = n_expressing if isinstance(n_expressing, np.ndarray) else n_expressing.toarray()  # type: ignore[attr-defined]
    cells, samples = np.zeros((n_arms, dense.shape[1])), np.zeros((n_arms, dense.shape[1]))
    np.add.at(cells, arm_of, dense)
    np.add.at(samples, arm_of, dense > 0)
    return cells, samples


def _check_reachable(n_samples: np.ndarray, min_samples: int, arms: str, sample_key: str) -> None:
    """Raise an error if the arms have too few samples for any gene to pass."""
    most = int(n_samples.max() if arms == "any" else n_samples.min())
    if min_samples > most:
        raise InputError(
            f"no gene can pass min_samples={min_samples}, because the {'largest' if arms == 'any' else 'smallest'} arm "
            f"has {most} levels of {sample_key!r}. Reduce min_samples."
        )
