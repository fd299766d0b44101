"""Check the random terms that are added for effects within samples; the columns of the design decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sc_glmm import cond
from sc_glmm._design import build_contrasts, build_design
from sc_glmm._fit.within import far_slopes, missing_terms
from sc_glmm._formula import parse_formula

RNG = np.random.default_rng(1)
SAMPLE = np.repeat(np.arange(16), 20)
DATA = pd.DataFrame(
    {
        "sample": [f"s{i:02d}" for i in SAMPLE],
        "donor": [f"d{i // 2}" for i in SAMPLE],
        "arm": pd.Categorical(np.array(["A", "B"])[SAMPLE % 2]),
        "disease": pd.Categorical(np.array(["ctl", "AD"])[SAMPLE // 2 % 2], ["ctl", "AD"]),
        "x": RNG.normal(size=320),
        "z": RNG.normal(size=320),
        "phase": pd.Categorical(RNG.choice(["G1", "S"], 320)),
        "type": pd.Categorical(RNG.choice(["k", "l", "m"], 320)),
        "rare": pd.Categorical(np.where(RNG.uniform(size=320) < 0.02, "r", "c")),
    }
).assign(far=lambda data: data["x"] + 50.0)
IN_S, IN_L = cond(disease="AD", phase="S") - cond(disease="ctl", phase="S"), cond(phase="S") - cond(phase="G1")
BOTH = "~ disease*phase + (1|sample)"


def lacking(formula: str, contrasts: Any, data: pd.DataFrame = DATA, **options: Any) -> list[str]:
    design = build_design(parse_formula(formula), data, **options)
    return missing_terms(design, build_contrasts(design, contrasts), data)


@pytest.mark.parametrize(
    ("formula", "contrasts", "terms"),
    [
        # a number: alone, in an interaction, as an expression, far from zero
        ("~ disease*x + (1|sample)", "x", ["(0 + center(x) | sample)"]),
        ("~ disease*x + (1|sample)", "disease:x", ["(0 + center(x) | sample)"]),
        ("~ disease*far + (1|sample)", "disease", ["(0 + center(far) | sample)"]),
        ("~ scale(x) + (1|sample)", "scale(x)", ["(0 + scale(x) | sample)"]),
        ("~ np.exp(x) + (1|sample)", "np.exp(x)", ["(0 + center(np.exp(x)) | sample)"]),
        ("~ bs(x, df=4) + (1|sample)", "bs(x, df=4)", ["(0 + center(bs(x, df=4)) | sample)"]),
        # a factor: alone, in an interaction, at another level, with three levels, by C()
        (BOTH, "phase", ["(1 | sample:phase)"]),
        (BOTH, "disease:phase", ["(1 | sample:phase)"]),
        (BOTH, IN_S, ["(1 | sample:phase)"]),
        (BOTH, "disease", ["(1 | sample:phase)"]),
        ("~ disease + C(phase) + (1|sample)", "C(phase)", ["(1 | sample:phase)"]),
        ("~ disease*type + (1|sample)", "disease:type", ["(1 | sample:type)"]),
        ("~ {x > 0} + (1|sample)", None, ["(0 + center(x > 0) | sample)"]),
        # interactions of two effects within samples
        ("~ phase*x + (1|sample)", "phase:x", ["(0 + center(x) | sample:phase)"]),
        ("~ x*z + (1|sample)", "x:z", ["(0 + center(x):center(z) | sample)"]),
        (
            "~ phase*x + (1|sample)",
            None,
            ["(1 | sample:phase)", "(0 + center(x) | sample)", "(0 + center(x) | sample:phase)"],
        ),
        # several grouping factors: a slope of the coarser factor covers only comparisons between its levels
        ("~ arm*x + (1|donor) + (1|sample) + (0 + x|donor)", "arm:x", ["(0 + center(x) | sample)"]),
        ("~ arm + x + (1|donor) + (1|sample) + (0 + x|donor)", "x", []),
        ("~ arm + (1|donor)", "arm", ["(1 | donor:arm)"]),
        ("~ arm + (1|donor) + (1|sample)", "arm", []),
        # the term exists already, in different notations
        ("~ disease*x + (1|sample) + (0 + x|sample)", None, []),
        ("~ disease*x + (x|sample)", "disease:x", []),
        ("~ far + (1|sample) + (0 + center(far)|sample)", "far", []),
        ("~ disease*phase + (phase|sample)", None, []),
        ("~ disease*phase + (1|sample) + (1|sample:phase)", None, []),
        ("~ type + x + (1|sample) + (1|sample:type) + (0 + x|sample)", None, []),
        # not needed: a comparison between samples, and a level with few cells
        ("~ disease + x + (1|sample)", "disease", []),
        ("~ disease*x + (1|sample)", cond(disease="AD") - cond(disease="ctl"), []),
        ("~ disease*rare + (1|sample)", "disease", []),
        ("~ disease + (1|sample)", None, []),
    ],
)
def test_missing_terms(formula: str, contrasts: Any, terms: list[str]) -> None:
    assert lacking(formula, contrasts) == terms
    # the added term is enough
    assert lacking(" + ".join([formula, *terms]), contrasts) == []


def test_names_do_not_matter() -> None:
    """Check a covariate whose name contains that of the grouping factor, and a name with operators."""
    for name in ("S_score", "S", "sample:x", "x/sample", "(0 + x | sample)", "center", "it's", "a.b", "log"):
        data = DATA.rename(columns={"sample": "S" if name != "S" else "sample", "x": name})
        group = "S" if name != "S" else "sample"
        (text,) = lacking(f"~ disease + `{name}` + (1|{group})", f"{name}", data)
        again = build_design(parse_formula(f"~ disease + `{name}` + (1|{group}) + {text}"), data)
        np.testing.assert_allclose(again.random[-1].Z[:, 0], data[name] - data[name].mean(), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("shift", [0.0, -3.0, 1e4])
def test_units_of_covariates_do_not_matter(scale: float, shift: float) -> None:
    data = DATA.assign(x=scale * (DATA["x"] + shift))
    assert lacking("~ disease*x + (1|sample)", "disease:x", data) == ["(0 + center(x) | sample)"]
    assert lacking("~ disease + x + (1|sample)", "disease", data) == []


@pytest.mark.parametrize("base", ["G1", "S"])
def test_base_level_does_not_matter(base: str) -> None:
    for contrast in (IN_S, IN_L, "disease:phase"):
        assert lacking(BOTH, contrast, reference={"phase": base}) == ["(1 | sample:phase)"]


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        ("~ far + (1|sample) + (0 + far|sample)", ["(0 + far | sample)"]),
        ("~ far + (far||sample)", ["(0 + far | sample)"]),
        ("~ disease:far + far + (far||sample)", ["(0 + far | sample)"]),
        ("~ far + (far|sample)", []),
        ("~ far + (1|sample) + (0 + center(far)|sample)", []),
        ("~ x + (x||sample)", []),
        ("~ far + (1|sample)", []),
    ],
)
def test_slopes_that_are_independent_far_from_the_data(formula: str, found: list[str]) -> None:
    design = build_design(parse_formula(formula), DATA)
    slopes = far_slopes(design, build_contrasts(design))
    assert [label for label, _ in slopes] == found
    assert all(mean == pytest.approx(DATA["far"].mean()) for _, mean in slopes)
