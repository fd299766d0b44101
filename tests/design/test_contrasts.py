"""Check the matrix, name and label of each form of contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sc_glmm._design import Contrast, Design, build_contrasts, build_design
from sc_glmm._errors import DesignError
from sc_glmm._formula import parse_formula

RNG = np.random.default_rng(5)
N = 120
DATA = pd.DataFrame(
    {
        "disease": RNG.choice(["AD", "MCI", "ctl"], N),
        "sex": RNG.choice(["F", "M"], N),
        "age": RNG.uniform(40, 90, N),
        "n": RNG.integers(0, 3, N),
        "flag": RNG.random(N) < 0.5,
        "sample": RNG.choice([f"s{i}" for i in range(12)], N),
        "odd name": RNG.choice(["k", "l"], N),
    }
)
CTL = {"disease": "ctl"}


def design_of(source: str, data: pd.DataFrame = DATA, **options: Any) -> Design:
    return build_design(parse_formula(source), data, **{"reference": {"disease": "ctl", "sex": "F"}, **options})


def one(source: str, contrast: Any, **options: Any) -> Contrast:
    contrasts = build_contrasts(design_of(source, **options), contrast)
    assert len(contrasts) == 1
    return contrasts[0]


def means(design: Design, L: np.ndarray, rows: list[dict[str, Any]]) -> None:
    """Check that `L` is the difference of the rows of X of two cells of the design."""
    X, _ = design.at(pd.DataFrame(rows))
    np.testing.assert_allclose(L, X[:1] - X[1:], atol=1e-12)


BASIC = "~ disease + age + (1 | sample)"


def test_default_is_every_term_but_the_intercept() -> None:
    contrasts = build_contrasts(design_of(BASIC, reference=CTL))
    assert [(c.name, c.words) for c in contrasts] == [
        ("disease", "disease: any difference between ctl, AD, MCI"),
        ("age", "age: per unit"),
    ]
    np.testing.assert_array_equal(contrasts[0].L, [[0, 1, 0, 0], [0, 0, 1, 0]])
    np.testing.assert_array_equal(contrasts[1].L, [[0, 0, 0, 1]])
    assert contrasts[0].columns == ("disease[T.AD]", "disease[T.MCI]")
    assert contrasts[0].L.dtype == np.float64


def test_label_of_two_levels_shows_the_direction() -> None:
    data = DATA[DATA["disease"] != "MCI"]
    for base, other in (("ctl", "AD"), ("AD", "ctl")):
        (result,) = build_contrasts(design_of("~ disease", data, reference={"disease": base}))
        assert result.words == f"disease: {other} vs {base}"
        assert result.columns == (f"disease[T.{other}]",)


@pytest.mark.parametrize(
    ("source", "contrast", "name", "words", "L"),
    [
        (BASIC, "age", "age", "age: per unit", [[0, 0, 0, 1]]),
        (BASIC, "disease[T.MCI]", "disease[T.MCI]", "disease: MCI vs ctl", [[0, 0, 1, 0]]),
        (BASIC, "Intercept", "Intercept", "Intercept", [[1, 0, 0, 0]]),
        (BASIC, ("disease", "AD", "ctl"), "disease_AD_vs_ctl", "disease: AD vs ctl", [[0, 1, 0, 0]]),
        (BASIC, ("disease", "ctl", "AD"), "disease_ctl_vs_AD", "disease: ctl vs AD", [[0, -1, 0, 0]]),
        (BASIC, ("disease", "AD", "MCI"), "disease_AD_vs_MCI", "disease: AD vs MCI", [[0, 1, -1, 0]]),
        (BASIC, [("disease", "AD", "MCI")], "disease_AD_vs_MCI", "disease: AD vs MCI", [[0, 1, -1, 0]]),
        (BASIC, ["disease", "AD", "MCI"], "disease_AD_vs_MCI", "disease: AD vs MCI", [[0, 1, -1, 0]]),
        (BASIC, {"k": "age"}, "k", "k", [[0, 0, 0, 1]]),
        (BASIC, {"k": [0, 1, 1, 0]}, "k", "k", [[0, 1, 1, 0]]),
        (BASIC, {"k": np.array([0, -1, 0.5, 0])}, "k", "k", [[0, -1, 0.5, 0]]),
        (BASIC, np.array([0, 1, 1, 0]), "contrast", "disease[T.AD] + disease[T.MCI]", [[0, 1, 1, 0]]),
        (BASIC, [0, 1, 1, 0], "contrast", "disease[T.AD] + disease[T.MCI]", [[0, 1, 1, 0]]),
        (
            BASIC,
            {"k": ["age", ("disease", "AD", "MCI")]},
            "k",
            "k",
            [[0, 0, 0, 1], [0, 1, -1, 0]],
        ),
        (
            "~ 0 + disease",
            "disease",
            "disease",
            "disease: any difference between ctl, AD, MCI",
            [[-1, 1, 0], [-1, 0, 1]],
        ),
        ("~ 0 + sex", "sex", "sex", "sex: M vs F", [[-1, 1]]),
        ("~ 0 + disease", "disease[AD]", "disease[AD]", "disease[AD]", [[0, 1, 0]]),
        ("~ 0 + disease", ("disease", "AD", "MCI"), "disease_AD_vs_MCI", "disease: AD vs MCI", [[0, 1, -1]]),
        ("~ flag", "flag", "flag", "flag: True vs False", [[0, 1]]),
        ("~ flag", ("flag", True, False), "flag_True_vs_False", "flag: True vs False", [[0, 1]]),
        ("~ C(n)", ("n", 2, 1), "n_2_vs_1", "n: 2 vs 1", [[0, -1, 1]]),
        ("~ C(n)", "C(n)", "C(n)", "n: any difference between 0, 1, 2", [[0, 1, 0], [0, 0, 1]]),
        ("~ C(n, contr.sum)", ("n", 0, 2), "n_0_vs_2", "n: 0 vs 2", [[0, 2, 1]]),
        ("~ C(n, contr.sum)", "C(n,contr.sum)", "C(n, contr.sum)", "C(n, contr.sum): all 2 columns", None),
        ("~ `odd name`", "odd name", "odd name", "odd name: l vs k", [[0, 1]]),
        ("~ `odd name`", "`odd name`", "odd name", "odd name: l vs k", [[0, 1]]),
        ("~ log(age)", "log(age)", "log(age)", "log(age)", [[0, 1]]),
    ],
)
def test_contrast(source: str, contrast: Any, name: str, words: str, L: list | None) -> None:
    reference = {key: value for key, value in {"disease": "ctl", "sex": "F"}.items() if key in source}
    result = one(source, contrast, reference=reference)
    assert result.name == name
    assert result.words == words
    if L is not None:
        np.testing.assert_allclose(result.L, L, atol=1e-14)


def test_a_slash_in_a_term_does_not_reach_the_name() -> None:
    (result,) = build_contrasts(design_of("~ I(age / 10)", reference={}))
    assert result.name == "I(age _ 10)"
    assert one("~ age", {"a/b": "age"}, reference={}).name == "a_b"


def test_names_are_different() -> None:
    contrasts = build_contrasts(design_of(BASIC, reference=CTL), ["age", "age", "disease", "age"])
    assert [c.name for c in contrasts] == ["age", "age_2", "disease", "age_3"]


def test_three_names_in_a_tuple_are_three_contrasts() -> None:
    design = design_of("~ age + n + flag", reference={})
    assert [c.name for c in build_contrasts(design, ("age", "n", "flag"))] == ["age", "n", "flag"]
    assert [c.name for c in build_contrasts(design, ("age", "n"))] == ["age", "n"]


# --- interactions -----------------------------------------------------------------------------------------------------


def test_labels_of_main_effects_name_the_level_of_the_other_factor() -> None:
    contrasts = {c.name: c.words for c in build_contrasts(design_of("~ disease*sex + age"))}
    assert contrasts == {
        "disease": "disease: any difference between ctl, AD, MCI (at sex = F)",
        "sex": "sex: M vs F (at disease = ctl)",
        "age": "age: per unit",
        "disease:sex": "disease:sex: all 2 columns",
    }
    contrasts = {c.name: c.words for c in build_contrasts(design_of("~ sex*age", reference={"sex": "F"}))}
    assert contrasts == {
        "sex": "sex: M vs F (at age = 0)",
        "age": "age: per unit (at sex = F)",
        "sex:age": "sex: M vs F, per unit of age (interaction)",
    }


def test_words_of_main_effects_beside_interactions_with_expressions() -> None:
    contrasts = build_contrasts(design_of("~ sex*log(age) + C(n):sex", reference={"sex": "F"}))
    assert contrasts[0].words == "sex: M vs F (at log(age) = 0, n = 0)"


def test_triples_in_interactions_use_the_reference_level_and_the_mean() -> None:
    design = design_of("~ disease*sex + sex*age + flag*disease")
    (result,) = build_contrasts(design, ("disease", "AD", "MCI"))
    rest = {"sex": "F", "age": DATA["age"].mean(), "flag": False}
    means(design, result.L, [{"disease": "AD", **rest}, {"disease": "MCI", **rest}])
    assert result.words == "disease: AD vs MCI (at sex = F, flag = False)"
    (result,) = build_contrasts(design, ("sex", "M", "F"))
    rest = {"disease": "ctl", "age": DATA["age"].mean(), "flag": False}
    means(design, result.L, [{"sex": "M", **rest}, {"sex": "F", **rest}])
    assert result.words == f"sex: M vs F (at disease = ctl, age = {DATA['age'].mean():.4g})"


@pytest.mark.parametrize(
    "source",
    [
        "~ sex*bs(age, df=4)",
        "~ sex*poly(age, 2)",
        "~ sex/age",
        "~ sex:age",
        "~ age:sex + log(age)",
        "~ C(sex, contr.sum)*center(age)",
        "~ 0 + sex:flag",
        "~ sex*disease*age",
    ],
)
def test_triples_in_any_coding_are_differences_of_cells(source: str) -> None:
    reference = {"disease": "ctl"} if "disease" in source else {}
    design = design_of(source, reference=reference)
    (result,) = build_contrasts(design, ("sex", "M", "F"))
    rest = {"age": DATA["age"].mean(), "flag": False, "disease": "ctl"}
    means(design, result.L, [{"sex": "M", **rest}, {"sex": "F", **rest}])


def test_triple_does_not_depend_on_additive_splines() -> None:
    (result,) = build_contrasts(
        design_of("~ sex + cs(age, df=5) + poly(n, 2)", reference={"sex": "F"}), ("sex", "M", "F")
    )
    assert result.columns == ("sex[T.M]",)
    assert np.count_nonzero(result.L) == 1


# --- estimability -----------------------------------------------------------------------------------------------------


def nested() -> pd.DataFrame:
    return pd.DataFrame({"sex": list("mmmmwwww"), "donor": list("ppqqrrss"), "x": np.arange(8.0)})


def test_a_contrast_between_donors_of_one_sex_can_be_estimated_and_others_cannot() -> None:
    design = build_design(parse_formula("~ sex + donor"), nested())
    assert design.fixed.aliased == ("donor[T.s]",)
    (result,) = build_contrasts(design, ("donor", "q", "p"))
    np.testing.assert_allclose(result.L, [[0, 0, 1, 0]], atol=1e-12)
    (result,) = build_contrasts(design, ("donor", "s", "r"))
    np.testing.assert_allclose(result.L, [[0, 0, 0, -1]], atol=1e-12)
    for triple in (("donor", "r", "p"), ("donor", "q", "s"), ("sex", "w", "m")):
        with pytest.raises(DesignError, match=r"estimated: it is confounded with (sex|donor) .donor\[T.s\] = "):
            build_contrasts(design, triple)


def test_errors_about_aliased_columns_and_terms_give_the_reason() -> None:
    design = build_design(parse_formula("~ donor + sex + x"), nested())
    with pytest.raises(DesignError, match=r"'sex\[T.w\]' cannot be estimated: .* with donor .sex\[T.w\] = donor"):
        build_contrasts(design, "sex[T.w]")
    with pytest.raises(DesignError, match="'sex' .sex. cannot be estimated: it is confounded with donor"):
        build_contrasts(design, "sex")
    assert [c.name for c in build_contrasts(design)] == ["donor", "x"]


def test_an_estimable_triple_through_aliased_columns() -> None:
    # x is aliased with donor, but comparisons of donors at the mean of x can be estimated from the other columns
    data = pd.DataFrame({"g": list("aabbcc") * 2, "k": list("uv") * 6})
    data["copy"] = (data["k"] == "v").astype(float)
    design = build_design(parse_formula("~ k + copy + g"), data)
    assert design.fixed.aliased == ("copy",)
    (result,) = build_contrasts(design, ("g", "c", "b"))
    np.testing.assert_allclose(result.L, [[0, 0, -1, 1]], atol=1e-12)
    with pytest.raises(DesignError, match="confounded with copy"):
        build_contrasts(design, ("k", "v", "u"))


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        ("nope", r"no term or column 'nope' to test; terms: disease, age; columns: Intercept, disease\[T.AD\]"),
        (("disease", "AD", "XX"), "'disease' has no level 'XX' in the rows used; the levels are ctl, AD, MCI"),
        (("disease", "XX", "AD"), "no level 'XX'"),
        (("disease", "AD", "AD"), "compares a level with itself"),
        (("age", 1, 2), "'age' is not a factor of the fixed effects; the factors are disease"),
        (("sex", "M", "F"), "'sex' is not a factor"),
        (("sample", "s1", "s2"), "'sample' is not a factor"),
        ({"k": [0, 0, 0, 0]}, "'contrast' is zero"),
        ({"k": [[0, 1, 0, 0], [0, 0, 0, 0]]}, "is zero"),
        ({"k": [[0, 1, 0, 0], [0, 2, 0, 0]]}, "2 rows of the contrast .* are linearly dependent"),
        ({"k": [0, 1]}, r"has shape \(2,\), but X has 4 columns"),
        ({"k": [0, np.nan, 0, 0]}, "infinite or missing"),
        ({"k": object()}, "cannot be read"),
        ({"k": ["age", "age"]}, "are linearly dependent"),
        ({}, "cannot be read"),
        ([], "cannot be read"),
        (3, "cannot be read"),
        ([3], "has shape"),
        (["age", 3], "has shape"),
    ],
)
def test_wrong_contrasts(contrast: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        build_contrasts(design_of(BASIC, reference=CTL), contrast)


def test_nothing_to_test() -> None:
    with pytest.raises(DesignError, match="only an intercept"):
        build_contrasts(design_of("~ 1 + (1 | sample)", reference={}))
    assert one("~ 1", "Intercept", reference={}).columns == ("Intercept",)


@pytest.mark.parametrize(
    ("source", "triple"), [("~ n + C(n)", ("n", 1, 0)), ("~ C(sex == 'M')", ("C(sex == 'M')", True, False))]
)
def test_computed_factors_have_no_triples(source: str, triple: tuple) -> None:
    with pytest.raises(DesignError, match="computed in the formula or is also used as a number"):
        one(source, triple, reference={})


def test_each_level_and_the_joint_contrast() -> None:
    design = design_of("~ disease + sex + age + (1 | sample)", reference={"disease": "ctl", "sex": "F"})
    contrasts = build_contrasts(design, each_level=True)
    words = [contrast.words for contrast in contrasts]
    assert words[:3] == ["disease: any difference between ctl, AD, MCI", "disease: AD vs ctl", "disease: MCI vs ctl"]
    assert [contrast.levels for contrast in contrasts[1:3]] == [("disease", "AD", "ctl"), ("disease", "MCI", "ctl")]
    assert len(words) == 5
    assert len(build_contrasts(design)) == 3
    # three names of terms are still three contrasts
    assert len(build_contrasts(design, ["disease", "sex", "age"])) == 3


@pytest.mark.parametrize("formula", ["~ kind * age", "~ kind * age + kind:sex", "~ kind + age", "~ kind:age + kind"])
def test_each_level_is_a_part_of_the_joint_test(formula: str) -> None:
    """Whatever a factor interacts with, comparisons of levels stand at the same values as the joint test."""
    n = 60
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"kind": list("abc") * 20, "sex": list("fm") * 30, "age": rng.uniform(40, 60, n), "s": np.arange(n) // 3}
    )
    design = build_design(
        parse_formula(f"{formula} + (1|s)"),
        frame,
        reference={name: frame[name].iloc[0] for name in ("kind", "sex") if name in formula},
    )
    made = {one.name: one for one in build_contrasts(design, each_level=True)}
    joint, parts = made["kind"].L, [made[f"kind_{level}_vs_a"] for level in "bc"]
    assert np.linalg.matrix_rank(np.vstack([joint, *(part.L for part in parts)])) == len(joint) == 2
    assert [part.levels for part in parts] == [("kind", "b", "a"), ("kind", "c", "a")]
    where = made["kind"].words.partition(" (at ")[2]
    assert all(part.words.partition(" (at ")[2] == where for part in parts)
