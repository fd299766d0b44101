"""Compile the two large entries in processes of their own, while this one compiles the kernels of the statistics.

numba compiles under one lock, so that threads do not help. The other processes write numba's cache on disk, and this
one reads it from there. If another fails for whatever reason, its entry is compiled here when it is needed.

With two CPUs there is one other process: it compiles the profiles if they are needed, otherwise the fits. The first
plain test takes 23 seconds and the first moderated one 36. In one process, they would take the sum of the processor
seconds: 8 for the statistics, 21 for the fits and 30 for the profiles. (Wall seconds on two idle CPUs, numba 0.68. Run
again when this changes; without a gain, this module should go.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sc_glmm._engine import entry, profile
from sc_glmm._families.cache import is_compiled, is_kept

from .._parallel.resources import available_cpus

_COMMAND = "from sc_glmm._engine.compilation import compile_{0}; compile_{0}()"
_ENTRIES = {"fits": entry.fit_block, "profiles": profile.profile_block}

_children: dict[str, subprocess.Popen[bytes]] = {}


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


def start(moderated: bool) -> None:
    """Start to compile in other processes what can be compiled at the same time, once.

    This process compiles the kernels of the statistics. With two CPUs there is one other process.

    Parameters
    ----------
    moderated
        Whether profiles are needed in addition to fits.
    """
    n_others = available_cpus() - 1
    wanted = [name for name, needed in (("profiles", moderated), ("fits", True)) if needed]
    for name in [name for name in wanted if not is_compiled(_ENTRIES[name])][:n_others]:
        if name not in _children and sys.executable and is_kept(_ENTRIES[name]):
            _children[name] = _compile_elsewhere(name)


def _compile_elsewhere(name: str) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND.format(name)],
        env={**os.environ, "PYTHONPATH": path, "SC_GLMM_ACCESSOR": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait(name: str) -> None:
    """Wait for the process that compiles an entry to end, if there is one: "fits" or "profiles"."""
    child = _children.get(name)
    if child is not None and child.returncode is None:
        child.wait()
