"""Check types of columns: every type gives the same design, or an error of this package."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from sc_glmm._design import Design, build_design
from sc_glmm._errors import DesignError, FormulaError
from sc_glmm._formula import parse_formula

TEXT = ["b", "a", "c", "a", "b", "c", "a", "b"]
WHOLE = [3, 1, 2, 3, 1, 2, 3, 1]
REAL = [0.5, 1.25, -2.0, 4.0, 0.0, 1.5, 2.0, -1.0]
TRUTH = [True, False, True, True, False, False, True, False]


def design_of(source: str, **columns: object) -> Design:
    data = pd.DataFrame({"g": list("ppqqrrss"), **columns})
    return build_design(parse_formula(source), data)


def arrow(kind: str) -> str:
    pytest.importorskip("pyarrow")
    return f"{kind}[pyarrow]"


TEXT_TYPES = {
    "list": lambda: TEXT,
    "object": lambda: pd.Series(TEXT, dtype=object),
    "str": lambda: pd.Series(TEXT, dtype="str"),
    "string": lambda: pd.Series(TEXT, dtype="string"),
    "pyarrow": lambda: pd.Series(TEXT, dtype=arrow("string")),
    "numpy": lambda: np.array(TEXT),
    "category": lambda: pd.Categorical(TEXT),
    "category of string": lambda: pd.Series(TEXT, dtype="string").astype("category"),
}


@pytest.mark.parametrize("kind", TEXT_TYPES)
def test_text(kind: str) -> None:
    design = design_of("~ x + (1 | x)", x=TEXT_TYPES[kind]())
    assert design.fixed.names == ("Intercept", "x[T.b]", "x[T.c]")
    np.testing.assert_array_equal(design.fixed.X[:, 1], [t == "b" for t in TEXT])
    assert design.random[0].levels == ("a", "b", "c")
    np.testing.assert_array_equal(design.random[0].codes, ["abc".index(t) for t in TEXT])
    assert design.random[0].codes.dtype == np.int64
    assert design.fixed.factors["x"].chosen == ("categorical" if "category" in kind else "alphabetical")


@pytest.mark.parametrize("kind", ["object", "string", "pyarrow", "category"])
def test_text_with_missing(kind: str) -> None:
    values = pd.Series(["b", None, "a", "a", "b", "b", "a", None], dtype=object)
    design = design_of("~ x", x=values.astype(arrow("string") if kind == "pyarrow" else kind))
    np.testing.assert_array_equal(design.fixed.X[:, 1], [1, 0, 0, 1, 1, 0])


NUMBER_TYPES = ["int8", "uint8", "int64", "float32", "float64", "Int64", "UInt8", "Float32", "object", "Sparse[int64]"]


@pytest.mark.parametrize("kind", [*NUMBER_TYPES, "int64[pyarrow]", "double[pyarrow]"])
def test_numbers(kind: str) -> None:
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    design = design_of("~ x + I(x**5) + (x | g)", x=pd.Series(WHOLE).astype(kind))
    assert design.fixed.names == ("Intercept", "x", "I(x ** 5)")
    np.testing.assert_array_equal(design.fixed.X[:, 1], WHOLE)
    np.testing.assert_array_equal(design.fixed.X[:, 2], np.array(WHOLE) ** 5)  # no overflow of a small type
    np.testing.assert_array_equal(design.random[0].Z[:, 1], WHOLE)


@pytest.mark.parametrize("kind", ["Int64", "Float64", "object"])
def test_numbers_with_missing(kind: str) -> None:
    values = pd.Series([1, 2, None, 4, 5, 6, 7, 8], dtype=object)
    design = design_of("~ x", x=values.astype(kind))
    np.testing.assert_array_equal(design.fixed.X[:, 1], [1, 2, 4, 5, 6, 7, 8])


def test_decimals() -> None:
    design = design_of("~ x", x=[decimal.Decimal(str(value)) for value in REAL])
    np.testing.assert_array_equal(design.fixed.X[:, 1], REAL)


@pytest.mark.parametrize("kind", ["bool", "boolean", "object", "category"])
def test_booleans_are_factors(kind: str) -> None:
    design = design_of("~ x + (1 | x)", x=pd.Series(TRUTH).astype(kind))
    assert design.fixed.names == ("Intercept", "x[T.True]")
    np.testing.assert_array_equal(design.fixed.X[:, 1], TRUTH)
    assert design.random[0].levels == ("False", "True")
    assert design.notes == ()


def test_booleans_in_computations_stay_numbers() -> None:
    design = design_of("~ x + np.where(x, 2, 0.5):y", x=TRUTH, y=REAL)
    assert design.fixed.names == ("Intercept", "x", "np.where(x, 2, 0.5):y")


@pytest.mark.parametrize(
    ("values", "levels", "order"),
    [
        (WHOLE, ("1", "2", "3"), [1, 2, 3]),
        ([10, 9, 10, 9, 100, 9, 100, 10], ("9", "10", "100"), [9, 10, 100]),
        ([2.0, 1.0] * 4, ("1", "2"), [1.0, 2.0]),
        ([2.5, 1.0] * 4, ("1", "2.5"), [1.0, 2.5]),
        (pd.array([2, 1] * 4, dtype="Int64"), ("1", "2"), [1, 2]),
        (pd.Categorical([2, 1] * 4, categories=[2, 1, 7]), ("2", "1"), [2, 1]),
        (pd.Categorical(list("abab") * 2, categories=list("xba")), ("b", "a"), ["b", "a"]),
        (pd.Series([1, "a"] * 4, dtype=object), ("1", "a"), [1, "a"]),
        (pd.date_range("2020-01-01", periods=2).repeat(4), None, None),
    ],
)
def test_anything_can_be_a_grouping_factor(values: object, levels: tuple[str, ...] | None, order: list | None) -> None:
    (term,) = design_of("~ y + (1 | x)", x=values, y=REAL).random
    assert term.codes.dtype == np.int64
    if levels is None or order is None:
        assert len(term.levels) == 2
        return
    assert term.levels == levels
    assert [order[code] for code in term.codes] == list(values)  # type: ignore[call-overload]


def test_one_column_can_be_number_and_grouping_factor() -> None:
    design = design_of("~ x + (1 | x)", x=WHOLE)
    assert design.fixed.names == ("Intercept", "x")
    assert design.random[0].levels == ("1", "2", "3")


def test_mixed_text_and_numbers_are_text() -> None:
    assert design_of("~ x", x=pd.Series([1, "a", 2.5, "a"] * 2, dtype=object)).fixed.names == (
        "Intercept",
        "x[T.2.5]",
        "x[T.a]",
    )


def test_intervals_from_cut() -> None:
    design = design_of("~ x", x=pd.cut(REAL, [-3, 0, 1, 5]))
    assert design.fixed.factors["x"].levels == ("(-3, 0]", "(0, 1]", "(1, 5]")
    assert design.fixed.names[1] == "x[T.(0, 1]]"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.date_range("2020-01-01", periods=8), "Timestamp"),
        (pd.timedelta_range("1D", periods=8), "Timedelta"),
        ([datetime.date(2020, 1, day) for day in range(1, 9)], "date"),
        ([[1]] * 8, "list"),
        (np.arange(8) + 1j, "complex"),
        (pd.Categorical([1, "1"] * 4), "with the same text '1'"),
    ],
)
def test_values_that_no_model_can_use(values: object, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        design_of("~ x", x=values)


def test_names_in_backticks() -> None:
    names = ["a b", "a-b", "a.b", "1st", "a:b", "it's", 'say "x"', "(x)", "é+", "a|b", "{x}", "for", "C", "ä/ö", "#n"]
    data = pd.DataFrame({name: np.array(REAL) + i**2 * np.arange(8) ** 1.5 for i, name in enumerate(names)})
    for name in names:
        design = build_design(parse_formula(f"~ `{name}` + (`{name}` | g)"), data.assign(g=list("ppqqrrss")))
        assert design.fixed.names == ("Intercept", name)
        np.testing.assert_array_equal(design.fixed.X[:, 1], data[name])
        assert design.fixed.terms == {"1": (0,), name: (1,)}
        inside = build_design(parse_formula(f"~ np.tanh(`{name}`)*`{name}`"), data)
        np.testing.assert_array_equal(inside.fixed.X[:, 1], np.tanh(data[name]))
        np.testing.assert_allclose(inside.at(data)[0], inside.fixed.X, atol=1e-12)


def test_names_with_dots_need_no_backticks_alone() -> None:
    data = pd.DataFrame({"donor.age": REAL})
    assert build_design(parse_formula("~ donor.age"), data).fixed.names == ("Intercept", "donor.age")
    with pytest.raises(FormulaError, match=r"a name with a dot needs backticks inside a function: `donor.age`"):
        build_design(parse_formula("~ I(donor.age + 1)"), data)


def test_column_may_have_the_name_of_a_function() -> None:
    data = pd.DataFrame({"log": np.abs(REAL) + 1.0, "scale": REAL})
    design = build_design(parse_formula("~ log + exp(scale)"), data)
    np.testing.assert_allclose(design.fixed.X[:, 1:], np.column_stack([data["log"], np.exp(REAL)]))
    other = build_design(parse_formula("~ log(other)"), data.assign(other=2.0 + np.arange(8)))
    np.testing.assert_allclose(other.fixed.X[:, 1], np.log(2.0 + np.arange(8)))
    both = build_design(parse_formula("~ log + log(log) + C(Sum, Sum)"), data.assign(Sum=list("abcaabca")))
    np.testing.assert_allclose(both.fixed.X[:, 1:3], np.column_stack([data["log"], np.log(data["log"])]))
    assert both.fixed.names[3:] == ("C(Sum, Sum)[S.a]", "C(Sum, Sum)[S.b]")
    with pytest.raises(DesignError, match="expression here, but also the name of a column") as caught:
        build_design(parse_formula("~ `log(x)` + log(x)"), pd.DataFrame({"x": np.exp(REAL), "log(x)": REAL}))
    assert "log(x)" in str(caught.value)


def test_integers_and_booleans_are_doubles_in_expressions() -> None:
    whole = pd.DataFrame({"x": [7000, 8000, 9000, 100, 3, 2, 5, 1], "b": [True, False] * 4})
    for dtype in ("int64", "uint64", "uint16", "Int64", "UInt16", "int32", ">i4", ">f8", "float32"):
        data = whole.assign(x=whole["x"].astype(dtype))
        X = build_design(parse_formula("~ I(x**5) + I(-x) + I(b + b) + C(x > 4) + np.sqrt(x)"), data).fixed.X
        exact = whole["x"].to_numpy(np.float64)
        expected = [exact**5, -exact, 2.0 * whole["b"], exact > 4, np.sqrt(exact)]
        np.testing.assert_array_equal(X[:, 1:], np.column_stack(expected))
    for low, dtype in ((-100, "int8"), (100, "uint8")):
        data = pd.DataFrame({"x": np.array([low, 3, 2, 5], dtype=dtype)})
        X = build_design(parse_formula("~ I(x * x) + I(x - 101)"), data).fixed.X
        np.testing.assert_array_equal(X[:, 1], [low**2, 9.0, 4.0, 25.0])
        np.testing.assert_array_equal(X[:, 2], [low - 101, -98.0, -99.0, -96.0])
    data = pd.DataFrame({"x": np.array([2**64 - 1, 1, 2, 3], dtype=np.uint64)})
    assert build_design(parse_formula("~ x"), data).fixed.X[0, 1] == 2.0**64


def test_columns_must_be_unique() -> None:
    data = pd.DataFrame(np.ones((4, 2)), columns=["x", "x"])
    with pytest.raises(DesignError, match="2 columns with the name 'x'"):
        build_design(parse_formula("~ x"), data)
    data = pd.DataFrame({"x": REAL, "y": WHOLE, "other": TEXT}).rename(columns={"y": "other"})
    assert build_design(parse_formula("~ x"), data).fixed.names == ("Intercept", "x")


def test_columns_of_the_design_have_different_names() -> None:
    """Check that equal names of terms get backticks, and equal names of levels get a number."""
    rng = np.random.default_rng(0)
    a, b, c, g, h, one, two = (rng.normal(size=30) for _ in range(7))
    data = pd.DataFrame({"a": a, "b": b, "a:b": c, "b:c": g, "c": h, "1": one, "Intercept": two})
    fixed = build_design(parse_formula("~ a*b + `a:b` + `1` + Intercept"), data).fixed
    assert fixed.names == ("Intercept", "a", "b", "`a:b`", "1", "`Intercept`", "a:b")
    assert list(fixed.terms) == ["1", "a", "b", "`a:b`", "`1`", "Intercept", "a:b"]
    np.testing.assert_array_equal(fixed.X, np.column_stack([np.ones(30), a, b, c, one, two, a * b]))
    fixed = build_design(parse_formula("~ 0 + `1` + Intercept"), data).fixed
    assert fixed.names == ("1", "`Intercept`") and list(fixed.terms) == ["`1`", "Intercept"]
    fixed = build_design(parse_formula("~ 0 + a:`b:c` + `a:b`:c"), data).fixed
    assert fixed.names == ("a:`b:c`", "`a:b`:c")
    np.testing.assert_array_equal(fixed.X, np.column_stack([a * g, c * h]))
    one = design_of("~ x + `x[T.b]`", x=TEXT, **{"x[T.b]": REAL}).fixed
    assert {"x[T.b]", "`x[T.b]`"} <= set(one.names)


@pytest.mark.parametrize("levels", [["__a", "b", "c"], ["a", "__b", "__c"], ["__", "___", "____"]])
@pytest.mark.parametrize(
    "formula",
    [
        "~ g",
        "~ C(g)",
        "~ g*x",
        "~ 0 + g",
        "~ C(g, contr.treatment({1!r}))",
        "~ C(g, levels=[{2!r}, {0!r}, {1!r}])",
        "~ C(g, contr.sum)",
    ],
)
def test_levels_that_start_with_underscores_lose_no_column(levels: list[str], formula: str) -> None:
    """formulaic takes names that start with two underscores for its own."""
    plain = ["pa", "pb", "pc"]
    x = np.random.default_rng(1).normal(size=12)
    made, expected = (
        build_design(
            parse_formula(formula.format(*names)),
            pd.DataFrame({"g": pd.Categorical.from_codes(np.arange(12) % 3, names), "x": x}),
        )
        for names in (levels, plain)
    )
    np.testing.assert_array_equal(made.fixed.X, expected.fixed.X)
    for one, other in zip(made.fixed.names, expected.fixed.names, strict=True):
        for name, level in zip(plain, levels, strict=True):
            other = other.replace(name, level)
        assert one == other
    rows = pd.DataFrame({"g": levels, "x": 0.0})
    np.testing.assert_array_equal(made.at(rows)[0], expected.at(rows.assign(g=plain))[0])
    factors = made.fixed.factors.values()
    assert all(set(factor.levels) <= set(levels) for factor in factors)


def test_levels_that_look_like_columns_lose_none() -> None:
    """Check two products of levels with the same text "g[T.x]:h[T.y]:h[T.z]"."""
    data = pd.DataFrame([(s, t) for s in ("a", "x", "x]:h[T.y") for t in ("a", "z", "y]:h[T.z")], columns=["g", "h"])
    odd = build_design(parse_formula("~ g*h"), pd.concat([data] * 2)).fixed
    plain = data.replace({"x]:h[T.y": "y", "y]:h[T.z": "y"})
    expected = build_design(parse_formula("~ g*h"), pd.concat([plain] * 2), reference={"g": "a", "h": "a"}).fixed
    assert len(set(odd.names)) == 9 and np.linalg.matrix_rank(odd.X) == expected.X.shape[1] == 9


def test_computed_text_that_starts_with_underscores() -> None:
    fixed = design_of("~ np.where(x > 2, '__low', '__')", x=REAL).fixed
    assert fixed.names == ("Intercept", "np.where(x > 2, '__low', '__')[T.__low]")
    np.testing.assert_array_equal(fixed.X[:, 1], np.asarray(REAL) > 2)
