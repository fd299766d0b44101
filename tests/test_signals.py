"""Check Ctrl-C and SIGTERM: a command ends with the exit code of a shell at any time, and leaves complete files."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import pytest

import sc_glmm

FORMULA = "counts ~ disease + (1|sample)"
# as in the script of the command
COMMAND = "from sc_glmm_command import main; main()"
# a process that gets a signal when it imports a module or calls a function of the operating system
ON_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
"""
ON_CALL = """
import os, signal
real = os.{function}
def call(*args):
    os.{function} = real
    os.kill(os.getpid(), {number})
    return real(*args)
os.{function} = call
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "in.h5ad"
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=240, n_genes=40, seed=8)
    del adata.uns["truth"]
    adata.write_h5ad(path)
    return path


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code + COMMAND, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["typer", "anndata", "numba", "h5py"])
def test_a_signal_during_an_import(data, tmp_path, module, number):
    ended = run(ON_IMPORT.format(module=module, number=int(number)), "test", data, FORMULA, "-o", tmp_path / "out.csv")
    assert ended.returncode == 128 + number
    assert ended.stderr.splitlines()[-1].startswith(("interrupted", "terminated"))
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_preempted_chunk_keeps_finished_parts_and_continues(data, tmp_path, forks):
    chunk = ("test", data, FORMULA, "--test", "lrt", "--n-chunks", 2, "-o", tmp_path / "parts", "--chunk")
    assert forks.run(COMMAND, *chunk, 0).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    ended = forks.run(ON_CALL.format(function="fsync", number=int(signal.SIGTERM)) + COMMAND, *chunk, 1)
    assert ended.returncode == 143, ended.stderr
    assert "terminated: all files are intact; run the same command again" in ended.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()} == before
    again = forks.run(COMMAND, *chunk, 1)
    assert again.returncode == 0 and "is already finished" not in again.stdout
    assert "is already finished" in forks.run(COMMAND, *chunk, 0).stdout


def test_change_of_a_file_is_finished_before_the_exit(data, tmp_path, forks):
    path = tmp_path / "data.h5ad"
    path.write_bytes(data.read_bytes())
    in_place = "from sc_glmm.{} import journal; journal.COPY_BYTES = 0\n".format("_adata")
    dying = ON_CALL.format(function="pwrite", number=int(signal.SIGTERM))
    ended = forks.run(dying + in_place + COMMAND, "test", path, FORMULA, "--test", "lrt", "-o", path, "-q")
    assert ended.returncode == 143, ended.stderr
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert "glmm" in ad.read_h5ad(path).uns
    with h5py.File(path) as file:
        assert "glmm" in file["varm"]
