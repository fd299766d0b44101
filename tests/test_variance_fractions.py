"""Check variance fractions of genes: against variancePartition and lme4, known fractions, invariances."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._errors import InputError, ScGlmmWarning
from tests.reference import load

REFERENCE = json.loads((Path(load.__file__).parent / "variance_fractions.json").read_text())


def run(adata: ad.AnnData, formula: str, **options: Any) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, formula, n_jobs=1, progress=False, **options)
    return adata


def example() -> ad.AnnData:
    info = pd.DataFrame(REFERENCE["info"]).set_axis([f"s{i}" for i in range(100)])
    values = pd.DataFrame(REFERENCE["expression"])
    return ad.AnnData(values.to_numpy(), info, pd.DataFrame(index=list(values)))


@pytest.mark.parametrize(
    ("formula", "reference", "rtol", "atol"),
    [
        ("X ~ Age + (1|Individual) + (1|Tissue) + (1|Batch)", "published", 1e-3, 2e-6),
        ("X ~ Age + (1|Individual) + (1|Tissue) + (1|Batch)", "example", 1e-3, 2e-6),
        ("X ~ Age + Height + (1|Individual) + (1|Tissue)", "height", 1e-3, 2e-6),
        ("X ~ Batch + Age + (1|Individual) + (1|Tissue)", "factor", 1e-3, 2e-6),
    ],
)
def test_the_example_of_variance_partition(formula: str, reference: str, rtol: float, atol: float) -> None:
    adata = run(example(), formula, family="gaussian", method="ml", contrasts="Age")
    found = sc_glmm.get.variance_fractions(adata)
    assert list(found["variable"]) == list(REFERENCE["expression"])
    for gene, expected in REFERENCE[reference].items():
        row = found.loc[gene].drop("variable")
        row.index = [str(name).removeprefix("(1 | ").removesuffix(")") for name in row.index]
        assert set(row.index) == set(expected)
        np.testing.assert_allclose(
            row[list(expected)].to_numpy(float), list(expected.values()), rtol=rtol, atol=atol, err_msg=gene
        )


def counts(seed: int = 1, n_genes: int = 60, n_samples: int = 60, n_cells: int = 40) -> ad.AnnData:
    """Simulate counts with known parts of variance: arm, age of the sample, sample, overdispersion, Poisson noise."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(n_samples), n_cells)
    arm, age = np.arange(n_samples) % 2, rng.normal(size=n_samples)
    for side in (0, 1):
        age[arm == side] -= age[arm == side].mean()  # correlated terms would share their variance
    age /= age.std()
    sd, phi = 0.5, 0.4
    eta = np.log(4.0) + 0.8 * arm[:, None] + 0.3 * age[:, None] + sd * rng.normal(size=(n_samples, n_genes))
    eta -= 0.5 * sd**2 + 0.4 + 0.5 * 0.3**2
    mu = np.exp(eta)[sample]
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical([f"s{i}" for i in sample]),
            "arm": pd.Categorical(np.array(["a", "b"])[arm[sample]]),
            "age": age[sample],
            "kind": pd.Categorical(np.array(["u", "v", "w"])[rng.integers(0, 3, len(sample))]),
            "one": 1.0,
        },
        index=[f"c{i}" for i in range(len(sample))],
    )
    y = rng.poisson(mu * rng.gamma(1.0 / phi, phi, mu.shape)).astype(np.float64)
    return ad.AnnData(y, obs, pd.DataFrame(index=[f"g{j}" for j in range(n_genes)]))


def test_known_fractions_of_counts_are_found() -> None:
    adata = run(counts(), "X ~ arm + age + (1|sample)", size_factors="one", contrasts="arm")
    variances = sc_glmm.get.variance_fractions(adata, fractions=False).drop(columns="variable")
    mean = float(adata.X.mean())
    options = {
        "arm": 0.16,
        "age": 0.09,
        "(1 | sample)": 0.25,
        "dispersion": np.log(1.4),
        "poisson": np.log(1.0 + 1.0 / mean + 0.4) - np.log(1.4),
    }
    assert list(variances.columns) == list(options)
    np.testing.assert_allclose(variances.mean(), list(options.values()), rtol=0.12)
    fractions = sc_glmm.get.variance_fractions(adata).drop(columns="variable")
    np.testing.assert_allclose(fractions.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(fractions.mean(), np.array(list(options.values())) / sum(options.values()), rtol=0.12)


@pytest.mark.parametrize("method", ["lognormal", "trigamma", "delta"])
def test_noise_of_counts_is_that_of_the_definition(method: str) -> None:
    from scipy.special import polygamma

    adata = run(counts(n_genes=4, n_samples=8), "X ~ arm + (1|sample)", size_factors="one", test="wald")
    info = sc_glmm.get.fit_info(adata)
    found = sc_glmm.get.variance_fractions(adata, method=method, fractions=False)
    phi, a = info["dispersion"], 1.0 / info["mean"] + info["dispersion"]
    of = {"lognormal": np.log1p, "trigamma": lambda x: polygamma(1, 1.0 / x), "delta": lambda x: x}[method]
    np.testing.assert_allclose(found["dispersion"], of(phi), rtol=1e-10)
    np.testing.assert_allclose(found["dispersion"] + found["poisson"], of(a), rtol=1e-10)


def test_the_same_as_one_model() -> None:
    """Check a refitted gene: R squared and intra-class correlation are sums of the fractions."""
    adata = run(example(), "X ~ Age + Height + (1|Individual) + (1|Tissue)", family="gaussian", contrasts="Age")
    fractions = sc_glmm.get.variance_fractions(adata, fractions=False).loc["gene3"]
    fit = sc_glmm.tl.refit(adata, "gene3")
    fixed = (fractions["Age"] + fractions["Height"]) * 100 / 99  # R divides by n - 1 here
    random = fractions["(1 | Individual)"] + fractions["(1 | Tissue)"]
    total = fixed + random + fractions["residual"]
    np.testing.assert_allclose(fit.r2(), [fixed / total, (fixed + random) / total], rtol=1e-4)
    assert fit.icc().loc["(1 | Tissue)", "unadjusted"] == pytest.approx(fractions["(1 | Tissue)"] / total, rel=1e-3)


def test_slopes_are_averaged_over_the_cells() -> None:
    """Check correlated slopes and intercepts: mean of z' Sigma z, by hand from the estimates."""
    adata = counts(n_genes=6, n_samples=12)
    adata.obs["x"] = np.random.default_rng(5).normal(2.0, 1.0, adata.n_obs)
    run(adata, "X ~ x + (x|sample)", family="gaussian")
    info = sc_glmm.get.fit_info(adata)
    sd0, sd1 = info["sd_sample_Intercept"], info["sd_sample_x"]
    x = adata.obs["x"].to_numpy()
    rho = info["corr_sample_Intercept_x"].fillna(0.0)
    by_hand = sd0**2 + 2.0 * np.mean(x) * rho * sd0 * sd1 + np.mean(x**2) * sd1**2
    found = sc_glmm.get.variance_fractions(adata, fractions=False)
    assert by_hand.max() > 1e-3
    np.testing.assert_allclose(found["(x | sample)"], by_hand, rtol=1e-8)


def test_base_levels_zeros_and_order_do_not_matter() -> None:
    adata = counts(n_genes=8, n_samples=12)
    first = sc_glmm.get.variance_fractions(
        run(adata.copy(), "X ~ arm * age + I(age**2) + kind + (1|sample)", family="gaussian", contrasts="arm")
    )
    assert list(first.columns[1:5]) == ["arm", "age + I(age ** 2)", "arm:age", "kind"]
    other = adata.copy()
    other.obs["age"] = 500.0 - 12.0 * other.obs["age"]
    other.obs["arm"] = other.obs["arm"].cat.reorder_categories(["b", "a"])
    second = sc_glmm.get.variance_fractions(
        run(
            other,
            "X ~ I(age**2) + kind + age * arm + (1|sample)",
            family="gaussian",
            contrasts="arm",
            reference={"kind": "w"},
        )
    )
    names = ["arm", "age + I(age ** 2)", "arm:age", "kind", "(1 | sample)", "residual"]
    turned = second.rename(columns={"I(age ** 2) + age": "age + I(age ** 2)", "age:arm": "arm:age"})
    assert (first[names] > 1e-7).sum().sum() > 30
    np.testing.assert_allclose(turned[names], first[names], rtol=1e-5, atol=1e-9)


def test_groups_files_and_chunks_give_the_same_fractions(tmp_path: Path) -> None:
    adata = counts(n_genes=60, n_samples=8, n_cells=30)
    # in one group, this column does not have both arms
    adata.obs["site"] = np.where((adata.obs["kind"] == "u") & (adata.obs["age"] > 0), "far", "near")
    run(adata, "X ~ arm + site + (1|sample)", groupby="kind", contrasts="arm", size_factors="one")
    found = sc_glmm.get.variance_fractions(adata)
    assert list(found.columns) == ["kind", "variable", "arm", "site", "(1 | sample)", "dispersion", "poisson"]
    assert found.loc[found["kind"] == "v", "site"].isna().all()
    one = sc_glmm.get.variance_fractions(adata, group="v", genes=["g3", "g1"])
    assert list(one["variable"]) == ["g1", "g3"]
    assert (one["kind"] == "v").all()
    adata.write_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(sc_glmm.get.variance_fractions(tmp_path / "a.h5ad"), found)

    from typer.testing import CliRunner

    from sc_glmm import cli

    (tmp_path / "b.h5ad").write_bytes((tmp_path / "a.h5ad").read_bytes())
    common = ["test", str(tmp_path / "b.h5ad"), "X ~ arm + site + (1|sample)", "--groupby", "kind", "--contrast", "arm"]
    common += ["--size-factors", "one", "-o", str(tmp_path / "parts"), "--n-chunks", "2", "-q"]
    for stage in ([], ["--stage", "fit"], ["--stage", "profile"]):
        for chunk in ("0", "1"):
            result = CliRunner().invoke(cli.app, [*common, "--chunk", chunk, *stage])
            assert result.exit_code == 0, result.output
    result = CliRunner().invoke(cli.app, ["combine", str(tmp_path / "parts"), "-o", str(tmp_path / "c.h5ad"), "-q"])
    assert result.exit_code == 0, result.output
    pd.testing.assert_frame_equal(sc_glmm.get.variance_fractions(tmp_path / "c.h5ad"), found, rtol=1e-9)


def test_genes_without_a_fit_and_repeated_names() -> None:
    adata = counts(n_genes=5, n_samples=8, n_cells=20)
    adata.X[:, 1] = 0.0  # no counts
    adata.X[(adata.obs["arm"] == "a").to_numpy(), 2] = 0.0  # separated
    adata.obs["dispersion"] = adata.obs["age"]
    found = sc_glmm.get.variance_fractions(
        run(adata, "X ~ arm + dispersion + (1|sample)", contrasts="arm", test="wald", size_factors="one")
    )
    assert list(found.columns[2:]) == ["dispersion", "(1 | sample)", "dispersion_2", "poisson"]
    assert found.loc[["g1", "g2"]].drop(columns="variable").isna().all(axis=None)
    assert found.loc[["g0", "g3"]].notna().all(axis=None)


def test_invalid_requests() -> None:
    adata = run(counts(n_genes=4, n_samples=6, n_cells=10), "X ~ arm + (1|sample)", test="wald", size_factors="one")
    for options, says in (
        ({"method": "exact"}, "method='exact': allowed are 'lognormal', 'trigamma', 'delta'"),
        ({"fractions": "yes"}, "fractions='yes'"),
        ({"genes": ["g0", "gg"]}, "the results have no gene 'gg'"),
        ({"group": "B"}, "has no groups"),
        ({"key": "other"}, "there are no results under key='other'"),
    ):
        with pytest.raises(InputError, match=says):
            sc_glmm.get.variance_fractions(adata, **options)
    del adata.uns["glmm"]["variances"], adata.uns["glmm"]["params"]["checksums"]
    with pytest.raises(InputError, match="written by an older version"):
        sc_glmm.get.variance_fractions(adata)


def test_the_figure_draws_them() -> None:
    import matplotlib.pyplot as plt

    adata = run(counts(n_genes=12, n_samples=8, n_cells=20), "X ~ arm + (1|sample)", test="wald", size_factors="one")
    found = sc_glmm.get.variance_fractions(adata)
    ax = sc_glmm.pl.variance_fractions(adata)
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names[2:] == ["overdispersion", "Poisson noise"]
    own = sorted(["arm", "(1 | sample)"], key=lambda part: -found[part].median())
    assert names[:2] == own
    dots = [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, found[[*own, "dispersion", "poisson"]].median(), rtol=1e-12)
    bars = sc_glmm.pl.variance_fractions(found, genes=["g4", "g2"])
    widths = np.array([patch.get_width() for patch in bars.patches]).reshape(-1, 2)
    np.testing.assert_allclose(widths, found.loc[["g4", "g2"]].drop(columns="variable").T.astype(float), rtol=1e-9)
    assert [label.get_text() for label in bars.get_yticklabels()][0].endswith("{g4}$")
    plt.close("all")
    for data, options, says in (
        (found, {"genes": ["g99"]}, "'g99' is not one of the genes"),
        (found, {"group": "B"}, "have no groups"),
        (sc_glmm.get.results(adata), {}, "not fractions that sum to one"),
        (found.drop(columns="variable"), {}, "needs the column 'variable'"),
    ):
        with pytest.raises(InputError, match=says):
            sc_glmm.pl.variance_fractions(data, **options)
