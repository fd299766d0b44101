"""Check hidden factors from summed counts: known factors, invariances, and the number of factors."""

from __future__ import annotations

import numpy as np
import pytest

from sc_glmm._inference.latent import LatentFactors, estimate_factors, most_factors

S, GENES = 20, 800


def simulate(rng, n_samples=S, n_factors=1, r=0.0, share=0.35, depth=60.0):
    """Simulate samples in two arms with hidden factors whose correlation with the arms is exactly `r`."""
    arm = np.repeat([0.0, 1.0], n_samples // 2)
    standard = (arm - arm.mean()) / arm.std()
    noise = rng.normal(size=(n_samples, n_factors))
    noise -= noise.mean(axis=0)
    noise -= np.outer(standard, standard @ noise) / n_samples
    noise = np.linalg.qr(noise)[0] * np.sqrt(n_samples) if n_factors else noise
    hidden = r * standard[:, None] + np.sqrt(1.0 - r**2) * noise
    loadings = 0.45 * rng.normal(size=(n_factors, GENES)) * (rng.random((n_factors, GENES)) < share)
    eta = np.log(depth) + rng.normal(0.0, 0.8, GENES) + hidden @ loadings + 0.2 * rng.normal(size=(n_samples, GENES))
    size = np.exp(rng.normal(0.0, 0.4, n_samples))
    return rng.poisson(np.exp(eta) * size[:, None]).astype(float), size, arm, hidden


def estimate(counts, size, arm, n_factors=None, nuisance=None) -> LatentFactors:
    nuisance = np.ones((len(size), 1)) if nuisance is None else nuisance
    return estimate_factors(counts, size, nuisance, arm[:, None] if arm.ndim == 1 else arm, n_factors)


def effects(counts, size, X):
    """Estimate the coefficient of the second column of X for each gene, by least squares on log rates."""
    return np.linalg.lstsq(X, np.log((counts + 0.5) / size[:, None]), rcond=None)[0][1]


@pytest.mark.parametrize("n_samples", [12, 20, 40])
def test_no_factor_is_found_without_a_factor(n_samples):
    rng = np.random.default_rng(1)
    found = [estimate(*simulate(rng, n_samples, n_factors=0)[:3]).n_factors for _ in range(20)]
    assert np.mean(np.array(found) == 0) >= 0.9


@pytest.mark.parametrize("n_samples", [12, 20, 40])
@pytest.mark.parametrize(("n_factors", "r"), [(1, 0.0), (1, 0.5), (2, 0.3)])
def test_factors_are_found_with_their_part_along_the_arms(n_samples, n_factors, r):
    rng = np.random.default_rng(2)
    counts, size, arm, hidden = simulate(rng, n_samples, n_factors, r)
    found = estimate(counts, size, arm)
    assert found.n_factors == n_factors
    # the span matters, not the axes in it
    basis = np.linalg.qr(found.factors)[0]
    assert np.linalg.svd(basis.T @ np.linalg.qr(hidden - hidden.mean(axis=0))[0])[1].min() > 0.95
    assert np.allclose(found.factors.mean(axis=0), 0.0, atol=1e-12)
    assert np.allclose(found.factors.std(axis=0), 1.0)
    if n_factors == 1:
        assert abs(found.r_tested[0] - r) < 0.15


def test_effects_are_centred_with_the_factor_and_not_without():
    """Check that a factor that correlates with the arms causes false effects, which adjustment removes."""
    rng = np.random.default_rng(3)
    counts, size, arm, hidden = simulate(rng, 40, 1, r=0.5)
    found = estimate(counts, size, arm)
    plain = np.column_stack([np.ones(40), arm])
    sign = np.sign(found.loadings[:, 0] * np.corrcoef(found.factors[:, 0], arm)[0, 1])
    without = effects(counts, size, plain)[found.used] * sign
    adjusted = effects(counts, size, np.column_stack([plain, found.factors]))[found.used] * sign
    oracle = effects(counts, size, np.column_stack([plain, hidden]))[found.used] * sign
    # the sign of all three depends on the loadings with the same noise: compare with the true factor, not with zero
    assert without.mean() - oracle.mean() > 0.1
    assert abs(adjusted.mean() - oracle.mean()) < 0.01
    assert adjusted.std() < 1.05 * oracle.std()


def test_units_base_levels_and_orders_do_not_matter():
    rng = np.random.default_rng(4)
    counts, size, arm, _ = simulate(rng, 20, 2, r=0.3)
    age = rng.uniform(20, 80, 20)
    nuisance = np.column_stack([np.ones(20), age])
    plain = estimate(counts, size, arm, nuisance=nuisance)
    genes, samples = rng.permutation(GENES), rng.permutation(20)
    for other, back in [
        (estimate(counts, size, 5.0 - 2.0 * arm, nuisance=nuisance), slice(None)),
        (estimate(counts, size, arm, nuisance=np.column_stack([np.ones(20), 2e6 + 1e5 * age])), slice(None)),
        (estimate(counts, 1e4 * size, arm, nuisance=nuisance), slice(None)),
        (estimate(counts[:, genes], size, arm, nuisance=nuisance), slice(None)),
        (estimate(counts[samples], size[samples], arm[samples], nuisance=nuisance[samples]), np.argsort(samples)),
    ]:
        assert other.n_factors == plain.n_factors == 2
        np.testing.assert_allclose(other.factors[back], plain.factors, rtol=0, atol=1e-6)


def test_three_arms_give_the_same_factors_for_any_base_level():
    rng = np.random.default_rng(5)
    counts, size, _, _ = simulate(rng, 24, 1)
    arm = np.eye(3)[np.repeat([0, 1, 2], 8)]
    found = [estimate(counts, size, np.delete(arm, base, axis=1)) for base in range(3)]
    for other in found[1:]:
        np.testing.assert_allclose(other.factors, found[0].factors, rtol=0, atol=1e-8)


def test_factors_of_a_paired_design_do_not_contain_donors():
    rng = np.random.default_rng(6)
    counts, size, _, hidden = simulate(rng, 24, 1)
    donor = np.eye(12)[np.repeat(np.arange(12), 2)]
    arm = np.tile([0.0, 1.0], 12)
    found = estimate(counts, size, arm, n_factors=1, nuisance=donor)
    inside = hidden - donor @ np.linalg.lstsq(donor, hidden, rcond=None)[0]
    factor = found.factors - donor @ np.linalg.lstsq(donor, found.factors, rcond=None)[0]
    assert abs(np.corrcoef(factor[:, 0], inside[:, 0])[0, 1]) > 0.9


def test_largest_number_of_factors():
    assert [most_factors(n, 2) for n in (4, 8, 12, 20, 40, 100)] == [0, 1, 2, 3, 5, 13]
