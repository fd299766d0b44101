"""Summarise each group of cells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd

from .._adata.mudata import results_in
from .._adata.stored import read_details

if TYPE_CHECKING:
    from anndata import AnnData


def details(adata: AnnData | str | os.PathLike[str], key: str = "glmm") -> pd.DataFrame:
    """Get one row per group of cells: its size, its status, and the reason if it was skipped; one row without groups.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        `key_added` of the run. If several modalities of a MuData have results, also with the modality: ``"rna:glmm"``.

    Returns
    -------
    A data frame with

    the column of `groupby`
        The group, if there are groups.
    ``n_cells``
        Number of cells used.
    ``n_<group>``
        Number of levels of each grouping factor, such as ``n_sample``.
    ``n_<sample>[<factor>: <level>]``
        Number of samples (levels of the finest grouping factor) with cells in each arm: ``n_sample[disease: AD]``.
    ``n_tested``, ``n_failed``
        Number of genes with a p-value for at least one contrast; number of genes with counts whose fit or test failed.
    ``n_ok``, ``n_singular``, ...
        Number of genes with each status.
    ``eigen_ratio``
        Correlation of the genes between samples: the ratio of the largest and the median eigenvalue of the covariance
        of their residuals. It is about 1 if genes are independent (larger by chance with few genes). NaN without a
        moderated test.
    ``sample_factor_shift``
        Largest correction of a sample's size factors for composition (natural log); 0 if you passed size factors.
    ``dropped``
        Terms of the formula that were dropped because they are constant within the group.
    ``columns_dropped``
        Columns that were dropped from the design because they depend on other columns in this group.
    ``not_tested``
        Contrasts that cannot be tested in the group, with the reasons.
    ``skipped``
        Reason why the group was skipped; empty if it was fitted.

    Raises
    ------
    InputError
        If there are no results under `key`.
    """
    return read_details(*results_in(adata, key))
