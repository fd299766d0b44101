"""Check the separate process that compiles the profiles: it runs once, with the types of runs, and is optional."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import sc_glmm
from sc_glmm._engine import profile, warm
from sc_glmm._engine.grid_profiles import compile_profiles


class Child:
    """A process that is still running."""

    returncode: int | None = None
    waited = 0

    def wait(self) -> None:
        self.waited += 1
        self.returncode = 0


@pytest.fixture
def children(monkeypatch) -> list[Any]:
    results: list[Any] = []

    def popen(command, **options):
        child = Child()
        results.append((child, command, options))
        return child

    monkeypatch.setattr(warm, "_child", None)
    monkeypatch.setattr(subprocess, "Popen", popen)
    return results


def test_one_process_is_started_and_joined_once(children):
    warm.wait()
    warm.start()
    warm.start()
    ((child, command, options),) = children
    assert command[0] == sys.executable
    assert "compile_profiles()" in command[-1]
    assert options["env"]["PYTHONPATH"]
    warm.wait()
    warm.wait()
    assert child.waited == 1


def test_the_other_process_compiles_the_types_that_runs_use():
    compile_profiles()
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=240, n_genes=60, seed=1)
    for family in ("nb", "poisson"):
        sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", family=family, reference={"disease": "ctl"})
    assert len(profile.profile_block.signatures) == 1


def test_compiled_kernels_are_found():
    compile_profiles()
    assert warm.is_compiled(profile.profile_block)


def test_the_command_runs_in_a_process_of_its_own():
    process = subprocess.run([sys.executable, "-c", warm._COMMAND], check=False, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
