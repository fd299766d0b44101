"""Check offsets, responses and new data, and invariance to the order of rows."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_glmm._design.coding import _snap, code_terms
from sc_glmm._errors import DesignError, FormulaError, ScGlmmError
from sc_glmm._formula import parse_formula
from tests.design.frames import AB, DATA, X1, design_of

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
    with pytest.raises(DesignError, match="an offset must have one number per row") as caught:
        design_of(f"~ x + offset({text})")
    assert str(caught.value).splitlines()[-1] == "    " + " " * 13 + "^" * len(text)


def test_response() -> None:
    assert design_of("z ~ x").response is None
    np.testing.assert_array_equal(design_of("z ~ x", response=True).response, DATA["z"])
    np.testing.assert_allclose(design_of("log(z + 1) ~ x", response=True).response, np.log1p(DATA["z"]))
    np.testing.assert_array_equal(design_of("flag ~ x", response=True).response, DATA["flag"])
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
        ({"f": "c"}, r"'f' has levels that are not in the model: c; its levels are a, b"),
        ({"x": np.nan}, "missing values in x"),
        ({"x": "text"}, "but contained numbers"),
        ({"size": 20.0}, "bs"),
    ],
)
def test_new_data_that_do_not_fit(change: dict[str, object], message: str) -> None:
    design = design_of("~ f + x + bs(size, df=3)")
    with pytest.raises(ScGlmmError, match=message):
        design.at(DATA.assign(**change))
    with pytest.raises(DesignError, match="the new data do not have x; the model needs the columns f, x, size"):
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


def test_rounding_that_depends_on_the_row_is_removed() -> None:
    data = pd.DataFrame({"x": [0.3, 0.7, 0.3, 0.7, 0.3], "f": list("ababa")})
    formula = parse_formula("~ x + exp(x) + exp(x):f")
    frame = data.assign(f=data["f"].astype("category"))
    matrix, recipe = code_terms(formula.fixed_terms, frame, formula)
    noisy = matrix.copy()
    noisy[2:, 2:] = np.nextafter(noisy[2:, 2:], 10.0)
    np.testing.assert_array_equal(_snap(noisy.copy(), recipe, frame), matrix)
    noisy[4, 2] += 1e-6  # this is not rounding: an expression that depends on the position of the row
    np.testing.assert_array_equal(_snap(noisy.copy(), recipe, frame)[:, 2], noisy[:, 2])


def test_equal_rows_are_equal_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(0.1, 5.0, 37)
    data = pd.DataFrame({"x": rng.choice(values, 5001), "f": rng.choice(["a", "b"], 5001)})
    design = design_of("~ f*cs(x, df=5) + poly(x, 3) + log(x) + bs(x, df=5)", data)
    rows = pd.DataFrame(design.fixed.X).drop_duplicates()
    assert len(rows) == len(data.drop_duplicates())
