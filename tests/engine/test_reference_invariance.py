"""Check invariances of a fit: compression, order and names of cells, coding of factors, units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests import oracle
from tests.frame_fit import FrameFit, fit_frame
from tests.oracle import Method, Model, Term
from tests.reference.grammar import codes, make_data


def same(a: FrameFit, b: FrameFit, tolerance: float = 1e-6) -> None:
    """Check that fits are equal within `tolerance` standard errors."""
    assert a.loglik == pytest.approx(b.loglik, abs=1e-8)
    assert np.abs((a.beta - b.beta) / a.se).max() < tolerance
    for group in a.re_sd:
        np.testing.assert_allclose(a.re_sd[group], b.re_sd[group], rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def big() -> pd.DataFrame:
    """Make six samples of 150 cells with offsets over a factor of eight, so that rows get Chebyshev nodes."""
    rng = np.random.default_rng(11)
    sample = np.repeat(np.arange(6), 150)
    o = rng.normal(7.0, 0.45, size=900)
    y = rng.poisson(np.exp(o - 7.2 + 0.3 * rng.normal(size=6)[sample]) * rng.gamma(2.0, 0.5, size=900))
    arm = pd.Categorical(np.where(sample % 2, "case", "control"), ["control", "case"])
    return pd.DataFrame({"y": y, "arm": arm, "sample": [f"s{i}" for i in sample], "o": o, "batch": sample // 2})


FORMULA = "y ~ arm + offset(o) + (1 | sample)"


@pytest.mark.parametrize("method", ["ml", "reml"])
def test_compressed_equals_uncompressed(big: pd.DataFrame, method: Method) -> None:
    """Check 900 cells in 6 rows: log likelihood, optimum and covariance equal those of the arbiter on all cells."""
    fit = fit_frame(FORMULA, big, family="nb", method=method)
    X = np.column_stack([np.ones(900), big["arm"] == "case"])
    model = Model("nb", big["y"].to_numpy(float), X, (Term(np.ones(900), codes(big["sample"])),), big["o"].to_numpy())
    psi = np.array([*(fit.beta if method == "ml" else []), fit.re_sd["sample"][0], np.log(fit.dispersion)])
    assert fit.loglik == pytest.approx(oracle.objective(model, psi, method), abs=1e-7)
    assert np.abs(oracle.newton_step(model, psi, method)).max() < 1e-6
    np.testing.assert_allclose(fit.beta, oracle.fixed_effects(model, psi, method), atol=1e-7)
    np.testing.assert_allclose(fit.vcov, oracle.conditional_vcov(model, psi, method), rtol=1e-6)
    np.testing.assert_allclose(fit.vcov_full, oracle.joint_vcov(model, psi, method)[:2, :2], rtol=1e-4)
    np.testing.assert_allclose(fit.ranef["sample"], oracle.random_effects(model, psi, method)[0], atol=1e-6)


def test_poisson_is_pseudobulk(big: pd.DataFrame) -> None:
    """Check that sums over the cells of a sample, with the log of the summed size factors as offset, are sufficient."""
    bulk = (
        big.assign(size=np.exp(big["o"]))
        .groupby("sample", as_index=False)
        .agg({"y": "sum", "size": "sum", "arm": "first"})
    )
    bulk["o"] = np.log(bulk["size"])
    for method in ("ml", "reml"):
        cells, sums = (fit_frame(FORMULA, d, family="poisson", method=method) for d in (big, bulk))
        np.testing.assert_allclose(cells.beta, sums.beta, atol=1e-8)
        np.testing.assert_allclose(cells.vcov_full, sums.vcov_full, rtol=1e-5)
        np.testing.assert_allclose(cells.re_sd["sample"], sums.re_sd["sample"], rtol=1e-6)


def test_order_of_cells(big: pd.DataFrame) -> None:
    shuffled = big.sample(frac=1.0, random_state=0)
    same(fit_frame(FORMULA, big, family="nb"), fit_frame(FORMULA, shuffled, family="nb"))


def test_labels(big: pd.DataFrame) -> None:
    names = {f"s{i}": label for i, label in enumerate(["z", "b", "Q 1", "s|2", "ä", "0"])}
    same(fit_frame(FORMULA, big, family="nb"), fit_frame(FORMULA, big.replace({"sample": names}), family="nb"))


def test_offset_moves_the_intercept_only(big: pd.DataFrame) -> None:
    a, b = (fit_frame(FORMULA, d, family="nb", method="reml") for d in (big, big.assign(o=big["o"] - 7.0)))
    np.testing.assert_allclose(b.beta - a.beta, [7.0, 0.0], atol=1e-6)
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    np.testing.assert_allclose(a.vcov, b.vcov, rtol=1e-6)


def test_coding_of_the_factor(big: pd.DataFrame) -> None:
    """Check that another reference level, and no intercept, give the same model under ML."""
    turned = big.assign(arm=big["arm"].cat.reorder_categories(["case", "control"]))
    a, b = fit_frame(FORMULA, big, family="nb"), fit_frame(FORMULA, turned, family="nb")
    np.testing.assert_allclose([b.beta[0], b.beta[1]], [a.beta.sum(), -a.beta[1]], atol=1e-6)
    np.testing.assert_allclose(a.se[1], b.se[1], rtol=1e-6)
    c = fit_frame("y ~ 0 + arm + offset(o) + (1 | sample)", big, family="nb")
    np.testing.assert_allclose(c.beta, [a.beta[0], a.beta.sum()], atol=1e-6)
    assert a.loglik == pytest.approx(b.loglik, abs=1e-8)
    assert a.loglik == pytest.approx(c.loglik, abs=1e-8)


@pytest.mark.parametrize("random", ["(1 | sample) + (1 | batch)", "(1 | batch) + (1 | sample)", "(1 | batch / sample)"])
def test_writing_of_the_random_effects(big: pd.DataFrame, random: str) -> None:
    """Check nested samples: both orders of the terms, and the slash, give the same model."""
    fit = fit_frame(f"y ~ arm + offset(o) + {random}", big, family="nb")
    first = fit_frame("y ~ arm + offset(o) + (1 | sample) + (1 | batch)", big, family="nb")
    assert fit.loglik == pytest.approx(first.loglik, abs=1e-8)
    np.testing.assert_allclose(fit.beta, first.beta, atol=1e-6)


def test_scale_of_a_covariate() -> None:
    """Change the unit and zero of x: coefficients and random effects change accordingly, the likelihood does not."""
    data = make_data(2, 8, 12, 2, "usual", "cell")
    a = fit_frame("y ~ x + (x | g)", data, family="nb")
    b = fit_frame("y ~ x + (x | g)", data.assign(x=100.0 * data["x"]), family="nb")
    c = fit_frame("y ~ x + (x | g)", data.assign(x=data["x"] + 2.0), family="nb")
    np.testing.assert_allclose(b.beta, a.beta / [1.0, 100.0], rtol=1e-5)
    np.testing.assert_allclose(b.re_sd["g"], a.re_sd["g"] / [1.0, 100.0], rtol=1e-4)
    np.testing.assert_allclose(c.beta, [a.beta[0] - 2.0 * a.beta[1], a.beta[1]], rtol=1e-5)
    for fit in (b, c):
        assert fit.loglik == pytest.approx(a.loglik, abs=1e-8)
