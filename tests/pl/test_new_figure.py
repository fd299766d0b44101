"""Check the worked example of docs/contributing.md: one file and one name add a figure to package and command."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = "variable,log_fc,p_value,adj_p_value,pct\ng1,1.0,0.01,0.02,40\ng2,0.1,0.8,0.8,5\n"


def test_a_new_figure_is_one_file_and_one_name(tmp_path):
    page = (ROOT / "docs" / "contributing.md").read_text()
    section = page[page.index("### A new figure") :]
    (source,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    package = tmp_path / "sc_glmm"
    shutil.copytree(ROOT / "sc_glmm", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "pl" / "_detection.py").write_text(source)
    names = package / "pl" / "__init__.py"
    text = names.read_text().replace("__all__ = [\n", '__all__ = [\n    "detection",\n')
    names.write_text(text.replace("from ._diagnostics", "from ._detection import detection\nfrom ._diagnostics", 1))
    (tmp_path / "table.csv").write_text(TABLE)
    here = f"assert sc_glmm.__file__.startswith({str(tmp_path)!r})"
    enter = f"import sc_glmm; {here}; from sc_glmm.cli import app; app()"
    command = [sys.executable, "-c", enter, "plot", "table.csv", "detection", "-o", "out.svg", "--title", "Detected"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "cells with counts" in (tmp_path / "out.svg").read_text()
