"""Progress as users see it: in the kernel of a notebook, and where the error stream of the command is a file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import sc_glmm
from tests.kernels import new_kernel, run_cell

PREPARE = """
import sc_glmm
from sc_glmm._display import progress
progress._BAR_AFTER = 0.0  # a short run shows its bar, too
adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=900, n_genes=90, n_cell_types=3, seed=0)
"""
RUN = """
sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, groupby="cell_type", test="t")
"""
NO_WIDGETS = "from importlib.util import find_spec; progress.find_spec = lambda name: None"


@pytest.mark.parametrize("widgets", [False, True], ids=["plain kernel", "kernel with widgets"])
def test_a_kernel_shows_one_bar_and_nothing_red(widgets: bool) -> None:
    pytest.importorskip("ipykernel")
    if widgets:
        pytest.importorskip("ipywidgets")
    with new_kernel() as kernel:
        run_cell(kernel, PREPARE)
        if not widgets:
            run_cell(kernel, NO_WIDGETS)
        shown = run_cell(kernel, RUN)
        quiet = run_cell(kernel, "import logging; logging.getLogger('sc_glmm').setLevel('WARNING')\n" + RUN)
    assert shown.text["stderr"] == ""
    seen = shown.text["stdout"] if not widgets else "\n".join(str(state.get("value", "")) for state in shown.widgets)
    stages = re.findall(r"type_\d, (\d) of 3 cell types", seen)
    assert stages == sorted(stages) and set(stages) == {"1", "2", "3"}
    if widgets:  # one bar: one box, and one model of a bar in it
        assert sum(state.get("_model_name") == "FloatProgressModel" for state in shown.widgets) == 1
    assert "of 90 genes" in shown.text["stdout"] or "of 270 genes in 3 levels of 'cell_type'" in shown.text["stdout"]
    assert quiet.text == {"stdout": "", "stderr": ""} and not quiet.widgets


def test_the_command_without_a_terminal_writes_lines_and_no_bar(tmp_path: Path) -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=40, n_cell_types=2, seed=0)
    adata.write_h5ad(tmp_path / "data.h5ad")
    command = [str(Path(sys.executable).with_name("sc-glmm"))]
    words = ["test", "data.h5ad", "counts ~ disease + (1|sample)", "--groupby", "cell_type", "--test", "t"]
    words += ["--reference", "disease=ctl", "-o", "out.csv"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\r" not in done.stderr and "%|" not in done.stderr
    assert (tmp_path / "out.csv").stat().st_size > 0
    quiet = subprocess.run([*command, *words, "-q"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert quiet.stderr == "" and quiet.stdout == ""
