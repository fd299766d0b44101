"""Check figures in a notebook: every cell that draws shows its picture, without ``%matplotlib``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

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
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def images(client: Any, code: str) -> int:
    """Count the pictures of a cell; an error in the cell fails the test."""
    n_pictures = 0

    def look(message: dict[str, Any]) -> None:
        nonlocal n_pictures
        content = message["content"]
        if message["msg_type"] == "error":
            raise AssertionError("\n".join(content["traceback"]))
        n_pictures += "image/png" in content.get("data", {})

    client.execute_interactive(code, output_hook=look, timeout=300)
    return n_pictures


@pytest.mark.parametrize("first", [0, 3], ids=["one axes first", "a page first"])
def test_every_cell_shows_its_picture(kernel: Any, first: int) -> None:
    images(kernel, FIRST)
    cells = DRAWING[first:] + DRAWING[:first]
    assert [images(kernel, code) for code in cells] == [1] * len(cells)
