import functools
import operator

import numpy as np
import pytest
import scipy.sparse as sp

from sc_glmm import InputError
from sc_glmm._compress import (
    library_size,
    pooled_factors,
    pseudobulk,
    sample_size_factors,
    tmm_factors,
    total_size_factors,
)
from tests.compress.plain import FORMS

# edgeR 3.40.2, R 4.2.2: tests/reference/make_tmm.R
EDGER = {
    (400, 6, 1009, 0): [
        0.979453987441834,
        1.0090029234293,
        1.00300140647145,
        0.998360221083848,
        1.01348885549463,
        0.997047270235213,
    ],
    (400, 5, 1009, 300): [
        1.07767410024701,
        1.0095316169948,
        0.945710682226178,
        0.947180111215094,
        1.02612853464366,
    ],
    (400, 4, 1009, 850): [0.962560900875796, 1.2185310525517, 0.963482756936289, 0.884893969831022],
    (50, 2, 211, 20): [0.988802469094115, 1.01132433550267],
}


def whole_numbers(n_genes, n_samples, modulus, zero_below):
    """Read the counts of make_tmm.R."""
    g, s = np.arange(n_genes), np.arange(n_samples)[:, None]
    noise = (g * 104729 + s * 7919 + g * s * 31 + (g * g) % 97 * 13) % modulus
    return np.where(noise < zero_below, 0, ((g * 7907) % 509 + 1) * (s + 2) + noise)


@pytest.mark.parametrize("case", EDGER)
def test_tmm_factors_are_those_of_edger(case):
    np.testing.assert_allclose(tmm_factors(whole_numbers(*case)), EDGER[case], rtol=1e-12)


def slow_tmm(counts):
    """Compute TMM factors by their definition in loops; genes with equal values are trimmed by equal parts."""
    totals = [sum(sample) for sample in counts]
    upper = [np.quantile([y for y, seen in zip(s, counts.any(axis=0), strict=True) if seen], 0.75) for s in counts]
    quartile = [u / n for u, n in zip(upper, totals, strict=True)]
    if np.median(quartile) > 0:
        ref = min(range(len(counts)), key=lambda s: abs(quartile[s] - np.mean(quartile)))
    else:
        ref = max(range(len(counts)), key=lambda s: sum(np.sqrt(counts[s])))
    logs = []
    for s, sample in enumerate(counts):
        genes = [g for g in range(len(sample)) if sample[g] > 0 and counts[ref][g] > 0]
        ratio = {g: sample[g] / counts[ref][g] for g in genes}
        product = {g: sample[g] * counts[ref][g] for g in genes}

        def left(value, g, trim, genes=genes):
            below = sum(value[h] < value[g] for h in genes)
            equal = sum(value[h] == value[g] for h in genes)
            cut = int(trim * len(genes))
            places = range(below, below + equal)
            return sum(cut <= place < len(genes) - cut for place in places) / equal

        top = bottom = 0.0
        for g in genes:
            m = np.log2(ratio[g] * totals[ref] / totals[s])
            v = (totals[s] - sample[g]) / (totals[s] * sample[g])
            v += (totals[ref] - counts[ref][g]) / (totals[ref] * counts[ref][g])
            weight = left(ratio, g, 0.3) * left(product, g, 0.05) / v
            top, bottom = top + weight * m, bottom + weight
        logs.append(top / bottom)
    return 2 ** (np.array(logs) - np.mean(logs))


@pytest.mark.parametrize("mean", [0.3, 3.0, 300.0])
def test_tmm_factors_are_their_definition(rng, mean):
    counts = rng.poisson(mean * rng.gamma(0.7, 1, 120) * rng.uniform(0.5, 2, (5, 1))).astype(float)
    np.testing.assert_allclose(tmm_factors(counts), slow_tmm(counts), rtol=1e-11)


@pytest.mark.parametrize("factors", [tmm_factors, pooled_factors])
def test_changes_of_some_genes_do_not_change_the_others(rng, factors):
    """Check that effective library sizes are proportional to the depth of the unchanged genes."""
    depth = np.array([3, 5, 2, 8, 4, 6])
    base = rng.integers(20, 5000, 500)
    counts = depth[:, None] * base
    counts[3:, :40] *= 12
    effective = counts.sum(axis=1) * factors(counts)
    np.testing.assert_allclose(effective / effective[0], depth / depth[0], rtol=1e-12)
    assert np.ptp(np.log(counts.sum(axis=1) / depth)) > 0.5


@pytest.mark.parametrize("factors", [tmm_factors, pooled_factors])
def test_order_of_samples_and_genes(rng, factors):
    counts = rng.poisson(rng.gamma(0.5, 20, 300) * rng.uniform(0.5, 2, (7, 1)))
    samples, genes = rng.permutation(7), rng.permutation(300)
    np.testing.assert_allclose(factors(counts[samples][:, genes]), factors(counts)[samples], rtol=1e-12)


def test_pooled_factors_are_right_in_shallow_samples(rng):
    """Check samples with 1,000 counts: ten of 3,000 genes increase tenfold in half of the samples."""
    share = rng.gamma(0.3, 1, 3000)
    share /= share.sum()
    depth = np.exp(rng.uniform(np.log(1e3), np.log(2e5), 16))
    mean = depth[:, None] * share
    mean[::2, np.argsort(share)[-40::4]] *= 10
    counts = rng.poisson(mean)

    def error(factors):
        log_error = np.log(counts.sum(axis=1) * factors(counts) / depth)
        return log_error.std()

    assert error(pooled_factors) < 0.06 < 0.1 < error(lambda y: np.ones(len(y)))
    assert error(tmm_factors) > 3 * error(pooled_factors)


def test_pooled_factors_of_samples_with_too_few_counts(rng):
    counts = rng.poisson(30, (4, 50))
    counts[2] = 0
    counts[3] = np.eye(50, dtype=int)[0]
    ours = pooled_factors(counts)
    assert ours[2] == 1 and np.prod(ours) == pytest.approx(1)
    np.testing.assert_array_equal(pooled_factors(counts[:1]), [1])
    np.testing.assert_array_equal(pooled_factors(np.zeros((3, 5))), [1, 1, 1])


def test_samples_with_too_few_counts_get_no_correction(rng):
    counts = rng.poisson(30, (4, 50))
    counts[2] = 0
    ours = tmm_factors(counts)
    assert ours[2] == 1 and np.prod(ours) == pytest.approx(1)
    np.testing.assert_allclose(np.delete(ours, 2), tmm_factors(np.delete(counts, 2, axis=0)), rtol=1e-12)
    np.testing.assert_array_equal(tmm_factors(counts[:1]), [1])
    np.testing.assert_array_equal(tmm_factors(np.zeros((3, 5))), [1, 1, 1])
    np.testing.assert_array_equal(tmm_factors(np.eye(4) * 10), np.ones(4))
    np.testing.assert_array_equal(tmm_factors(np.array([[5, 0], [9, 0]])), [1, 1])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_library_sizes_and_pseudobulk(rng, form, dtype):
    y = rng.poisson(2.0, (200, 30))
    codes = rng.integers(-1, 5, 200)
    matrix = FORMS[form](y.astype(dtype))
    np.testing.assert_array_equal(library_size(matrix), y.sum(axis=1))
    expected = [y[codes == level].sum(axis=0) for level in range(6)]
    np.testing.assert_array_equal(pseudobulk(matrix, codes, 6, n_jobs=2), expected)


def test_large_library_sizes_are_not_rounded():
    y = np.full((2, 40), 16_777_217, dtype=np.int64)
    for form in ("csr", "csc", "dense"):
        np.testing.assert_array_equal(library_size(FORMS[form](y)), 40 * 16_777_217)


@pytest.mark.parametrize("n", [0, 1, 9, 5000])
def test_values_that_are_not_counts_are_added_in_their_order(rng, n):
    y = rng.lognormal(0, 3, (3, n))
    y[1] = np.floor(np.minimum(y[1], 30)) * 2.0**48 + 1  # whole numbers with a total that is not exact
    one_by_one = [functools.reduce(operator.add, row.tolist(), 0.0) for row in y]
    for form in ("csr", "csc", "dense"):
        np.testing.assert_array_equal(library_size(FORMS[form](y)), one_by_one)


@pytest.mark.parametrize(("method", "of_samples"), [("tmm", tmm_factors), ("pooled", pooled_factors)])
def test_size_factors_are_library_size_times_sample_factor(rng, method, of_samples):
    y = rng.poisson(rng.gamma(0.5, 3, 80) * rng.uniform(0.5, 2, (300, 1)))
    y[:, 0] += 40
    y[7] = 0
    codes = rng.integers(-1, 4, 300)
    factors = sample_size_factors(sp.csr_matrix(y), codes, 4, method=method)
    sample_factor = of_samples(np.array([y[codes == level].sum(axis=0) for level in range(4)]))
    np.testing.assert_allclose(factors.sample_factor, sample_factor, rtol=1e-12)
    expected = y.sum(axis=1) * np.where(codes < 0, 1.0, sample_factor[codes])
    np.testing.assert_allclose(factors.values, expected / expected[expected > 0].mean(), rtol=1e-12)
    assert factors.values[7] == 0 and factors.values[factors.values > 0].mean() == pytest.approx(1)
    share = np.max([y[codes == s].sum(axis=0) / y[codes == s].sum() for s in range(4)], axis=0)
    np.testing.assert_array_equal(np.sort(factors.dominant), np.flatnonzero(share > 0.05))
    np.testing.assert_allclose(factors.dominant_share, share[factors.dominant])
    assert factors.dominant[0] == 0 and (np.diff(factors.dominant_share) <= 0).all()
    total = total_size_factors(sp.csc_matrix(y))
    np.testing.assert_allclose(total.values * total.library_size[total.library_size > 0].mean(), y.sum(axis=1))
    assert total.log_shift == 0 and factors.log_shift == pytest.approx(np.abs(np.log(sample_factor)).max())


def test_matrix_without_counts_is_rejected():
    with pytest.raises(InputError, match="none of the 5 cells has a count"):
        total_size_factors(sp.csr_matrix((5, 3)))
