"""Compilation of the inner kernels, quickly and only for use by other compiled code.

Kernels must not be called from Python, which would crash the interpreter. Tests replace them by their ``py_func``, or
use :mod:`sc_glmm._engine.entry`.

Numba links every function with all functions that it calls, and optimises them together; then again for each caller.
Only the code that the entries link in is ever run. A kernel therefore keeps its own code alone, and the entries link
and optimise all of it once. Numba also compiles a function once more for each constant among its arguments, compares
all options of the compiler at each look-up of a type, and the collector of garbage goes through everything that it
made many times; kernels are spared all of this. The profiles are then compiled in 30 instead of 41 processor seconds
(numba 0.68). The hooks are internal to numba. Where a version lacks one, kernels are compiled the usual way, with the
same results.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, Flags
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.dispatcher import Dispatcher
from numba.core.typed_passes import AnnotateTypes, NopythonRewrites
from numba.core.types.misc import unliteral
from numba.core.untyped_passes import InlineClosureLikes

_HOOKS = ("_finalize_dynamic_globals", "_get_module_for_linking", "codegen")
# Passes for closures and for expressions on whole arrays, of which kernels have none.
_IDLE_PASSES = (InlineClosureLikes, NopythonRewrites)


class _NoEnvironment:
    """Kernels have no Python environment: nothing to set."""

    def set_env(self, name: str, env: Any) -> None:
        """Do nothing."""


class _LinkedLibrary(JITCodeLibrary):  # type: ignore[misc, no-any-unimported]
    """Code that is only linked into other libraries, where it is optimised."""

    codegen = _NoEnvironment()
    _own: Any = None

    def finalize(self) -> None:
        """Keep the code of this function alone."""
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        self._finalize_dynamic_globals()
        self._finalized = True

    def own_module(self) -> Any:
        """Return the code of this function alone."""
        if self._own is None:
            self._own = super()._get_module_for_linking()
            self._shared_module = None
        return self._own

    def _get_module_for_linking(self) -> Any:
        """Return the code of this function and of all that it calls."""
        if self._shared_module is None:
            module = self.own_module().clone()
            for library in _callees(self):
                linked = isinstance(library, _LinkedLibrary)
                module.link_in(library.own_module() if linked else library._get_module_for_linking(), preserve=True)
            self._shared_module = module
        return self._shared_module

    def get_pointer_to_function(self, name: str) -> int:
        """No machine code."""
        return 0


def _callees(library: _LinkedLibrary) -> list[Any]:
    """Return the libraries that one links in, each after its callers: the linker drops what nothing calls so far."""
    found: dict[Any, None] = {}

    def visit(each: Any) -> None:
        if each in found:
            return
        if isinstance(each, _LinkedLibrary):
            for callee in each._linking_libraries:
                visit(callee)
        found[each] = None

    visit(library)
    return list(found)[-2::-1]


class _SharedFlags(Flags):  # type: ignore[misc, no-any-unimported]
    """Options of the compiler that are equal to themselves without a comparison."""

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    __hash__ = Flags.__hash__


class _KernelFlags(Flags):  # type: ignore[misc, no-any-unimported]
    """Options of a kernel. Numba puts a copy on the stack on which it looks them up."""

    _copies: dict[str, _SharedFlags] = {}

    def copy(self) -> _SharedFlags:
        """Return the same copy for the same options."""
        return self._copies.setdefault(repr(self), _SharedFlags(self))


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
        """Numba's own, with another library and without passes that find nothing."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.add_pass_after(_UseLinkedLibrary, AnnotateTypes)
        pipeline.passes = [each for each in pipeline.passes if each[0] not in _IDLE_PASSES]
        pipeline.finalize()
        return [pipeline]

    def _compile_core(self) -> Any:
        self.state.flags = _KernelFlags(self.state.flags)
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return super()._compile_core()
        finally:
            if was_enabled:
                gc.enable()


def is_linked_only() -> bool:
    """Check whether this version of numba has the hooks."""
    return all(hasattr(JITCodeLibrary, name) for name in _HOOKS) and hasattr(Dispatcher, "get_call_template")


_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
if is_linked_only():
    _OPTIONS["pipeline_class"] = _KernelCompiler


def _compile_once(made: Any) -> Any:
    """Take constants among the arguments as numbers of their type."""
    find = made.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        return find(tuple(map(unliteral, args)), {name: unliteral(each) for name, each in kws.items()})

    made.get_call_template = get_call_template
    return made


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a kernel that allocates arrays."""
    return _compile_once(njit(**_OPTIONS)(function))


def kernel(function: Callable[..., Any]) -> Any:
    """Compile any other kernel. Its arguments outlive it, so that references need not be counted."""
    return _compile_once(njit(**_OPTIONS, _nrt=False)(function))
