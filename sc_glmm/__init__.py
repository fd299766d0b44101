"""Mixed models for multi-sample single-cell counts.

The main function is :func:`sc_glmm.tl.test`, which fits one mixed model to every gene of an AnnData.
:func:`sc_glmm.lmer` and :func:`sc_glmm.glmer` fit one model to a data frame. Importing the package loads anndata and
registers ``adata.glmm``; everything else is loaded on first use.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from ._errors import DesignError, FormulaError, InputError, ScGlmmError, ScGlmmWarning

if TYPE_CHECKING:
    from . import datasets, get, models, pl, pp, tl
    from ._adata.store import recover
    from ._design import cond
    from ._report import report
    from .models import anova, emmeans, glmer, lmer, lrtest
    from .tl._compile import compile_kernels
    from .tl._power import power

    __version__: str

__all__ = [
    "DesignError",
    "FormulaError",
    "InputError",
    "ScGlmmError",
    "ScGlmmWarning",
    "__version__",
    "anova",
    "compile_kernels",
    "cond",
    "datasets",
    "emmeans",
    "get",
    "glmer",
    "lmer",
    "lrtest",
    "models",
    "pl",
    "power",
    "pp",
    "recover",
    "report",
    "tl",
]

_SUBMODULES = frozenset({"datasets", "get", "models", "pl", "pp", "tl"})
_MODELS = frozenset({"anova", "emmeans", "glmer", "lmer", "lrtest"})


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODELS:
        return getattr(importlib.import_module(f"{__name__}.models"), name)
    if name == "cond":
        return importlib.import_module(f"{__name__}._design").cond
    if name == "recover":
        return importlib.import_module(f"{__name__}._adata.store").recover
    if name == "report":
        return importlib.import_module(f"{__name__}._report").report
    if name == "compile_kernels":
        return importlib.import_module(f"{__name__}.tl._compile").compile_kernels
    if name == "power":
        return importlib.import_module(f"{__name__}.tl._power").power
    if name == "__version__":
        from importlib.metadata import version

        return version("sc-glmm")
    from ._display.habits import hint

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint(name)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if os.environ.get("SC_GLMM_ACCESSOR") != "0":  # the command has no use for it (sc_glmm_command.py)
    from ._accessor import register

    register()
