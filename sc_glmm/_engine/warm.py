"""Compile the two large entries at the same time: the profiles in a process of their own, while the fits are compiled.

numba compiles under one lock, so that threads do not help. The other process writes numba's cache on disk, and this
one reads it from there. If the other fails for whatever reason, the profiles are compiled here when they are needed.

What it saves is a fifth of the wait before the first moderated test: 54 seconds instead of 66. (Wall seconds on two
idle CPUs, numba 0.68: the first plain fit takes 37, and the first moderated test after it 29 more. Processor seconds
of the profiles alone: 40, because another process cannot share kernels. Run again when this changes; without a gain,
this module should go.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sc_glmm._engine import entry, profile
from sc_glmm._families.cache import is_compiled, is_kept

_COMMAND = "from sc_glmm._engine.grid_profiles import compile_profiles; compile_profiles()"

_child: subprocess.Popen[bytes] | None = None


def announcement() -> str | None:
    """Return the message before the first fit if kernels must be compiled; it tells whether they can be stored."""
    if is_compiled(entry.fit_block):
        return None
    if is_kept(entry.fit_block):
        return "Compiling the kernels, once after installation; this takes up to a minute ..."
    return (
        "Compiling the kernels; this takes up to a minute in every process, because neither the folder of the "
        "package nor the home of the user can be written to. Set NUMBA_CACHE_DIR to a folder that can be, or run "
        "'sc-glmm compile' when the image or the environment is built"
    )


def start() -> None:
    """Start to compile the profiles in another process, once."""
    global _child
    if _child is not None or not sys.executable or not is_kept(profile.profile_block):
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
    """Wait for the other process to end, if there is one."""
    if _child is not None and _child.returncode is None:
        _child.wait()
