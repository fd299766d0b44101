"""Check that names of columns and levels do not change a generalised linear mixed model of a data frame."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from sc_glmm.models import emmeans, glmer

COLUMNS = ["a", "b", "x", "z", "off", "g", "h", "n", "s", "f", "count"]
FACTORS = ["a", "b", "g", "h"]
NAMES = (
    ["S", "S_x", "S:x", "x/S", "a b", "it's", 'say "x"', "x__y", "S.x", "(1 | S)", "1x", "é", "A vs B", "~ x", "x + S"]
    + ["center", "log", "np", "C", "cond", "class", "for", "Intercept", "x|S", "-x", "x:S:x", "offset", "weights"]
    + ["cbind", "x||g", "0", "None", "a[T.q]", "log(x)", "emmean", "df", "se", "p_value", "__"]
)
LEVELS = [*NAMES, "y:z", ":", "/", "a`b", "", "nan", "01", "1.0", "TRUE"]
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "trials": ("binomial", "cbind(`{s}`, `{f}`) ~ `{a}`*`{b}`*`{x}` + (1|`{g}`)", {}),
    "slopes": ("binomial", "I(`{s}` / `{n}`) ~ `{a}` + `{x}` + offset(`{off}`) + (`{x}`||`{g}`)", {"weights": "{n}"}),
    "nested": ("poisson", "`{count}` ~ `{a}`*`{x}` + `{b}` + (1|`{g}`/`{b}`)", {}),
    "crossed": ("poisson", "`{count}` ~ `{a}`*`{b}` + offset(`{off}`) + (1|`{g}`) + (1|`{h}`)", {"reml": True}),
    "nb": ("nb", "`{count}` ~ `{a}`*`{x}` + (0 + `{x}`|`{g}`) + (1|`{g}`:`{h}`)", {}),
}


def make() -> pd.DataFrame:
    """Make trials and counts of two crossed factors, in crossed groups with different slopes."""
    rng = np.random.default_rng(1)
    n = 240
    codes = {"a": 2, "b": 3, "g": 8, "h": 5}
    frame = pd.DataFrame(
        {c: pd.Categorical.from_codes(rng.integers(0, k, n), [f"{c}{i}" for i in range(k)]) for c, k in codes.items()}
    )
    frame["x"], frame["z"], frame["off"] = rng.normal(2.0, 1.0, n), rng.uniform(size=n), rng.normal(0.0, 0.3, n)
    g, h = frame["g"].cat.codes, frame["h"].cat.codes
    effects = 0.6 * rng.normal(size=8)[g] + 0.4 * rng.normal(size=5)[h] + 0.3 * rng.normal(size=8)[g] * frame["x"]
    eta = 0.3 + 0.3 * (frame["a"] == "a1") - 0.2 * frame["x"] + effects + frame["off"]
    frame["n"] = rng.integers(1, 12, n)
    frame["s"] = rng.binomial(frame["n"], 1 / (1 + np.exp(-eta)))
    frame["f"] = frame["n"] - frame["s"]
    return frame.assign(count=rng.poisson(np.exp(eta) * rng.gamma(3.0, 1 / 3, n)))


FRAME = make()


def numbers(model: str, data: pd.DataFrame, names: dict[str, str]) -> list[np.ndarray]:
    """Return estimates, tests, marginal means, predictions, modes and intervals."""
    family, formula, options = MODELS[model]
    options = {key: value.format(**names) if isinstance(value, str) else value for key, value in options.items()}
    fit = glmer(formula.format(**names), data, family, **options)
    means = emmeans(fit, [names["a"]])
    return [
        fit.fixef().to_numpy(),
        fit.vcov().to_numpy(),
        np.array([fit.remlcrit() if fit.reml else fit.loglik()]),
        *(fit.contrast(c).select_dtypes("number").to_numpy(float) for c in (None, f"`{names['a']}`")),
        *(fit.anova(type=kind).table.to_numpy(float) for kind in ("I", "II", "III")),
        # a factor may be called like a column of the means
        means.means.iloc[:, 1:].to_numpy(float),
        means.contrasts.iloc[:, 1:].to_numpy(float),
        fit.predict(data),
        fit.predict(data, re_form="NA", type="response"),
        *(modes.to_numpy(float) for modes in fit.ranef().values()),
        fit.confint(method="wald").to_numpy(float),
    ]


EXPECTED: dict[str, list[np.ndarray]] = {}


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.permutations(NAMES), levels=st.permutations(LEVELS))
def test_names_of_columns_and_levels(model: str, names: list[str], levels: list[str]) -> None:
    if model not in EXPECTED:
        EXPECTED[model] = numbers(model, FRAME, {c: c for c in COLUMNS})
    new = dict(zip(COLUMNS, names, strict=False))
    data = FRAME.copy()
    for factor in FACTORS:
        categories = data[factor].cat.categories
        data[factor] = data[factor].cat.rename_categories(dict(zip(categories, levels, strict=False)))
    result = numbers(model, data.rename(columns=new), new)
    for one, other in zip(result, EXPECTED[model], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
