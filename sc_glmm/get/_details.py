"""What became of each group of cells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd

from .._adata.mudata import results_in
from .._adata.stored import read_details

if TYPE_CHECKING:
    from anndata import AnnData


def details(adata: AnnData | str | os.PathLike[str], key: str = "glmm") -> pd.DataFrame:
    """One row per group of cells, tested or not.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test` with `groupby`; or the path of an ``.h5ad`` file or a zarr
        store with results.
    key
        Its `key_added`; ``"rna:glmm"`` names the modality of a MuData as well, if several have results.

    Returns
    -------
    A frame with

    the column of `groupby`
        The group.
    ``n_cells``
        Cells used.
    ``n_<group>``
        Levels of each grouping factor, such as ``n_sample``.
    ``n_<sample>[<factor>: <level>]``
        Samples (levels of the finest grouping factor) with cells in each arm: ``n_sample[disease: AD]``.
    ``n_tested``, ``n_failed``
        Genes with a p-value for some contrast; genes with counts whose fit failed.
    ``n_ok``, ``n_singular``, ...
        Genes of each status.
    ``eigen_ratio``
        How correlated the genes are between samples: the largest over the median eigenvalue of the covariance of their
        residuals, about 1 where they are independent (by chance more with few genes). NaN without a moderated test.
    ``dropped``
        Terms of the formula that are constant in the group, and were left out.
    ``not_tested``
        Contrasts that the group does not have, and why.
    ``skipped``
        Why the group was not fitted; empty if it was.

    Raises
    ------
    InputError
        If there are no results of groups under `key`.
    """
    return read_details(*results_in(adata, key))
