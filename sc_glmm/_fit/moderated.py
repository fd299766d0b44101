"""Moderate tests: estimate a prior of the variances that matter from the profiles of all genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import chi2

from .._arrays import BoolArray, FloatArray, IntArray
from .._design import finest
from .._engine.grid_profiles import Profiles
from .._inference.prior import VariancePrior, abundance_rank, fit_prior, posterior_weights
from .._inference.prior_of_few import fit_prior_of_few
from .._inference.quasi import scaled_t, squeeze
from .genes import AllFits, GeneModel
from .grid_choice import VarianceGrid
from .information import eigen_ratio
from .profiles import GeneProfiles, ProfilePlan
from .totals import GeneTotals

Root = Literal["star", "wald"]

# Fewer genes are too few to estimate a prior.
MIN_GENES = 50
# Abundance strata of the moderated quasi-likelihood test.
_QL_STRATA = 5


@dataclass(frozen=True)
class Moderation:
    """Quantities that the tests of all contrasts share.

    Attributes
    ----------
    grid
        The grid of the variances.
    prior
        Distribution of the variances over genes; None if there are too few genes to estimate it.
    weights
        ``(n_genes, n_grid)`` posterior of each gene; NaN without a profile or prior.
    profiles
        The profiles.
    log_dispersion, phi_from_trend, n_agq
        ``(n_genes,)`` fixed log dispersion, whether it comes from the trend, and number of quadrature nodes.
    information
        ``(n_genes,)`` median over samples of the information on their effects.
    variance_mean
        ``(n_genes, n_chosen)`` posterior means of the variances, for columns of Z in their own units.
    surprising
        ``(n_genes,)`` whether a posterior mean lies beyond the 95 % quantile of the prior. Such genes vary more than
        other genes of the same abundance, and their p-values tend to be too small.
    on_cells, error
        ``(n_genes,)`` genes profiled on their cells, and estimated errors of the log likelihoods of the others.
    eigen_ratio
        Largest over median eigenvalue of the covariance of residuals between samples over genes: about 1 for
        independent genes.
    """

    grid: VarianceGrid
    prior: VariancePrior | None
    weights: FloatArray
    profiles: Profiles
    log_dispersion: FloatArray
    phi_from_trend: BoolArray
    n_agq: IntArray
    information: FloatArray
    variance_mean: FloatArray
    surprising: BoolArray
    on_cells: BoolArray
    error: FloatArray
    eigen_ratio: float


def moderate(
    model: GeneModel,
    result: AllFits,
    plan: ProfilePlan,
    gene_profiles: GeneProfiles,
    stored_prior: tuple[VariancePrior | None, FloatArray] | None = None,
    few: bool = False,
) -> Moderation:
    """Estimate the prior (from at least 50 genes) and the posterior of each gene.

    Parameters
    ----------
    model
        The model; its statistics are not used.
    result, plan, gene_profiles
        Fits, plan and profiles of all genes.
    stored_prior
        The prior of an earlier run over all genes (None if it has none), and the ``(n_genes,)`` abundance ranks of the
        genes in that run. With it, any genes are enough.
    few
        Whether fewer than 50 genes also get a prior, with a parametric form (:mod:`.._inference.prior_of_few`).
    """
    profiles, grid, n_genes = gene_profiles.profiles, plan.grid, len(plan.usable)
    restricted = profiles.ell - 0.5 * profiles.log_det
    good = profiles.ok & np.isfinite(restricted).all(axis=1)
    prior, weights = None, np.full(restricted.shape, np.nan)
    surprising = np.zeros(n_genes, dtype=bool)
    if stored_prior is not None:
        prior, rank = stored_prior[0], stored_prior[1][good]
    elif good.sum() >= MIN_GENES:
        rank = abundance_rank(plan.abundance[good])
        prior = fit_prior(restricted[good], rank, grid.shape)
    elif few and good.any():
        rank = abundance_rank(plan.abundance[good])
        prior = fit_prior_of_few(restricted[good], rank, grid.variance, grid.shape)
    if prior is not None:
        at_rank = prior.at(rank)
        weights[good] = posterior_weights(restricted[good], at_rank)
        surprising[good] = _surprising(weights[good], at_rank, grid)
    variance_mean = (weights @ grid.variance) * grid.unit
    return Moderation(
        grid=grid,
        prior=prior,
        weights=weights,
        profiles=profiles,
        log_dispersion=plan.log_dispersion,
        phi_from_trend=plan.phi_from_trend,
        n_agq=gene_profiles.n_agq,
        information=gene_profiles.information,
        variance_mean=variance_mean,
        surprising=surprising,
        on_cells=gene_profiles.on_cells,
        error=gene_profiles.error,
        eigen_ratio=eigen_ratio(model, result, plan.log_dispersion),
    )


def contrast_roots(moderation: Moderation, i: int, root: Root) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ``(n_genes, n_grid)`` estimates, variances and signed roots against zero of contrast i, which has one row.

    The root is r* (``"star"``) or Wald's statistic.
    """
    delta, var = moderation.profiles.delta[:, i], moderation.profiles.var[:, i]
    return delta, var, moderation.profiles.star[:, i] if root == "star" else delta / np.sqrt(var)


def quasi_tests(
    model: GeneModel, totals: GeneTotals, moderation: Moderation, i: int, df: float, moderated: bool
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Compute ``(estimate, se, t, df, p)`` of Hartung and Knapp's test, or of its moderated version.

    Here the variance only weights the samples, so any value is valid. With the gene's posterior mean, the test keeps
    its level if arms differ in their numbers of cells. All values are NaN if :func:`has_quasi` is False.
    """
    p = moderation.profiles
    n_genes, n_rows = len(p.ok), len(model.rows.X)
    df_rows = float(n_rows - model.rows.X.shape[1])
    if not has_quasi(model):
        nothing = np.full(n_genes, np.nan)
        return nothing, nothing, nothing, nothing, nothing
    # moderation compares the scales of genes, which requires the same variance for all genes
    gene, node = np.arange(n_genes), moderation.grid.centre if moderated else _own_node(moderation)
    estimate, se = p.delta[gene, i, node], np.sqrt(p.var[gene, i, node])
    scale = p.rss[gene, node] / df_rows
    df_test = np.full(n_genes, min(df, df_rows))
    if moderated:
        good = np.flatnonzero(np.isfinite(scale))
        for stratum in np.array_split(good[np.argsort(totals.total[good], kind="stable")], _QL_STRATA):
            if len(stratum) > 2:
                scale[stratum], d0 = squeeze(scale[stratum], df_rows)
                df_test[stratum] = min(df_test[stratum][0] + d0, 1e6)
    t, p_value = scaled_t(estimate, se * np.ones(n_genes), scale, df_test)
    return estimate, se * np.sqrt(scale), t, df_test, p_value


def variance_tests(model: GeneModel, moderation: Moderation) -> list[FloatArray]:
    """Compute ``(n_genes,)`` p-values of the hypothesis that a variance is zero, for each variance on the grid.

    If there is one variance and residuals are between samples (:func:`has_quasi`), the test is Cochran's Q. This is the
    residual sum of squares at a variance of zero; it is chi-square for any number of samples. Otherwise the test is the
    restricted likelihood ratio on the grid, maximised over the other variances, with half the tail of a chi-square.
    This test is conservative with few samples, because a true variance of zero is then estimated as zero in more than
    half of the cases.
    """
    profiles, variance = moderation.profiles, moderation.grid.variance
    if variance.shape[1] == 1 and has_quasi(model):
        df = len(model.rows.X) - model.rows.X.shape[1]
        return [chi2.sf(profiles.rss[:, int(np.argmin(variance[:, 0]))], df)]
    restricted = profiles.ell - 0.5 * profiles.log_det
    best = restricted.max(axis=1)
    p_values = []
    for of_node in variance.T:
        without = restricted[:, of_node == of_node.min()].max(axis=1)
        ratio = 2.0 * (best - without)
        p_values.append(np.where(ratio > 0.0, 0.5 * chi2.sf(ratio, 1), np.where(np.isfinite(ratio), 1.0, np.nan)))
    return p_values


def _own_node(moderation: Moderation) -> IntArray:
    """Find the node nearest to each gene's posterior means, or to the population means without a posterior."""
    grid = moderation.grid
    at = np.log(grid.variance)
    mean = np.log(np.maximum(moderation.weights @ grid.variance, grid.variance.min()))
    distance = np.sum((mean[:, None, :] - at[None, :, :]) ** 2, axis=2)
    return np.where(np.isfinite(distance).all(axis=1), np.argmin(distance, axis=1), grid.centre)


def has_quasi(model: GeneModel) -> bool:
    """Check whether each row of the design is one level of the finest factor, so that residuals are between samples."""
    n_samples = len(model.groupings[finest(model.groupings)].levels)
    return len(model.rows.X) == n_samples and len(model.rows.X) > model.rows.X.shape[1]


def variance_interval(moderation: Moderation, k: int) -> tuple[FloatArray, FloatArray]:
    """Compute ``(n_genes,)`` 5 and 95 % quantiles of the posterior of variance k, at the resolution of the grid."""
    of_node = moderation.grid.variance[:, k]
    values = np.unique(of_node)
    mass = np.stack([moderation.weights[:, of_node == value].sum(axis=1) for value in values], axis=1)
    finite = np.isfinite(mass).all(axis=1)
    cumulative = np.cumsum(np.nan_to_num(mass), axis=1)
    unit = moderation.grid.unit[k]
    low = np.where(finite, values[np.argmax(cumulative >= 0.05, axis=1)] * unit, np.nan)
    high = np.where(finite, values[np.argmax(cumulative >= 0.95 - 1e-12, axis=1)] * unit, np.nan)
    return low, high


def _surprising(weights: FloatArray, prior: FloatArray, grid: VarianceGrid) -> BoolArray:
    """Find genes for which the posterior mean of a variance lies beyond the 95 % quantile of the prior."""
    out = np.zeros(len(weights), dtype=bool)
    for k in range(len(grid.shape)):
        values = np.unique(grid.variance[:, k])
        mass = np.stack([prior[:, grid.variance[:, k] == v].sum(axis=1) for v in values], axis=1)
        limit = values[np.argmax(np.cumsum(mass, axis=1) >= 0.95, axis=1)]
        out |= weights @ grid.variance[:, k] > limit
    return out
