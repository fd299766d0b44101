"""Check the matrix of the fixed part against matrices by hand, and columns that depend on others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sc_glmm._design.fixed import find_aliased
from sc_glmm._errors import DesignError
from tests.design.frames import AB, DATA, UVW, X1, design_of, is_

ONE = np.ones(8)

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


# --- aliased columns --------------------------------------------------------------------------------------------------


def test_dropped_aliased_columns_are_named_with_their_dependence() -> None:
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
    with pytest.raises(DesignError, match="all columns of the fixed effects are zero"):
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


def test_year_is_not_aliased_with_the_intercept() -> None:
    keep, aliased, _ = find_aliased(np.column_stack([np.ones(30), 2020 + np.arange(30) % 3]))
    assert (keep, aliased) == ([0, 1], [])


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
@example(8, 7, 21818)
def test_aliased_columns_of_random_matrices(n_free: int, n_more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    free = rng.normal(size=(40, n_free)) * 10.0 ** rng.integers(-3, 4, n_free)
    X = np.column_stack([free, free @ rng.integers(-2, 3, (n_free, n_more))])[:, rng.permutation(n_free + n_more)]
    keep, aliased, weights = find_aliased(X)
    assert sorted([*keep, *aliased]) == list(range(X.shape[1]))
    assert len(keep) == n_free
    size = np.abs(X).max()
    np.testing.assert_allclose(X[:, keep] @ weights, X[:, aliased], atol=1e-7 * size)
    for j, column in enumerate(aliased):  # a column is explained by earlier columns only
        assert all(k < column for k, weight in zip(keep, weights[:, j], strict=True) if weight != 0.0)
