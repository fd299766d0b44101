"""Read the fit of every gene."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd

from .._adata.mudata import results_in
from .._adata.stored import read_fit_info

if TYPE_CHECKING:
    from anndata import AnnData


def fit_info(adata: AnnData | str | os.PathLike[str], key: str = "glmm") -> pd.DataFrame:
    """Get the fit of every gene, with one row per gene (and group).

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        `key_added` of the run. If several modalities of a MuData have results, also with the modality: ``"rna:glmm"``.

    Returns
    -------
    A data frame in the order of the genes, with

    ``variable``
        Gene. With `groupby`, the column of the groups comes first.
    ``status``, ``message``, ``converged``, ``singular``, ``separated``
        Status of the fit; see :func:`sc_glmm.tl.test`.
    ``n_iter``, ``loglik``
        Number of evaluations of the objective function; maximum of the (restricted) log likelihood.
    ``mean``, ``pct``, ``baseMean``, ``total``
        Mean count per cell; percentage of cells with a count; the mean again, by the name that other packages use; sum
        of the counts.
    ``dispersion``, ``dispersion_at_bound``, ``phi_from_trend``
        phi in the variance ``mu + phi mu^2``; whether it is at a limit of its range; whether it comes from the trend
        over abundance.
    ``log_dispersion_se``
        Standard error of the natural log of the estimated dispersion; NaN at a limit of the range.
    ``sd_<group>``, ``sd_<group>_eb``, ``sd_<group>_eb_low``, ``sd_<group>_eb_high``, ``p_sd_<group>``
        Standard deviation of the random effects (natural log) by restricted maximum likelihood; its posterior mean
        under the prior from all genes, with the 5 and 95 % quantiles of the posterior; and a p-value for the hypothesis
        that this variance is zero. The p-value comes from Cochran's Q. With several variances, or covariates of cells,
        it comes from the restricted likelihood ratio, which is conservative with few samples. The last four columns
        need a moderated test, and exist for the variances on which a tested contrast depends. With several columns per
        group, their names are ``sd_<group>_<column>_eb`` and so on.
    ``extreme_<group>``, ``extreme_<group>_z``, ``n_empty_<group>``
        Sample with the largest random effect, and this effect in standard deviations, to find results that depend on a
        single sample; number of samples without a count.
    ``information``
        Information of the counts about the effect of a sample, median over samples. It is about the number of counts of
        a sample, minus the loss by overdispersion.
    ``share_<group>``
        Fraction of the variation of the estimated sample effects that is true variation between samples, and not noise
        of the counts, in the median sample (with one variance on the grid). Near 0, more cells help; near 1, only more
        samples help.
    ``more_variable``
        Whether the gene varies more between samples than other genes of similar abundance. The p-values of such genes
        tend to be too small.
    ``n_agq``
        Number of quadrature nodes (1: Laplace approximation).
    ``coef_<name>``, ``se_<name>``
        Every fixed effect and its standard error (natural log).

    Raises
    ------
    InputError
        If there are no results under `key`.
    """
    return read_fit_info(*results_in(adata, key))
