"""Check that the build of the documentation fails if a cell that draws shows no picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("myst_nb")

DOCS = Path(__file__).parents[1] / "docs"
CONF = f"""
import sys
sys.path.insert(0, {str(DOCS)!r})
extensions = ["myst_nb", "pictures"]
nb_execution_mode = "force"
"""
PAGE = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
---

# A page

```{code-cell} ipython3
import matplotlib.pyplot as plt
# a comment on plt.plot() draws nothing
```

```{code-cell} ipython3
plt.plot([0, 1]);
```

"""
EMPTY = """```{code-cell} ipython3
plt.plot([0, 1])
plt.close()
```
"""


@pytest.mark.skipif(sys.platform == "win32", reason="paths in the configuration")
def test_a_cell_without_its_picture_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(CONF)
    for extra, code in (("", 0), (EMPTY, 1)):
        (tmp_path / "index.md").write_text(PAGE + extra)
        build = [sys.executable, "-m", "sphinx", "-W", "-q", "-E", str(tmp_path), str(tmp_path / "html")]
        process = subprocess.run(build, capture_output=True, text=True, timeout=300)
        assert process.returncode == code, process.stderr
        assert ("shows no picture" in process.stderr) == bool(code)
