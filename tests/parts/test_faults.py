"""Check faults of real processes, killed while writing or out of disk space: a restart gives the same results."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._run.options import RunOptions
from sc_glmm._run.parts.chunks import run_chunk
from sc_glmm._run.parts.combine import combine
from sc_glmm._run.parts.folder import open_run

FORMULA = "counts ~ disease + (1|sample)"
COMMAND = "from sc_glmm_command import main; main()"
# The process is killed when all data are written, but nothing is synced or renamed.
KILLED = "import os, signal; os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
# The process is killed during a write.
HALF = """
import os, signal, zipfile
write, calls = zipfile._ZipWriteFile.write, []
def half(self, data):
    calls.append(len(data))
    if len(calls) > 20:
        self._fileobj.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, data)
zipfile._ZipWriteFile.write = half
"""

# a process with another version of the package
OTHER = """
import importlib.metadata as metadata
version = metadata.version
metadata.version = lambda name: "0.0.1" if name == "sc-glmm" else version(name)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "in.h5ad"
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=240, n_genes=70, seed=8)
    adata.layers["counts"] = adata.layers["counts"].tocsc()
    del adata.uns["truth"]
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> pd.DataFrame:
    adata = ad.read_h5ad(data)
    sc_glmm.tl.test(adata, FORMULA)
    return sc_glmm.get.results(adata, columns="all")


def test_restart_after_kills_and_a_full_disk_gives_the_same_results(data, undisturbed, tmp_path, forks):
    folder = tmp_path / "parts"
    chunk = ("test", data, FORMULA, "--n-chunks", 2, "-o", folder, "--chunk")
    killed = forks.run(KILLED + COMMAND, *chunk, 0)
    assert killed.returncode == -signal.SIGKILL
    # not even the manifest was renamed
    assert [path.name for path in folder.iterdir() if not path.name.endswith(".tmp")] == []

    first = forks.run(COMMAND, *chunk, 0)
    assert first.returncode == 0, first.stderr
    before = (folder / "fit-0000.npz").read_bytes()

    half = forks.run(HALF + COMMAND, *chunk, 1)
    assert half.returncode == -signal.SIGKILL
    (torn,) = folder.glob(".fit-0001.npz.*.tmp")
    assert torn.stat().st_size > 0
    assert not (folder / "fit-0001.npz").exists()

    full = forks.run(COMMAND, *chunk, 1, limit=20_000)
    assert full.returncode == 2
    assert "fit-0001.npz could not be written" in full.stderr
    assert "run the same command again" in full.stderr
    assert not list(folder.glob(".fit-0001*"))

    stranger = subprocess.run(
        [sys.executable, "-c", OTHER + COMMAND, *map(str, chunk), "1"], capture_output=True, text=True
    )
    assert stranger.returncode == 2
    assert "contains the parts of another run (version of sc_glmm" in stranger.stderr
    assert not (folder / "fit-0001.npz").exists()

    gap = forks.run(COMMAND, "combine", folder, "-o", tmp_path / "out.csv")
    assert gap.returncode == 2
    assert "chunk 1 of stage 'fit' is missing" in gap.stderr
    assert not (tmp_path / "out.csv").exists()

    again = forks.run(COMMAND, *chunk, 1)
    assert again.returncode == 0, again.stderr
    assert (folder / "fit-0000.npz").read_bytes() == before

    # combine is killed during a stage that it does itself, and continues it after a restart
    interrupted = forks.run(KILLED + COMMAND, "combine", folder, "-o", tmp_path / "out.csv")
    assert interrupted.returncode == -signal.SIGKILL
    finished = forks.run(COMMAND, "combine", folder, "-o", tmp_path / "out.csv")
    assert finished.returncode == 0, finished.stderr
    assert not [path for path in (*folder.iterdir(), *tmp_path.iterdir()) if path.name.startswith(".")]
    table = pd.read_csv(tmp_path / "out.csv", index_col=False)
    for name in ("log_fc", "p_value", "adj_p_value", "loglik"):
        pd.testing.assert_series_equal(
            table[name], undisturbed[name].reset_index(drop=True), check_exact=False, rtol=1e-12
        )


def test_damaged_input_stops_a_chunk_and_an_intact_copy_finishes_it(data, undisturbed, tmp_path, forks):
    path, folder = tmp_path / "in.h5ad", tmp_path / "parts"
    ad.read_h5ad(data).write_h5ad(path, compression="gzip")
    sound = path.read_bytes()
    run_chunk(open_run(folder, path, RunOptions(FORMULA), 2), "fit", 0)

    with h5py.File(path) as file:
        info = file["layers/counts/data"].id.get_chunk_info(0)
    unreadable = bytearray(sound)
    unreadable[info.byte_offset : info.byte_offset + info.size] = b"\0" * info.size
    for content, message in (
        (unreadable, "chunk 0 cannot be decompressed"),
        (sound[: len(sound) // 2], "truncated file"),
    ):
        path.write_bytes(content)
        failed = forks.run(COMMAND, "test", path, FORMULA, "--n-chunks", 2, "-o", folder, "--chunk", 1)
        assert failed.returncode == 2
        assert message in failed.stderr and "intact copy" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert not list(folder.glob("*fit-0001*"))

    path.write_bytes(sound)
    run_chunk(open_run(folder, path, RunOptions(FORMULA), 2), "fit", 1)
    result = sc_glmm.get.results(combine(folder).opened.adata, columns="all")
    pd.testing.assert_series_equal(result["p_value"], undisturbed["p_value"], rtol=1e-12)


def test_a_disk_that_is_full_when_results_are_written_into_the_file(data, undisturbed, tmp_path, forks):
    path = Path(shutil.copy(data, tmp_path / "in.h5ad"))
    with h5py.File(path, "a") as file:
        file["other"] = np.arange(100_000.0)  # the file is larger than the results, for any version of the libraries
    test, before = ("test", path, FORMULA, "-o", path, "-q"), path.read_bytes()
    nothing = forks.run(COMMAND, *test, limit=1000)
    assert nothing.returncode == 2
    assert "could not be written into" in nothing.stderr and "the file was not changed" in nothing.stderr
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["in.h5ad"]
    # there is space for the files beside it, but not for a longer file
    beside = forks.run(COMMAND, *test, limit=len(before) + 100)
    assert beside.returncode == 2
    assert "the results are stored next to it" in beside.stderr
    assert path.read_bytes() == before
    assert sc_glmm.recover(path)
    pd.testing.assert_frame_equal(sc_glmm.get.results(path, columns="all"), undisturbed)


@pytest.mark.parametrize("name", ["out.h5ad", "out.csv"])
def test_next_run_removes_temporary_files_of_a_killed_process(data, tmp_path, name, forks):
    test = ("test", data, FORMULA, "-o", tmp_path / name, "-q", "--test", "lrt")
    # a table is replaced in one step, an .h5ad file is synced before
    dying = KILLED if name.endswith("h5ad") else KILLED.replace("os.fsync = lambda _:", "os.replace = lambda *_:")
    assert forks.run(dying + COMMAND, *test).returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".*")) and not (tmp_path / name).exists()
    finished = forks.run(COMMAND, *test)
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
