"""Check dispersions shrunken to their trend, and the related columns of the gene table."""

import numpy as np
import pytest

import sc_glmm
from sc_glmm._fit.dispersion import shrink_to_trend


def test_shrinkage_finds_the_scatter_and_beats_the_estimates():
    rng = np.random.default_rng(0)
    trend = np.linspace(-1.0, 0.5, 2000)
    true = trend + rng.normal(0.0, 0.5, 2000)
    se = rng.uniform(0.1, 1.5, 2000)
    estimate = true + rng.normal(0.0, se)
    shrunken = shrink_to_trend(estimate, se, trend)
    moved = estimate - trend <= 2.0 * np.sqrt(0.25 + se**2)
    # the posterior mean if the variance of the scatter is 0.25
    expected = trend + (estimate - trend) * 0.25 / (0.25 + se**2)
    inside = moved & (estimate - trend <= 1.8 * np.sqrt(0.25 + se**2))
    np.testing.assert_allclose(shrunken[inside], expected[inside], atol=0.12)
    assert np.mean((shrunken - true) ** 2) < 0.5 * np.mean((estimate - true) ** 2)


def test_genes_far_above_the_trend_and_at_a_bound_keep_their_estimates():
    trend, se = np.zeros(50), np.full(50, 0.2)
    estimate = np.linspace(-0.3, 0.3, 50)
    estimate[7], se[9], estimate[9] = 4.0, np.nan, -18.5
    shrunken = shrink_to_trend(estimate, se, trend)
    assert shrunken[7] == 4.0
    assert shrunken[9] == -18.5
    assert np.all(np.abs(np.delete(shrunken, [7, 9])) <= np.abs(np.delete(estimate, [7, 9])))


@pytest.fixture(scope="module")
def both():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=160, n_genes=120, seed=3)
    for kind in ("ml", "shrunken"):
        sc_glmm.tl.test(
            adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, dispersion=kind, key_added=kind
        )
    return adata


def test_shrunken_dispersions_scatter_less_and_change_the_tests_little(both):
    own, drawn = (sc_glmm.get.fit_info(both, key) for key in ("ml", "shrunken"))
    free = (own["dispersion"] > 1e-6) & ~own["phi_from_trend"].astype(bool) & np.isfinite(own["log_dispersion_se"])
    assert free.sum() > 40
    assert np.std(np.log(drawn["dispersion"][free])) < np.std(np.log(own["dispersion"][free]))
    a, b = (sc_glmm.get.results(both, key, columns="all")["p_value"].to_numpy() for key in ("ml", "shrunken"))
    finite = np.isfinite(a)
    assert np.array_equal(finite, np.isfinite(b))
    assert not np.array_equal(a[finite], b[finite])
    assert np.corrcoef(np.log(a[finite]), np.log(b[finite]))[0, 1] > 0.97


def test_unknown_option_is_rejected():
    adata = sc_glmm.datasets.simulate(n_samples=4, n_cells=40, n_genes=3, seed=0)
    with pytest.raises(sc_glmm.InputError, match="dispersion='trend': allowed are 'ml', 'shrunken'"):
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", dispersion="trend")


def test_extreme_sample_empty_samples_and_posterior_limits():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=100, seed=5)
    counts = adata.layers["counts"].toarray()
    sample = adata.obs["sample"].astype(str).to_numpy()
    gene = int(np.argmax(counts.mean(axis=0)))
    odd = sample == sample[0]
    counts[odd, gene] *= 9
    rare = int(np.argsort(counts.mean(axis=0))[60])
    counts[odd, rare] = 0
    adata.layers["counts"] = counts
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, size_factors=np.ones(400))
    info = sc_glmm.get.fit_info(adata)
    assert info["extreme_sample"].iloc[gene] == sample[0]
    assert info["extreme_sample_z"].iloc[gene] > 1.5
    levels = np.unique(sample)
    empty = [sum(counts[sample == s, g].sum() == 0 for s in levels) for g in range(adata.n_vars)]
    assert list(info["n_empty_sample"]) == empty
    assert info["n_empty_sample"].iloc[rare] >= 1
    low, mean, high = (info[f"sd_sample_eb{end}"].to_numpy() for end in ("_low", "", "_high"))
    finite = np.isfinite(mean)
    assert np.all(low[finite] <= high[finite])
    assert np.mean((low[finite] <= mean[finite]) & (mean[finite] <= high[finite])) > 0.95
    assert info["information"][finite].gt(0.0).all()


@pytest.mark.parametrize("options", [{"family": "poisson"}, {"test": "t"}, {"test": "lrt"}])
def test_shrinkage_is_rejected_without_moderation(options):
    adata = sc_glmm.datasets.simulate(n_samples=4, n_cells=40, n_genes=3, seed=0)
    with pytest.raises(sc_glmm.InputError, match="needs family='nb' and a moderated test"):
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", dispersion="shrunken", **options)
