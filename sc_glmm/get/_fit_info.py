"""The facts of every gene's fit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd

from .._adata.mudata import results_in
from .._adata.stored import read_fit_info

if TYPE_CHECKING:
    from anndata import AnnData


def fit_info(adata: AnnData | str | os.PathLike[str], key: str = "glmm") -> pd.DataFrame:
    """One row per gene (and group), in the order of the genes: what the fit says beside its tests.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        Its `key_added`; ``"rna:glmm"`` names the modality of a MuData as well, if several have results.

    Returns
    -------
    A frame with

    ``variable``
        Gene. With `groupby`, its column comes first.
    ``status``, ``message``, ``converged``, ``singular``, ``separated``
        What became of the gene; see :func:`sc_glmm.tl.test`.
    ``n_iter``, ``loglik``
        Evaluations of the objective; maximised (restricted) log likelihood.
    ``mean``, ``pct``, ``baseMean``, ``total``
        Mean count per cell, percentage of cells with a count, the mean again under the name that other packages use,
        and the sum of the counts.
    ``dispersion``, ``dispersion_at_bound``, ``phi_from_trend``
        phi of ``mu + phi mu^2``; whether it is at the end of its range; whether it was taken from the trend over
        abundance.
    ``log_dispersion_se``
        Standard error of the natural log of the estimated dispersion; NaN at a bound.
    ``sd_<group>``, ``sd_<group>_eb``, ``sd_<group>_eb_low``, ``sd_<group>_eb_high``, ``p_sd_<group>``
        Standard deviation of the random effects (natural log) by restricted maximum likelihood; its posterior mean
        under the prior from all genes, with the 5 and 95 % points of the posterior; p-value of no such variance (by
        Cochran's Q; with several variances, or covariates of cells, by the restricted likelihood ratio, which is
        conservative with few samples). The last four after moderated tests, for the variances that matter for a tested
        contrast; with several columns per group, ``sd_<group>_<column>_eb`` and so on.
    ``extreme_<group>``, ``extreme_<group>_z``, ``n_empty_<group>``
        The sample whose random effect is the largest, and how large in standard deviations: one sample that carries a
        result; the number of samples without a count.
    ``information``
        Median over samples of the information that counts hold on a sample's effect: about the counts of a sample,
        less what overdispersion takes.
    ``share_<group>``
        Of the spread of the samples' estimated effects, the share that is variation between samples and not noise of
        their counts, in the median sample (with one variance on the grid). Near 0 more cells help, near 1 only samples.
    ``more_variable``
        More variable between samples than genes of this abundance: p-values of such genes are liberal.
    ``n_agq``
        Quadrature nodes (1: Laplace).
    ``coef_<name>``, ``se_<name>``
        Every fixed effect, natural log.

    Raises
    ------
    InputError
        If there are no results under `key`.
    """
    return read_fit_info(*results_in(adata, key))
