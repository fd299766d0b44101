"""Check separated GLMMs: the limit is found and reported, and every method works."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sc_glmm import ScGlmmWarning
from sc_glmm.models import emmeans, glmer, influence

FAMILIES = {
    "poisson": ("n ~ arm + x + (1 | g)", "poisson"),
    "nb": ("n ~ arm + x + (1 | g)", "nb"),
    "bernoulli": ("y ~ arm + x + (1 | g)", "binomial"),
    "trials": ("cbind(s, t - s) ~ arm + x + (1 | g)", "binomial"),
}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Make three arms, of which c has no success and no count, in twelve groups that contain all arms."""
    rng = np.random.default_rng(0)
    n = 240
    frame = pd.DataFrame({"g": np.repeat(np.arange(12), 20), "x": rng.normal(size=n)})
    frame["arm"] = pd.Categorical(np.tile(["a", "b", "c"], 80))
    eta = 0.3 * frame.x - 0.2 + (0.7 * rng.normal(size=12))[frame.g]
    frame["y"] = rng.binomial(1, 1 / (1 + np.exp(-eta)))
    frame["n"] = rng.negative_binomial(3, 1 / (1 + np.exp(eta + 1) / 3))
    frame["t"] = rng.integers(1, 6, n)
    frame["s"] = rng.binomial(frame.t, 1 / (1 + np.exp(-eta)))
    frame.loc[frame.arm == "c", ["y", "n", "s"]] = 0
    frame["b"], frame["c"] = (frame.arm == "b") * 1.0, (frame.arm == "c") * 1.0
    return frame


def _fit(formula: str, data: pd.DataFrame, family: str, **options):
    with pytest.warns(ScGlmmWarning, match="separation: the fixed effects separate 80 of 240"):
        return glmer(formula, data, family=family, **options)


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, data):
    formula, family = FAMILIES[request.param]
    return formula, family, _fit(formula, data, family)


def test_finite_estimates_equal_the_fit_without_dropped_observations(case, data):
    formula, family, fit = case
    small = glmer(
        formula, data[data.arm != "c"].assign(arm=lambda d: d.arm.cat.remove_unused_categories()), family=family
    )
    remaining = list(small.names)
    assert fit.loglik() == pytest.approx(small.loglik(), rel=1e-12)
    np.testing.assert_allclose(fit.fixef()[remaining], small.fixef(), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(fit.vcov().loc[remaining, remaining], small.vcov(), rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(fit.varcorr().sdcor, small.varcorr().sdcor, rtol=1e-8)
    np.testing.assert_allclose(fit.ranef(cond_var=True)["g"], small.ranef(cond_var=True)["g"], rtol=1e-6, atol=1e-8)
    assert fit.converged and fit.fixef()["arm[T.c]"] == -np.inf and np.isnan(fit.bse["arm[T.c]"])
    assert np.array_equal(fit.vcov(), fit.vcov().T, equal_nan=True)


def test_every_method_answers(case, data):
    _, family, fit = case
    text = str(fit.summary())
    assert "separation" in text and "-inf" in text and "not converged" not in text and "nan" not in text
    assert "separated" in repr(fit) and pickle.loads(pickle.dumps(fit)).loglik() == fit.loglik()
    wald = fit.confint(method="wald").loc[list(fit.names)]
    assert wald.notna().all(axis=1).tolist() == [True, True, False, True]
    table = fit.anova()
    assert np.isnan(table.table.loc["arm"].iloc[0]) and table.table.loc["x"].iloc[-1] < 0.05
    assert "drop1" in table.notes[0]
    assert fit.drop1().table.loc["arm", "Pr(Chi)"] < 1e-6
    for tests in (fit.contrast("x"), fit.contrast(("arm", "b", "a"))):
        assert tests.p_value.notna().all()
    assert fit.contrast(("arm", "c", "a")).estimate.tolist() == [-np.inf]
    assert fit.contrast(("arm", "c", "a")).p_value.isna().all()
    means = emmeans(fit, "arm", type="response").means
    assert means.response.iloc[2] == 0.0 and means.se.isna().tolist() == [False, False, True]
    mu = fit.fitted()
    assert (mu[data.arm == "c"] == 0.0).all() and np.isfinite(mu).all()
    np.testing.assert_allclose(fit.predict(data, type="response"), mu, rtol=1e-12)
    assert fit.predict(data[data.arm == "c"].head(2)).tolist() == [-np.inf, -np.inf]
    draws = fit.simulate(3, seed=1)
    assert (draws[data.arm == "c"] == 0.0).all(axis=None)
    for kind in ("deviance", "pearson", "working", "response"):
        assert np.isfinite(fit.residuals(kind)).all() and (fit.residuals(kind)[data.arm == "c"] == 0.0).all()
    assert np.isfinite(fit.quantile_residuals()).all()
    assert fit.tidy().estimate.iloc[2] == -np.inf
    assert np.isfinite(fit.coef()["g"]["x"]).all()
    assert fit.augment().fitted.notna().all()


def test_profile_intervals_are_one_sided_where_the_estimate_is_infinite(case, data):
    formula, family, fit = case
    bounds = fit.confint()
    assert bounds.loc["arm[T.c]", "low"] == -np.inf
    assert bounds.drop(index="arm[T.c]").notna().all(axis=None)
    high = bounds.loc["arm[T.c]", "high"]
    assert -20 < high < 0
    # at the limit, the log likelihood is lower by half the quantile of chi-square
    fixed = glmer(formula.replace("arm", "b"), data, family=family, offset=high * data.c)
    assert 2 * (fit.loglik() - fixed.loglik()) == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-4)


def test_bootstrap_has_no_interval_for_infinite_coefficients(data):
    fit = _fit(*FAMILIES["poisson"][:1], data, "poisson")
    bounds = fit.confint(method="boot", nsim=20, seed=1)
    assert bounds.isna().all(axis=1)[bounds.index == "arm[T.c]"].all()
    assert bounds.drop(index="arm[T.c]").notna().all(axis=None)


def test_refit_and_influence(data):
    fit = _fit("n ~ arm + x + (1 | g)", data, "poisson")
    assert fit.refit(fit.y + 1).limit is None
    assert fit.refit(fit.y).loglik() == fit.loglik()
    found = influence(fit)
    assert found.cooks_distance.notna().all() and np.isinf(found.estimates["arm[T.c]"]).all()


def test_the_other_end_and_a_base_level_that_is_separated(data):
    flipped = _fit("1 - y ~ arm + x + (1 | g)", data, "binomial")
    assert flipped.fixef()["arm[T.c]"] == np.inf
    bounds = flipped.confint().loc["arm[T.c]"]
    assert bounds.high == np.inf and 0 < bounds.low < 20
    mirrored = _fit("y ~ arm + x + (1 | g)", data, "binomial").confint().loc["arm[T.c]"]
    assert bounds.low == pytest.approx(-mirrored.high, rel=1e-5)
    base = _fit("y ~ arm + x + (1 | g)", data, "binomial", reference={"arm": "c"})
    assert base.fixef()[["Intercept", "arm[T.a]", "arm[T.b]"]].tolist() == [-np.inf, np.inf, np.inf]
    ahead = base.contrast(("arm", "b", "a"))
    plain = _fit("y ~ arm + x + (1 | g)", data, "binomial").contrast(("arm", "b", "a"))
    np.testing.assert_allclose(ahead[["estimate", "se"]], plain[["estimate", "se"]], rtol=1e-6)
    assert base.confint().loc["arm[T.a]", "low"] == pytest.approx(-mirrored.high, rel=1e-4)


def test_difference_of_two_separated_cells_is_undetermined(data):
    frame = data.assign(n=data.n.where(data.arm == "a", 0))
    with pytest.warns(ScGlmmWarning, match="160 of 240"):
        fit = glmer("n ~ arm + x + (1 | g)", frame, family="poisson")
    assert fit.fixef()[["arm[T.b]", "arm[T.c]"]].tolist() == [-np.inf, -np.inf]
    assert np.isnan(fit.contrast(("arm", "c", "b")).estimate).all()


def test_separation_by_a_number_and_in_an_interaction(data):
    frame = data.assign(late=np.where(data.arm == "c", data.x - data.x.min() + 0.1, 0.0))
    fit = _fit("n ~ late + x + (1 | g)", frame, "poisson")
    assert fit.fixef()["late"] == -np.inf and np.isfinite(fit.confint().loc["x"]).all()
    half = pd.Categorical(np.where(data.g < 6, "u", "v"))
    frame = data.assign(half=half, n=data.n.where((data.arm != "b") | (half == "u"), 0))
    with pytest.warns(ScGlmmWarning, match="120 of 240"):
        fit = glmer("n ~ arm * half + (1 | g)", frame, family="poisson")
    assert np.isneginf(fit.fixef()["arm[T.b]:half[T.v]"])
    assert np.isnan(fit.fixef()["arm[T.c]:half[T.v]"])
    assert np.isfinite(fit.contrast("arm[T.b]").estimate).all()


def test_units_of_a_covariate_do_not_matter(data):
    plain = _fit("y ~ arm + x + (1 | g)", data, "binomial")
    moved = _fit("y ~ arm + x + (1 | g)", data.assign(x=3e6 + 1e6 * data.x), "binomial")
    np.testing.assert_allclose(moved.loglik(), plain.loglik(), rtol=1e-10)
    np.testing.assert_allclose(moved.contrast("x").stat, plain.contrast("x").stat, rtol=1e-4)
    assert moved.confint().loc["arm[T.c]", "high"] == pytest.approx(plain.confint().loc["arm[T.c]", "high"], rel=1e-4)


def test_groups_that_drop_out_completely(data):
    frame = data.assign(g=data.g + 100 * (data.arm == "c"))
    fit = _fit("n ~ arm + x + (1 | g)", frame, "poisson")
    modes = fit.ranef(cond_var=True)["g"]
    assert (modes.Intercept[12:] == 0.0).all()
    np.testing.assert_allclose(modes["sd(Intercept)"][12:], fit.varcorr().sdcor[0], rtol=1e-6)


def test_reml_and_quadrature(data):
    for options in ({"reml": True}, {"n_agq": 7}):
        fit = _fit("y ~ arm + x + (1 | g)", data, "binomial", **options)
        assert fit.fixef()["arm[T.c]"] == -np.inf and fit.confint().loc["arm[T.c]", "high"] < 0


@pytest.mark.parametrize(
    ("response", "message"),
    [("y * 0 + 1", "there are no failures"), ("y * 0", "there are no successes"), ("c", "predict every outcome")],
)
def test_nothing_to_estimate(data, response, message):
    with pytest.raises(ValueError, match=message):
        glmer(f"{response} ~ arm + (1 | g)", data, family="binomial")


def test_outcomes_that_are_the_same_in_every_group(data):
    fit = glmer("y ~ x + (1 | g)", data.assign(y=data.g % 2), family="binomial")
    assert "every level of g has only successes or only failures" in str(fit.summary())
