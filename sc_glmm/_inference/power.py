"""Expected power of the moderated test, from the information that counts hold on the effects of samples.

The log rate of a gene in a sample is known with variance ``v + e``: v between samples, and ``1 / e`` the information of
the counts of its cells, ``sum mu / (1 + phi mu)``. The test weighs the variances v_j of a grid by the prior and the
restricted likelihood of the gene, and averages ``Phi(root)`` over them (:mod:`.mixture`). Here the estimates of the
samples are drawn from their normal distribution, given the true v, and go through the same formulas; the effect itself
is integrated over, so that a few draws of the residuals of each gene do. The prior is learnt from such draws as well,
because a prior that is learnt from few samples is wider than the truth.

The root of the likelihood ratio is not Wald's statistic where the arms have different counts. To second order it uses
the mean of the information at the true means and at their common mean.

The threshold on p-values is that of Benjamini and Hochberg among the genes of a study, some of which differ. With many
genes it is the largest a with ``a <= fdr (pi0 a + pi1 G(a))``, where G is the distribution of the p-values of genes
that differ (Genovese and Wasserman 2002, J. R. Stat. Soc. B 64:499). Near the edge of detection it varies from study
to study, and so it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from .._arrays import FloatArray, IntArray
from .prior import abundance_rank, fit_prior

# Draws of residuals and points of the normal distribution of the estimate, for each gene and direction.
N_DRAWS, N_POINTS = 24, 25
# Draws of each gene from which the prior is learnt.
_N_PRIOR = 2
# Studies whose threshold on p-values is drawn, and most tests of each.
_N_STUDIES, _MOST_TESTS = 40, 20_000
# Information that a sample without cells has.
_NOTHING = 1e-9
# Values of a block of genes held at a time.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Genes:
    """What is known of genes.

    Attributes
    ----------
    mean
        ``(n_genes,)`` counts per cell.
    dispersion
        ``(n_genes,)`` phi of ``mu + phi mu^2``.
    variance
        ``(n_nodes,)`` variances between samples, natural log.
    weight
        ``(n_genes, n_nodes)`` probability that a gene has each of them.
    log_size_sd
        Standard deviation of the log size factors of the cells of a sample.
    pair_variance
        Variance between pairs (donors), natural log, where they are random effects: their sums tell of the variance
        between samples, too. None if they tell nothing.
    """

    mean: FloatArray
    dispersion: FloatArray
    variance: FloatArray
    weight: FloatArray
    log_size_sd: float
    pair_variance: float | None = None

    def __getitem__(self, genes: IntArray | slice) -> Genes:
        """Some of the genes."""
        return replace(self, mean=self.mean[genes], dispersion=self.dispersion[genes], weight=self.weight[genes])


@dataclass(frozen=True)
class Comparison:
    """Independent units that are compared: samples of two arms, or the differences of pairs.

    Attributes
    ----------
    X
        ``(n_units, p)``; the last coefficient is what is tested.
    scale
        Of the variance between samples in a unit: 2 for the difference of two samples.
    first, second
        Samples of the units in the first and in the second arm: places among `cells`; -1 for none.
    """

    X: FloatArray
    scale: float
    first: IntArray
    second: IntArray


def comparison(n_first: int, n_second: int, paired: bool) -> Comparison:
    """Units of a design whose samples are listed arm by arm."""
    if paired:
        place = np.arange(n_first)
        return Comparison(np.ones((n_first, 1)), 2.0, place, place + n_first)
    arm = np.repeat([0, 1], [n_first, n_second])
    place = np.arange(n_first + n_second)
    return Comparison(
        np.column_stack([np.ones(len(arm)), arm]), 1.0, np.where(arm == 0, place, -1), np.where(arm, place, -1)
    )


def information(mean: FloatArray, dispersion: FloatArray, n_cells: FloatArray, log_size_sd: float) -> FloatArray:
    """``(n_genes, n_samples)`` information on the log rate in samples of `n_cells`, of genes with these means per cell.

    Size factors are log-normal with mean one.
    """
    x, w = np.polynomial.hermite_e.hermegauss(9)
    size = np.exp(log_size_sd * x - 0.5 * log_size_sd**2)
    mu = mean[:, None] * size
    per_cell = (mu / (1.0 + dispersion[:, None] * mu)) @ (w / w.sum())
    return np.maximum(per_cell[:, None] * n_cells, _NOTHING)


def p_values_of_effects(
    design: Comparison, genes: Genes, effect: float, n_cells: FloatArray, seed: int = 0
) -> FloatArray:
    """``(n_genes, n)`` equally likely p-values of genes whose second arm differs by `effect`, up or down.

    Parameters
    ----------
    design
        What is compared.
    genes
        The genes; their means are those of the first arm.
    effect
        Natural log.
    n_cells
        ``(n_samples,)`` cells of the samples, arm by arm.
    seed
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    prior = _learnt(design, genes, n_cells, rng)
    parts = []
    step = max(1, _BLOCK // (N_DRAWS * len(genes.variance) * max(len(design.X), N_POINTS)))
    for start in range(0, len(genes.mean), step):
        some = slice(start, start + step)
        both = [_p_values(design, genes[some], prior[some], signed, n_cells, rng) for signed in (effect, -effect)]
        parts.append(np.concatenate(both, axis=1))
    return np.concatenate(parts)


def _noise(design: Comparison, genes: Genes, effect: float, n_cells: FloatArray, differ: bool) -> FloatArray:
    """``(n_genes, n_units)`` variances of the units that come from their counts; with `differ` at the true means."""
    first, second = genes.mean, np.exp(effect) * genes.mean
    if not differ:
        of_second = float(n_cells[design.second[design.second >= 0]].sum() / n_cells.sum())
        first = second = (1.0 - of_second) * first + of_second * second
    out = np.zeros((len(first), len(design.X)))
    for place, at in ((design.first, first), (design.second, second)):
        there = place >= 0
        out[:, there] += 1.0 / information(at, genes.dispersion, n_cells[place[there]], genes.log_size_sd)
    return out


@dataclass(frozen=True)
class _Draws:
    """Residuals of the units of some genes, and what the test makes of them at each variance.

    Attributes
    ----------
    true
        ``(n_genes, n_draws)`` node of the true variance.
    log_likelihood
        ``(n_genes, n_nodes, n_draws)`` restricted.
    estimate
        ``(n_genes, n_nodes, n_draws)`` of the effect, which is zero.
    variance
        ``(n_genes, n_nodes)`` of these estimates.
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
    # true variances: one from each of equally likely slices of their distribution
    slices = (np.arange(n_draws) + rng.random((n_genes, 1))) / n_draws
    reached = np.cumsum(genes.weight, axis=1) * (1.0 - 1e-12)
    true = np.minimum((slices[:, :, None] > reached[:, None, :]).sum(axis=2), len(genes.variance) - 1)
    sd = np.sqrt(np.take_along_axis(unit_variance, true[:, :, None], axis=1))
    y = sd * rng.standard_normal((n_genes, n_draws, n_units))
    projected = weighted @ y.swapaxes(1, 2)[:, None]
    beta = inverse @ projected
    rss = (y**2 @ (1.0 / unit_variance).swapaxes(1, 2)).swapaxes(1, 2) - (projected * beta).sum(axis=2)
    constant = np.log(unit_variance).sum(axis=2) + np.linalg.slogdet(A)[1]
    log_likelihood = -0.5 * (constant[:, :, None] + rss)
    if design.scale > 1.0 and genes.pair_variance is not None and n_units > 1:
        of_sums = unit_variance.mean(axis=2) + 4.0 * genes.pair_variance
        squares = np.take_along_axis(of_sums, true, axis=1) * rng.chisquare(n_units - 1, true.shape)
        log_likelihood -= 0.5 * ((n_units - 1) * np.log(of_sums)[:, :, None] + squares[:, None] / of_sums[:, :, None])
    return _Draws(true, log_likelihood, beta[:, :, -1, :], np.asarray(inverse[:, :, -1, -1]))


def _learnt(design: Comparison, genes: Genes, n_cells: FloatArray, rng: np.random.Generator) -> FloatArray:
    """``(n_genes, n_nodes)`` the prior that a test of such genes learns."""
    drawn = _draw(design, genes, _noise(design, genes, 0.0, n_cells, True), _N_PRIOR, rng)
    rank = abundance_rank(genes.mean)
    likelihood = drawn.log_likelihood.swapaxes(1, 2).reshape(-1, len(genes.variance))
    return fit_prior(likelihood, np.repeat(rank, _N_PRIOR), (len(genes.variance),)).at(rank)


def _p_values(
    design: Comparison, genes: Genes, prior: FloatArray, effect: float, n_cells: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """``(n_genes, N_DRAWS * N_POINTS)`` p-values."""
    drawn = _draw(design, genes, _noise(design, genes, effect, n_cells, True), N_DRAWS, rng)
    at_null = design.scale * genes.variance[None, :, None] + _noise(design, genes, effect, n_cells, False)[:, None, :]
    null_variance = np.linalg.inv((design.X.T / at_null[:, :, None, :]) @ design.X)[:, :, -1, -1]
    root_sd = np.sqrt(2.0 / (1.0 / drawn.variance + 1.0 / null_variance))
    posterior = prior[:, :, None] * np.exp(drawn.log_likelihood - drawn.log_likelihood.max(axis=1, keepdims=True))
    posterior /= posterior.sum(axis=1, keepdims=True)
    # the estimate at the true variance is independent of the residuals; others differ from it by these
    moved = drawn.estimate - np.take_along_axis(drawn.estimate, drawn.true[:, None, :], axis=1)
    # one from each of equally likely slices, anywhere in it: the middles would know nothing of the tails
    points = ndtri((np.arange(N_POINTS) + rng.random((*drawn.true.shape, 1))) / N_POINTS)
    estimate = effect + np.take_along_axis(root_sd, drawn.true, axis=1)[:, :, None] * points
    root = (estimate[:, None] + moved[:, :, :, None]) / root_sd[:, :, None, None]
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
    """``(n_studies,)`` p-values up to which genes are discoveries, in studies of `n_tests` genes; 0 where none is one.

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
        ``(n_genes, n_null)`` equally likely p-values of each gene if it does not differ; uniform without.
    n_studies, seed
        Number of studies, and seed of the draws.
    """
    rng = np.random.default_rng(seed)
    m = min(n_tests, _MOST_TESTS)
    found = np.zeros(n_studies)
    for study in range(n_studies):
        gene = rng.integers(0, len(p_values), m)
        differs = rng.random(m) < share
        p = rng.random(m) if null is None else null[gene, rng.integers(0, null.shape[1], m)]
        drawn = p_values[gene, rng.integers(0, p_values.shape[1], m)]
        p = np.sort(np.where(differs, drawn, p))
        fine = np.flatnonzero(p <= fdr * np.arange(1, m + 1) / m)
        if len(fine):
            found[study] = fdr * (fine[-1] + 1) / m
    return found


def power_at(p_values: FloatArray, limits: FloatArray) -> FloatArray:
    """``(n_genes,)`` probability that the p-value of a gene is a discovery, over studies with these thresholds."""
    below = len(limits) - np.searchsorted(np.sort(limits), p_values, side="left")
    return np.asarray((below / len(limits)).mean(axis=1))
