"""The moderated tests: a prior for the variances that matter, from the profiles of all genes."""

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
        The variances on the grid.
    prior
        Their distribution over genes; None if there are too few genes to estimate it.
    weights
        ``(n_genes, n_grid)`` posterior of each gene; NaN without a profile or prior.
    profiles
        The profiles.
    log_dispersion, phi_from_trend, n_agq
        ``(n_genes,)`` how each gene was profiled.
    information
        ``(n_genes,)`` median over samples of the information on their effects.
    variance_mean
        ``(n_genes, n_chosen)`` posterior means of the variances, for columns of Z as they are.
    surprising
        ``(n_genes,)`` genes whose posterior lies beyond the 95 % quantile of the prior. They vary more than genes of
        the same abundance, and their p-values tend to be too small.
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
    eigen_ratio: float


def moderate(
    model: GeneModel,
    result: AllFits,
    plan: ProfilePlan,
    made: GeneProfiles,
    known: tuple[VariancePrior | None, FloatArray] | None = None,
    few: bool = False,
) -> Moderation:
    """Estimate the prior (from 50 genes on) and the posterior of each gene.

    Parameters
    ----------
    model
        The model; its statistics are not looked at.
    result, plan, made
        Fits, plan and profiles of all genes.
    known
        The prior (None if there is none) and the ``(n_genes,)`` abundance ranks of these genes, where an earlier run
        over all genes found them: then any genes will do.
    few
        Whether fewer than 50 have a prior as well, of a given form (:mod:`.._inference.prior_of_few`).
    """
    profiles, grid, n_genes = made.profiles, plan.grid, len(plan.usable)
    restricted = profiles.ell - 0.5 * profiles.log_det
    good = profiles.ok & np.isfinite(restricted).all(axis=1)
    prior, weights = None, np.full(restricted.shape, np.nan)
    surprising = np.zeros(n_genes, dtype=bool)
    if known is not None:
        prior, rank = known[0], known[1][good]
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
        n_agq=made.n_agq,
        information=made.information,
        variance_mean=variance_mean,
        surprising=surprising,
        eigen_ratio=eigen_ratio(model, result, plan.log_dispersion),
    )


def contrast_roots(moderation: Moderation, i: int, root: Root) -> tuple[FloatArray, FloatArray, FloatArray]:
    """``(n_genes, n_grid)`` estimates, variances and signed roots against zero of contrast i, which has one row.

    The root is r* (``"star"``) or Wald's statistic.
    """
    delta, var = moderation.profiles.delta[:, i], moderation.profiles.var[:, i]
    return delta, var, moderation.profiles.star[:, i] if root == "star" else delta / np.sqrt(var)


def quasi_tests(
    model: GeneModel, totals: GeneTotals, moderation: Moderation, i: int, df: float, moderated: bool
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """``(estimate, se, t, df, p)`` of Hartung and Knapp's test, or its moderated version.

    The variance only weighs the samples here, so any value is valid. The gene's posterior mean keeps the level if arms
    differ in their numbers of cells.

    NaN throughout if :func:`has_quasi` is False.
    """
    p = moderation.profiles
    n_genes, n_rows = len(p.ok), len(model.rows.X)
    df_rows = float(n_rows - model.rows.X.shape[1])
    if not has_quasi(model):
        nothing = np.full(n_genes, np.nan)
        return nothing, nothing, nothing, nothing, nothing
    # moderation compares the scales of genes, which needs one variance for all
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
    """``(n_genes,)`` p-values that a variance is zero, for each of those on the grid.

    One variance whose residuals are between samples (:func:`has_quasi`) is tested by Cochran's Q, the residual sum of
    squares without it: a chi-square, however few the samples. Else by the restricted likelihood ratio over the grid,
    the others at their best, with half the tail of a chi-square; that is conservative with few samples, where a
    variance of zero is estimated as zero more often than every other time.
    """
    profiles, variance = moderation.profiles, moderation.grid.variance
    if variance.shape[1] == 1 and has_quasi(model):
        df = len(model.rows.X) - model.rows.X.shape[1]
        return [chi2.sf(profiles.rss[:, int(np.argmin(variance[:, 0]))], df)]
    restricted = profiles.ell - 0.5 * profiles.log_det
    best = restricted.max(axis=1)
    found = []
    for of_node in variance.T:
        without = restricted[:, of_node == of_node.min()].max(axis=1)
        ratio = 2.0 * (best - without)
        found.append(np.where(ratio > 0.0, 0.5 * chi2.sf(ratio, 1), np.where(np.isfinite(ratio), 1.0, np.nan)))
    return found


def _own_node(moderation: Moderation) -> IntArray:
    """``(n_genes,)`` the node nearest to each gene's posterior means, or to the population's where there is none."""
    grid = moderation.grid
    at = np.log(grid.variance)
    mean = np.log(np.maximum(moderation.weights @ grid.variance, grid.variance.min()))
    distance = np.sum((mean[:, None, :] - at[None, :, :]) ** 2, axis=2)
    return np.where(np.isfinite(distance).all(axis=1), np.argmin(distance, axis=1), grid.centre)


def has_quasi(model: GeneModel) -> bool:
    """Whether each row of the design is one level of the finest factor, so that residuals are between samples."""
    n_samples = len(model.groupings[finest(model.groupings)].levels)
    return len(model.rows.X) == n_samples and len(model.rows.X) > model.rows.X.shape[1]


def variance_interval(moderation: Moderation, k: int) -> tuple[FloatArray, FloatArray]:
    """``(n_genes,)`` 5 and 95 % quantiles of each gene's posterior of variance k, at the resolution of the grid."""
    of_node = moderation.grid.variance[:, k]
    values = np.unique(of_node)
    mass = np.stack([moderation.weights[:, of_node == value].sum(axis=1) for value in values], axis=1)
    known = np.isfinite(mass).all(axis=1)
    reached = np.cumsum(np.nan_to_num(mass), axis=1)
    unit = moderation.grid.unit[k]
    low = np.where(known, values[np.argmax(reached >= 0.05, axis=1)] * unit, np.nan)
    high = np.where(known, values[np.argmax(reached >= 0.95 - 1e-12, axis=1)] * unit, np.nan)
    return low, high


def _surprising(weights: FloatArray, prior: FloatArray, grid: VarianceGrid) -> BoolArray:
    """Genes whose posterior mean of some variance lies beyond the 95 % quantile of the prior."""
    out = np.zeros(len(weights), dtype=bool)
    for k in range(len(grid.shape)):
        values = np.unique(grid.variance[:, k])
        mass = np.stack([prior[:, grid.variance[:, k] == v].sum(axis=1) for v in values], axis=1)
        limit = values[np.argmax(np.cumsum(mass, axis=1) >= 0.95, axis=1)]
        out |= weights @ grid.variance[:, k] > limit
    return out
