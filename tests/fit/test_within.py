"""Which random terms tested effects within samples lack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sc_glmm._design import build_contrasts, build_design
from sc_glmm._fit.within import missing_terms
from sc_glmm._formula import parse_formula

RNG = np.random.default_rng(1)
DATA = pd.DataFrame(
    {
        "sample": [f"s{i}" for i in np.repeat(np.arange(8), 20)],
        "disease": pd.Categorical(np.array(["ctl", "AD"])[np.repeat(np.arange(8), 20) % 2]),
        "x": RNG.normal(size=160),
        "phase": pd.Categorical(RNG.choice(["G1", "S"], 160)),
    }
)


@pytest.mark.parametrize(
    ("formula", "contrasts", "terms", "unclear"),
    [
        ("~ disease*x + (1|sample) + (0 + x|sample)", "disease:x", [], []),
        ("~ disease*phase + (1|sample) + (1|sample:phase)", "disease:phase", [], []),
        ("~ disease*x + (1|sample)", "disease:x", [], ["disease:x"]),
        ("~ phase*x + (1|sample) + (0 + x|sample)", "phase:x", [], ["phase:x"]),
        ("~ disease*x + (1|sample)", "x", ["(0 + x | sample)"], []),
        ("~ disease + x + (1|sample)", "disease", [], []),
    ],
)
def test_missing_terms(formula: str, contrasts: str, terms: list, unclear: list) -> None:
    design = build_design(parse_formula(formula), DATA)
    assert missing_terms(design, build_contrasts(design, contrasts)) == (terms, unclear)
