"""Check moderated tests in tl.test: level, agreement with an independent profile, statuses, few genes."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

import sc_glmm
from sc_glmm import InputError, ScGlmmWarning
from sc_glmm._engine.arrow.layout import Block
from sc_glmm._engine.genes import GeneStats, build_structure
from sc_glmm._engine.grid_profiles import profile_genes
from sc_glmm._engine.laplace.records import Nodes
from sc_glmm._families.registry import FAMILIES
from sc_glmm._fit.compress import CellGroup, compress_groups

FORMULA = "counts ~ arm + (1|sample)"


def simulate(
    n_samples=8, cells=60, n_genes=400, seed=0, variances=(0.0, 0.05, 0.3), means=(0.1, 1.0, 6.0), effects=None
):
    """Simulate negative binomial counts with known size factors; `effects` are the effects of the arm, default none."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(n_samples), cells)
    arm = sample % 2
    size = rng.lognormal(0, 0.3, len(sample))
    variance = np.resize(variances, n_genes)
    mean = np.repeat(means, -(-n_genes // len(means)))[:n_genes]
    u = rng.normal(size=(n_samples, n_genes)) * np.sqrt(variance)
    eta = np.log(mean) + u[sample] + (0.0 if effects is None else np.outer(arm, effects))
    mu = size[:, None] * np.exp(eta)
    counts = rng.poisson(mu * rng.gamma(2.0, 0.5, mu.shape))
    counts[:, 0] += 1  # no cell without a count
    obs = pd.DataFrame(
        {"sample": [f"s{i}" for i in sample], "arm": pd.Categorical(np.array(["a", "b"])[arm]), "size": size},
        index=[f"c{i}" for i in range(len(sample))],
    )
    adata = ad.AnnData(obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
    adata.layers["counts"] = sp.csr_matrix(counts)
    return adata


def p_values(adata, test, formula=FORMULA, **kwargs):
    sc_glmm.tl.test(adata, formula, size_factors="size", test=test, **kwargs)
    return sc_glmm.get.results(adata, columns="all")


@pytest.fixture(scope="module")
def null():
    return simulate(n_samples=6, n_genes=2400)


@pytest.mark.parametrize("test", ["eb_lr", "eb_wald", "hk", "ql", "satterthwaite_moderated"])
def test_level_with_six_samples(null, test):
    """Check the level with six samples and 2,400 null genes: within three standard errors and the benchmark bounds."""
    p = p_values(null, test)["p_value"].iloc[1:]
    assert 0.033 < np.mean(p < 0.05) < 0.063
    assert np.mean(p < 0.01) < 0.017
    assert np.mean(p < 0.001) < 0.0035


def test_wald_exceeds_its_level(null):
    """Check that the z-test rejects far too often, which is why it is not the default."""
    assert np.mean(p_values(null, "wald")["p_value"].iloc[1:] < 0.01) > 0.02


def test_coverage_of_intervals_and_power():
    effects = np.tile([0.0, 0.7, -0.7], 200)
    adata = simulate(n_samples=12, n_genes=600, effects=effects, variances=(0.0, 0.03, 0.1), means=(1.0, 3.0))
    table = p_values(adata, None).iloc[1:]
    truth = effects[1:] / np.log(2)
    covered = (table["ci_low"] <= truth) & (truth <= table["ci_high"])
    assert 0.92 < covered.mean() < 0.98
    hits = table["adj_p_value"] < 0.05
    assert hits[effects[1:] != 0].mean() > 0.6
    assert np.sum(hits & (effects[1:] == 0)) <= 0.12 * hits.sum()
    assert np.sign(table["coef"][hits]).eq(np.sign(table["stat"][hits])).all()
    assert ((table["ci_low"] > 0) | (table["ci_high"] < 0)).eq(table["p_value"] < 0.05).mean() > 0.99


# --- the profile of one gene, independently ---------------------------------------------------------------------------


def independent_profile(y, size, sample, arm, phi, s2, n_quad=None):
    """Compute (log likelihood, information) of beta by one-dimensional integrals over the effect of each sample."""
    z, w = np.polynomial.hermite_e.hermegauss(n_quad or 1)

    def rows(beta):
        out, weights = 0.0, []
        for s in np.unique(sample):
            i = sample == s
            xb = beta[0] + beta[1] * arm[i][0]

            def h(u, i=i, xb=xb):
                mu = size[i] * np.exp(xb + u)
                return np.sum(y[i] * np.log(phi * mu) - (y[i] + 1 / phi) * np.log1p(phi * mu)) - 0.5 * u * u / s2

            found = minimize_scalar(lambda u: -h(u), bracket=(-1.0, 1.0), tol=1e-12)
            mu = size[i] * np.exp(xb + found.x)
            info = np.sum((y[i] + 1 / phi) * phi * mu / (1 + phi * mu) ** 2)
            H = info + 1 / s2
            if n_quad is None:
                out += h(found.x) - 0.5 * np.log(s2 * H)
            else:
                sd = H**-0.5
                terms = [h(found.x + sd * a) + 0.5 * a * a + np.log(b) for a, b in zip(z, w, strict=True)]
                out += logsumexp(terms) - 0.5 * np.log(2 * np.pi * s2 * H)
            weights.append(info / (1 + s2 * info))
        return out, np.array(weights)

    return rows


@pytest.mark.parametrize("n_agq", [1, 7])
def test_profile_agrees_with_dense_integrals(n_agq):
    """Check differences of log likelihood between nodes, estimate, r and r* of one gene by a direct computation."""

    adata = simulate(n_samples=6, cells=8, n_genes=3, means=(0.6,), variances=(0.1,), seed=3)
    y = np.asarray(adata.layers["counts"][:, 1].todense()).ravel().astype(float)
    size = adata.obs["size"].to_numpy()
    sample = adata.obs["sample"].str[1:].astype(int).to_numpy()
    arm = (adata.obs["arm"] == "b").to_numpy(float)
    from sc_glmm._design import build_design
    from sc_glmm._formula import parse_formula

    design = build_design(parse_formula(FORMULA), adata.obs)
    group = CellGroup("", np.arange(len(y)), design, np.log(size))
    result = compress_groups(adata.layers["counts"], [group], FAMILIES["nb"], genes=np.array([1]))[0]
    structure = build_structure(
        result.rows.X, [Block(result.rows.codes[0], 6, result.rows.Z[0], (1,))], result.rows.n_cells
    )
    phi, grid = 0.5, np.array([1.0, 0.2])
    profiles = profile_genes(
        structure, result.nodes, result.stats, FAMILIES["nb"], log_dispersion=np.log([phi]), beta=np.zeros((1, 2)),
        grid=np.sqrt(grid)[:, None], contrasts=[np.array([[0.0, 1.0]])], n_agq=n_agq,
    )  # fmt: skip
    assert profiles.ok[0]
    X = np.column_stack([np.ones(6), [arm[sample == s][0] for s in range(6)]])
    levels = []
    for j, s2 in enumerate(grid):
        rows = independent_profile(y, size, sample, arm, phi, s2, None if n_agq == 1 else n_agq)
        options = {"xatol": 1e-6, "fatol": 1e-9}
        free = minimize(lambda b, f=rows: -f(b)[0], [0.0, 0.0], method="Nelder-Mead", options=options)
        null = minimize(lambda b, f=rows: -f([b[0], 0.0])[0], [0.0], method="Nelder-Mead", options=options)
        levels.append(-free.fun)
        W, W0 = rows(free.x)[1], rows([null.x[0], 0.0])[1]
        M = X.T @ (W[:, None] * X)
        r = np.sign(free.x[1]) * np.sqrt(2 * (null.fun - free.fun))
        q = free.x[1] * np.sqrt(np.linalg.det(M) / W0.sum())
        assert profiles.delta[0, 0, j] == pytest.approx(free.x[1], abs=2e-4)
        assert profiles.root[0, 0, j] == pytest.approx(r, abs=1e-5)
        if n_agq == 1:
            assert profiles.var[0, 0, j] == pytest.approx(np.linalg.inv(M)[1, 1], rel=1e-4)
            assert profiles.star[0, 0, j] == pytest.approx(r + np.log(q / r) / r, abs=4e-3)
    assert np.diff(profiles.ell[0])[0] == pytest.approx(levels[1] - levels[0], abs=1e-6)


# Limit of the estimated variance divided by the true one, and bias of the intercept, by number of nodes (1: Laplace);
# exact by enumeration over the distribution of the counts.
LIMITS = [
    (0.05, 0.3, {1: (7.39, -0.151), 3: (0.983, None), 7: (1.0, 0.0)}),
    (0.05, 1.0, {1: (1.52, -0.013), 7: (1.0, 0.0)}),
    (0.3, 0.3, {1: (2.00, -0.134), 3: (0.916, None), 7: (1.0, 0.0)}),
    (1.0, 0.3, {1: (1.19, -0.076), 3: (0.855, None), 7: (1.003, 0.0)}),
    (1.0, 3.0, {1: (0.975, None), 7: (1.0, 0.0)}),
]


@pytest.mark.parametrize(("variance", "mean", "expected"), LIMITS)
def test_quadrature_corrects_laplace(variance, mean, expected):
    """Check the limit of the engine's estimates, with thousands of samples whose Poisson counts have exact proportions.

    With 0.3 counts per sample and a variance of 0.05, Laplace estimates seven times the variance; three nodes estimate
    too little, and seven nodes the truth.
    """
    from tests.frame_fit import fit_frame

    n = 8000
    z, w = np.polynomial.hermite_e.hermegauss(80)
    counts = np.arange(0, 400)
    law = stats.poisson.pmf(counts[:, None], mean * np.exp(np.sqrt(variance) * z)) @ w / w.sum()
    last = np.round(n * np.cumsum(law)).astype(int)
    y = np.repeat(counts, np.diff(last, prepend=0))
    frame = pd.DataFrame({"y": y, "sample": np.arange(len(y)).astype(str)})
    for n_agq, (ratio, bias) in expected.items():
        fit = fit_frame("y ~ 1 + (1|sample)", frame, family="poisson", n_agq=n_agq)
        assert fit.re_sd["sample"][0] ** 2 / variance == pytest.approx(ratio, rel=0.03)
        if bias is not None:
            assert fit.beta[0] - np.log(mean) == pytest.approx(bias, abs=0.006)


# --- statuses, designs, small sets ------------------------------------------------------------------------------------


def test_separated_genes_get_a_penalised_estimate_and_a_one_sided_interval():
    adata = simulate(n_samples=8, n_genes=120, means=(1.0,))
    counts = adata.layers["counts"].toarray()
    counts[(adata.obs["arm"] == "b").to_numpy(), 5] = 0
    counts[:, 7] = 0
    adata.layers["counts"] = sp.csr_matrix(counts)
    table = p_values(adata, "eb_lr").set_index("variable")
    one = table.loc["g5"]
    assert one["status"] == "separated"
    assert one["p_value"] < 1e-4
    assert one["ci_low"] == -np.inf
    assert one["ci_high"] < 0
    assert -12 < one["coef"] < -2
    zero = table.loc["g7"]
    assert zero["status"] == "all_zero"
    assert np.isnan(zero["p_value"])


def test_nested_design_puts_the_right_variance_on_the_grid():
    """Check arms between samples within donors: the variance of samples matters, that of donors does not."""
    rng = np.random.default_rng(7)
    adata = simulate(n_samples=12, n_genes=150, means=(2.0,), variances=(0.05,))
    number = adata.obs["sample"].str[1:].astype(int)
    adata.obs["donor"] = "d" + (number // 2).astype(str)
    y = adata.layers["counts"].toarray()
    lift = rng.normal(0, 0.3, (6, 150))[(number // 2).to_numpy()]
    adata.layers["counts"] = sp.csr_matrix(rng.poisson(y * np.exp(lift)))
    table = p_values(adata, "eb_lr", "counts ~ arm + (1|donor) + (1|sample)")
    params = adata.uns["glmm"]["params"]
    assert list(params["variances_on_grid"]) == ["sample"]
    assert 0.005 < np.mean(table["p_value"] < 0.05) < 0.12
    assert {"sd_sample_eb", "sd_donor"} <= set(table.columns)


def test_shrunken_effects_and_the_test_of_the_variance():
    effects = np.tile([0.0, 0.0, 0.0, 1.0], 100)
    adata = simulate(n_samples=10, n_genes=400, effects=effects, variances=(0.0, 0.2), means=(3.0,))
    table = p_values(adata, "eb_lr").iloc[1:]
    truth = effects[1:] / np.log(2)
    assert np.mean((table["log_fc_shrunk"] - truth) ** 2) < np.mean((table["log_fc"] - truth) ** 2)
    assert table["lfsr"].between(0, 1).all()
    variable = np.tile([0.0, 0.2], 200)[1:] > 0
    assert np.mean(table["p_sd_sample"][~variable] < 0.05) < 0.09
    assert np.mean(table["p_sd_sample"][variable] < 0.05) > 0.8
    signal = table["sd_sample_eb"] ** 2 * table["information"]
    np.testing.assert_allclose(table["share_sample"], signal / (1.0 + signal))


def test_each_of_two_variances_is_tested():
    """Check slopes on a covariate of cells that differ between samples for half of the genes."""
    rng = np.random.default_rng(5)
    n_samples, cells, n_genes = 8, 25, 60
    sample = np.repeat(np.arange(n_samples), cells)
    x = rng.normal(size=len(sample))
    slope_sd = np.tile([0.0, 0.7], n_genes // 2)
    slopes = rng.normal(size=(n_samples, n_genes)) * slope_sd
    effects = 0.3 * rng.normal(size=(n_samples, n_genes))
    counts = rng.poisson(3.0 * np.exp(effects[sample] + slopes[sample] * x[:, None]))
    obs = pd.DataFrame({"sample": sample.astype(str), "x": x, "size": 1.0}, index=[f"c{i}" for i in range(len(x))])
    adata = ad.AnnData(sp.csr_matrix(counts), obs, pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]))
    sc_glmm.tl.test(adata, "X ~ x + (x||sample)", family="poisson", size_factors="size", contrasts="x")
    info = sc_glmm.get.fit_info(adata)
    p = info["p_sd_sample_x"]
    assert np.mean(p[slope_sd == 0.0] < 0.05) < 0.2
    assert np.mean(p[slope_sd > 0.0] < 0.01) > 0.9
    assert info.loc[slope_sd > 0.0, "sd_sample_x_eb"].median() == pytest.approx(0.7, rel=0.3)


def test_joint_contrast_of_three_arms():
    adata = simulate(n_samples=9, n_genes=300, means=(1.0, 4.0), variances=(0.05,))
    number = adata.obs["sample"].str[1:].astype(int) % 3
    adata.obs["dose"] = pd.Categorical(np.array(["none", "low", "high"])[number], categories=["none", "low", "high"])
    table = p_values(adata, "eb_lr", "counts ~ dose + (1|sample)")
    table = table[table["contrast"] == table["contrast"].iloc[0]]
    assert len(table) == 300 and table["coef"].isna().all()
    assert 0.01 < np.mean(table["p_value"].iloc[1:] < 0.05) < 0.10


def test_few_genes_are_tested_separately_with_a_note():
    adata = simulate(n_genes=20)
    with pytest.warns(ScGlmmWarning, match="at least 50 genes.*test='hk'"):
        sc_glmm.tl.test(adata, FORMULA, size_factors="size")
    table = sc_glmm.get.results(adata, columns="all")
    assert adata.uns["glmm"]["params"]["test"] == "hk"
    np.testing.assert_allclose(table["p_value"], table["p_hk"])
    # Satterthwaite's degrees of freedom do not need other genes either
    table = p_values(adata, "satterthwaite")
    assert adata.uns["glmm"]["params"]["test"] == "satterthwaite"
    assert table["p_value"].notna().all()


def test_likelihood_ratio_is_that_of_two_fits():
    adata = simulate(n_genes=6, means=(2.0,), variances=(0.1,))
    table = p_values(adata, "lrt")
    from tests.frame_fit import fit_frame

    frame = adata.obs.assign(y=np.asarray(adata.layers["counts"][:, 3].todense()).ravel())
    offset = np.log(frame["size"])
    full = fit_frame("y ~ arm + (1|sample)", frame, offset=offset)
    null = fit_frame("y ~ 1 + (1|sample)", frame, offset=offset)
    assert table["stat"].iloc[3] == pytest.approx(2 * (full.loglik - null.loglik), abs=1e-6)


def test_bootstrap_of_named_genes():
    """Check two genes, one with an effect: p-values are close to the asymptotic ones."""
    effects = np.zeros(8)
    effects[2] = 1.5
    adata = simulate(n_samples=8, cells=20, n_genes=8, means=(2.0,), variances=(0.05,), effects=effects)
    table = p_values(adata, "bootstrap", genes=["g2", "g5"], n_boot=59).set_index("variable")
    assert table["p_value"].notna().sum() == 2
    assert table.loc["g2", "p_value"] == pytest.approx(1 / 60)
    asymptotic = p_values(adata, "lrt").set_index("variable").loc["g5", "p_value"]
    assert abs(table.loc["g5", "p_value"] - asymptotic) < 0.3
    again = p_values(adata, "bootstrap", genes=["g5"], n_boot=59, n_jobs=2).set_index("variable")
    assert again.loc["g5", "p_value"] == table.loc["g5", "p_value"]  # the seed of a gene does not depend on other genes
    with pytest.raises(InputError, match="genes="):
        sc_glmm.tl.test(adata, FORMULA, test="bootstrap")
    with pytest.raises(InputError, match="'g99'"):
        sc_glmm.tl.test(adata, FORMULA, test="bootstrap", genes=["g99"])


def test_names_of_tests_are_checked():
    adata = simulate(n_genes=4)
    with pytest.raises(InputError, match="'eb_lr'"):
        sc_glmm.tl.test(adata, FORMULA, test="moderated")
    with pytest.raises(InputError, match="gaussian"):
        sc_glmm.tl.test(adata, FORMULA, family="gaussian", test="eb_lr")


def test_prior_and_moderation_are_preserved_in_a_file(tmp_path):
    adata = simulate(n_genes=80)
    table = p_values(adata, "eb_lr")
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(
        sc_glmm.get.results(back, columns="all"), table, check_categorical=False, check_dtype=False
    )
    prior = back.uns["glmm"]["priors"]["0"]
    np.testing.assert_allclose(prior["marginal_0"].sum(axis=1), 1.0)
    assert np.isfinite(table[["sd_sample_eb", "p_hk"]].to_numpy()).all()
    # seven nodes where the median sample has an information below 10, and only there
    assert table["n_agq"].isin([1, 7]).all()
    assert (table["n_agq"] == 7).eq(table["information"] < 10.0).all()
    assert table["n_agq"].nunique() == 2


def test_moderated_results_do_not_depend_on_the_number_of_jobs():
    one, two = simulate(n_genes=150), simulate(n_genes=150)
    pd.testing.assert_frame_equal(p_values(one, "eb_lr", n_jobs=1), p_values(two, "eb_lr", n_jobs=2), check_exact=True)


def test_profile_does_not_depend_on_its_start():
    """Check starts at the mean of all samples and at an arm of half a count; the information differs a hundredfold."""
    exposure = np.array([12.2, 37.5, 16.7, 11.9, 10.6, 37.9, 26.7, 17.5])
    counts = np.array([[0.088, 0.217, 0.117, 0.072, 0.077, 13.183, 2.139, 0.106]])
    arm = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    structure = build_structure(
        np.column_stack([np.ones(8), arm]), [Block(np.arange(8), 8, np.ones((8, 1)), (1,))], exposure
    )
    stats_ = GeneStats(
        counts, np.zeros((1, 64)), np.zeros(2, int), np.zeros(0), np.zeros(0), np.zeros((1, 2)), np.zeros(1)
    )
    mean = np.log(counts.sum() / exposure.sum())
    result = profile_genes(
        structure, Nodes(np.arange(9), np.ones(8), exposure), stats_, FAMILIES["nb"], log_dispersion=np.log([2.02]),
        beta=np.array([[mean, 0.0]]), grid=np.array([[1e-3]]), contrasts=[np.array([[0.0, 1.0]])],
    )  # fmt: skip
    assert result.ok[0]
    phi = 2.02

    def minus(beta):
        mu = np.exp(beta[0] + beta[1] * arm)
        return -np.sum(counts[0] * np.log(mu) - (counts[0] + exposure / phi) * np.log1p(phi * mu))

    best = minimize(minus, [mean, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000})
    np.testing.assert_allclose(result.beta[0, 0], best.x, atol=1e-4)


def test_a_covariate_of_cells_may_have_its_zero_anywhere():
    """Check that correlated slopes give the same tests for any zero, because the grid uses centred columns."""
    adata = simulate(n_genes=60)
    adata.obs["x"] = np.random.default_rng(5).normal(size=adata.n_obs)
    adata.obs["far"] = adata.obs["x"] + 50.0
    near, far = (
        p_values(adata, "eb_lr", formula=f"counts ~ arm + {x} + ({x} | sample)", contrasts=x).set_index("variable")
        for x in ("x", "far")
    )
    for column in ("coef", "se", "p_value"):
        np.testing.assert_allclose(far[column], near[column], rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("start_node", [0, 5, 9, 11])
def test_skipped_nodes_have_no_weight(start_node):
    """Check profiles at nodes with weight against profiles at all nodes: weights and averages."""
    rng = np.random.default_rng(4)
    n, sd = 60, [0.05, 0.25, 0.9]
    arm = np.arange(n) % 2
    u = rng.normal(size=(3, n)) * np.array(sd)[:, None]
    counts = rng.poisson(200.0 * np.exp(u)).astype(float)
    structure = build_structure(
        np.column_stack([np.ones(n), arm]), [Block(np.arange(n), n, np.ones((n, 1)), (1,))], np.full(n, 100.0)
    )
    stats_ = GeneStats(
        counts, np.zeros((3, 64)), np.zeros(4, int), np.zeros(0), np.zeros(0), np.zeros((3, 2)), np.zeros(3)
    )
    variance = np.array([4.0, 2.0, 1.0, 0.6, 0.4, 0.2, 0.1, 0.05, 0.02, 0.01, 1e-3, 1e-6])

    def profile(start):
        return profile_genes(
            structure, Nodes(np.arange(n + 1), np.ones(n), np.full(n, 100.0)), stats_, FAMILIES["nb"],
            log_dispersion=np.full(3, np.log(0.1)), beta=np.tile([np.log(2.0), 0.0], (3, 1)),
            grid=np.sqrt(variance)[:, None], contrasts=[np.array([[0.0, 1.0]])], start_node=start,
        )  # fmt: skip

    every, some = profile(None), profile(start_node)
    assert every.ok.all()
    assert some.ok.all()
    restricted, followed = (result.ell - 0.5 * result.log_det for result in (every, some))
    below = restricted - restricted.max(axis=1, keepdims=True)
    top = below > -14.0
    left_out = followed < followed.max(axis=1, keepdims=True) - 900.0
    assert left_out.any()
    assert below[left_out].max() < -40.0
    np.testing.assert_allclose(followed[top], restricted[top], rtol=1e-10)
    for name in ("delta", "var", "root", "star"):
        mine, theirs = getattr(some, name)[:, 0], getattr(every, name)[:, 0]
        assert np.isfinite(mine).all()
        # maxima are accurate to about 1e-5 standard errors
        np.testing.assert_allclose(mine[top], theirs[top], rtol=1e-4, atol=1e-4 * np.sqrt(every.var.max()))
    np.testing.assert_allclose(some.rss[:, -1], every.rss[:, -1], rtol=1e-6)
