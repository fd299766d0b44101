"""``adata.glmm``: the functions of the package as methods of an AnnData."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import pandas as pd
from anndata import AnnData

NAME = "glmm"


def register() -> None:
    """Register the accessor, if this version of anndata supports it."""
    if hasattr(anndata, "register_anndata_namespace") and not hasattr(AnnData, NAME):
        anndata.register_anndata_namespace(NAME)(GlmmAccessor)


class Figures:
    """The functions of :mod:`sc_glmm.pl`, with the AnnData as first argument."""

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from . import pl

        if name not in pl.__all__:
            raise AttributeError(f"sc_glmm.pl has no function {name!r}; it has {', '.join(pl.__all__)}")
        return partial(getattr(pl, name), self._adata)

    def __dir__(self) -> list[str]:
        from . import pl

        return list(pl.__all__)


class GlmmAccessor:
    """The namespace ``adata.glmm``, available after importing :mod:`sc_glmm`.

    Parameters
    ----------
    adata
        The AnnData.
    """

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata

    def test(self, formula: str, **kwargs: Any) -> AnnData | None:
        """Call :func:`sc_glmm.tl.test`."""
        from . import tl

        return tl.test(self._adata, formula, **kwargs)

    def refit(self, gene: str, **kwargs: Any) -> Any:
        """Call :func:`sc_glmm.tl.refit`."""
        from . import tl

        return tl.refit(self._adata, gene, **kwargs)

    def results(self, key: str = NAME, contrast: str | None = None, **kwargs: Any) -> pd.DataFrame:
        """Call :func:`sc_glmm.get.results`."""
        from . import get

        return get.results(self._adata, key, contrast, **kwargs)

    def describe(self, key: str = NAME) -> pd.DataFrame:
        """Call :func:`sc_glmm.get.describe`."""
        from . import get

        return get.describe(self._adata, key)

    def fit_info(self, key: str = NAME) -> pd.DataFrame:
        """Call :func:`sc_glmm.get.fit_info`."""
        from . import get

        return get.fit_info(self._adata, key)

    def details(self, key: str = NAME) -> pd.DataFrame:
        """Call :func:`sc_glmm.get.details`."""
        from . import get

        return get.details(self._adata, key)

    def variance_fractions(self, key: str = NAME, **kwargs: Any) -> pd.DataFrame:
        """Figures: ``adata.glmm.pl.volcano()``."""
        from . import get

        return get.variance_fractions(self._adata, key, **kwargs)

    def report(self, out: str | os.PathLike[str] = "report.html", **kwargs: Any) -> Path:
        """As :func:`sc_glmm.report`."""
        from ._report import report

        return report(self._adata, out, **kwargs)

    @property
    def pl(self) -> Figures:
        """The figures: ``adata.glmm.pl.volcano()``."""
        return Figures(self._adata)
