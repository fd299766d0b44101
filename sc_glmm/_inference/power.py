"""Compute the expected power of the moderated test from the information in the counts of each sample.

The log rate of a gene in a sample has the variance ``v + e``. Here v is the variance between samples, and ``1 / e`` is
the information of the counts of the cells, ``sum mu / (1 + phi mu)``. The test weights the variances v_j of a grid by
the prior and the restricted likelihood of the gene, and averages ``Phi(root)`` over them (:mod:`.mixture`). Here the
estimates of the samples are drawn from their normal distribution given the true v. The same formulas are then applied
to the draws. The distribution of the estimated effect is integrated, so a few draws of the residuals of each gene are
enough. The prior is estimated from such draws too, because a prior from few samples is wider than the true
distribution.

If the arms have different counts, the root of the likelihood ratio differs from Wald's statistic. To second order, it
uses the average of the information at the true means and at their common mean.

The threshold on p-values is that of Benjamini and Hochberg in a study in which some genes differ. With many genes, it
is the largest a with ``a <= fdr (pi0 a + pi1 G(a))``, where G is the distribution of the p-values of genes that differ
(Genovese and Wasserman 2002, J. R. Stat. Soc. B 64:499). If detection is barely possible, the threshold varies from
study to study. It is therefore simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from .._arrays import FloatArray, IntArray
from .prior import abundance_rank, fit_prior

# Draws of residuals, and points of the normal distribution of the estimate, for each gene and direction.
N_DRAWS, N_POINTS = 24, 25
# Draws of each gene for the estimate of the prior.
_N_PRIOR_DRAWS = 2
# Simulated studies for the threshold on p-values, and the largest number of tests in each.
_N_STUDIES, _MAX_TESTS = 40, 20_000
# Information of a sample without cells; zero would give infinite variances.
_MIN_INFORMATION = 1e-9
# Largest number of values of a block of genes, which limits memory.
_BLOCK_SIZE = 4_000_000


@dataclass(frozen=True)
class Genes:
    """Means, dispersions and variances of genes.

    Attributes
    ----------
    mean
        ``(n_genes,)`` mean count per cell.
    dispersion
        ``(n_genes,)`` phi of ``mu + phi mu^2``.
    variance
        ``(n_nodes,)`` variances between samples, natural log.
    weight
        ``(n_genes, n_nodes)`` probability of each of these variances.
    log_size_sd
        Standard deviation of the log size factors of the cells of a sample.
    pair_variance
        Variance between pairs (donors), natural log, if pairs are random effects. The sums of pairs then also have
        information on the variance between samples. None if they have none.
    """

    mean: FloatArray
    dispersion: FloatArray
    variance: FloatArray
    weight: FloatArray
    log_size_sd: float
    pair_variance: float | None = None

    def __getitem__(self, genes: IntArray | slice) -> Genes:
        """Select genes."""
        return replace(self, mean=self.mean[genes], dispersion=self.dispersion[genes], weight=self.weight[genes])


@dataclass(frozen=True)
class Comparison:
    """Independent units that are compared: samples of two arms, or the differences of pairs.

    Attributes
    ----------
    X
        ``(n_units, p)`` design; the last coefficient is tested.
    scale
        Factor of the variance between samples in a unit: 2 for the difference of two samples.
    first, second
        ``(n_units,)`` index of the sample of each unit in the first and in the second arm; -1 for none.
    """

    X: FloatArray
    scale: float
    first: IntArray
    second: IntArray


def comparison(n_first: int, n_second: int, paired: bool) -> Comparison:
    """Build the units of a design whose samples are listed arm by arm."""
    if paired:
        sample = np.arange(n_first)
        return Comparison(np.ones((n_first, 1)), 2.0, sample, sample + n_first)
    arm = np.repeat([0, 1], [n_first, n_second])
    sample = np.arange(n_first + n_second)
    return Comparison(
        np.column_stack([np.ones(len(arm)), arm]), 1.0, np.where(arm == 0, sample, -1), np.where(arm, sample, -1)
    )


def information(mean: FloatArray, dispersion: FloatArray, n_cells: FloatArray, log_size_sd: float) -> FloatArray:
    """Compute the ``(n_genes, n_samples)`` information on the log rate in samples with `n_cells` cells.

    `mean` is the mean count per cell ``(n_genes,)``. Size factors are log-normal with mean one.
    """
    x, w = np.polynomial.hermite_e.hermegauss(9)
    size = np.exp(log_size_sd * x - 0.5 * log_size_sd**2)
    mu = mean[:, None] * size
    per_cell = (mu / (1.0 + dispersion[:, None] * mu)) @ (w / w.sum())
    return np.maximum(per_cell[:, None] * n_cells, _MIN_INFORMATION)


def p_values_of_effects(
    design: Comparison, genes: Genes, effect: float, n_cells: FloatArray, seed: int = 0
) -> FloatArray:
    """Draw ``(n_genes, n)`` equally likely p-values of genes whose second arm differs by `effect`, up or down.

    Parameters
    ----------
    design
        The compared units.
    genes
        The genes; their means are those of the first arm.
    effect
        Difference between the arms, natural log.
    n_cells
        ``(n_samples,)`` cells of the samples, arm by arm.
    seed
        Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    prior = _estimate_prior(design, genes, n_cells, rng)
    parts = []
    step = max(1, _BLOCK_SIZE // (N_DRAWS * len(genes.variance) * max(len(design.X), N_POINTS)))
    for start in range(0, len(genes.mean), step):
        block = slice(start, start + step)
        both = [_p_values(design, genes[block], prior[block], signed, n_cells, rng) for signed in (effect, -effect)]
        parts.append(np.concatenate(both, axis=1))
    return np.concatenate(parts)


def _noise(design: Comparison, genes: Genes, effect: float, n_cells: FloatArray, differ: bool) -> FloatArray:
    """Compute the ``(n_genes, n_units)`` variances due to the counts: at the true means, or at their common mean.

    `differ` selects the true means.
    """
    first, second = genes.mean, np.exp(effect) * genes.mean
    if not differ:
        share_of_second = float(n_cells[design.second[design.second >= 0]].sum() / n_cells.sum())
        first = second = (1.0 - share_of_second) * first + share_of_second * second
    out = np.zeros((len(first), len(design.X)))
    for sample, mean in ((design.first, first), (design.second, second)):
        has_sample = sample >= 0
        out[:, has_sample] += 1.0 / information(mean, genes.dispersion, n_cells[sample[has_sample]], genes.log_size_sd)
    return out


@dataclass(frozen=True)
class _Draws:
    """Draws of the residuals of genes without effect, and their estimates at each variance of the grid.

    Attributes
    ----------
    true
        ``(n_genes, n_draws)`` node of the true variance.
    log_likelihood
        ``(n_genes, n_nodes, n_draws)`` restricted log likelihood.
    estimate
        ``(n_genes, n_nodes, n_draws)`` estimates of the effect, which is zero.
    variance
        ``(n_genes, n_nodes)`` variances of these estimates.
    """

    true: IntArray
    log_likelihood: FloatArray
    estimate: FloatArray
    variance: FloatArray


def _draw(design: Comparison, genes: Genes, noise: FloatArray, n_draws: int, rng: np.random.Generator) -> _Draws:
    X, (n_genes, n_units) = design.X, noise.shape
    unit_variance = design.scale * genes.variance[None, :, None] + noise[:, None, :]
    weighted = X.T / unit_variance[:, :, None, :]
    A = weighted @ X
    inverse = np.linalg.inv(A)
    # stratified draws of the true variance: one from each of `n_draws` equally likely slices of its distribution
    slices = (np.arange(n_draws) + rng.random((n_genes, 1))) / n_draws
    cumulative = np.cumsum(genes.weight, axis=1) * (1.0 - 1e-12)
    true = np.minimum((slices[:, :, None] > cumulative[:, None, :]).sum(axis=2), len(genes.variance) - 1)
    sd = np.sqrt(np.take_along_axis(unit_variance, true[:, :, None], axis=1))
    y = sd * rng.standard_normal((n_genes, n_draws, n_units))
    projected = weighted @ y.swapaxes(1, 2)[:, None]
    beta = inverse @ projected
    rss = (y**2 @ (1.0 / unit_variance).swapaxes(1, 2)).swapaxes(1, 2) - (projected * beta).sum(axis=2)
    constant = np.log(unit_variance).sum(axis=2) + np.linalg.slogdet(A)[1]
    log_likelihood = -0.5 * (constant[:, :, None] + rss)
    if design.scale > 1.0 and genes.pair_variance is not None and n_units > 1:
        sum_variance = unit_variance.mean(axis=2) + 4.0 * genes.pair_variance
        squares = np.take_along_axis(sum_variance, true, axis=1) * rng.chisquare(n_units - 1, true.shape)
        log_likelihood -= 0.5 * (
            (n_units - 1) * np.log(sum_variance)[:, :, None] + squares[:, None] / sum_variance[:, :, None]
        )
    return _Draws(true, log_likelihood, beta[:, :, -1, :], np.asarray(inverse[:, :, -1, -1]))


def _estimate_prior(design: Comparison, genes: Genes, n_cells: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Estimate the ``(n_genes, n_nodes)`` prior of the variances as the test would, from simulated genes."""
    draws = _draw(design, genes, _noise(design, genes, 0.0, n_cells, True), _N_PRIOR_DRAWS, rng)
    rank = abundance_rank(genes.mean)
    likelihood = draws.log_likelihood.swapaxes(1, 2).reshape(-1, len(genes.variance))
    return fit_prior(likelihood, np.repeat(rank, _N_PRIOR_DRAWS), (len(genes.variance),)).at(rank)


def _p_values(
    design: Comparison, genes: Genes, prior: FloatArray, effect: float, n_cells: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Draw ``(n_genes, N_DRAWS * N_POINTS)`` p-values of genes with this effect."""
    draws = _draw(design, genes, _noise(design, genes, effect, n_cells, True), N_DRAWS, rng)
    at_null = design.scale * genes.variance[None, :, None] + _noise(design, genes, effect, n_cells, False)[:, None, :]
    null_variance = np.linalg.inv((design.X.T / at_null[:, :, None, :]) @ design.X)[:, :, -1, -1]
    root_sd = np.sqrt(2.0 / (1.0 / draws.variance + 1.0 / null_variance))
    posterior = prior[:, :, None] * np.exp(draws.log_likelihood - draws.log_likelihood.max(axis=1, keepdims=True))
    posterior /= posterior.sum(axis=1, keepdims=True)
    # The estimate at the true variance is independent of the residuals. Estimates at other variances differ from it
    # by a function of the residuals.
    shift = draws.estimate - np.take_along_axis(draws.estimate, draws.true[:, None, :], axis=1)
    # One point at a random place in each of N_POINTS equally likely slices: midpoints would miss the tails.
    points = ndtri((np.arange(N_POINTS) + rng.random((*draws.true.shape, 1))) / N_POINTS)
    estimate = effect + np.take_along_axis(root_sd, draws.true, axis=1)[:, :, None] * points
    root = (estimate[:, None] + shift[:, :, :, None]) / root_sd[:, :, None, None]
    above = (posterior[:, :, :, None] * ndtr(root)).sum(axis=1)
    return np.asarray(2.0 * np.minimum(above, 1.0 - above)).reshape(len(prior), -1)


def thresholds(
    p_values: FloatArray,
    fdr: float,
    share: float,
    n_tests: int,
    null: FloatArray | None = None,
    n_studies: int = _N_STUDIES,
    seed: int = 0,
) -> FloatArray:
    """Simulate studies of `n_tests` genes; return their ``(n_studies,)`` thresholds on p-values, 0 without discoveries.

    Parameters
    ----------
    p_values
        ``(n_genes, n)`` equally likely p-values of each gene if it differs.
    fdr
        Level of the false discovery rate.
    share
        Share of the genes that differ.
    n_tests
        Number of tests that are adjusted together.
    null
        ``(n_genes, n_null)`` equally likely p-values of each gene if it does not differ; None for uniform p-values.
    n_studies, seed
        Number of studies, and seed of the draws.
    """
    rng = np.random.default_rng(seed)
    m = min(n_tests, _MAX_TESTS)
    limits = np.zeros(n_studies)
    for study in range(n_studies):
        gene = rng.integers(0, len(p_values), m)
        differs = rng.random(m) < share
        p = rng.random(m) if null is None else null[gene, rng.integers(0, null.shape[1], m)]
        p_if_different = p_values[gene, rng.integers(0, p_values.shape[1], m)]
        p = np.sort(np.where(differs, p_if_different, p))
        discoveries = np.flatnonzero(p <= fdr * np.arange(1, m + 1) / m)
        if len(discoveries):
            limits[study] = fdr * (discoveries[-1] + 1) / m
    return limits


def power_at(p_values: FloatArray, limits: FloatArray) -> FloatArray:
    """Compute the ``(n_genes,)`` probability that a gene is a discovery, over studies with the thresholds `limits`."""
    below = len(limits) - np.searchsorted(np.sort(limits), p_values, side="left")
    return np.asarray((below / len(limits)).mean(axis=1))
