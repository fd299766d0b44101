"""Define the small data frame of the design tests, and build designs from formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sc_glmm._design import Design, build_design
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


def design_of(source: str, data: pd.DataFrame = DATA, **options: Any) -> Design:
    """Build the design of a formula, by default on `DATA`."""
    return build_design(parse_formula(source), data, **options)


def is_(values: np.ndarray, level: object) -> np.ndarray:
    """Compute the indicator of a level."""
    return (values == level).astype(float)
