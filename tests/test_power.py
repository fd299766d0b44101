"""Check power against known formulas, against the default test, and from pilots of every kind."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import cli
from sc_glmm._errors import InputError, ScGlmmWarning
from sc_glmm._inference.power import Genes, comparison, information, p_values_of_effects, power_at, thresholds
from sc_glmm.tl._power import PowerResult

GENES = pd.DataFrame({"mean": [0.3, 2.0], "dispersion": [0.5, 0.2], "sd": [0.2, 0.3]})


def run(adata: Any, formula: str, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        sc_glmm.tl.test(adata, formula, n_jobs=1, progress=False, **options)
    return adata


@pytest.fixture(scope="module")
def pilot() -> Any:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=640, n_genes=250, n_cell_types=2, seed=1)
    return run(adata, "counts ~ disease + (1|sample)", groupby="cell_type", reference={"disease": "ctl"})


def overall(*args: Any, **options: Any) -> pd.DataFrame:
    return sc_glmm.power(*args, **options).overall


# --- the numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("paired", "n"), [(False, 10), (True, 20)])
def test_known_variances_give_the_normal_power(paired: bool, n: int) -> None:
    """Check that the test is a z-test with one possible variance and many counts."""
    v, effect, half = 0.09, 0.5, n // 2
    genes = Genes(np.full(300, 500.0), np.zeros(300), np.array([v]), np.ones((300, 1)), 0.0)
    p = p_values_of_effects(comparison(half, half, paired), genes, effect, np.full(n, 1000.0))
    # arms or pairs: v / half for each arm, or 2 v / half for the mean difference, which is the same
    z = effect / np.sqrt(2.0 * v / half)
    for alpha in (0.05, 0.001):
        limit = stats.norm.isf(alpha / 2.0)
        expected = stats.norm.sf(limit - z) + stats.norm.cdf(-limit - z)
        assert np.mean(p < alpha) == pytest.approx(expected, abs=0.02)


def test_without_an_effect_p_values_are_uniform() -> None:
    rng = np.random.default_rng(0)
    weight = rng.dirichlet(np.ones(5), 400)
    genes = Genes(np.exp(rng.normal(0, 1, 400)), np.full(400, 0.5), np.array([1e-3, 0.02, 0.07, 0.2, 0.6]), weight, 0.4)
    p = p_values_of_effects(comparison(4, 4, False), genes, 0.0, np.full(8, 100.0))
    for alpha in (0.5, 0.05, 0.01):
        assert np.mean(p < alpha) == pytest.approx(alpha, rel=0.12)


def test_information_is_that_of_cells_with_their_size_factors() -> None:
    rng = np.random.default_rng(3)
    size = np.exp(rng.normal(-0.5 * 0.6**2, 0.6, 400_000))
    mu, phi = 3.0 * size, 0.7
    expected = 50.0 * np.mean(mu / (1.0 + phi * mu))
    assert information(np.array([3.0]), np.array([phi]), np.array([50.0]), 0.6)[0, 0] == pytest.approx(
        expected, rel=5e-3
    )


def test_threshold_is_that_of_benjamini_and_hochberg() -> None:
    """Check the threshold if half of the genes that differ have p = 0 and the others 1: a = fdr (pi0 a + pi1 / 2)."""
    p = np.tile([0.0, 1.0], (50, 10))
    limits = thresholds(p, 0.1, 0.2, 20_000)
    assert limits.mean() == pytest.approx(0.1 * 0.1 / (1.0 - 0.1 * 0.8), rel=0.03)
    np.testing.assert_allclose(power_at(p, limits), 0.5)
    assert thresholds(np.full((5, 5), 0.5), 0.05, 0.1, 1000).mean() < 1e-3


def test_power_depends_on_each_quantity() -> None:
    base = {"n_samples": 12, "cells_per_sample": 100, "log_fc": 0.8}

    def of(genes: pd.DataFrame = GENES, **more: Any) -> float:
        return float(overall(genes, **{**base, **more})["power"].iloc[0])

    baseline = of()
    assert 0.2 < baseline < 0.9
    assert of(n_samples=20) > baseline + 0.1
    assert of(cells_per_sample=400) > baseline + 0.03
    assert of(log_fc=1.2) > baseline + 0.1
    assert of(fdr=0.2) > baseline
    assert of(frac_de=0.4) > baseline
    assert of(GENES.assign(sd=0.5)) < baseline - 0.1
    assert of(GENES.assign(dispersion=3.0)) < baseline
    # with many cells, only the variance between samples remains
    assert of(cells_per_sample=10**6) == pytest.approx(of(cells_per_sample=10**7), abs=0.01)
    assert of() == baseline


@pytest.mark.parametrize(
    ("design", "n_samples", "cells"), [("unpaired", 12, 80), ("unpaired", 20, 40), ("paired", 16, 60)]
)
def test_default_test_has_the_predicted_power(design: str, n_samples: int, cells: int) -> None:
    found, promised = [], []
    for seed in (1, 2, 3):
        adata = sc_glmm.datasets.simulate(
            n_samples=n_samples, n_cells=n_samples * cells, n_genes=500, design=design, log_fc=(1.2, 1.2), frac_de=0.25,
            imbalance=0.0, seed=seed,
        )  # fmt: skip
        run(adata, adata.uns["truth"]["formula"], size_factors="true_size_factor")
        table = sc_glmm.get.results(adata)
        which = adata.var["is_de"].to_numpy() & table["tested"].to_numpy()
        found.append(float((table["adj_p_value"] < 0.05).to_numpy()[which].mean()))
        truth = pd.DataFrame({"dispersion": adata.var["true_dispersion"], "sd": adata.var["true_sd_sample"]})
        truth["mean"] = adata.var["true_mean"] * adata.obs["true_size_factor"].mean()
        if design == "paired":
            truth["donor_sd"] = adata.var["true_sd_donor"]
        result = sc_glmm.power(
            truth, n_samples=n_samples, cells_per_sample=cells, log_fc=1.2, frac_de=0.25, design=design,
            n_tests=int(table["tested"].sum()), method="analytic",
        )  # fmt: skip
        which = adata.var["is_de"].to_numpy()
        rows = result.genes[which & result.genes["tested"].to_numpy()]
        promised.append(float(rows["power"].mean()))
    assert np.mean(found) > 0.2
    assert np.mean(promised) == pytest.approx(np.mean(found), abs=0.08)


def test_simulation_agrees_with_the_computation() -> None:
    genes = pd.DataFrame({"mean": np.geomspace(0.05, 2.0, 40), "dispersion": 0.5, "sd": 0.25})
    options = {"n_samples": 12, "cells_per_sample": 60, "log_fc": 1.2, "n_tests": 2000, "frac_de": 0.2}
    computed = overall(genes, method="analytic", **options)
    simulated = overall(genes, method="simulation", **options)
    assert (computed["method"].iloc[0], simulated["method"].iloc[0]) == ("analytic", "simulation")
    assert float(computed["power"].iloc[0]) == pytest.approx(float(simulated["power"].iloc[0]), abs=0.07)


def test_genes_with_few_counts_are_simulated_where_they_matter() -> None:
    few = pd.DataFrame({"mean": [0.004, 0.5], "dispersion": 0.5, "sd": 0.1})
    assert overall(few, n_samples=20, cells_per_sample=200, log_fc=4)["method"].tolist() == ["both"]
    assert overall(few, n_samples=20, cells_per_sample=200, log_fc=0.5)["method"].tolist() == ["analytic"]


# --- pilots ------------------------------------------------------------------------------------------------------


def test_a_pilot_of_several_types(pilot: Any, tmp_path: Path) -> None:
    plan: dict[str, Any] = {"cells_per_sample": 200, "log_fc": 1.5, "method": "analytic"}
    result = sc_glmm.power(pilot, n_samples=[8, 24], **plan)
    assert result.overall["group"].tolist() == ["type_1", "type_2", "all groups"] * 2
    rows = result.overall.set_index(["n_samples", "group"])
    assert (rows.loc[24, "power"] > rows.loc[8, "power"]).all()
    n, p = (rows.loc[24, name].iloc[:2].to_numpy(float) for name in ("n_tested", "power"))
    assert rows.loc[(24, "all groups"), "power"] == pytest.approx((n * p).sum() / n.sum())
    assert rows.loc[(24, "all groups"), "discoveries"] == pytest.approx(0.1 * (n * p).sum())
    assert result.best["n_samples"].tolist() == [24]
    genes = result.genes[(result.genes["group"] == "type_1") & (result.genes["n_samples"] == 24)]
    strong = genes["mean"] > genes["mean"].quantile(0.8)
    assert genes.loc[strong, "power"].mean() > genes.loc[~strong, "power"].mean() + 0.1
    one = sc_glmm.power(pilot, group="type_1", n_samples=24, **plan)
    assert "group" not in one.overall
    # of a pilot of one type, cells are those of this type
    assert one.overall["power"].iloc[0] > rows.loc[(24, "type_1"), "power"]
    pilot.write_h5ad(tmp_path / "pilot.h5ad")
    again = sc_glmm.power(tmp_path / "pilot.h5ad", n_samples=[8, 24], **plan)
    pd.testing.assert_frame_equal(again.overall, result.overall)


@pytest.mark.parametrize("formula", ["counts ~ stim + (1|donor) + (1|sample)", "counts ~ donor + stim + (1|sample)"])
def test_a_paired_pilot_is_recognised(formula: str) -> None:
    adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=720, n_genes=120, design="paired", donor_sd=0.8, seed=2)
    run(adata, formula, contrasts="stim")
    result = sc_glmm.power(adata, n_samples=16, cells_per_sample=100, log_fc=1.5)
    assert result.settings["design"] == "paired"
    other = sc_glmm.power(adata, n_samples=16, cells_per_sample=100, log_fc=1.5, design="unpaired")
    assert other.settings["design"] == "unpaired"
    assert result.overall["power"].iloc[0] > 0.1
    with pytest.raises(InputError, match="n_samples=15: allowed are even numbers of at least 4"):
        sc_glmm.power(adata, n_samples=15, cells_per_sample=100)


def test_nothing_depends_on_names() -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=80, seed=3)
    other = adata.copy()
    other.obs["b: c"] = other.obs["sample"].cat.rename_categories(
        {c: f"x/{c}:" for c in adata.obs["sample"].cat.categories}
    )
    other.obs["sd sample"] = other.obs["disease"].cat.rename_categories({"ctl": "vs", "AD": "T.: 1"})
    result = overall(run(adata, "counts ~ disease + (1|sample)"), n_samples=16, cells_per_sample=100)
    renamed = overall(run(other, "counts ~ `sd sample` + (1|`b: c`)"), n_samples=16, cells_per_sample=100)
    pd.testing.assert_frame_equal(result, renamed)


# --- budgets, doors, bad input -----------------------------------------------------------------------------------


def test_a_budget_is_spent_on_samples_and_cells() -> None:
    result = sc_glmm.power(GENES, budget=10_000, cost_per_sample=300, cost_per_cell=0.5, log_fc=0.6)
    rows = result.overall
    assert (rows["cost"] <= 10_000).all()
    assert (rows["cost"] > 0.97 * 10_000).all()
    assert rows["cells_per_sample"].is_monotonic_decreasing
    best = result.best.iloc[0]
    assert best["power"] == rows["power"].max()
    # the best plan has neither the fewest samples nor the fewest cells
    assert rows["n_samples"].min() < best["n_samples"] < rows["n_samples"].max()
    named = sc_glmm.power(GENES, budget=10_000, cost_per_sample=300, cost_per_cell=0.5, n_samples=[10, 20])
    assert named.overall["cells_per_sample"].tolist() == [1400, 400]
    costs = overall(GENES, n_samples=10, cells_per_sample=100, cost_per_sample=300, cost_per_cell=0.5)["cost"]
    assert costs.tolist() == [10 * 300 + 1000 * 0.5]


def test_the_figure_and_the_command(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    result = sc_glmm.power(GENES, n_samples=[8, 12, 20], cells_per_sample=[50, 200])
    ax = sc_glmm.pl.power(result)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["50 cells", "200 cells"]
    for line, cells in zip(ax.lines, (50, 200), strict=True):
        rows = result.overall[result.overall["cells_per_sample"] == cells]
        np.testing.assert_allclose(line.get_ydata(), rows["power"])
    spent = sc_glmm.power(GENES, budget=10_000, cost_per_sample=300, cost_per_cell=0.5, log_fc=[0.5, 1])
    ax = sc_glmm.pl.power(spent)
    rings = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert [float(ring.get_xdata()[0]) for ring in rings] == spent.best["n_samples"].tolist()
    plt.close("all")
    with pytest.raises(InputError, match="draws what sc_glmm.power .* returns, and this is a DataFrame"):
        sc_glmm.pl.power(result.overall)
    GENES.to_csv(tmp_path / "genes.csv", index=False)
    common = ["power", str(tmp_path / "genes.csv"), "-n", "8", "-n", "12", "-n", "20", "-c", "50", "-c", "200"]
    done = CliRunner().invoke(cli.app, [*common, "-o", str(tmp_path / "a.csv")])
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), result.overall, check_dtype=False)
    done = CliRunner().invoke(cli.app, [*common, "-o", str(tmp_path / "a.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    money = ["--budget", "10000", "--cost-per-sample", "300", "--cost-per-cell", "0.5"]
    done = CliRunner().invoke(cli.app, ["power", str(tmp_path / "genes.csv"), *money])
    assert "best split for a log2 fold change of 1: " in done.output
    done = CliRunner().invoke(cli.app, [*common, "--fdr", "1.5"])
    assert done.exit_code == 2
    assert "fdr=1.5: allowed are numbers between 0 and 1" in done.stderr


PLAN: dict[str, Any] = {"n_samples": 8, "cells_per_sample": 100}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**PLAN, "n_samples": 3}, "n_samples=3: allowed are whole numbers of at least 4, for two samples in each arm"),
        ({**PLAN, "n_samples": [8, 9.5]}, "n_samples=9.5"),
        ({**PLAN, "n_samples": []}, "n_samples is empty"),
        ({**PLAN, "cells_per_sample": 0}, "cells_per_sample=0: allowed are whole numbers of at least 1"),
        ({**PLAN, "log_fc": 0}, "log_fc=0: allowed are positive numbers"),
        ({**PLAN, "log_fc": "1"}, "log_fc='1'"),
        ({**PLAN, "fdr": 0}, "fdr=0: allowed are numbers between 0 and 1"),
        ({**PLAN, "fdr": True}, "fdr=True"),
        ({**PLAN, "frac_de": 1.0}, "frac_de=1.0"),
        ({**PLAN, "n_tests": 0}, "n_tests=0"),
        ({**PLAN, "design": "nested"}, "design='nested': allowed are 'unpaired', 'paired'"),
        ({**PLAN, "method": "exact"}, "method='exact': allowed are 'auto', 'analytic', 'simulation'"),
        ({**PLAN, "group": "B"}, "group='B' needs a pilot run"),
        ({"n_samples": 8}, "n_samples= or cells_per_sample= is missing"),
        ({"budget": 100, "cost_per_cell": 1}, "cost_per_sample= is missing"),
        ({"budget": -1, "cost_per_sample": 1, "cost_per_cell": 1}, "budget=-1: allowed are positive numbers"),
        (
            {"budget": 100, "cost_per_sample": -1, "cost_per_cell": 1},
            "cost_per_sample=-1: allowed are numbers of at least 0",
        ),
        ({"budget": 100, "cost_per_sample": 1, "cost_per_cell": 0}, "cost_per_cell=0: allowed are positive numbers"),
        ({"budget": 10, "cost_per_sample": 100, "cost_per_cell": 1}, "is too small for 4 samples with 10 cells each"),
        (
            {**PLAN, "budget": 10, "cost_per_sample": 1, "cost_per_cell": 1},
            "cells_per_sample= cannot be combined with budget=",
        ),
    ],
)
def test_invalid_plans(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sc_glmm.power(GENES, **options)


def test_data_with_too_little_information(pilot: Any) -> None:
    for frame, message in (
        (GENES.drop(columns="sd"), "has no column 'sd'"),
        (GENES.iloc[:0], "has no rows"),
        (GENES.assign(mean=[0.0, 1.0]), "mean=.*0.0.* in the assumptions: allowed are positive numbers"),
        (GENES.assign(sd=[-1.0, 1.0]), "sd=.*-1.0.* in the assumptions: allowed are numbers of at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            sc_glmm.power(frame, **PLAN)
    with pytest.raises(InputError, match="there are no results under key='other'"):
        sc_glmm.power(pilot, key="other", **PLAN)
    with pytest.raises(InputError, match="group='B cells'.*one of"):
        sc_glmm.power(pilot, group="B cells", **PLAN)
    with pytest.raises(InputError, match="no contrast 'age' .available: 'disease: AD vs ctl'"):
        sc_glmm.power(pilot, contrast="age", **PLAN)
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=300, n_genes=60, covariates={"age": 0.1}, seed=1)
    run(adata, "counts ~ disease + (1|sample)", test="wald", key_added="wald")
    with pytest.raises(InputError, match="needs the prior of the variances"):
        sc_glmm.power(adata, key="wald", **PLAN)
    run(adata, "counts ~ age + (1|sample)", contrasts="age", key_added="age")
    with pytest.raises(InputError, match="compares cells within samples"):
        sc_glmm.power(adata, key="age", **PLAN)


def test_the_result_is_shown() -> None:
    result = sc_glmm.power(GENES, **PLAN)
    assert isinstance(result, PowerResult)
    assert "PowerResult at FDR 5 %" in repr(result)
    assert "n_samples" in repr(result)
