"""Check prior, mixture tests, quasi-likelihood and multiple testing on arrays with known results."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sc_glmm._inference.mixture import joint_mixture_test, mixture_test
from sc_glmm._inference.multiple import benjamini_hochberg
from sc_glmm._inference.prior import abundance_rank, fit_prior, posterior_weights
from sc_glmm._inference.quasi import scaled_t, squeeze
from sc_glmm._inference.satterthwaite import satterthwaite
from sc_glmm._inference.separation import find_deficient, separate
from sc_glmm._inference.shrink import shrink

GRID = np.array([4.0, 1.0, 0.4, 0.15, 0.06, 0.02, 1e-6])


def meta_regression(n_genes, variances, v=0.05, S=8, seed=0, effect=0.0):
    """Simulate balanced Gaussian meta-regressions: exact estimate, REML log likelihood and variance over the grid."""
    rng = np.random.default_rng(seed)
    arm = np.arange(S) % 2
    y = rng.normal(size=(n_genes, S)) * np.sqrt(variances[:, None] + v) + effect * arm
    means = np.stack([y[:, arm == a].mean(axis=1) for a in (0, 1)], axis=1)
    rss = ((y - means[:, arm]) ** 2).sum(axis=1)
    total = GRID + v
    log_likelihood = -0.5 * (S - 2) * np.log(total) - 0.5 * rss[:, None] / total
    delta = np.repeat((means[:, 1] - means[:, 0])[:, None], len(GRID), axis=1)
    return log_likelihood, delta, np.broadcast_to(4.0 * total / S, delta.shape), rss


def test_true_prior_is_recovered_and_p_values_are_uniform():
    rng = np.random.default_rng(1)
    share = np.array([0.0, 0.0, 0.3, 0.0, 0.5, 0.0, 0.2])
    variances = rng.choice(GRID, 6000, p=share)
    log_likelihood, delta, var, _ = meta_regression(6000, variances)
    prior = fit_prior(log_likelihood, abundance_rank(rng.normal(size=6000)), (len(GRID),))
    mean = prior.marginals[0].mean(axis=0)
    assert mean[:2].sum() < 0.02
    assert mean @ GRID == pytest.approx(share @ GRID, rel=0.1)
    weights = posterior_weights(log_likelihood, prior.at(np.full(6000, 0.5)))
    test = mixture_test(weights, delta, var, delta / np.sqrt(var))
    for alpha, slack in ((0.05, 0.009), (0.01, 0.004), (0.001, 0.0013)):  # three standard errors
        assert abs(np.mean(test.p_value < alpha) - alpha) < slack
    assert abs(np.mean((test.low <= 0) & (test.high >= 0)) - 0.95) < 0.009


def test_prior_follows_abundance():
    rng = np.random.default_rng(2)
    rank = abundance_rank(rng.normal(size=4000))
    log_likelihood, *_ = meta_regression(4000, np.where(rank > 0.5, 0.4, 0.02))
    prior = fit_prior(log_likelihood, rank, (len(GRID),))
    low, high = prior.at(np.array([0.1, 0.9])) @ GRID
    assert low < 0.05
    assert high > 0.25
    np.testing.assert_allclose(prior.at(rank).sum(axis=1), 1.0)


def test_product_grid_with_an_idle_variance_is_the_single_grid():
    """Check that a second variance without effect on the likelihood does not change the posterior of the first."""
    rng = np.random.default_rng(3)
    log_likelihood, *_ = meta_regression(600, rng.choice(GRID, 600))
    rank = abundance_rank(rng.normal(size=600))
    single = fit_prior(log_likelihood, rank, (len(GRID),))
    double_ll = np.repeat(log_likelihood, 3, axis=1)
    double = fit_prior(double_ll, rank, (len(GRID), 3))
    w1 = posterior_weights(log_likelihood, single.at(rank))
    w2 = posterior_weights(double_ll, double.at(rank)).reshape(600, len(GRID), 3).sum(axis=2)
    np.testing.assert_allclose(w1, w2, atol=1e-3)
    np.testing.assert_allclose(double.marginals[1], 1 / 3, atol=1e-9)


def test_p_interval_and_statistic_come_from_one_function():
    rng = np.random.default_rng(4)
    weights = rng.dirichlet(np.ones(5), size=300)
    delta = rng.normal(size=(300, 1)) + 0.05 * rng.normal(size=(300, 5))
    var = rng.uniform(0.05, 1.0, size=(300, 5))
    z = delta / np.sqrt(var)
    test = mixture_test(weights, delta, var, 0.95 * z)
    np.testing.assert_allclose(2 * stats.norm.sf(np.abs(test.stat)), test.p_value, rtol=1e-9)
    inside = (test.low <= 0) & (test.high >= 0)
    assert (inside == (test.p_value >= 0.05)).mean() > 0.99
    one = np.zeros((300, 5))
    one[:, 2] = 1.0  # all mass on one node: Wald's test and interval
    wald = mixture_test(one, delta, var, z)
    np.testing.assert_allclose(wald.p_value, 2 * stats.norm.sf(np.abs(z[:, 2])), rtol=1e-9)
    np.testing.assert_allclose(wald.low, delta[:, 2] - 1.959964 * np.sqrt(var[:, 2]), rtol=1e-5)
    np.testing.assert_allclose(wald.se, np.sqrt(var[:, 2]))
    joint = joint_mixture_test(one, z**2, 1)
    np.testing.assert_allclose(joint.p_value, wald.p_value, rtol=1e-9)


def test_squeeze_finds_the_scaled_f():
    rng = np.random.default_rng(5)
    df, d0, s0 = 6.0, 8.0, 1.7
    q = s0 * rng.f(df, d0, size=60_000)
    moderated, found = squeeze(q, df)
    assert found == pytest.approx(d0, rel=0.1)
    np.testing.assert_allclose(moderated[:5], (found * s0 + df * q[:5]) / (found + df), rtol=0.03)
    constant, infinite = squeeze(s0 * rng.chisquare(df, size=2_000) / df, df)
    assert infinite > 50
    t, p = scaled_t(np.array([2.0]), np.array([1.0]), np.array([4.0]), 10.0)
    assert (t[0], p[0]) == pytest.approx((1.0, 2 * stats.t.sf(1.0, 10)))
    assert np.ptp(constant) < np.ptp(q)


def test_benjamini_hochberg_equals_scipy_and_keeps_missing_values():
    rng = np.random.default_rng(6)
    p = rng.uniform(size=50) ** 2
    p[[3, 17]] = np.nan
    adjusted = benjamini_hochberg(p)
    tested = np.isfinite(p)
    np.testing.assert_allclose(adjusted[tested], stats.false_discovery_control(p[tested]))
    assert np.isnan(adjusted[~tested]).all()


@pytest.mark.parametrize(
    ("zero_rows", "separates"),
    [([4, 5, 6, 7], True), ([4, 5], False), ([0, 1, 2, 3, 4, 5], True), ([], False), ([0, 4], False)],
)
def test_separation_of_two_arms(zero_rows, separates):
    X = np.column_stack([np.ones(8), np.repeat([0.0, 1.0], 4)])
    positive = np.ones(8, dtype=bool)
    positive[zero_rows] = False
    found = separate(X, positive)
    assert (found is not None) == separates
    if found is not None:
        assert found.touches(np.array([[0.0, 1.0]]))
        empty = 1 if 4 in zero_rows and 7 in zero_rows else 0  # the arm without counts, which leaves the likelihood
        np.testing.assert_array_equal(found.rows, X[:, 1] != empty)
        assert find_deficient(X, positive[None])[0]


def test_separation_of_two_levels_does_not_affect_other_contrasts():
    """Check four levels of which c and d have no counts: b vs a can be estimated, c vs d cannot."""
    level = np.repeat(np.arange(4), 3)
    X = np.column_stack([np.ones(12), *(level == k for k in (1, 2, 3))]).astype(float)
    found = separate(X, level < 2)
    assert found is not None
    assert not found.touches(np.array([[0.0, 1.0, 0.0, 0.0]]))
    assert found.touches(np.array([[0.0, 0.0, 1.0, -1.0]]))
    assert list(found.rows) == list(level < 2)
    assert len(found.columns) == 2


def test_a_continuous_covariate_without_order_does_not_separate():
    """Check counts at one value of x and zeros on both sides: the rank decreases, but there is no separation."""
    X = np.column_stack([np.ones(6), [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]])
    positive = np.array([False, False, True, True, False, False])
    assert find_deficient(X, positive[None])[0]
    assert separate(X, positive) is None


def test_shrinkage_finds_its_prior_and_false_sign_rates_are_right():
    rng = np.random.default_rng(8)
    n = 6000
    effect = np.where(rng.uniform(size=n) < 0.7, 0.0, rng.normal(0, 1.0, n))
    variances = rng.choice(GRID, n, p=[0, 0, 0.3, 0, 0.5, 0, 0.2])
    log_likelihood, delta, var, _ = meta_regression(n, variances, effect=0.0)
    delta = delta + effect[:, None]
    prior = fit_prior(log_likelihood, abundance_rank(rng.normal(size=n)), (len(GRID),))
    weights = posterior_weights(log_likelihood, prior.at(np.full(n, 0.5)))
    result = shrink(weights, delta, var, delta / np.sqrt(var))
    assert np.mean(result.mean**2) < np.mean(delta[:, 0] ** 2)
    assert np.mean((result.mean - effect) ** 2) < 0.6 * np.mean((delta[:, 0] - effect) ** 2)
    chosen = result.s_value < 0.05
    false_sign = np.sign(result.mean[chosen]) != np.sign(effect[chosen])
    assert chosen.sum() > 200
    assert false_sign.mean() < 0.08
    assert result.lfsr[chosen].mean() == pytest.approx(result.s_value[chosen].max(), rel=1e-6)


def test_satterthwaite_in_a_balanced_design():
    """Check that nu is the number of samples minus two if the variance between samples is much larger than within."""
    wide = np.exp(np.linspace(np.log(4e3), np.log(4.0), 15))
    rng = np.random.default_rng(9)
    S = 8
    rss = 200.0 * rng.chisquare(S - 2, size=300)
    log_likelihood = -0.5 * (S - 2) * np.log(wide) - 0.5 * rss[:, None] / wide
    delta = rng.normal(size=(300, 1)) * np.ones(15)
    var = np.broadcast_to(4.0 * wide / S, delta.shape)
    estimate, se, df, p = satterthwaite(wide, log_likelihood, delta, var, moderated=False)
    inside = (rss / (S - 2) > 8.0) & (rss / (S - 2) < 2e3)
    np.testing.assert_allclose(df[inside], S - 2, rtol=0.05)
    np.testing.assert_allclose(se[inside] ** 2, 4.0 * rss[inside] / (S - 2) / S, rtol=0.05)
    np.testing.assert_allclose(p[inside], 2 * stats.t.sf(np.abs(estimate / se)[inside], df[inside]))
    _, _, more, _ = satterthwaite(wide, log_likelihood, delta, var, moderated=True)
    assert np.median(more[inside]) > S - 2
