"""Check a read-only installation and a user without a home, as another user in separate processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm._adata import journal
from sc_glmm._adata.store import Store

NOBODY = 65534
# Rights of the user nobody, plus read access, because Python may be in a folder of root.
SETPRIV = [
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]
KERNEL = """
import numpy as np, sys
from sc_glmm._compress import kernels
print(kernels.sparse_block(np.eye(3))[1].tolist(), len(kernels.sparse_block.stats.cache_hits))
"""
COMMANDS = """
import os, sys
from pathlib import Path
from typer.testing import CliRunner
import sc_glmm
from sc_glmm.cli import app
for words in (["info", "data.h5ad"], ["test", "data.h5ad", "counts ~ a + (1|b)", "-o", "data.h5ad"],
              ["test", "data.h5ad", "counts ~ a + (1|b)", "-o", "out.csv"]):
    made = CliRunner().invoke(app, words)
    print(made.exit_code, made.output.replace("\\n", " | "))
try:
    sc_glmm.recover("data.h5ad")
except sc_glmm.InputError as error:
    print(error)
"""
EVERYTHING = """
import sc_glmm.cli, sc_glmm.models, sc_glmm.pl, sc_glmm.tl
from sc_glmm._engine import warm
print(warm.announcement())
try:
    sc_glmm.compile_kernels()
except sc_glmm.InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """Copy the package without compiled kernels."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs the rights to become another user, and setpriv")
    folder = tmp_path_factory.mktemp("lib")
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(sc_glmm.__file__).parent, folder / "sc_glmm", ignore=leave)
    return folder


def run(package: Path, code: str, *, user: bool, folder: Path | str = "/", **more: str) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    env |= {"PYTHONPATH": str(package), "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **more}
    command = [*(SETPRIV if user else []), sys.executable, "-W", "error", "-c", code]
    process = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
    if "setpriv:" in process.stderr:
        pytest.skip(f"setpriv cannot be used here: {process.stderr}")
    assert process.returncode == 0, process.stderr
    return process.stdout


def compiled_kernels(package: Path) -> list[Path]:
    return sorted(package.rglob("*.nb[ic]"))


def test_run_without_a_folder_for_kernels_gives_a_note(package):
    assert run(package, KERNEL, user=True) == "[0, 1, 2] 0\n"
    notes = run(package, EVERYTHING, user=True)
    assert "in every process" in notes and "Set NUMBA_CACHE_DIR" in notes and "sc-glmm compile" in notes
    assert "compiled kernels cannot be stored" in notes
    assert compiled_kernels(package) == []


def test_intact_kernels_of_root_are_used_by_other_users(package):
    run(package, KERNEL, user=False)
    before = {path: path.read_bytes() for path in compiled_kernels(package)}
    assert before and run(package, KERNEL, user=True) == "[0, 1, 2] 1\n"
    for path in before:
        path.write_bytes(before[path][: len(before[path]) // 2])
    for user in (True, False):
        assert run(package, KERNEL, user=user) == "[0, 1, 2] 0\n"


def test_a_folder_of_the_user_is_used(package, tmp_path):
    for path in compiled_kernels(package):  # kernels beside the package would have priority
        path.unlink()
    own = tmp_path / "kernels"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    for hits in (0, 1):
        assert run(package, KERNEL, user=True, NUMBA_CACHE_DIR=str(own)) == f"[0, 1, 2] {hits}\n"
    assert compiled_kernels(own)


def test_folder_of_another_user_with_results_beside_a_file(package, tmp_path, monkeypatch):
    path = tmp_path / "data.h5ad"
    genes = pd.Index(["x", "y", "z"])
    ad.AnnData(sp.eye(2, 3, format="csr"), var=pd.DataFrame(index=genes)).write_h5ad(path)
    adata = ad.AnnData(obs=pd.DataFrame(index=["a", "b"]), var=pd.DataFrame(index=genes))
    adata.varm["glmm"] = pd.DataFrame({"mean": [1.0, 2.0, 3.0]}, index=genes)
    adata.uns["glmm"] = {"params": {"varm": []}}
    monkeypatch.setattr(journal, "COPY_BYTES", 0)
    monkeypatch.setattr(journal, "_finish", lambda *_: None)
    Store(path).write_results(adata, "glmm")
    tmp_path.chmod(0o755)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert len(before) == 2
    info, same, other, recovered = run(package, COMMANDS, user=True, folder=tmp_path).splitlines()
    assert info.startswith("0 ") and "results of an interrupted run are stored next to data.h5ad" in info
    assert same.startswith("2 ") and "is not writable" in same
    assert other.startswith("2 ") and "is not writable" in other
    assert "the lock file" in recovered and "Make the folder writable" in recovered
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
