"""Limit of this process's address space: ``ulimit -v``, and some batch systems."""

from __future__ import annotations

import os

_MB = 1 << 20


def address_space() -> tuple[int, int] | None:
    """Limit of the address space and its current size, in bytes; None without a limit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return limit, int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return limit, 0


def shortage(need: int, what: str) -> str | None:
    """Error message if `need` more bytes of address space are not available for `what`; None if they are.

    Without memory, C libraries end the process or never return, so this is checked before they are called.
    """
    found = address_space()
    if found is None or found[0] - found[1] >= need:
        return None
    limit, used = found
    return (
        f"{what} needs about {need // _MB} MB of address space, but this process has only "
        f"{max(limit - used, 0) // _MB} MB left of {limit // _MB} MB (ulimit -v, or the memory of a batch job): "
        f"allow at least {(used + need) // _MB} MB"
    )
