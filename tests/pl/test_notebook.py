"""Check figures in a notebook: every cell that draws shows its picture, without ``%matplotlib``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernels import new_kernel, run_cell

pytest.importorskip("ipykernel")
pytest.importorskip("jupyter_client")

FIRST = """
import numpy as np, pandas as pd, sc_glmm
rng = np.random.default_rng(0)
frame = pd.DataFrame({"variable": [f"g{i}" for i in range(60)], "log_fc": rng.normal(size=60)})
frame["p_value"] = rng.uniform(size=60)
frame["adj_p_value"] = frame["p_value"]
frame["baseMean"] = rng.uniform(0.1, 2.0, size=60)
y = pd.DataFrame({"y": rng.normal(size=24), "block": list("abcdef") * 4})
fit = sc_glmm.lmer("y ~ 1 + (1|block)", y)
"""
DRAWING = [
    "sc_glmm.pl.volcano(frame);",
    "sc_glmm.pl.ma(frame);",
    "sc_glmm.pl.p_values(pd.concat([frame.assign(cell_type=t) for t in 'AB'])[['cell_type', *frame.columns]]);",
    "sc_glmm.pl.diagnostics(fit);",
    "import matplotlib.pyplot as plt\nplt.plot([0, 1]);",
]


@pytest.fixture
def kernel() -> Iterator[Any]:
    with new_kernel() as client:
        yield client


@pytest.mark.parametrize("first", [0, 3], ids=["one axes first", "a page first"])
def test_every_cell_shows_its_picture(kernel: Any, first: int) -> None:
    run_cell(kernel, FIRST)
    cells = DRAWING[first:] + DRAWING[:first]
    assert [run_cell(kernel, code).images for code in cells] == [1] * len(cells)
