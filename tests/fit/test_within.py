"""Which random terms tested effects within samples lack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sc_glmm._design import build_contrasts, build_design
from sc_glmm._fit.within import far_slopes, missing_terms
from sc_glmm._formula import parse_formula

RNG = np.random.default_rng(1)
DATA = pd.DataFrame(
    {
        "sample": [f"s{i}" for i in np.repeat(np.arange(8), 20)],
        "disease": pd.Categorical(np.array(["ctl", "AD"])[np.repeat(np.arange(8), 20) % 2]),
        "x": RNG.normal(size=160),
        "phase": pd.Categorical(RNG.choice(["G1", "S"], 160)),
    }
).assign(far=lambda data: data["x"] + 50.0)


@pytest.mark.parametrize(
    ("formula", "contrasts", "terms", "unclear"),
    [
        ("~ disease*x + (1|sample) + (0 + x|sample)", "disease:x", [], []),
        ("~ disease*phase + (1|sample) + (1|sample:phase)", "disease:phase", [], []),
        ("~ disease*x + (1|sample)", "disease:x", [], ["disease:x"]),
        ("~ phase*x + (1|sample) + (0 + x|sample)", "phase:x", [], ["phase:x"]),
        ("~ disease*x + (1|sample)", "x", ["(0 + x | sample)"], []),
        ("~ disease + x + (1|sample)", "disease", [], []),
        ("~ disease*far + (1|sample)", "far", ["(0 + center(far) | sample)"], []),
        ("~ far + (1|sample) + (0 + center(far)|sample)", "far", [], []),
    ],
)
def test_missing_terms(formula: str, contrasts: str, terms: list, unclear: list) -> None:
    design = build_design(parse_formula(formula), DATA)
    assert missing_terms(design, build_contrasts(design, contrasts)) == (terms, unclear)


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        ("~ far + (1|sample) + (0 + far|sample)", ["far"]),
        ("~ far + (far||sample)", ["far"]),
        ("~ far + (far|sample)", []),
        ("~ far + (1|sample) + (0 + center(far)|sample)", []),
        ("~ x + (x||sample)", []),
        ("~ far + (1|sample)", []),
    ],
)
def test_slopes_that_are_independent_far_from_the_data(formula: str, found: list) -> None:
    design = build_design(parse_formula(formula), DATA)
    assert far_slopes(design, build_contrasts(design, found or formula.split()[1])) == found
