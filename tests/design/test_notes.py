"""Check base levels, unused categories and missing values, and the notes about them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sc_glmm._errors import DesignError
from tests.design.frames import DATA, UVW, X1, design_of, is_

ONE = np.ones(8)


# --- factors, base levels, notes --------------------------------------------------------------------------------------


def test_text_gets_an_alphabetical_base_with_one_note() -> None:
    design = design_of("~ f + f:x + (1 + f | g)")
    factor = design.fixed.factors["f"]
    assert (factor.levels, factor.base, factor.chosen) == (("a", "b"), "a", "alphabetical")
    (note,) = [note for note in design.notes if "alphabetically" in note]
    assert "base level 'a'" in note
    assert "reference={'f': 'b'}" in note


def test_categories_keep_their_order_without_a_note() -> None:
    design = design_of("~ g")
    factor = design.fixed.factors["g"]
    assert (factor.levels, factor.base, factor.chosen) == (("w", "u", "v"), "w", "categorical")
    assert design.notes == ("g: unused categories none were dropped",)


def test_categories_emptied_by_missing_values_are_dropped_with_a_note() -> None:
    data = DATA.assign(x=np.where(UVW == "w", np.nan, X1))
    design = design_of("~ g + x", data)
    assert design.fixed.factors["g"].levels == ("u", "v")
    assert "g: unused categories w, none were dropped" in design.notes


def test_unused_categories_of_a_grouping_factor_give_no_note() -> None:
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


def test_base_in_the_formula_gives_no_note() -> None:
    design = design_of('~ C(f, contr.treatment("b"))')
    factor = design.fixed.factors["f"]
    assert (factor.name, factor.levels, factor.base, factor.chosen) == ("f", ("a", "b"), "b", "given")
    assert design.notes == ()
    assert design_of("~ C(f, contr.sum)").notes == ()
    assert design_of("~ C(f, contr.sum)").fixed.factors["f"].base is None


@pytest.mark.parametrize(
    ("source", "reference", "message"),
    [
        ("~ f", {"f": "c"}, r"do not have this level; the levels are a, b"),
        ("~ g", {"g": "none"}, r"do not have this level.*w, u, v"),
        ("~ f", {"nope": "c"}, r"'nope', which is not a column; the factors are f"),
        ("~ f", {"g": "u"}, r"'g', which is a column, but not a factor of this formula"),
        ("~ x + (1 | g)", {"g": "u"}, r"not a factor of this formula"),
        ("~ x", {"x": 1}, r"is numeric"),
        ('~ C(f, contr.treatment("b"))', {"f": "a"}, None),
        ('~ C(g, contr.treatment("u"))', {"g": "v"}, r"sets the base level 'v' of 'g', but the formula sets 'u'"),
    ],
)
def test_wrong_reference(source: str, reference: dict[str, object], message: str | None) -> None:
    with pytest.raises(DesignError, match=message):
        design_of(source, reference=reference)


def test_error_marks_a_factor_with_one_level() -> None:
    data = DATA.assign(f="a")
    with pytest.raises(DesignError, match=r"only one level.*\(a\)") as caught:
        design_of("~ x + f", data)
    assert str(caught.value).splitlines()[-1] == "    " + "      ^"
    with pytest.raises(DesignError, match="only one level"):
        design_of("~ x + (f | g)", data)


def test_factor_with_a_level_per_cell_is_rejected_early() -> None:
    n = 40_000
    data = pd.DataFrame({"barcode": [f"cell{i}" for i in range(n)]})
    with pytest.raises(DesignError, match="40000 levels in 40000 rows"):
        design_of("~ barcode", data)


# --- missing values, rows ---------------------------------------------------------------------------------------------


def test_rows_with_missing_values_are_dropped_once_and_counted() -> None:
    data = DATA.assign(x=np.where(np.arange(8) == 2, np.nan, X1), g=DATA["g"].where(np.arange(8) > 0), unused=np.nan)
    design = design_of("~ x + (1 | g)", data)
    np.testing.assert_array_equal(design.rows_used, np.arange(8) % 2 * 1 + (np.arange(8) > 2) > 0)
    assert design.notes == ("2 of 8 rows were dropped because of missing values (x: 1, g: 1)",)
    assert design.n_obs == 6
    np.testing.assert_array_equal(design.fixed.X[:, 1], X1[[1, 3, 4, 5, 6, 7]])
    assert design.random[0].codes.shape == (6,)
    with pytest.raises(DesignError, match=r"2 of 8 rows have missing values \(x: 1, g: 1\)"):
        design_of("~ x + (1 | g)", data, na_action="raise")


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_every_kind_of_missing(missing: object) -> None:
    data = pd.DataFrame({"s": pd.Series(["a", missing, "b", "a"], dtype=object)})
    assert design_of("~ s", data).rows_used.tolist() == [True, False, True, True]


def test_missing_values_in_offset_and_response_count_too() -> None:
    data = DATA.assign(size=[np.nan, *range(7)], y=[*range(7), np.nan])
    assert design_of("y ~ x + offset(size)", data).rows_used.sum() == 7
    assert design_of("y ~ x + offset(size)", data, response=True).rows_used.sum() == 6


def test_no_rows() -> None:
    with pytest.raises(DesignError, match="no rows"):
        design_of("~ x", DATA.iloc[:0])
    with pytest.raises(DesignError, match=r"no row remains.*x: 8"):
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
