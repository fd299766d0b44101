"""Check the numbers of one gene by sample: sums over cells, fitted means, joined samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sc_glmm as sg
from sc_glmm.models.gene import as_gene_fit
from sc_glmm.pl._numbers.samples import natural_key, random_intercepts, sample_means


@pytest.fixture(scope="module")
def cells():
    """Make six donors, each with a sample in both arms; age differs between donors."""
    rng = np.random.default_rng(3)
    donor = rng.integers(0, 6, 420)
    stim = rng.integers(0, 2, 420)
    size = rng.lognormal(0, 0.4, 420)
    effect = 0.4 * rng.standard_normal(6)
    eta = np.log(size) + 0.5 + 0.8 * stim + effect[donor]
    frame = pd.DataFrame(
        {
            "y": rng.poisson(np.exp(eta)).astype(float),
            "z": eta + 0.3 * rng.standard_normal(420),
            "stim": pd.Categorical(np.where(stim == 1, "stim", "ctrl"), categories=["ctrl", "stim"]),
            "donor": [f"d{i}" for i in donor],
            "sample": [f"d{i}_{j}" for i, j in zip(donor, stim, strict=True)],
            "age": 40.0 + 5.0 * donor,
            "log_size": np.log(size),
        }
    )
    return frame


@pytest.fixture(scope="module")
def fit(cells):
    return sg.glmer("y ~ stim + offset(log_size) + (1|donor) + (1|sample)", cells, family="poisson")


def test_sums_over_the_cells(cells, fit):
    shape = sample_means(as_gene_fit(fit), by=None, sample=None)
    assert shape.by == "stim" and shape.levels == ("ctrl", "stim") and shape.log
    expected = cells.assign(size=np.exp(cells["log_size"])).groupby("sample")[["y", "size"]].agg(["sum", "size"])
    expected = expected.loc[list(shape.samples)]
    np.testing.assert_array_equal(shape.n_cells, expected["y"]["size"])
    np.testing.assert_allclose(shape.observed, expected["y"]["sum"] / expected["size"]["sum"])
    # Without covariates of cells, all cells of a sample have the same mean except for their size factors.
    b = fit.ranef()
    donor = np.array([b["donor"].loc[name[:2], "Intercept"] for name in shape.samples])
    sample = b["sample"].loc[list(shape.samples), "Intercept"].to_numpy()
    fixed = np.exp(fit.beta[0] + fit.beta[1] * shape.at)
    np.testing.assert_allclose(shape.fixed, fixed)
    np.testing.assert_allclose(shape.conditional, fixed * np.exp(donor + sample))


def test_fitted_means_and_intervals(fit):
    shape = sample_means(as_gene_fit(fit), by=None, sample=None)
    np.testing.assert_allclose(shape.mean, np.exp([fit.beta[0], fit.beta.sum()]))
    se = np.sqrt([fit.cov_beta[0, 0], fit.cov_beta.sum()])
    np.testing.assert_allclose(np.log(shape.high / shape.low), 2 * 1.959964 * se, rtol=1e-6)


def test_samples_of_a_donor_are_joined(cells, fit):
    shape = sample_means(as_gene_fit(fit), by=None, sample=None)
    donors = pd.Series(shape.pair).groupby([name[:2] for name in shape.samples])
    assert (donors.nunique() == 1).all() and len(set(shape.pair)) == 6
    # Lines join the arms of a level if the grouping factor varies within its levels.
    alone = sg.glmer("y ~ stim + offset(log_size) + (1|donor)", cells, family="poisson")
    shape = sample_means(as_gene_fit(alone), by=None, sample=None)
    assert len(shape.samples) == 12 and len(set(shape.samples)) == 6
    assert all(
        shape.pair[i] == shape.pair[j] for i in range(12) for j in range(12) if shape.samples[i] == shape.samples[j]
    )
    # Samples of one arm each are not joined.
    one_arm = sg.lmer("z ~ stim + (1|sample)", cells)
    assert (sample_means(as_gene_fit(one_arm), by=None, sample=None).pair == -1).all()


def test_along_a_number(cells):
    fit = sg.lmer("z ~ stim + age + (1|sample)", cells)
    shape = sample_means(as_gene_fit(fit), by="age", sample=None)
    assert shape.levels == () and not shape.log
    means = cells.groupby("sample")[["age", "z"]].mean().loc[list(shape.samples)]
    np.testing.assert_allclose(shape.at, means["age"])
    np.testing.assert_allclose(shape.observed, means["z"])
    # The line is the mean over the levels of the other factor.
    np.testing.assert_allclose(shape.mean, fit.beta[0] + 0.5 * fit.beta[1] + fit.beta[2] * shape.line_at)
    assert shape.line_at[0] == 40 and shape.line_at[-1] == 65
    assert (shape.low < shape.mean).all() and (shape.mean < shape.high).all()


def test_random_effects_in_order(fit):
    shape = random_intercepts(as_gene_fit(fit), group=None, column=None, by=None)
    frame = fit.ranef(cond_var=True)["sample"]
    # In the case of ties, S10 comes before S2, so that S2 is above it in the figure.
    frame = frame.loc[sorted(frame.index, key=natural_key, reverse=True)].sort_values("Intercept", kind="stable")
    assert shape.group == "sample" and shape.column == "Intercept"
    assert list(shape.names) == list(frame.index)
    np.testing.assert_array_equal(shape.mode, frame["Intercept"])
    np.testing.assert_array_equal(shape.sd, frame["sd(Intercept)"])
    assert [shape.levels[i] for i in shape.level] == ["stim" if n.endswith("1") else "ctrl" for n in shape.names]
    # Both arms of each donor are in the data, so the lines of donors are equal.
    assert (random_intercepts(as_gene_fit(fit), group="donor", column=None, by=None).level == -1).all()


def test_unknown_names(fit):
    with pytest.raises(sg.InputError, match="by='age' is not a column of the fixed effects.*'stim'"):
        sample_means(as_gene_fit(fit), by="age", sample=None)
    with pytest.raises(sg.InputError, match="'batch' is not a grouping factor.*'donor', 'sample'"):
        sample_means(as_gene_fit(fit), by=None, sample="batch")
    with pytest.raises(sg.InputError, match="column='x' is not a random effect.*'Intercept'"):
        random_intercepts(as_gene_fit(fit), group=None, column="x", by=None)
    with pytest.raises(sg.InputError, match="differs within the levels of 'donor'"):
        random_intercepts(as_gene_fit(fit), group="donor", column=None, by="stim")


def test_names_are_in_natural_order():
    names = ["SAMP10", "SAMP2", "SAMP1", "b", "3", "12", "a1b10", "a1b9"]
    assert sorted(names, key=natural_key) == ["3", "12", "SAMP1", "SAMP2", "SAMP10", "a1b9", "a1b10", "b"]
