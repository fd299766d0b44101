"""Run the examples for SLURM with a fake SLURM that runs jobs on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest

import sc_glmm

FORMULA = "counts ~ disease + (1|sample)"
ROOT = Path(sc_glmm.__file__).parents[1]
EXAMPLES = ROOT / "examples" / "slurm"
pytestmark = [
    pytest.mark.skipif(not EXAMPLES.exists(), reason="the examples are not beside this package"),
    pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash"),
]


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=240, n_genes=70, seed=8)
    adata.layers["counts"] = adata.layers["counts"].tocsc()
    del adata.uns["truth"]
    return adata


@pytest.fixture
def slurm(tmp_path, adata) -> dict[str, str]:
    """Prepare an environment with ``sbatch``, ``scancel`` and ``sc-glmm``, and a data file."""
    place, state = tmp_path / "bin", tmp_path / "state"
    place.mkdir()
    state.mkdir()
    fake = Path(__file__).with_name("fake_slurm.py")
    for name in ("sbatch", "scancel"):
        (place / name).write_text(f"#!{sys.executable}\n{fake.read_text()}")
        (place / name).chmod(0o755)
    (place / "sc-glmm").write_text(f"#!{sys.executable}\nfrom sc_glmm_command import main\nmain()\n")
    (place / "sc-glmm").chmod(0o755)
    adata.write_h5ad(tmp_path / "in.h5ad")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        "PATH": f"{place}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": path,
        "FAKE_SLURM": str(state),
    }


def expected(adata: ad.AnnData, **options) -> pd.DataFrame:
    return sc_glmm.get.results(sc_glmm.tl.test(adata, FORMULA, copy=True, **options), columns="all").reset_index(
        drop=True
    )


def test_job_arrays(slurm, adata, tmp_path) -> None:
    env = {**slurm, "SC_GLMM_OPTIONS": "--test t"}
    submit = ["bash", str(EXAMPLES / "submit.sh"), "in.h5ad", FORMULA, "2", "parts", "out.csv"]
    run = subprocess.run(submit, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr + run.stdout
    jobs = [json.loads(path.read_text()) for path in sorted((tmp_path / "state").glob("*.json"))]
    assert [(job["name"], job["code"], job["tasks"]) for job in jobs] == [
        ("prepare", 0, 1),
        ("fit", 0, 2),
        ("combine", 0, 1),
    ]
    table = pd.read_csv(tmp_path / "out.csv")
    pd.testing.assert_frame_equal(
        table[["variable", "p_value"]], expected(adata, test="t")[["variable", "p_value"]], rtol=1e-9
    )


def test_a_cluster_of_dask_jobqueue(slurm, adata, tmp_path) -> None:
    pytest.importorskip("dask_jobqueue")
    pytest.importorskip("distributed")
    command = [sys.executable, str(EXAMPLES / "dask_cluster.py"), "in.h5ad", FORMULA, "--csv", "out.csv"]
    sizes = ["--jobs", "2", "--cores", "1", "--memory", "1GB", "--queue", "short", "--walltime", "00:10:00"]
    run = subprocess.run([*command, *sizes], cwd=tmp_path, env=slurm, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    scripts = [path.read_text() for path in (tmp_path / "state").glob("*.sh")]
    assert len(scripts) == 2
    for line in ("#SBATCH -p short", "#SBATCH --cpus-per-task=1", "#SBATCH -t 00:10:00", "OPENBLAS_NUM_THREADS=1"):
        assert line in scripts[0]
    jobs = [json.loads(path.read_text()) for path in (tmp_path / "state").glob("*.json")]
    assert all(job["cancelled"] for job in jobs), "jobs were left running"
    ours, whole = pd.read_csv(tmp_path / "out.csv"), expected(adata)
    pd.testing.assert_frame_equal(ours[["variable", "p_value"]], whole[["variable", "p_value"]], rtol=1e-8)
    stored = sc_glmm.get.results(tmp_path / "in.h5ad", columns="all").reset_index(drop=True)
    pd.testing.assert_series_equal(stored["p_value"], ours["p_value"], rtol=1e-12)
