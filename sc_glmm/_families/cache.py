"""Cache of compiled kernels: written to the first writable folder, and read from read-only folders as well.

Numba stores machine code beside the source or in the home folder of the user. If neither is writable, as in containers
and shared installations, it raises an error at import. Here, the kernel is compiled in each process instead. Code in a
read-only folder, such as one that ``sc-glmm compile`` filled when an image was built, is used; numba alone would ignore
it. A damaged or unwritable cache costs time, but never stops a run.

The caches of numba are internal to it. Where a version differs, its own decorator is used.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import caching

from sc_glmm._errors import InputError
from sc_glmm._limits import shortage

# What numba raises for a file of its cache that is cut off, was written by something else, or cannot be read.
_UNREADABLE = (OSError, EOFError, pickle.UnpicklingError, ValueError, TypeError, AttributeError, ImportError, KeyError)

# Bytes of address space that LLVM takes at most for one of the large entries, and for any other kernel.
_ROOM_FOR_ENTRIES, _ROOM = 600 << 20, 150 << 20


def cached(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that Python calls, and keep its code; options as for ``numba.njit``.

    numba knows only the file of the function: all that it calls is in that file, or the file carries a digest of it.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        made = njit(**options)(function)
        made._cache = _Folders(function)
        return made

    return decorate


class _Folders(caching.FunctionCache):  # type: ignore[misc, no-any-unimported]
    """The cache of a function: one folder to write, if there is one, and any number to read."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._module = str(function.__module__)
        try:
            self.written = caching.FunctionCache(function)
        except RuntimeError:  # no folder can be written
            self.written = None
        self.read = _read_only(function)

    @property
    def cache_path(self) -> str | None:
        """The folder that is written; None if there is none."""
        return None if self.written is None else self.written.cache_path

    def holds_code(self) -> bool:
        """Check whether code of the current function is in one of the folders."""
        for cache in self._all():
            try:
                if cache._cache_file._load_index():
                    return True
            except _UNREADABLE:
                continue
        return False

    def _all(self) -> list[Any]:
        return [*([] if self.written is None else [self.written]), *self.read]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load the compiled code for a signature; None if there is none."""
        for cache in self._all():
            try:
                found = cache.load_overload(sig, target_context)
            except _UNREADABLE:
                continue
            if found is not None:
                return found
        self._refuse_without_room()
        return None

    def _refuse_without_room(self) -> None:
        """Raise an error if memory is short, because LLVM would end the process without a message."""
        need = _ROOM_FOR_ENTRIES if ".kernels" not in self._module and "._engine." in self._module else _ROOM
        problem = shortage(need, "compiling the kernels")
        if problem is not None:
            raise InputError(
                f"{problem}. Or run 'sc-glmm compile' once where there is no such limit: compiled kernels take less"
            )

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store compiled code, if the disk has room."""
        if self.written is None:
            return
        try:
            self.written.save_overload(sig, data)
        except _UNREADABLE:
            self._begin_again(sig, data)

    def _begin_again(self, sig: Any, data: Any) -> None:
        """Replace an unreadable index, which is truncated or names modules of another version."""
        try:
            self.written.flush()
            self.written.save_overload(sig, data)
        except _UNREADABLE:
            pass  # the disk is full: the next process compiles the code again

    def enable(self) -> None:
        """Use the cache."""
        for cache in self._all():
            cache.enable()

    def disable(self) -> None:
        """Do not use the cache."""
        for cache in self._all():
            cache.disable()

    def flush(self) -> None:
        """Delete the stored code."""
        if self.written is not None:
            self.written.flush()


def _read_only(function: Callable[..., Any]) -> list[Any]:
    """Find the caches of a function in existing folders that are not writable."""
    found = []
    for locator in caching.CompileResultCacheImpl._locator_classes:
        impl = type("_Impl", (caching.CompileResultCacheImpl,), {"_locator_classes": [_reading(locator)]})
        try:
            found.append(type("_ReadOnly", (caching.FunctionCache,), {"_impl_class": impl})(function))
        except RuntimeError:
            continue
    return found


def _reading(locator: Any) -> Any:
    """Make a locator of read-only folders."""

    def ensure_cache_path(self: Any) -> None:
        path = self.get_cache_path()
        if not os.path.isdir(path) or os.access(path, os.W_OK):
            raise OSError(f"{path} is not a folder that can only be read")

    return type("_Reading", (locator,), {"ensure_cache_path": ensure_cache_path})


def is_compiled(entry: Any) -> bool:
    """Check whether a compiled entry is loaded, or in one of its folders."""
    return bool(entry.signatures) or entry._cache.holds_code()


def is_kept(entry: Any) -> bool:
    """Check whether code that is compiled now is available to the next process."""
    return entry._cache.written is not None
