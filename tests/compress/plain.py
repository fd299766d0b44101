"""Compute likelihoods cell by cell, and from compressed statistics, in plain numpy."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln

FORMS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr_array": sp.csr_array,
    "csc_array": sp.csc_array,
    "dense": np.asarray,
    "fortran": np.asfortranarray,
}


def simulate(rng, n_obs=400, n_genes=12, n_rows=6, spread=0.5, mean=0.7):
    """Simulate counts with a few large values, rows and offsets."""
    row_of = rng.integers(0, n_rows, n_obs)
    offset = rng.normal(0, spread, n_obs)
    mu = np.exp(offset[:, None] + np.log(mean) + rng.normal(0, 0.5, n_genes))
    y = rng.poisson(mu * rng.gamma(1.0, 1.0, mu.shape)).astype(float)
    return y, row_of, offset


def nb_pieces(t, phi):
    """Compute the factors of 1 and y in the log likelihood and its derivatives at log(mu) = t, without the terms y t.

    Rows: value, three derivatives in the linear predictor, derivative in log(phi).
    """
    t = np.asarray(t, dtype=np.longdouble)
    phi = np.longdouble(phi)
    x = phi * np.exp(t)
    p = x / (1 + x)
    q = p / (1 + x)
    series = x * x * (0.5 - 2 * x / 3 + 0.75 * x * x - 0.8 * x**3)
    excess = np.where(x < 1e-5, series, np.log1p(x) - p)
    ones = np.array([np.log1p(x), p, q, q * (1 - 2 * p), -excess]) / -phi
    ys = np.array([-np.log1p(x), -p, -q, -q * (1 - 2 * p), -p])
    return ones, ys


def nb_histogram(counts, multiplicity, phi):
    """Compute the terms of the likelihood, and of its derivative in log(phi), that depend on the counts only."""
    value = slope = np.longdouble(0)
    for y, n in zip(counts, multiplicity, strict=True):
        j = np.arange(int(y)) * np.longdouble(phi)
        value += n * np.log1p(j).sum()
        slope += n * (j / (1 + j)).sum()
    return value, slope


def nb_from_cells(y, offset, eta, phi):
    """Compute value, derivatives in a common shift of eta, derivative in log(phi), and sums of absolute terms."""
    ones, ys = nb_pieces(offset + eta, phi)
    terms = ones + y * ys
    values, multiplicity = np.unique(y, return_counts=True)
    hist, hist_slope = nb_histogram(values, multiplicity, phi)
    result = terms.sum(axis=1)
    result[0] += hist + (y * (offset + eta) - gammaln(y + 1)).sum()
    result[1] += y.sum()
    result[4] += hist_slope
    return result, np.abs(terms).sum(axis=1)


def nb_from_stats(stats, gene, table, eta_of_row, phi):
    """Compute the same from statistics on nodes."""
    eta = np.repeat(eta_of_row, np.diff(table.ptr))
    ones, ys = nb_pieces(np.log(table.ec) + eta, phi)
    result = ones @ table.weight + ys @ stats.A[gene]
    over = slice(stats.over_ptr[gene], stats.over_ptr[gene + 1])
    j = np.arange(64) * np.longdouble(phi)
    result[0] += stats.const[gene] + stats.A[gene] @ eta + stats.tail[gene] @ np.log1p(j)
    result[1] += stats.A[gene].sum()
    result[4] += stats.tail[gene] @ (j / (1 + j))
    for value, n in zip(stats.over_value[over], stats.over_count[over], strict=True):
        j = np.arange(64, int(value)) * np.longdouble(phi)
        result[0] += n * np.log1p(j).sum()
        result[4] += n * (j / (1 + j)).sum()
    return result


def assert_same_stats(first, second, rtol=1e-12, atol=1e-10):
    """Check that statistics agree: whole numbers exactly, others up to rounding."""
    np.testing.assert_allclose(first.A, second.A, rtol=rtol, atol=atol)
    np.testing.assert_allclose(first.const, second.const, rtol=rtol, atol=atol)
    for name in ("tail", "over_ptr", "over_value", "over_count", "total", "n_nonzero"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
