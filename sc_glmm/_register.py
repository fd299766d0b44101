"""Registers ``adata.glmm`` with anndata: now if it is loaded, else as soon as it is, without loading it ourselves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def register() -> None:
    """Register the accessor, where this version of anndata can."""
    import anndata

    from ._accessor import NAME, GlmmAccessor

    if hasattr(anndata, "register_anndata_namespace") and not hasattr(anndata.AnnData, NAME):
        anndata.register_anndata_namespace(NAME)(GlmmAccessor)


def register_with_anndata() -> None:
    """Register, now or after the import of anndata."""
    if "anndata" in sys.modules:
        register()
    elif not any(isinstance(finder, _AfterAnndata) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterAnndata())


class _AfterAnndata(MetaPathFinder):
    """Finds anndata as the other finders do, and registers once it has been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "anndata":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
