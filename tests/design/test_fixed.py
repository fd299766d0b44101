"""The fixed part against matrices made by hand."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_glmm._design import Design, build_design
from sc_glmm._design.fixed import find_aliased
from sc_glmm._errors import DesignError, FormulaError, ScGlmmError
from sc_glmm._formula import parse_formula

X1 = np.array([0.5, 1.0, -2.0, 3.0, 0.0, 1.5, 2.0, -1.0])
AB = np.array(list("abababab"))
UVW = np.array(list("uuvvwwuv"))
DATA = pd.DataFrame(
    {
        "x": X1,
        "z": [1, 4, 2, 8, 5, 7, 1, 3],
        "f": AB,
        "g": pd.Categorical(UVW, categories=["w", "u", "v", "none"]),
        "flag": [True, False, True, True, False, False, True, False],
        "batch": [3, 1, 2, 3, 1, 2, 3, 1],
        "odd name": X1 + 1,
        "size": np.arange(1.0, 9.0),
    },
    index=[f"cell{i}" for i in range(8)],
)
ONE = np.ones(8)


def design_of(source: str, data: pd.DataFrame = DATA, **options: object) -> Design:
    return build_design(parse_formula(source), data, **options)  # type: ignore[arg-type]


def is_(values: np.ndarray, level: object) -> np.ndarray:
    return (values == level).astype(float)


U, V, W, A, B = is_(UVW, "u"), is_(UVW, "v"), is_(UVW, "w"), is_(AB, "a"), is_(AB, "b")
BATCH = DATA["batch"].to_numpy()
FLAG = DATA["flag"].to_numpy().astype(float)


@pytest.mark.parametrize(
    ("source", "names", "columns"),
    [
        ("~ 1", ["Intercept"], [ONE]),
        ("~ x", ["Intercept", "x"], [ONE, X1]),
        ("~ 0 + x", ["x"], [X1]),
        ("~ f", ["Intercept", "f[T.b]"], [ONE, B]),
        ("~ 0 + f", ["f[a]", "f[b]"], [A, B]),
        ("~ f - 1", ["f[a]", "f[b]"], [A, B]),
        ("~ g", ["Intercept", "g[T.u]", "g[T.v]"], [ONE, U, V]),
        ("~ f + x:z", ["Intercept", "f[T.b]", "x:z"], [ONE, B, X1 * DATA["z"]]),
        ("~ x:z + f", ["Intercept", "f[T.b]", "x:z"], [ONE, B, X1 * DATA["z"]]),
        ("~ f*x", ["Intercept", "f[T.b]", "x", "f[T.b]:x"], [ONE, B, X1, B * X1]),
        ("~ f/x", ["Intercept", "f[T.b]", "f[a]:x", "f[b]:x"], [ONE, B, A * X1, B * X1]),
        ("~ x + f:x", ["Intercept", "x", "f[T.b]:x"], [ONE, X1, B * X1]),
        ("~ flag", ["Intercept", "flag[T.True]"], [ONE, FLAG]),
        ("~ I(flag * 2)", ["Intercept", "I(flag * 2)"], [ONE, 2 * FLAG]),
        ("~ batch", ["Intercept", "batch"], [ONE, BATCH]),
        ("~ C(batch)", ["Intercept", "C(batch)[T.2]", "C(batch)[T.3]"], [ONE, is_(BATCH, 2), is_(BATCH, 3)]),
        (
            "~ C(batch, contr.treatment(2))",
            ["Intercept", "C(batch, contr.treatment(2))[T.1]", "C(batch, contr.treatment(2))[T.3]"],
            [ONE, is_(BATCH, 1), is_(BATCH, 3)],
        ),
        ('~ C(f, contr.treatment("b"))', ["Intercept", "C(f, contr.treatment('b'))[T.a]"], [ONE, A]),
        (
            "~ C(g, contr.sum)",
            ["Intercept", "C(g, contr.sum)[S.w]", "C(g, contr.sum)[S.u]"],
            [ONE, W - V, U - V],
        ),
        ("~ `odd name`", ["Intercept", "odd name"], [ONE, X1 + 1]),
        ("~ log(size) + exp(`odd name`)", None, [ONE, np.log(np.arange(1, 9)), np.exp(X1 + 1)]),
        ("~ I(x**2)", ["Intercept", "I(x ** 2)"], [ONE, X1**2]),
        ("~ {x + z}", ["Intercept", "x + z"], [ONE, X1 + DATA["z"]]),
        ("~ center(x)", ["Intercept", "center(x)"], [ONE, X1 - X1.mean()]),
        ("~ scale(x)", ["Intercept", "scale(x)"], [ONE, (X1 - X1.mean()) / X1.std(ddof=1)]),
        ("~ x + offset(size) + (1 | f)", ["Intercept", "x"], [ONE, X1]),
    ],
)
def test_matrix(source: str, names: list[str] | None, columns: list[np.ndarray] | None) -> None:
    fixed = design_of(source).fixed
    if names is not None:
        assert list(fixed.names) == names
    if columns is not None:
        np.testing.assert_allclose(fixed.X, np.column_stack(columns), rtol=0, atol=1e-14)
    assert fixed.X.dtype == np.float64
    assert fixed.X.flags.c_contiguous
    assert fixed.X.shape == (8, len(fixed.names))
    assert sorted(j for columns in fixed.terms.values() for j in columns) == list(range(len(fixed.names)))


def test_terms_map_to_columns_in_formula_order() -> None:
    fixed = design_of("~ g*x + `odd name`").fixed
    assert fixed.terms == {"1": (0,), "g": (1, 2), "x": (3,), "odd name": (), "g:x": (4, 5)}
    assert fixed.names == ("Intercept", "g[T.u]", "g[T.v]", "x", "g[T.u]:x", "g[T.v]:x")


def test_orthogonal_polynomials_are_orthonormal_and_span_the_powers() -> None:
    X = design_of("~ poly(x, 3)").fixed.X[:, 1:]
    np.testing.assert_allclose(X.T @ X, np.eye(3), atol=1e-12)
    powers = np.column_stack([ONE, X1, X1**2, X1**3])
    np.testing.assert_allclose(powers @ np.linalg.lstsq(powers, X, rcond=None)[0], X, atol=1e-12)


def test_splines_are_smooth_bases() -> None:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.uniform(0, 10, 300)})
    bs = design_of("~ 0 + bs(x, df=6, include_intercept=True)", data).fixed
    assert bs.X.shape == (300, 6)
    np.testing.assert_allclose(bs.X.sum(axis=1), 1.0, atol=1e-12)
    cs = design_of("~ cs(x, df=4)", data)
    straight = np.column_stack([np.ones(300), data["x"]])
    weights, *_ = np.linalg.lstsq(cs.fixed.X, straight, rcond=None)
    np.testing.assert_allclose(cs.fixed.X @ weights, straight, atol=1e-8)  # a natural spline can be a straight line


# --- factors, base levels, notes --------------------------------------------------------------------------------------


def test_text_has_its_base_chosen_alphabetically_and_says_so_once() -> None:
    design = design_of("~ f + f:x + (1 + f | g)")
    factor = design.fixed.factors["f"]
    assert (factor.levels, factor.base, factor.chosen) == (("a", "b"), "a", "alphabetical")
    (note,) = [note for note in design.notes if "alphabetically" in note]
    assert "base level 'a'" in note
    assert "reference={'f': 'b'}" in note


def test_categories_keep_their_order_and_say_nothing_about_it() -> None:
    design = design_of("~ g")
    factor = design.fixed.factors["g"]
    assert (factor.levels, factor.base, factor.chosen) == (("w", "u", "v"), "w", "categorical")
    assert design.notes == ("g: unused categories none were dropped",)


def test_categories_emptied_by_missing_values_are_dropped_with_a_note() -> None:
    data = DATA.assign(x=np.where(UVW == "w", np.nan, X1))
    design = design_of("~ g + x", data)
    assert design.fixed.factors["g"].levels == ("u", "v")
    assert "g: unused categories w, none were dropped" in design.notes


def test_unused_categories_of_a_grouping_factor_are_no_news() -> None:
    design = design_of("~ x + (1 | g)")
    assert design.notes == ()
    assert design.random[0].levels == ("w", "u", "v")


@pytest.mark.parametrize("base", ["u", "v", "w"])
def test_reference_sets_the_base(base: str) -> None:
    design = design_of("~ g", reference={"g": base})
    factor = design.fixed.factors["g"]
    assert (factor.base, factor.chosen) == (base, "given")
    expected = [is_(UVW, level) for level in "wuv" if level != base]
    np.testing.assert_array_equal(design.fixed.X, np.column_stack([ONE, *expected]))


def test_reference_for_text_makes_no_note_and_may_be_a_number() -> None:
    assert design_of("~ f", reference={"f": "b"}).notes == ()
    assert design_of("~ f", reference={"f": "b"}).fixed.names == ("Intercept", "f[T.a]")
    for three in (3, "3", np.int64(3)):
        design = design_of("~ C(batch)", reference={"batch": three})
        assert design.fixed.names == ("Intercept", "C(batch)[T.1]", "C(batch)[T.2]")
    assert design_of("~ flag", reference={"flag": True}).fixed.names == ("Intercept", "flag[T.False]")


def test_a_base_in_the_formula_is_given_and_says_nothing() -> None:
    design = design_of('~ C(f, contr.treatment("b"))')
    factor = design.fixed.factors["f"]
    assert (factor.name, factor.levels, factor.base, factor.chosen) == ("f", ("a", "b"), "b", "given")
    assert design.notes == ()
    assert design_of("~ C(f, contr.sum)").notes == ()
    assert design_of("~ C(f, contr.sum)").fixed.factors["f"].base is None


@pytest.mark.parametrize(
    ("source", "reference", "message"),
    [
        ("~ f", {"f": "c"}, r"no such level.*levels are a, b"),
        ("~ g", {"g": "none"}, r"no such level.*w, u, v"),
        ("~ f", {"nope": "c"}, r"'nope', which is no column; it can name f"),
        ("~ f", {"g": "u"}, r"'g', which is a column, but no factor of this formula"),
        ("~ x + (1 | g)", {"g": "u"}, r"no factor of this formula"),
        ("~ x", {"x": 1}, r"holds numbers"),
        ('~ C(f, contr.treatment("b"))', {"f": "a"}, None),
        ('~ C(g, contr.treatment("u"))', {"g": "v"}, r"asks for the base level 'v' of 'g', and the formula for 'u'"),
    ],
)
def test_wrong_reference(source: str, reference: dict[str, object], message: str | None) -> None:
    with pytest.raises(DesignError, match=message):
        design_of(source, reference=reference)


def test_a_factor_with_one_level_is_refused_where_it_stands() -> None:
    data = DATA.assign(f="a")
    with pytest.raises(DesignError, match=r"only one level.*\(a\)") as caught:
        design_of("~ x + f", data)
    assert str(caught.value).splitlines()[-1] == "    " + "      ^"
    with pytest.raises(DesignError, match="only one level"):
        design_of("~ x + (f | g)", data)


def test_a_factor_with_a_level_for_every_cell_is_refused_before_it_fills_the_memory() -> None:
    n = 40_000
    data = pd.DataFrame({"barcode": [f"cell{i}" for i in range(n)]})
    with pytest.raises(DesignError, match="40000 levels on 40000 rows"):
        design_of("~ barcode", data)


# --- aliased columns --------------------------------------------------------------------------------------------------


def test_aliased_columns_are_dropped_and_named_with_what_they_depend_on() -> None:
    design = design_of("~ x + `odd name` + f")
    fixed = design.fixed
    assert fixed.names == ("Intercept", "x", "f[T.b]")
    assert fixed.aliased == ("odd name",)
    assert fixed.terms == {"1": (0,), "x": (1,), "odd name": (), "f": (2,)}
    assert any("'odd name' was dropped" in note and "Intercept, x" in note for note in design.notes)
    np.testing.assert_allclose(fixed.X @ fixed.alias_weights, DATA[["odd name"]], atol=1e-12)


def test_a_factor_inside_another_is_aliased() -> None:
    data = pd.DataFrame({"donor": list("ppqqrrss"), "sex": list("mmmmwwww")})
    fixed = design_of("~ sex + donor", data).fixed
    assert fixed.names == ("Intercept", "sex[T.w]", "donor[T.q]", "donor[T.r]")
    assert fixed.aliased == ("donor[T.s]",)
    fixed = design_of("~ donor + sex", data).fixed
    assert fixed.aliased == ("sex[T.w]",)
    np.testing.assert_allclose(fixed.X @ fixed.alias_weights[:, 0], [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-12)


def test_empty_cells_and_zero_columns() -> None:
    data = pd.DataFrame({"a": list("ppqqqq"), "b": list("uvuuuu"), "zero": 0.0})
    design = design_of("~ a*b + zero", data)
    assert set(design.fixed.aliased) == {"a[T.q]:b[T.v]", "zero"}
    assert any("'zero' was dropped from the design: it is zero" in note for note in design.notes)


def test_all_zero_is_an_error() -> None:
    with pytest.raises(DesignError, match="all columns of the fixed part are zero"):
        design_of("~ 0 + zero", pd.DataFrame({"zero": np.zeros(5)}))


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_aliasing_does_not_depend_on_units(scale: float) -> None:
    rng = np.random.default_rng(2)
    X = np.column_stack([np.ones(50), rng.normal(size=(50, 3))])
    X = np.column_stack([X, X @ [2, 1, -1, 0], rng.normal(size=50), X[:, 1] - X[:, 3]])
    X[:, [2, 4]] *= scale
    keep, aliased, weights = find_aliased(X)
    assert keep == [0, 1, 2, 3, 5]
    assert aliased == [4, 6]
    np.testing.assert_allclose(X[:, keep] @ weights, X[:, aliased], rtol=1e-9, atol=1e-9 * scale)


def test_a_year_is_not_taken_for_the_intercept() -> None:
    keep, aliased, _ = find_aliased(np.column_stack([np.ones(30), 2020 + np.arange(30) % 3]))
    assert (keep, aliased) == ([0, 1], [])


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_aliased_columns_of_random_matrices(n_free: int, n_more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    free = rng.normal(size=(40, n_free)) * 10.0 ** rng.integers(-3, 4, n_free)
    X = np.column_stack([free, free @ rng.integers(-2, 3, (n_free, n_more))])[:, rng.permutation(n_free + n_more)]
    keep, aliased, weights = find_aliased(X)
    assert sorted([*keep, *aliased]) == list(range(X.shape[1]))
    assert len(keep) == n_free
    size = np.abs(X).max()
    np.testing.assert_allclose(X[:, keep] @ weights, X[:, aliased], atol=1e-7 * size)
    for j, column in enumerate(aliased):  # only earlier columns explain a later one
        assert all(k < column for k, weight in zip(keep, weights[:, j], strict=True) if abs(weight) > 1e-6)


# --- missing values, rows ---------------------------------------------------------------------------------------------


def test_rows_with_missing_values_are_dropped_once_and_counted() -> None:
    data = DATA.assign(x=np.where(np.arange(8) == 2, np.nan, X1), g=DATA["g"].where(np.arange(8) > 0), unused=np.nan)
    design = design_of("~ x + (1 | g)", data)
    np.testing.assert_array_equal(design.kept, np.arange(8) % 2 * 1 + (np.arange(8) > 2) > 0)
    assert design.notes == ("2 of 8 rows were dropped because of missing values (x: 1, g: 1)",)
    assert design.n_obs == 6
    np.testing.assert_array_equal(design.fixed.X[:, 1], X1[[1, 3, 4, 5, 6, 7]])
    assert design.random[0].codes.shape == (6,)
    with pytest.raises(DesignError, match=r"2 of 8 rows have missing values \(x: 1, g: 1\)"):
        design_of("~ x + (1 | g)", data, na_action="raise")


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_every_kind_of_missing(missing: object) -> None:
    data = pd.DataFrame({"s": pd.Series(["a", missing, "b", "a"], dtype=object)})
    assert design_of("~ s", data).kept.tolist() == [True, False, True, True]


def test_missing_values_in_offset_and_response_count_too() -> None:
    data = DATA.assign(size=[np.nan, *range(7)], y=[*range(7), np.nan])
    assert design_of("y ~ x + offset(size)", data).kept.sum() == 7
    assert design_of("y ~ x + offset(size)", data, response=True).kept.sum() == 6


def test_no_rows() -> None:
    with pytest.raises(DesignError, match="no rows"):
        design_of("~ x", DATA.iloc[:0])
    with pytest.raises(DesignError, match=r"no row is left.*x: 8"):
        design_of("~ x", DATA.assign(x=np.nan))


def test_wrong_na_action() -> None:
    with pytest.raises(DesignError, match="allowed are 'drop' and 'raise'"):
        design_of("~ x", na_action="ignore")


def test_the_index_of_the_data_does_not_matter() -> None:
    expected = design_of("~ f*x + bs(z, df=4) + (x | g)")
    for index in (np.zeros(8, dtype=int), np.arange(8)[::-1], pd.Index(list("aabbccdd"))):
        design = design_of("~ f*x + bs(z, df=4) + (x | g)", DATA.set_index(index))
        np.testing.assert_array_equal(design.fixed.X, expected.fixed.X)
        np.testing.assert_array_equal(design.random[0].Z, expected.random[0].Z)


# --- offsets and response ---------------------------------------------------------------------------------------------


def test_offsets_add_up() -> None:
    design = design_of("~ x + offset(log(size)) + offset(z)")
    np.testing.assert_allclose(design.offset, np.log(DATA["size"]) + DATA["z"])
    fresh = pd.DataFrame({"x": [0.0], "size": [np.e], "z": [2]})
    np.testing.assert_allclose(design.offset_at(fresh), [3.0])
    assert design_of("~ x").offset is None
    assert design_of("~ x").offset_at(fresh) is None


@pytest.mark.parametrize("text", ["f", "g", "poly(x, 2)", "C(batch)"])
def test_an_offset_is_one_number(text: str) -> None:
    with pytest.raises(DesignError, match="an offset must be one number per row") as caught:
        design_of(f"~ x + offset({text})")
    assert str(caught.value).splitlines()[-1] == "    " + " " * 13 + "^" * len(text)


def test_response() -> None:
    assert design_of("z ~ x").response is None
    np.testing.assert_array_equal(design_of("z ~ x", response=True).response, DATA["z"])
    np.testing.assert_allclose(design_of("log(z + 1) ~ x", response=True).response, np.log1p(DATA["z"]))
    np.testing.assert_array_equal(design_of("flag ~ x", response=True).response, FLAG)
    np.testing.assert_array_equal(design_of("cbind(z, batch) ~ x", response=True).response, DATA[["z", "batch"]])
    with pytest.raises(DesignError, match="no left side"):
        design_of("~ x", response=True)
    with pytest.raises(DesignError, match="text or categories"):
        design_of("f ~ x", response=True)
    with pytest.raises(FormulaError, match="no column 'counts'"):
        design_of("counts ~ x", response=True)
    with pytest.raises(FormulaError, match="no function 'cbind'"):
        design_of("~ cbind(x, z)")


# --- new data ---------------------------------------------------------------------------------------------------------

MANY = [
    "~ f*x + (x | g)",
    "~ g + flag*z + (0 + f || batch)",
    "~ poly(x, 2) + scale(z) + center(size) + (1 | f)",
    "~ bs(size, df=4) + (poly(x, 2) | batch)",
    "~ cs(size, df=3):f + (1 | f/batch)",
    "~ C(batch, contr.helmert) + C(g, contr.poly) + (1 | f)",
    "~ x + `odd name` + I(flag * x) + (1 | f)",
    "~ 0 + f:g + (1 | batch)",
    "~ hashed(g, levels=3) + np.log(size) + Q('odd name')",
]


@pytest.mark.parametrize("source", MANY)
def test_new_data_are_coded_like_the_old(source: str) -> None:
    data = pd.concat([DATA, DATA.assign(x=X1 * 1.7 - 0.2, z=DATA["z"] + 2, f=AB[::-1])], ignore_index=True)
    data = pd.concat([data, data.assign(g=np.roll(data["g"], 1), batch=np.roll(data["batch"], 1))], ignore_index=True)
    design = design_of(source, data)
    rows = [17, 3, 3, 9, 30]
    X, Zs = design.at(data.iloc[rows])
    np.testing.assert_allclose(X, design.fixed.X[rows], rtol=0, atol=1e-12)
    assert len(Zs) == len(design.random)
    for Z, term in zip(Zs, design.random, strict=True):
        np.testing.assert_allclose(Z, term.Z[rows], rtol=0, atol=1e-12)
        assert Z.dtype == np.float64
        assert Z.flags.c_contiguous
    assert X.flags.c_contiguous
    again = pickle.loads(pickle.dumps(design))
    np.testing.assert_array_equal(again.at(data.iloc[rows])[0], X)


def test_new_data_may_have_other_types_of_the_same_values() -> None:
    design = design_of("~ f + g + C(batch) + x + flag")
    fresh = DATA.iloc[:5]
    expected = design.at(fresh)[0]
    for changed in (
        fresh.assign(f=fresh["f"].astype("category"), g=fresh["g"].astype(object)),
        fresh.assign(
            f=fresh["f"].astype("string"), g=pd.Categorical(fresh["g"].astype(object), categories=["v", "u", "w", "q"])
        ),
        fresh.assign(batch=fresh["batch"].astype(float), x=fresh["x"].astype(object)),
        fresh.assign(batch=fresh["batch"].astype(str), flag=fresh["flag"].astype("boolean")),
        fresh.drop(columns=["z", "size"]),
    ):
        np.testing.assert_array_equal(design.at(changed)[0], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"f": "c"}, r"'f' has levels that the model does not know: c; known are a, b"),
        ({"x": np.nan}, "missing values in x"),
        ({"x": "text"}, "held numbers"),
        ({"size": 20.0}, "bs"),
    ],
)
def test_new_data_that_do_not_fit(change: dict[str, object], message: str) -> None:
    design = design_of("~ f + x + bs(size, df=3)")
    with pytest.raises(ScGlmmError, match=message):
        design.at(DATA.assign(**change))
    with pytest.raises(DesignError, match="the new data lack x; the model needs f, x, size"):
        design.at(DATA.drop(columns="x"))


# --- order of rows ----------------------------------------------------------------------------------------------------


@given(st.sampled_from(MANY), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_permuting_the_rows_permutes_the_design(source: str, seed: int) -> None:
    data = pd.concat([DATA] * 3, ignore_index=True)
    order = np.random.default_rng(seed).permutation(len(data))
    one, two = design_of(source, data), design_of(source, data.iloc[order])
    assert one.fixed.names == two.fixed.names
    assert one.fixed.aliased == two.fixed.aliased
    assert one.notes == two.notes
    np.testing.assert_allclose(one.fixed.X[order], two.fixed.X, atol=1e-11)
    for a, b in zip(one.random, two.random, strict=True):
        assert a.levels == b.levels
        np.testing.assert_array_equal(a.codes[order], b.codes)
        np.testing.assert_allclose(a.Z[order], b.Z, atol=1e-11)


def test_equal_rows_are_equal_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(0.1, 5.0, 37)
    data = pd.DataFrame({"x": rng.choice(values, 5001), "f": rng.choice(["a", "b"], 5001)})
    design = design_of("~ f*cs(x, df=5) + poly(x, 3) + log(x) + bs(x, df=5)", data)
    rows = pd.DataFrame(design.fixed.X).drop_duplicates()
    assert len(rows) == len(data.drop_duplicates())
