"""Check errors about models that cannot be fitted: the value found, allowed values, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

from sc_glmm import DesignError, InputError, ScGlmmWarning
from sc_glmm.models import anova, bootstrap_lrt, glmer, lmer, lrtest
from tests.reference import load

SLEEP = load.frame("sleepstudy")
Y = "Reaction ~ Days + (1 | Subject)"


@pytest.mark.parametrize(
    ("formula", "data", "options", "error", "words"),
    [
        ("Reaction ~ Days", SLEEP, {}, InputError, r"no random effect.*statsmodels"),
        ("~ Days + (1 | Subject)", SLEEP, {}, InputError, r"no left side"),
        ("Reaction ~ Days + (1 | row)", SLEEP.assign(row=range(180)), {}, DesignError, r"=180\) <= .*=180\)"),
        ("Reaction ~ Days + (Days | Subject)", SLEEP[SLEEP.Days < 2], {}, DesignError, r"=36\) <= .*=36\)"),
        (Y, SLEEP[SLEEP.Subject == "308"], {}, DesignError, r"one level \(308\) in the 10 rows"),
        ("one ~ Days + (1 | Subject)", SLEEP.assign(one=3.0), {}, InputError, r"3 in every row"),
        (
            "z ~ Days + (1 | Subject)",
            SLEEP.assign(z=2.0 * SLEEP.Days),
            {},
            InputError,
            r"explain the response completely",
        ),
        (Y, SLEEP, {"weights": np.r_[0.0, np.ones(179)]}, InputError, r"weights are 0 in row 0"),
        (Y, SLEEP, {"weights": np.ones(3)}, InputError, r"shape \(3,\).*180 rows"),
        (Y, SLEEP, {"weights": "nothing"}, InputError, r"'nothing' is not a column"),
        (Y, SLEEP, {"offset": np.r_[np.nan, np.ones(179)]}, InputError, r"offset is nan in row 0"),
        (Y, SLEEP.to_dict(), {}, InputError, r"dict.*DataFrame"),
        ("cbind(Reaction, Days) ~ 1 + (1 | Subject)", SLEEP, {}, InputError, r"several columns"),
    ],
)
def test_lmer(formula, data, options, error, words):
    with pytest.raises(error, match=words):
        lmer(formula, data, **options)


@pytest.mark.parametrize(
    ("formula", "data", "options", "words"),
    [
        (Y, SLEEP, {"family": "gaussian"}, r"lmer"),
        (Y, SLEEP, {"family": "gamma"}, r"'poisson', 'nb', 'binomial'"),
        (Y, SLEEP, {"family": "poisson"}, r"249.56 in row 0 .*179 such rows"),
        ("zero ~ Days + (1 | Subject)", SLEEP.assign(zero=0), {"family": "nb"}, r"all counts are zero"),
        ("zero ~ Days + (1 | Subject)", SLEEP.assign(zero=0), {"family": "binomial"}, r"no success"),
        ("Days ~ 1 + (1 | Subject)", SLEEP, {"family": "poisson", "weights": "Days"}, r"offset=log\(exposure\)"),
        ("Days ~ 1 + (Reaction | Subject)", SLEEP, {"family": "poisson", "n_agq": 5}, r"one random-effects term"),
        ("Days ~ 1 + (1 | Subject)", SLEEP, {"family": "binomial"}, r"between 0 and 1"),
        ("p ~ 1 + (1 | Subject)", SLEEP.assign(p=0.3), {"family": "binomial"}, r"0.3 successes"),
        ("p ~ 1 + (1 | Subject)", SLEEP.assign(p=0.5, n=0), {"family": "binomial", "weights": "n"}, r"0 trials"),
        ("cbind(Days, Days, Days) ~ 1 + (1 | Subject)", SLEEP, {"family": "binomial"}, r"3 columns"),
        ("Reaction ~ Days", SLEEP, {"family": "poisson"}, r"statsmodels"),
    ],
)
def test_glmer(formula, data, options, words):
    with pytest.raises(InputError, match=words):
        glmer(formula, data, **options)


@pytest.fixture(scope="module")
def fit():
    return lmer("Reaction ~ Days + (Days | Subject)", SLEEP)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda m: m.summary(ddf="nonsense"), r"'nonsense': allowed are 'satterthwaite'"),
        (lambda m: m.refit_ml().summary(ddf="kr"), r"needs a REML fit"),
        (lambda m: m.refit_ml().remlcrit(), r"reml=True"),
        (lambda m: m.predict(SLEEP[["Days"]]), r"have no column 'Subject'.*re_form='NA'"),
        (lambda m: m.predict(re_form="(1 | Subject)"), r"its terms are \(Days \| Subject\)"),
        (lambda m: m.predict(re_form=0), r"re_form=0: allowed are None, 'NA'"),
        (lambda m: m.predict(type="mean"), r"'link', 'response'"),
        (lambda m: m.refit(np.ones(3)), r"shape \(3,\); it must contain 180 numbers"),
        (lambda m: m.update("~ . - Foo"), r"no term 'Foo'.*terms are 1, Days"),
        (lambda m: m.update(nonsense=1), r"has no option nonsense"),
        (lambda m: m.residuals("quadratic"), r"allowed are 'response'"),
        (lambda m: m.get_me("nonsense"), r"allowed are 'X', 'Z'"),
        (lambda m: m.confint(method="nonsense"), r"'profile', 'wald', 'boot'"),
        (lambda m: m.confint(level=95), r"between 0 and 1"),
        (lambda m: m.anova(type="IV"), r"'I', 'II' and 'III'"),
        (lambda m: m.emmeans("Days"), r"at=\{'Days'"),
        (lambda m: m.emmeans("Foo", at={"Days": 1}), r"'Foo' is not a column of the fixed effects"),
        (lambda m: m.simulate(0), r"of at least 1"),
        (lambda m: lrtest(m), r"at least two models"),
        (lambda m: bootstrap_lrt(m, m.update("~ . - Days"), nsim=2), r"must be the smaller"),
        (lambda m: anova(m, lmer(Y, SLEEP[SLEEP.Days > 1])), r"180 and 144 rows"),
        (lambda m: anova(m, lmer("log(Reaction) ~ Days + (1 | Subject)", SLEEP)), r"different responses"),
        (lambda m: anova(m, lmer(Y, SLEEP, weights=np.full(180, 2.0))), r"different weights or offsets"),
        (lambda m: anova(m, lmer("Reaction ~ I(Days**2) + (1 | Subject)", SLEEP)), r"not a special case"),
        (
            lambda m: anova(m, m.update("~ . - (Days | Subject) + (1 | Subject)", reml=False), refit=False),
            r"others by ML",
        ),
    ],
)
def test_methods_of_a_fit_reject_invalid_arguments(fit, act, words):
    with pytest.raises(InputError, match=words):
        act(fit)


def test_satterthwaite_is_not_for_counts():
    ticks = load.frame("grouseticks")
    fit = glmer("TICKS ~ YEAR + (1 | BROOD)", ticks, family="poisson")
    with pytest.raises(InputError, match="linear mixed model"):
        fit.summary(ddf="satterthwaite")
    assert fit.contrast(ddf="between-within")["df"].between(1, 118).all()


def test_dropped_rows_give_a_note():
    lacking = SLEEP.assign(Days=SLEEP.Days.astype(float).where(SLEEP.index > 4))
    with pytest.warns(ScGlmmWarning, match="5 of 180 rows were dropped"):
        fit = lmer(Y, lacking)
    assert fit.nobs == 175
    assert list(fit.predict().index) == list(lacking.index[5:])
    with pytest.raises(DesignError, match="missing values"):
        lmer(Y, lacking, na_action="raise")
