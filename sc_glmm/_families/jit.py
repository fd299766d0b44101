"""Compilation of the inner kernels, quickly and only for use by other compiled code.

Kernels must not be called from Python, which would crash the interpreter. Tests replace them by their ``py_func``, or
use :mod:`sc_glmm._engine.entry`.

Numba optimises every function together with all functions that it calls, and does so again for each caller. Only the
code that the entries link in is ever run. Libraries of kernels are therefore left as they are, and only the entries are
optimised. Fits and profiles together are then compiled in 33 instead of 73 processor seconds (numba 0.68). The hooks of
the library are internal to numba. Where a version lacks one, kernels are compiled the usual way, with the same results.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.typed_passes import AnnotateTypes

_HOOKS = ("_optimize_final_module", "_finalize_final_module", "_finalize_dynamic_globals", "codegen")


class _NoEnvironment:
    """Kernels have no Python environment: nothing to set."""

    def set_env(self, name: str, env: Any) -> None:
        """Do nothing."""


class _LinkedLibrary(JITCodeLibrary):  # type: ignore[misc, no-any-unimported]
    """Code that is only linked into other libraries, where it is optimised."""

    codegen = _NoEnvironment()

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """No machine code."""
        return 0


@register_pass(mutates_CFG=False, analysis_only=True)
class _UseLinkedLibrary(AnalysisPass):  # type: ignore[misc, no-any-unimported]
    _name = "sc_glmm_linked_library"

    def __init__(self) -> None:
        AnalysisPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Give the function its library before the lowering pass gives it one."""
        state.library = _LinkedLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        return False


class _KernelCompiler(CompilerBase):  # type: ignore[misc, no-any-unimported]
    def define_pipelines(self) -> list[Any]:
        """Numba's own, with another library."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(_UseLinkedLibrary, AnnotateTypes)
        pipeline.finalize()
        return [pipeline]


def is_linked_only() -> bool:
    """Check whether this version of numba has the hooks."""
    return all(hasattr(JITCodeLibrary, name) for name in _HOOKS)


_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
if is_linked_only():
    _OPTIONS["pipeline_class"] = _KernelCompiler

allocating = njit(**_OPTIONS)
"""Decorator of kernels that allocate arrays."""

kernel = njit(**_OPTIONS, _nrt=False)
"""Decorator of all other kernels. Their arguments outlive them, so that references need not be counted."""
