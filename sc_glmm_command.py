"""Where `sc-glmm` enters: it loads the package without ``adata.glmm``.

The accessor needs anndata, which takes about a second to load. The command answers `--help` and wrong options in a
tenth of that, and loads anndata when it opens a file.
"""

from __future__ import annotations

import os


def main() -> None:
    """Run the command."""
    os.environ["SC_GLMM_ACCESSOR"] = "0"
    import sc_glmm  # noqa: F401

    del os.environ["SC_GLMM_ACCESSOR"]  # processes that the command starts decide for themselves
    from sc_glmm.cli import app

    app()
