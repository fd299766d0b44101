"""Check differences of conditions: values against formulaic-contrasts and by hand; labels, names and errors."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from formulaic_contrasts import FormulaicContrasts

import sc_glmm
from sc_glmm import cond
from sc_glmm._design import Contrast, Design, build_contrasts, build_design
from sc_glmm._design.cond import parse_conditions
from sc_glmm._errors import DesignError
from sc_glmm._formula import parse_formula

RNG = np.random.default_rng(8)
N = 90
DATA = pd.DataFrame(
    {
        "disease": pd.Categorical(RNG.choice(["ctl", "AD", "MCI"], N), categories=["ctl", "AD", "MCI"]),
        "sex": pd.Categorical(RNG.choice(["F", "M"], N)),
        "age": RNG.uniform(40, 90, N),
        "year": RNG.integers(2020, 2023, N),
        "flag": RNG.random(N) < 0.5,
    }
)
WOMEN = cond(disease="AD", sex="F") - cond(disease="ctl", sex="F")
MEN = cond(disease="AD", sex="M") - cond(disease="ctl", sex="M")


def design_of(source: str) -> Design:
    return build_design(parse_formula(source), DATA)


def one(source: str, contrast: Any) -> Contrast:
    (result,) = build_contrasts(design_of(source), contrast)
    return result


@pytest.mark.parametrize("source", ["~ disease*sex", "~ disease + sex", "~ 0 + disease*sex", "~ disease*sex + age"])
@pytest.mark.parametrize(
    ("plus", "minus"),
    [
        ({"disease": "AD", "sex": "M"}, {"disease": "ctl", "sex": "M"}),
        ({"disease": "AD", "sex": "M"}, {"disease": "MCI", "sex": "F"}),
    ],
)
def test_the_same_numbers_as_formulaic_contrasts(source: str, plus: dict, minus: dict) -> None:
    model = FormulaicContrasts(DATA, source)
    theirs = model.cond(**plus) - model.cond(**minus)
    contrast = one(source, cond(**plus) - cond(**minus))
    np.testing.assert_allclose(contrast.L, [theirs], atol=1e-12)
    np.testing.assert_allclose(one(source, theirs).L, contrast.L, atol=1e-12)  # its vectors are contrasts


def test_unnamed_variables_have_the_same_values_as_in_a_triple() -> None:
    for source in ("~ disease*age + sex*disease", "~ 0 + sex + disease*age", "~ disease*flag"):
        contrast = one(source, cond(disease="AD") - cond(disease="ctl"))
        triple = one(source, ("disease", "AD", "ctl"))
        np.testing.assert_allclose(contrast.L, triple.L, atol=1e-12)
        assert (contrast.name, contrast.words, contrast.levels) == (triple.name, triple.words, triple.levels)


@pytest.mark.parametrize(
    ("source", "contrast", "words", "L"),
    [
        ("~ disease*sex", WOMEN, "disease: AD vs ctl (at sex = F)", [0, 1, 0, 0, 0, 0]),
        ("~ disease*sex", MEN, "disease: AD vs ctl (at sex = M)", [0, 1, 0, 0, 1, 0]),
        ("~ disease*sex", MEN - WOMEN, "disease: AD vs ctl, sex: M vs F (interaction)", [0, 0, 0, 0, 1, 0]),
        ("~ disease + sex", MEN, "disease: AD vs ctl", [0, 1, 0, 0]),
        ("~ disease + age", cond(age=80) - cond(age=60), "age: 80 vs 60", [0, 0, 0, 20]),
        (
            "~ disease + sex",
            cond(disease="AD", sex="M") - cond(disease="ctl", sex="F"),
            "disease = AD, sex = M vs disease = ctl, sex = F",
            [0, 1, 0, 1],
        ),
        (
            "~ disease",
            (cond(disease="AD") + cond(disease="MCI")) / 2 - cond(disease="ctl"),
            "disease: mean of AD and MCI vs ctl",
            [0, 0.5, 0.5],
        ),
        ("~ C(year)", cond(year=2022) - cond(year=2021), "year: 2022 vs 2021", [0, -1, 1]),
        ("~ flag", cond(flag=True) - cond(flag=False), "flag: True vs False", [0, 1]),
        ("~ disease", 2 * cond(disease="AD") - cond(disease="AD") - cond(), "disease: AD vs ctl", [0, 1, 0]),
    ],
)
def test_words_and_weights(source: str, contrast: Any, words: str, L: list) -> None:
    result = one(source, contrast)
    assert result.words == words
    np.testing.assert_allclose(result.L, [L], atol=1e-12)
    # the same as text, as on a command line
    again = one(source, repr(contrast))
    assert again.words == words
    np.testing.assert_array_equal(again.L, result.L)


def test_which_levels_are_compared() -> None:
    assert one("~ disease*sex", MEN).levels == ("disease", "AD", "ctl")
    assert one("~ disease*sex", MEN - WOMEN).levels is None
    assert one("~ disease + age", cond(age=80) - cond(age=60)).levels is None


def test_many_named_contrasts_and_joint_tests() -> None:
    requested = {"women": WOMEN, "men": MEN, "any": [WOMEN, MEN], "sexes": MEN - WOMEN}
    contrasts = {c.name: c for c in build_contrasts(design_of("~ disease*sex"), requested)}
    assert list(contrasts) == list(requested)
    np.testing.assert_allclose(contrasts["any"].L, np.vstack([contrasts["women"].L, contrasts["men"].L]))
    assert [c.words for c in contrasts.values()] == list(requested)  # names given by the user do not change


def test_repeated_labels_contain_the_name() -> None:
    contrasts = build_contrasts(design_of("~ disease"), [("disease", "AD", "ctl"), "AD"])
    assert [c.words for c in contrasts] == [f"disease: AD vs ctl [disease_AD_vs_ctl{end}]" for end in ("", "_2")]


@pytest.mark.parametrize("text", ["AD", "AD vs ctl", "disease: AD vs ctl", " disease :  AD  vs  ctl "])
def test_levels_by_their_names(text: str) -> None:
    contrast = one("~ disease + sex", text)
    assert contrast.levels == ("disease", "AD", "ctl")
    assert contrast.words == "disease: AD vs ctl"
    assert one("~ 0 + disease + sex", text).levels == ("disease", "AD", "ctl") if " vs " in text else True


def test_term_has_precedence_over_a_level_of_the_same_name() -> None:
    data = DATA.assign(kind=np.where(DATA["age"] > 60, "sex", "other"))
    (result,) = build_contrasts(build_design(parse_formula("~ sex + kind"), data), "sex")
    assert result.words == "sex: M vs F"


def test_a_level_of_two_factors_must_be_qualified() -> None:
    data = DATA.assign(father=DATA["disease"].iloc[::-1].to_numpy())
    design = build_design(parse_formula("~ disease + father"), data)
    with pytest.raises(DesignError, match=r"matches several factors: disease, father; .*\('disease', 'AD', 'ctl'\)"):
        build_contrasts(design, "AD")
    (result,) = build_contrasts(design, "father: AD vs MCI")
    assert result.levels == ("father", "AD", "MCI")


def test_labels_of_interactions_show_the_direction() -> None:
    assert one("~ disease*sex", "disease[T.AD]:sex[T.M]").words == "disease: AD vs ctl, sex: M vs F (interaction)"
    assert one("~ sex*flag", "sex:flag").words == "sex: M vs F, flag: True vs False (interaction)"
    assert one("~ C(year)*sex", "C(year)[T.2021]:sex[T.M]").words == "year: 2021 vs 2020, sex: M vs F (interaction)"


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        (cond(disease="AD"), "add up to 1, but must add up to 0"),
        (cond(disease="AD") + cond(disease="ctl"), "add up to 2"),
        (cond(disease="AD") - cond(disease="AD"), "is zero, so it compares nothing"),
        (cond(disease="XX") - cond(disease="ctl"), "no level 'XX' in the rows used; the levels are ctl, AD, MCI"),
        (
            cond(dose=1) - cond(dose=0),
            "contains 'dose', which is not a variable of the fixed effects; the variables are disease, age",
        ),
        (cond(age="old") - cond(age="young"), "'age' is numeric in this formula, so give a number"),
        ("cond(disease='AD') - 1", "cannot be read: write a difference"),
        ("cond('AD') - cond('ctl')", "cannot be read"),
        ("cond(disease=disease) - cond()", "cannot be read"),
        ("cond(disease='AD') / 0 - cond()", "cannot be read"),
        ("cond(disease='AD' - cond()", "cannot be read"),
        ("ctl", "is the base level of 'disease'. Compare another level with it: AD, MCI"),
        (pd.Series({"disease[T.XX]": 1.0}), r"has weights for disease\[T.XX\], but the columns of the design"),
    ],
)
def test_invalid_conditions_are_rejected(contrast: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        build_contrasts(design_of("~ disease + age"), contrast)


def test_only_conditions_are_evaluated() -> None:
    for text in ("__import__('os').getcwd()", "cond(a=__import__('os'))", "cond.__class__", "cond(**cond)"):
        with pytest.raises(DesignError, match="cannot be read"):
            parse_conditions(text)


def test_names_with_spaces() -> None:
    assert parse_conditions("cond(**{'cell type': 'B'}, age=-1)").parts == ((1.0, {"cell type": "B", "age": -1}),)


def test_other_arithmetic_is_rejected() -> None:
    for wrong in (lambda: WOMEN + 1, lambda: WOMEN * "a", lambda: WOMEN * MEN, lambda: WOMEN / True):
        with pytest.raises(TypeError):
            wrong()


def test_docstring_and_public_function() -> None:
    assert sc_glmm.cond is cond
    module = importlib.import_module("sc_glmm._design.cond")
    assert doctest.testmod(module).failed == 0
