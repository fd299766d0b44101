"""Check the processes that compile the entries: each runs once, with the types of runs, and is optional."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import sc_glmm
from sc_glmm._engine import entry, profile, warm
from sc_glmm._engine.compilation import compile_fits, compile_profiles


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

    monkeypatch.setattr(warm, "_children", {})
    monkeypatch.setattr(warm, "is_compiled", lambda entry: False)
    monkeypatch.setattr(subprocess, "Popen", popen)
    return results


@pytest.mark.parametrize(
    ("n_cpus", "moderated", "compiled"),
    [
        (1, True, []),
        (2, True, ["profiles"]),
        (2, False, ["fits"]),
        (3, True, ["profiles", "fits"]),
        (3, False, ["fits"]),
    ],
)
def test_every_process_is_started_and_joined_once(children, monkeypatch, n_cpus, moderated, compiled):
    monkeypatch.setattr(warm, "available_cpus", lambda: n_cpus)
    warm.wait("fits")
    warm.start(moderated)
    warm.start(moderated)
    assert [command[-1].split("; ")[-1] for _, command, _ in children] == [f"compile_{name}()" for name in compiled]
    for name, (child, command, options) in zip(compiled, children, strict=True):
        assert command[0] == sys.executable
        assert options["env"]["PYTHONPATH"]
        warm.wait(name)
        warm.wait(name)
        assert child.waited == 1


def test_other_processes_compile_the_types_that_runs_use():
    compile_fits()
    compile_profiles()
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=240, n_genes=60, seed=1)
    for family in ("nb", "poisson"):
        for test in ("t", "eb_lr"):
            kinds = {"family": family, "test": test, "reference": {"disease": "ctl"}}
            sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", **kinds)
    assert len(entry.fit_block.signatures) == len(profile.profile_block.signatures) == 1


def test_compiled_kernels_are_found():
    compile_fits()
    compile_profiles()
    assert warm.is_compiled(entry.fit_block)
    assert warm.is_compiled(profile.profile_block)


@pytest.mark.parametrize("name", ["fits", "profiles"])
def test_the_command_runs_in_a_process_of_its_own(name):
    command = [sys.executable, "-c", warm._COMMAND.format(name)]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
