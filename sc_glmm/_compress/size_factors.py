"""Size factors: library sizes of cells, corrected for the composition of their samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from .._arrays import AnyArray, FloatArray, IntArray
from .._errors import InputError
from . import moments
from .composition import pooled_factors
from .gaussian import compress_gaussian
from .guards import problem_of_values
from .kernels import Stored, total_of_lines
from .matrix import Matrix
from .passes import chunk_bar, readers
from .rows import StackedRows
from .source import Source, as_source, in_order

# Trimmed mean of M values: fractions of the genes that are trimmed at each end by log ratio and by abundance.
TRIM_RATIO = 0.3
TRIM_ABUNDANCE = 0.05
# A gene with more than this share of a sample has a noticeable effect on the library size of the sample.
DOMINANT_SHARE = 0.05


def library_size(
    matrix: Matrix | Source, *, check: bool = False, n_jobs: int = 1, progress: bool | None = False
) -> FloatArray:
    """Compute the ``(n_obs,)`` sums of the counts of each cell over all genes.

    For a CSR matrix on disk, only the values are read, not the indices; a CSC matrix is read completely.

    Parameters
    ----------
    matrix
        Counts, cells x genes.
    check
        Whether to raise an error for values that are not counts (:func:`~sc_glmm._compress.guards.count_problem`).
    n_jobs, progress
        Number of threads that read a matrix on disk, and whether to show a progress bar during reading.
    """
    source = as_source(matrix)
    total = np.zeros(source.shape[0])
    spans = source.spans()
    bar = chunk_bar(source, spans, "adding up the cells", progress)

    def add_rows(first: int, last: int) -> None:
        values, indptr = source.read_values(first, last)
        if total_of_lines(values, indptr, total[first:last]) >= 0 and check:
            _refuse(source, first, last, values)

    def read_genes(first: int, last: int) -> Stored:
        stored = source.read(first, last)
        if check:
            _refuse(source, first, last, stored.data)
        return stored

    # The rows of chunks are different cells, so the reading threads add them up; columns share all cells.
    by_genes = source.form == "csc"
    for (first, last), stored in in_order(read_genes if by_genes else add_rows, spans, readers(source, n_jobs)):
        if stored is not None:
            moments.total_over_columns(stored, total)
        if bar is not None:
            bar.update(last - first)
    if bar is not None:
        bar.close()
    return total


def _refuse(source: Source, first: int, last: int, values: AnyArray) -> None:
    problem = problem_of_values(source, first, last, values)
    if problem is not None:
        raise InputError(f"{source.name} {problem}. Raw counts are needed; name the layer that holds them")


def pseudobulk(matrix: Matrix | Source, codes: IntArray, n_levels: int, *, n_jobs: int = 1) -> FloatArray:
    """Compute the ``(n_levels, n_genes)`` sums of the counts of each gene over the cells of each sample.

    Parameters
    ----------
    matrix
        Counts, cells x genes.
    codes
        ``(n_obs,)`` sample of each cell, -1 for cells that are not used.
    n_levels
        Number of samples.
    n_jobs
        Number of threads.
    """
    codes = np.ascontiguousarray(codes, dtype=np.int64)
    rows = StackedRows(codes, np.where(codes < 0, -1, 0), np.array([0, n_levels]))
    return np.ascontiguousarray(compress_gaussian(matrix, rows, n_groups=1, n_jobs=n_jobs).sum_y.T)


def tmm_factors(counts: FloatArray) -> FloatArray:
    """Compute one factor per sample: the trimmed mean of M values (Robinson and Oshlack, Genome Biology 2010, 11:R25).

    The effective library size of a sample is its total times its factor. The factors have geometric mean 1. Samples
    without counts, and samples that share too few genes with the reference, get a factor without effect.

    Parameters
    ----------
    counts
        ``(n_levels, n_genes)`` counts summed by sample.

    Notes
    -----
    Relative to a reference sample r, every gene has a log ratio M and an abundance A,
    ``M = log2((y / N) / (y_r / N_r))`` and ``A = (log2(y / N) + log2(y_r / N_r)) / 2``. Only genes seen in both samples
    are used. The 30 % with the largest and the 30 % with the smallest M are trimmed, and 5 % at each end of A. Log2 of
    the factor is the mean of the remaining M, weighted by the inverse of their approximate variances. The reference is
    the sample whose upper quartile of y / N is closest to the mean one. For small counts, M is often tied at a cut. The
    results of other programs then depend on the rounding of N, and can differ from this one and between runs.
    """
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=1)
    filled = np.flatnonzero(total > 0)
    factors = np.ones(len(counts))
    if len(filled) < 2:
        return factors
    seen = counts[np.ix_(filled, np.flatnonzero(counts.any(axis=0)))]
    reference = _reference_sample(seen, total[filled])
    log2_factor = [
        _trimmed_mean(y, n, seen[reference], total[filled[reference]]) for y, n in zip(seen, total[filled], strict=True)
    ]
    factors[filled] = np.exp2(np.array(log2_factor) - np.mean(log2_factor))
    return factors


def _reference_sample(counts: FloatArray, total: FloatArray) -> int:
    upper = np.quantile(counts, 0.75, axis=1) / total
    if np.median(upper) > 0:
        return int(np.argmin(np.abs(upper - upper.mean())))
    # Most samples contain less than a quarter of the genes: use the sample that contains most.
    return int(np.argmax(np.sqrt(counts).sum(axis=1)))


def _trimmed_mean(y: FloatArray, total: float, y_ref: FloatArray, total_ref: float) -> float:
    """Compute the weighted mean of the log2 ratios that remain after trimming; 0 if none remain."""
    both = (y > 0) & (y_ref > 0)
    y, y_ref = y[both], y_ref[both]
    # Ratios and products of the counts themselves: equal ones are exactly equal, whatever the totals.
    kept = _central(y / y_ref, TRIM_RATIO) * _central(y * y_ref, TRIM_ABUNDANCE)
    variance = (1 - y / total) / y + (1 - y_ref / total_ref) / y_ref
    # Two samples with the same single gene have no variance and no information on composition.
    if not kept.any() or not variance.all():
        return 0.0
    return float(np.average(np.log2(y / y_ref), weights=kept / variance) - np.log2(total / total_ref))


def _central(values: FloatArray, trim: float) -> FloatArray:
    """Compute the fraction of each value that remains after trimming a fraction of all values at both ends.

    Small counts have few distinct ratios. If a cut falls within a tie, all tied values are kept in part. A cut by rank
    would instead choose among them by rounding errors.
    """
    cut = np.floor(len(values) * trim)
    below, above = rankdata(values, "min") - 1, rankdata(values, "max")
    return np.maximum(np.minimum(above, len(values) - cut) - np.maximum(below, cut), 0.0) / (above - below)


def dominant_genes(counts: FloatArray) -> tuple[IntArray, FloatArray]:
    """Find genes with more than 5 % of the counts of a sample, and their largest shares, in descending order.

    Parameters
    ----------
    counts
        ``(n_levels, n_genes)`` counts summed by sample.
    """
    share = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)).max(axis=0, initial=0.0)
    dominant = np.flatnonzero(share > DOMINANT_SHARE)
    dominant = dominant[np.argsort(-share[dominant], kind="stable")]
    return dominant, share[dominant]


@dataclass(frozen=True)
class SizeFactors:
    """Size factors and their components.

    Attributes
    ----------
    values
        ``(n_obs,)`` size factor of each cell on the linear scale, with mean 1 over the cells with counts; 0 for others.
    library_size
        ``(n_obs,)`` sum of the counts of each cell.
    sample_factor
        ``(n_levels,)`` factor of each sample; 1 without correction.
    dominant
        Genes with more than 5 % of the counts of a sample, the largest share first.
    dominant_share
        Largest share of each of these genes in a sample.
    """

    values: FloatArray
    library_size: FloatArray
    sample_factor: FloatArray
    dominant: IntArray
    dominant_share: FloatArray

    @property
    def log_shift(self) -> float:
        """Compute the largest change that the correction makes to the log size factors of a sample."""
        return float(np.abs(np.log(self.sample_factor)).max(initial=0.0))


def total_size_factors(matrix: Matrix | Source) -> SizeFactors:
    """Compute size factors proportional to the library size."""
    return _scaled(library_size(matrix), np.ones(1), np.zeros((1, matrix.shape[1])), None)


def sample_size_factors(
    matrix: Matrix | Source,
    codes: IntArray,
    n_levels: int,
    *,
    method: Literal["pooled", "tmm"] = "pooled",
    n_jobs: int = 1,
) -> SizeFactors:
    """Compute size factors proportional to the library size times a factor of the sample for its composition.

    Within a sample, cells have a similar composition, so library sizes are comparable. Between samples, a few strongly
    expressed genes that respond would shift all other genes. Trimming these genes prevents this.

    Parameters
    ----------
    matrix
        Counts over all genes, cells x genes.
    codes
        ``(n_obs,)`` sample of each cell, -1 for cells that are not used (their sample factor is 1).
    n_levels
        Number of samples.
    method
        :func:`~sc_glmm._compress.composition.pooled_factors` or :func:`tmm_factors`.
    n_jobs
        Number of threads.
    """
    bulk = pseudobulk(matrix, codes, n_levels, n_jobs=n_jobs)
    factor = pooled_factors(bulk) if method == "pooled" else tmm_factors(bulk)
    return _scaled(library_size(matrix), factor, bulk, codes)


def _scaled(size: FloatArray, factor: FloatArray, bulk: FloatArray, codes: IntArray | None) -> SizeFactors:
    values = size if codes is None else size * np.where(codes < 0, 1.0, factor[np.maximum(codes, 0)])
    filled = values > 0
    if not filled.any():
        raise InputError(f"none of the {len(size)} cells has a count; size factors need counts.")
    return SizeFactors(values / values[filled].mean(), size, factor, *dominant_genes(bulk))
