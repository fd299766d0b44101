r"""Estimate hidden factors of the samples from all genes, with the alignment correction of CATE and RUV4.

Many genes change together with a batch, with the quality of a sample or with its composition. Let ``Z`` be the log
rates of the genes in each sample, ``X0`` the nuisance covariates, ``X1`` the tested covariates and ``W`` the hidden
factors:

.. math:: Z_g = X_0 \alpha_g + X_1 \beta_g + W \ell_g + e_g.

The samples are rotated by the QR decomposition of ``(X0, X1)``. A singular value decomposition of the part that no
covariate explains gives the factors and their loadings. The part along ``X1`` is the sum of the tested effects and of
the component of the factors along ``X1``. Most genes have no effect, so a robust regression over genes on the loadings
estimates this component. Factors without this component make tests worse: their variation along ``X1`` remains in the
estimates, but the residual variance no longer includes it.

References
----------
Wang, Zhao, Hastie and Owen, Confounder adjustment in multiple hypothesis testing, Annals of Statistics 2017, 45:1863.
Gagnon-Bartsch, Jacob and Speed, Removing unwanted variation from high dimensional data with negative controls, 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from .._arrays import BoolArray, FloatArray, IntArray

# Smallest median count of a gene over samples: below it, a log rate is too coarse to show a factor.
MIN_COUNT = 5.0
# Smallest number of genes: with fewer, a factor cannot be distinguished from the noise of the genes.
MIN_GENES = 50
# Smallest correlation between the factors of two halves of the genes.
MIN_AGREEMENT = 0.7
# Number of splits of the genes into halves; the agreement is averaged over them.
N_SPLITS = 6
# Huber's constant: 95 % efficient for normal errors.
HUBER = 1.345
# Smallest variance between samples (squared natural log); every gene has at least this much.
MIN_VARIANCE = 0.005


@dataclass(frozen=True)
class LatentFactors:
    """Hidden factors of the samples of one design.

    Attributes
    ----------
    factors
        ``(n_samples, n_factors)`` factors with mean 0 and variance 1, the strongest first.
    loadings
        ``(n_used, n_factors)`` change of the log rate (natural log) for one standard deviation of a factor.
    used
        ``(n_genes,)`` whether the factors were estimated from this gene.
    strength
        ``(n_factors,)`` variance along the factor, divided by the variance of the noise.
    agreement
        ``(cap,)`` for 1, 2, ... factors, the smallest canonical correlation between the factors of two halves of the
        genes, averaged over splits.
    r_tested
        ``(n_factors,)`` multiple correlation of each factor with the tested columns, given the nuisance columns.
    """

    factors: FloatArray
    loadings: FloatArray
    used: BoolArray
    strength: FloatArray
    agreement: FloatArray
    r_tested: FloatArray

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return int(self.factors.shape[1])


@dataclass(frozen=True)
class _Rotated:
    """Log rates of the used genes, weighted by sample and rotated.

    Attributes
    ----------
    along
        ``(n_used, q)`` part along the tested columns.
    rest
        ``(n_used, m)`` part that no covariate explains.
    basis_along, basis_rest
        ``(n_samples, q)`` and ``(n_samples, m)`` columns of the rotation.
    root_weight
        ``(n_samples,)`` square roots of the weights of the samples.
    abundance
        ``(n_used,)`` rank of each gene by abundance.
    """

    along: FloatArray
    rest: FloatArray
    basis_along: FloatArray
    basis_rest: FloatArray
    root_weight: FloatArray
    abundance: IntArray


def most_factors(n_samples: int, rank: int) -> int:
    """Limit the number of factors: one per eight samples, and at most a third of the residual degrees of freedom."""
    return max(0, min(-(-n_samples // 8), (n_samples - rank) // 3))


def estimate_factors(
    counts: FloatArray, size: FloatArray, nuisance: FloatArray, tested: FloatArray, n_factors: int | None = None
) -> LatentFactors:
    """Estimate hidden factors of the samples from the counts of all genes.

    Parameters
    ----------
    counts
        ``(n_samples, n_genes)`` counts summed over the cells of each sample.
    size
        ``(n_samples,)`` sums of the size factors of these cells.
    nuisance
        ``(n_samples, p0)`` covariates to adjust for, including the intercept.
    tested
        ``(n_samples, q)`` covariates whose effects are tested.
    n_factors
        Number of factors. None uses the largest number, up to :func:`most_factors`, for which the factors of two
        halves of the genes agree (canonical correlation of at least 0.7).
    """
    used = usable_genes(counts)
    rotated = _rotate(counts[:, used].T, size, nuisance, tested)
    cap = most_factors(len(size), len(size) - rotated.rest.shape[1]) if n_factors is None else n_factors
    agreement = np.array([_agreement(rotated, k) for k in range(1, cap + 1)])
    if n_factors is None:
        enough = np.flatnonzero(agreement >= MIN_AGREEMENT)
        n_factors = int(enough[-1]) + 1 if len(enough) else 0
    return _factors(rotated, used, n_factors, agreement)


def usable_genes(counts: FloatArray) -> BoolArray:
    """Choose genes ``(n_genes,)`` whose median count over samples is at least five; if few, the most abundant."""
    used: BoolArray = np.median(counts, axis=0) >= MIN_COUNT
    if used.sum() < MIN_GENES:
        least = np.sort(counts.mean(axis=0))[-min(MIN_GENES, counts.shape[1])]
        used = (counts.mean(axis=0) >= least) & (counts.sum(axis=0) > 0)
    return used


def _rotate(counts: FloatArray, size: FloatArray, nuisance: FloatArray, tested: FloatArray) -> _Rotated:
    """Weight the samples by the precision of their log rates, and rotate them by the design.

    The weight of a sample is the median over genes of ``1 / (variance between samples + 1 / expected count)``, because
    a sample with few cells is noisy for all genes. The variance between samples is the mean squared residual of a gene
    minus its Poisson part.
    """
    Z = np.log((counts + 0.5) / size)
    X0, X1 = _orthogonal(nuisance, tested)
    X = np.column_stack([X0, X1])
    fitted = (Z @ X) @ X.T
    poisson = 1.0 / np.maximum(np.exp(fitted) * size, 0.5)
    m = len(size) - X.shape[1]
    variance = np.maximum(((Z - fitted) ** 2).sum(axis=1) / m - poisson.mean(axis=1), MIN_VARIANCE)
    weight = 1.0 / (variance[:, None] + poisson)
    weight = np.median(weight / weight.mean(axis=1, keepdims=True), axis=0)
    root = np.sqrt(weight / weight.mean())
    X0, X1 = _orthogonal(nuisance * root[:, None], tested * root[:, None])
    rest = np.linalg.svd(np.column_stack([X0, X1]))[0][:, X0.shape[1] + X1.shape[1] :]
    Zw = Z * root
    return _Rotated(Zw @ X1, Zw @ rest, X1, rest, root, np.argsort(np.argsort(Z.mean(axis=1), kind="stable")))


def _orthogonal(nuisance: FloatArray, tested: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute orthonormal columns that span `nuisance`, and the columns that `tested` adds; units do not matter."""
    X0 = _span(nuisance)
    return X0, _span(tested / _length(tested) - X0 @ (X0.T @ (tested / _length(tested))))


def _span(X: FloatArray) -> FloatArray:
    left, size, _ = np.linalg.svd(X / _length(X), full_matrices=False)
    return left[:, size > 1e-9]


def _length(X: FloatArray) -> FloatArray:
    length: FloatArray = np.sqrt((X**2).sum(axis=0))
    return np.where(length > 1e-12, length, 1.0)


def _scale_and_axes(rest: FloatArray, k: int) -> tuple[FloatArray, FloatArray]:
    """Compute the residual scale of each gene after `k` factors, and the ``(m, k)`` axes of the factors.

    The scales are shrunken towards their mean over genes on the log scale. Only variation beyond ``2 / df``, the
    variance of a log sample variance, remains.
    """
    m = rest.shape[1]
    df = max(m - k, 1)
    scale = np.sqrt((rest**2).mean(axis=1))
    axes = np.zeros((m, k))
    for _ in range(3 if k else 1):
        standard = rest / scale[:, None]
        axes = np.linalg.eigh(standard.T @ standard)[1][:, ::-1][:, :k]
        log = np.log(np.maximum(((rest - (rest @ axes) @ axes.T) ** 2).sum(axis=1) / df, 1e-8))
        share = max(0.1, 1.0 - (2.0 / df) / max(float(log.var()), 1e-9))
        scale = np.exp(0.5 * (log.mean() + share * (log - log.mean())))
    return scale, axes


def _agreement(rotated: _Rotated, k: int) -> float:
    """Compute the smallest canonical correlation between the factors of two halves of the genes, averaged over splits.

    A split sorts genes by one bit of their rank by abundance. The halves then have similar abundances, and they do not
    depend on the order of the genes.
    """
    smallest = []
    for bit in range(N_SPLITS):
        half = (rotated.abundance >> bit) & 1
        one, other = (_scale_and_axes(rotated.rest[half == side], k)[1] for side in (0, 1))
        smallest.append(np.linalg.svd(one.T @ other)[1][-1])
    return float(np.mean(smallest))


def _factors(rotated: _Rotated, used: BoolArray, k: int, agreement: FloatArray) -> LatentFactors:
    n_samples = len(rotated.root_weight)
    if k == 0:
        none = np.zeros(0)
        return LatentFactors(np.zeros((n_samples, 0)), np.zeros((int(used.sum()), 0)), used, none, agreement, none)
    scale, axes = _scale_and_axes(rotated.rest, k)
    standard = rotated.rest / scale[:, None]
    loadings = standard @ axes
    noise = ((standard**2).sum() - (loadings**2).sum()) / (len(standard) * max(rotated.rest.shape[1] - k, 1))
    alignment = _align(rotated.along / scale[:, None], loadings, noise)
    factors = (rotated.basis_along @ alignment.T + rotated.basis_rest @ axes) / rotated.root_weight[:, None]
    factors = factors - factors.mean(axis=0)
    sd = factors.std(axis=0)
    # The sign of a singular vector is arbitrary. Here the longer tail is positive.
    sd = np.where((factors**3).sum(axis=0) < 0.0, -sd, sd)
    length = (alignment**2).sum(axis=1)
    return LatentFactors(
        factors=factors / sd,
        loadings=loadings * scale[:, None] * sd,
        used=used,
        strength=(loadings**2).mean(axis=0) / noise,
        agreement=agreement,
        r_tested=np.sqrt(length / (1.0 + length)),
    )


def _align(along: FloatArray, loadings: FloatArray, noise: float) -> FloatArray:
    """Estimate the ``(k, q)`` component of the factors along the tested columns, by robust regression on the loadings.

    Huber's weights use the length of a gene's residual over all tested columns, so the basis of these columns does not
    matter. The loadings contain noise of variance `noise`, which shrinks the coefficients towards zero (errors in
    variables). The noise is therefore subtracted from the cross-products of the loadings. The remaining eigenvalues
    are at least a tenth of the noise.
    """
    k, q = loadings.shape[1], along.shape[1]
    median, limit = np.sqrt(chi2.ppf([0.5, float(chi2.cdf(HUBER**2, 1))], q))
    weight = np.ones(len(along))
    alignment: FloatArray = np.zeros((k, q))
    for _ in range(50):
        weighted = loadings * weight[:, None]
        before, alignment = alignment, np.asarray(np.linalg.solve(weighted.T @ loadings, weighted.T @ along))
        if np.max(np.abs(alignment - before)) < 1e-9:
            break
        length = np.maximum(np.sqrt(((along - loadings @ alignment) ** 2).sum(axis=1)), 1e-12)
        weight = np.minimum(1.0, limit * np.median(length) / median / length)
    cross = (loadings * weight[:, None]).T @ loadings / weight.sum()
    value, vector = np.linalg.eigh(cross - noise * np.eye(k))
    corrected = (vector * np.maximum(value, 0.1 * noise)) @ vector.T
    return np.linalg.solve(corrected, cross @ alignment)
