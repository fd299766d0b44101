"""How the inner kernels are compiled: without the wrappers that only calls from Python need (they double compile time).

They must not be called from Python as they are (the interpreter would crash): tests put their ``py_func`` in their
place, or go through :mod:`sc_glmm._engine.entry`.
"""

from __future__ import annotations

from numba import njit

kernel = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
