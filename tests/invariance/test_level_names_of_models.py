"""Check that results of a fitted model do not depend on the names of columns and levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_glmm.models import glmer, influence, lmer, ranova

# Names that collide when joined: "x:y" with "z", and "x" with "y:z", both give "x:y:z".
PIECES = st.lists(
    st.sampled_from(["x", "y", ":", "/", "'", '"', "`", " ", "__", "a", "1", ".0"]), min_size=1, max_size=4
)
NAMES = PIECES.map("".join)
COLUMNS = st.lists(st.sampled_from(["x", ":", " ", "_", "/", "a", "b"]), min_size=1, max_size=4)
COLUMNS = COLUMNS.map("".join).filter(str.strip)  # a blank name is rejected


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    data = pd.DataFrame([(a, b) for a in "pqr" for b in "uvw" for _ in range(5)], columns=["one", "two"])
    data["t"], data["z"] = rng.normal(size=(2, len(data)))
    data["y"] = 2.0 * rng.normal(size=9).repeat(5) + data.t + 0.3 * rng.normal(size=len(data))
    return data


@pytest.fixture(scope="module")
def plain(frame):
    return lmer("y ~ t + z + (1 | one:two)", frame)


def _renamed(values: pd.Series, names: list[str]) -> pd.Categorical:
    return pd.Categorical(values.map(dict(zip(sorted(set(values)), names, strict=True))), categories=names)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(NAMES, min_size=3, max_size=3, unique=True),
    st.lists(NAMES, min_size=3, max_size=3, unique=True),
)
def test_levels_of_crossed_factors(frame, plain, first, second):
    data = frame.assign(one=_renamed(frame.one, first), two=_renamed(frame.two, second))
    fit = lmer("y ~ t + z + (1 | one:two)", data)
    np.testing.assert_array_equal(fit.beta, plain.beta)
    np.testing.assert_array_equal(fit.predict(data), plain.predict(frame))
    np.testing.assert_array_equal(fit.predict(data), fit.predict())
    modes = fit.ranef()["one:two"]
    assert modes.index.is_unique
    np.testing.assert_array_equal(modes, plain.ranef()["one:two"])


@settings(max_examples=25, deadline=None)
@given(st.lists(COLUMNS, min_size=4, max_size=4, unique=True))
def test_columns(frame, plain, names):
    one, two, t, z = (f"`{name}`" for name in names)
    data = frame.rename(columns=dict(zip(["one", "two", "t", "z"], names, strict=True)))
    fit = lmer(f"y ~ {t} + {z} + (1 | {one}:{two})", data)
    np.testing.assert_array_equal(fit.beta, plain.beta)
    for kind in ("I", "II", "III"):
        np.testing.assert_array_equal(fit.anova(type=kind).table, plain.anova(type=kind).table)
    np.testing.assert_array_equal(fit.drop1().table, plain.drop1().table)
    np.testing.assert_array_equal(ranova(fit).table, ranova(plain).table)
    np.testing.assert_array_equal(fit.update(f"~ . - {t}").beta, plain.update("~ . - t").beta)
    conditional = fit.predict(data, re_form=f"~ (1 | {one}:{two})")
    np.testing.assert_array_equal(conditional, fit.predict(data))


def test_influence_counts_levels_as_they_are(frame):
    data = frame.assign(one=_renamed(frame.one, ["x", "x:y", "x:y:z"]), two=_renamed(frame.two, ["y:z", "z", "w"]))
    found = influence(lmer("y ~ t + (1 | one:two)", data))
    assert found.n_obs.tolist() == [5] * 9 and found.n_obs.index.is_unique


def test_column_named_like_an_interaction_is_another_factor(frame):
    data = frame.assign(**{"one:two": np.arange(len(frame)) % 7})
    fit = lmer("y ~ t + (1 | one:two) + (1 | `one:two`)", data)
    assert fit.ngrps().tolist() == [9, 7]
    data["group"] = np.arange(len(frame)) % 5
    base = {"one": "p", "two": "u"}
    fit = lmer("y ~ one * two + `one:two` + (1 | group)", data, reference=base)
    plain = lmer("y ~ one * two + z7 + (1 | group)", data.assign(z7=data["one:two"]), reference=base)
    np.testing.assert_array_equal(fit.beta, plain.beta)
    names = {"one:two": "one:two", "`one:two`": "z7", "one": "one"}
    for kind in ("I", "II", "III"):
        table = fit.anova(type=kind).table
        np.testing.assert_array_equal(table.loc[[*names]], plain.anova(type=kind).table.loc[[*names.values()]])
    tables = [f.contrast(list(labels)) for f, labels in ((fit, names), (plain, names.values()))]
    np.testing.assert_array_equal(*[table["p_value"] for table in tables])
    assert fit.drop1().table.index.tolist() == ["<none>", "one:two", "`one:two`"]


def test_number_and_its_text_are_rejected_as_levels_of_one_column(frame):
    data = frame.assign(one=[1 if a == "p" else "1" if a == "q" else 2 for a in frame.one])
    with pytest.raises(ValueError, match="with the same text '1': rename them"):
        lmer("y ~ t + (1 | one)", data)


@pytest.mark.parametrize("kind", ["II", "drop1"])
def test_a_product_written_out_is_the_same_model(frame, kind):
    short = lmer("y ~ one * t * z + (1 | two)", frame, reference={"one": "p"})
    written = lmer("y ~ one + t + z + t:one + z:one + t:z + z:t:one + (1 | two)", frame, reference={"one": "p"})
    tables = [fit.drop1().table if kind == "drop1" else fit.anova(type="II").table for fit in (short, written)]
    np.testing.assert_allclose(tables[1].to_numpy(float), tables[0].to_numpy(float), rtol=1e-6)


def test_an_effect_that_loses_its_slope_keeps_its_backticks(frame):
    data = frame.rename(columns={"t": "my t", "two": "my group"})
    fit = lmer("y ~ `my t` + (`my t` | `my group`)", data)
    table = ranova(fit).table
    assert table.index.tolist() == ["<none>", "my t in (`my t` | `my group`)"]
    assert fit.predict(re_form="~ (`my t` | `my group`)").equals(fit.predict())


def test_new_levels_of_nested_factors_keep_their_parts(frame):
    data = frame.assign(one=_renamed(frame.one, ["x", "x:y", "z"]), two=_renamed(frame.two, ["y:z", "z", "w"]))
    data["n"] = np.random.default_rng(1).poisson(np.exp(0.5 * data.t + 1.0))
    fit = glmer("n ~ t + (1 | one:two)", data, family="poisson")
    np.testing.assert_allclose(fit.predict(data, type="response"), fit.fitted(), rtol=1e-12)
