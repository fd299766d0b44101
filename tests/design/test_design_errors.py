"""Check errors between a formula and the data: always an error of this package that marks the place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_glmm._design import Design, build_contrasts, build_design, residual_df
from sc_glmm._errors import DesignError, FormulaError, ScGlmmError
from sc_glmm._formula import parse_formula

DATA = pd.DataFrame(
    {
        "x": [0.5, 1.0, -2.0, 3.0, 0.0, 1.5, 2.0, -1.0],
        "age": [30, 40, 50, 60, 30, 40, 50, 60],
        "Disease": list("aabbaabb"),
        "sample": list("ppqqrrss"),
    }
)


def design_of(source: str, data: pd.DataFrame = DATA, **options: object) -> Design:
    return build_design(parse_formula(source), data, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "culprit", "message"),
    [
        ("~ disease + x", "disease", r"no column 'disease'; did you mean 'Disease'\? \(available: x, age, Disease"),
        ("~ x + agee", "agee", "did you mean 'age'"),
        ("~ x + (1 | smaple)", "smaple", "did you mean 'sample'"),
        ("~ x + (1 | Disease:smaple)", "smaple", "did you mean 'sample'"),
        ("~ x + (agge | sample)", "agge", "did you mean 'age'"),
        ("~ x + offset(log(szie))", "szie", "no column 'szie' "),
        ("~ log(x + xx)", "xx", "no column 'xx'"),
        ("~ x + `a b`", "`a b`", "no column 'a b'"),
        ("~ x:xyz", "xyz", "no column 'xyz'"),
        ("~ lgo(x)", "lgo", "no function 'lgo' in formulas; did you mean 'log'"),
        ("~ open(x)", "open", "no function 'open'"),
        ("~ exec(x)", "exec", "no function 'exec'"),
        ("~ I(1)", "I(1)", "does not use a column"),
        ("~ x + log(x, x, x, x)", "log(x, x, x, x)", "takes 1 argument, but received 4"),
        ("~ x + sum(x)", "sum", "only on its own row"),
        ("~ age + x.mean()", "x.mean", "no method 'mean'.*only on its own row"),
        ("~ age + {x.to_numpy()[:3]}", "x.to_numpy()[:3]", "square brackets"),
        ("~ age + I(-Disease)", "I(-Disease)", "Disease is not a number"),
        ("~ age + I(Disease == 'z')", "I(Disease == 'z')", "no level 'z'; levels of 'Disease': a, b"),
        ("~ age + I(Disease < 'b')", "I(Disease < 'b')", "text has no order"),
        ("~ age + I(x & age)", "I(x & age)", "x is not true or false"),
        ("~ age + bs(x, df=4) + I(1 + bs(x, df=4))", "I(1 + bs(x, df=4))", "several columns"),
        ("~ factor(x)", "factor", r"write C\(x\)"),
        ("~ as.factor(x)", "as.factor", r"write C\(x\)"),
        ("~ ns(x, 3)", "ns", r"write cr\(x, df=3, constraints="),
        ("~ bs(x, df=2)", "bs(x, df=2)", "Invalid value for df"),
        (
            "~ age + C(Disease, contr.treatment('z'))",
            "C(Disease, contr.treatment('z'))",
            "'z'.*levels of 'Disease': a, b",
        ),
        ("~ C(Disease, levels=['a'])", "C(Disease, levels=['a'])", "b"),
        ("~ x + np.cumsum(x)", "np.cumsum", "only on its own row"),
        ("~ I(x - x.mean())", "x.mean", r"use center\(\)"),
        ("~ np.random.normal(x):age", "np.random.normal", "no method 'normal'"),
        ("~ Disease + x + np.argsort(Disease.astype(str))", None, "only on its own row"),
        ("~ Disease ** x", None, "whole number"),
    ],
)
def test_formula_errors(source: str, culprit: str | None, message: str | None) -> None:
    with pytest.raises(FormulaError, match=message) as caught:
        design_of(source)
    if culprit is not None:
        assert source[slice(*caught.value.span)] == culprit
    assert "\x1b" not in str(caught.value)  # formulaic adds colour codes to its messages


@pytest.mark.parametrize(
    ("source", "culprit", "message"),
    [
        ("~ age + log(x)", "log(x)", r"infinite or not a number in 3 of 8 rows \(the first is row 2"),
        ("~ age + age:log(age - 30)", "age:log(age - 30)", "in 2 of 8 rows"),
        ("~ age + np.sqrt(x)", "np.sqrt(x)", "in 2 of 8 rows"),
        ("~ age + (log(x) | sample)", "log(x)", "in 3 of 8 rows"),
        ("~ age + offset(log(x))", "log(x)", "in 3 of 8 rows"),
        ("~ big", "big", "in 1 of 8 rows"),
        ("~ 0", "~ 0", "fixed effects have no column"),
        ("~ 0 + (1 | sample)", "~ 0 + (1 | sample)", "fixed effects have no column"),
        ("~ x + (1 | one)", "(1 | one)", r"has one level \(k\) in the 8 rows"),
        ("~ x + (1 | cell)", "(1 | cell)", "8 levels for 8 rows, so it does not group"),
        ("~ x + (1 | Disease:cell)", "(1 | Disease:cell)", "8 levels for 8 rows"),
        ("~ x + (1 | sample) + (x | sample)", "(x | sample)", "both have the effect 'Intercept'"),
        ("~ x + (x | sample) + (0 + x | sample)", "(0 + x | sample)", "both have the effect 'x'"),
        ("~ x + (1 | Disease:sample) + (x | sample:Disease)", "(x | sample:Disease)", "both have the effect"),
    ],
)
def test_design_errors(source: str, culprit: str, message: str) -> None:
    data = DATA.assign(one="k", cell=[f"c{i}" for i in range(8)], big=[*range(7), np.inf])
    with pytest.raises(DesignError, match=message) as caught:
        design_of(source, data)
    shown, carets = str(caught.value).splitlines()[-2:]
    assert shown == f"    {source}"
    assert shown[carets.index("^") : len(carets)] == culprit


def test_one_row_for_each_level_is_allowed_on_request() -> None:
    design = design_of("~ x + (1 | cell)", DATA.assign(cell=range(8)), check_replication=False)
    assert design.random[0].levels == tuple("01234567")
    with pytest.raises(DesignError, match="has one level"):
        design_of("~ x + (1 | one)", DATA.assign(one=1), check_replication=False)


def test_a_few_levels_with_one_row_are_fine() -> None:
    assert len(design_of("~ x + (1 | k)", DATA.assign(k=list("abcdefgg"))).random[0].levels) == 7


def test_variables_of_the_caller_are_not_visible() -> None:
    hidden = np.arange(8.0)
    assert hidden.size == 8
    with pytest.raises(FormulaError, match="no column 'hidden'"):
        design_of("~ hidden")


def test_the_innermost_reason_is_kept() -> None:
    with pytest.raises(FormulaError) as caught:
        design_of("~ bs(x, df=2)")
    assert caught.value.__cause__ is not None
    assert str(caught.value).count("\n") == 2


# --- any formula on any frame ----------------------------------------------------------------------------------------

atoms = st.sampled_from(
    ["x", "n", "f", "g", "b", "log(n)", "C(n)", "poly(x, 2)", "bs(x, df=3)", "C(f, contr.sum)", "scale(x)", "I(x > 0)"]
)
terms = st.recursive(
    atoms,
    lambda inner: st.tuples(inner, st.sampled_from([" + ", "*", ":", "/", " - "]), inner).map(
        lambda t: f"({''.join(t)})"
    ),
    max_leaves=4,
)
bars = st.tuples(
    st.sampled_from(["1", "x", "0 + x", "f", "0 + f", "poly(x, 2)"]),
    st.sampled_from(["|", "||"]),
    st.sampled_from(["s", "d", "d/s", "d:f", "b", "n"]),
).map(lambda t: f" + ({' '.join(t)})")


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 40))
    levels = draw(st.integers(1, 4))
    data = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "n": rng.integers(0, 3, n),
            "f": rng.choice(list("uvwxyz")[:levels], n),
            "g": pd.Categorical(rng.choice(list("kl"), n), categories=list("mlk")),
            "b": rng.random(n) < 0.5,
            "s": rng.integers(0, 6, n),
            "d": rng.choice(["d1", "d2"], n),
        }
    )
    return data.mask(rng.random(data.shape) < 0.05) if draw(st.booleans()) else data


@given(st.sampled_from(["~ ", "~ 0 + "]), terms, st.lists(bars, max_size=2), frames())
@settings(max_examples=150, deadline=None)
def test_any_formula_on_any_frame_gives_a_design_or_our_error(
    start: str, fixed: str, random: list[str], data: pd.DataFrame
) -> None:
    source = start + fixed + "".join(random)
    try:
        design = design_of(source, data)
        contrasts = build_contrasts(design)
    except ScGlmmError as error:
        assert str(error)
        return
    X = design.fixed.X
    assert X.shape == (design.rows_used.sum(), len(design.fixed.names))
    assert np.isfinite(X).all()
    assert np.linalg.matrix_rank(X / np.linalg.norm(X, axis=0)) == X.shape[1]
    for term in design.random:
        assert term.Z.shape == (design.n_obs, len(term.names))
        assert set(term.codes) == set(range(len(term.levels)))
    again, _ = design.at(data[design.rows_used])
    np.testing.assert_allclose(again, X, atol=1e-9)
    for contrast in contrasts:
        df = residual_df(contrast.L, X, design.random)
        assert 0.0 <= df <= design.n_obs
        assert "/" not in contrast.name
