"""The address space that this process may take, where it is limited: ``ulimit -v``, and some batch systems."""

from __future__ import annotations

import os

_MB = 1 << 20


def address_space() -> tuple[int, int] | None:
    """Bytes of address space that this process may take and that it has taken; None without a limit."""
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
    """What to say if `need` more bytes of address space are not to be had for `what`; None if they are.

    Libraries in C end the process, or never return, when they get none: this is asked before they are called.
    """
    found = address_space()
    if found is None or found[0] - found[1] >= need:
        return None
    limit, used = found
    return (
        f"{what} takes about {need // _MB} MB of address space, and this process has {max(limit - used, 0) // _MB} MB "
        f"left of {limit // _MB} MB (ulimit -v, or the memory of a batch job): allow at least {(used + need) // _MB} MB"
    )
