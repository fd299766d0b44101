"""Compile the two large entries at the same time: the profiles in a process of their own, while the fits are compiled.

numba compiles under one lock, so that threads do not help. The other process writes numba's cache on disk, and this
one reads it from there. If the other fails for whatever reason, the profiles are compiled here when they are needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_COMMAND = "from sc_glmm._engine.fit import compile_profiles; compile_profiles()"

_child: subprocess.Popen[bytes] | None = None


def is_compiled(entry: Any) -> bool:
    """Whether a compiled entry is loaded, or lies in numba's cache on disk."""
    if entry.signatures:
        return True
    folder, name = Path(entry.stats.cache_path), f"{Path(entry.py_func.__code__.co_filename).stem}.{entry.__name__}"
    return any(folder.glob(f"{name}-*.nbi"))


def start() -> None:
    """Begin to compile the profiles in another process, once."""
    global _child
    if _child is not None or not sys.executable:
        return
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    _child = subprocess.Popen(
        [sys.executable, "-c", _COMMAND],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait() -> None:
    """Wait for the other process, if there is one."""
    if _child is not None and _child.returncode is None:
        _child.wait()
