"""Check workers: their number, one BLAS thread in each, identical results, and Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_info, threadpool_limits

import sc_glmm
from sc_glmm._parallel import resources
from sc_glmm._parallel.blocks import run_blocks
from sc_glmm._parallel.resources import available_cpus, cgroup_quota, resolve_n_jobs


@pytest.fixture
def alone(monkeypatch):
    """Simulate a machine with eight CPUs and no limits."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(resources, "cgroup_quota", lambda: None)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_cpus_are_those_of_the_affinity_and_of_slurm(alone) -> None:
    assert available_cpus() == resolve_n_jobs(None) == resolve_n_jobs(-1) == 8
    alone.setenv("SLURM_CPUS_ON_NODE", "6")
    assert available_cpus() == 6
    alone.setenv("SLURM_CPUS_PER_TASK", "3")
    assert available_cpus() == 3
    alone.setenv("SLURM_CPUS_PER_TASK", "64")  # more CPUs than the affinity allows
    assert available_cpus() == 8
    alone.setattr(resources, "cgroup_quota", lambda: 1.5)
    assert available_cpus() == 2
    alone.setattr(resources, "cgroup_quota", lambda: 0.2)
    assert available_cpus() == 1
    assert resolve_n_jobs(5) == 5


def make(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("lines", "files", "quota"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2.0),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {}, None),
        ("0::/slurm/job/step", {"slurm/job/cpu.max": "150000 100000", "slurm/job/step/cpu.max": "max 100000"}, 1.5),
        ("0::/a/b", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "100000 100000"}, 1.0),
        ("0::/a/b", {"cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, 1.0),
        ("4:cpu,cpuacct:/job\n3:memory:/job", {"cpu,cpuacct/job/cpu.cfs_quota_us": "300000",
                                               "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}, 3.0),
        ("4:cpu,cpuacct:/job", {"cpu,cpuacct/job/cpu.cfs_quota_us": "-1",
                                "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
    ],
)  # fmt: skip
def test_quota_of_the_cgroup(tmp_path, lines: str, files: dict, quota: float | None) -> None:
    make(tmp_path, files)
    (tmp_path / "own").write_text(lines)
    assert cgroup_quota(str(tmp_path / "own"), str(tmp_path)) == quota
    if lines == "0::/":
        assert cgroup_quota(str(tmp_path / "none"), str(tmp_path)) == quota


def blas_threads(_: object = None) -> list[int]:
    np.linalg.inv(np.eye(2))  # load BLAS in a new process
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_blas_has_one_thread_in_workers_and_its_own_afterwards(backend: str, n_jobs: int) -> None:
    with threadpool_limits(limits=2, user_api="blas"), joblib.parallel_config(backend):
        before = blas_threads()
        seen = list(run_blocks(blas_threads, (), [(i,) for i in range(4)], n_jobs))
        assert blas_threads() == before
    assert len(seen) == 4
    assert seen[0]
    assert {n for threads in seen for n in threads} == {1}


def test_the_same_bits_for_any_number_of_jobs_and_backend() -> None:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=200, seed=5)
    formula = "counts ~ disease + (1|sample)"
    sc_glmm.tl.test(adata, formula, reference={"disease": "ctl"}, n_jobs=1)
    one = sc_glmm.get.results(adata, columns="all")
    # workers of an earlier test may still be ending
    get_reusable_executor().shutdown(wait=True)
    with joblib.parallel_config("loky"):
        sc_glmm.tl.test(adata, formula, reference={"disease": "ctl"}, n_jobs=2)
    other = sc_glmm.get.results(adata, columns="all")
    assert one.equals(other)


_LONG = """
import signal
import sys
import numpy as np
import sc_glmm

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=1500, seed=1)
    rng = np.random.default_rng(0)
    adata.obs["u"], adata.obs["v"] = rng.normal(size=(2, 800))
    formula = "counts ~ disease + u + v + (1|sample)"
    try:
        sc_glmm.tl.test(adata, formula, reference={"disease": "ctl"}, contrasts="disease", n_jobs=int(sys.argv[1]),
                        progress=True, test="t")
    except KeyboardInterrupt:
        print("stopped", [key for key in adata.uns if key != "truth"], list(adata.varm))
        small = adata[:, :4].copy()
        sc_glmm.tl.test(small, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, test="t", n_jobs=2)
        print("and again", len(sc_glmm.get.results(small, columns="all")))
        sys.exit(7)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupt_stops_the_fits_without_changing_the_object(tmp_path, n_jobs: int) -> None:
    script = tmp_path / "long.py"
    script.write_text(_LONG)
    root = Path(sc_glmm.__file__).parents[1]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = subprocess.Popen(
        [sys.executable, str(script), str(n_jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert child.stderr is not None
    message = b""
    while not re.search(rb"fits: +[1-9]", message):  # the first block of genes is finished
        piece = os.read(child.stderr.fileno(), 4096)
        if not piece:
            break
        message += piece
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=300)
    assert child.returncode == 7, (message + err).decode()
    assert out.decode().splitlines() == ["stopped [] []", "and again 4"]
