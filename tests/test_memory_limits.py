"""Check commands with little address space, in real processes: they end with a message instead of a crash in C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sc_glmm

resource = pytest.importorskip("resource")
if not Path("/proc/self/statm").exists():
    pytest.skip("needs /proc", allow_module_level=True)

FORMULA = "counts ~ disease + (1|sample)"
COMMAND = """
import resource, sys
limit = int(sys.argv.pop(1)) << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.argv[0] = "sc-glmm"
from sc_glmm_command import main
sys.exit(main())
"""


def run(megabytes: int, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, str(megabytes), *map(str, words)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("limits") / "in.h5ad"
    sc_glmm.datasets.simulate(n_samples=8, n_cells=300, n_genes=60, seed=1).write_h5ad(path)
    return path


@pytest.mark.parametrize("megabytes", [200, 400, 600])
def test_too_little_memory_for_the_packages_gives_a_message(source, tmp_path, megabytes):
    result = run(megabytes, "test", source, FORMULA, "-o", tmp_path / "out.csv")
    assert result.returncode == 2
    assert result.stderr.startswith("error: loading the numerical packages ")
    assert f"of {megabytes} MB" in result.stderr and "allow at least" in result.stderr
    assert "Traceback" not in result.stderr and not list(tmp_path.iterdir())


def test_too_little_memory_for_the_kernels_gives_a_message(source, tmp_path):
    result = run(1000, "test", source, FORMULA, "-o", tmp_path / "out.csv", NUMBA_CACHE_DIR=str(tmp_path / "kernels"))
    assert result.returncode == 2, result.stderr
    assert "error: compiling the kernels " in result.stderr and "sc-glmm compile" in result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "out.csv").exists()


def test_sufficient_memory_gives_no_message(source, tmp_path):
    sc_glmm.tl.test(source, FORMULA, copy=True, progress=False)  # compiles
    result = run(3000, "test", source, FORMULA, "-o", tmp_path / "out.csv", "-q", "--n-jobs", 1)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "out.csv").exists()
