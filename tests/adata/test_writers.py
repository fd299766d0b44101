"""Check several processes that write one file: no result is lost or incomplete, and nothing else changes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import InputError, ScGlmmWarning
from sc_glmm._adata import journal, lock, stage
from sc_glmm._adata.store import Store

ROUNDS = Path(__file__).with_name("rounds.py")


def results(key: str = "glmm") -> ad.AnnData:
    """Make small results without a run."""
    adata = ad.AnnData(obs=pd.DataFrame(index=["a", "b"]), var=pd.DataFrame(index=["x", "y", "z"]))
    adata.varm[key] = pd.DataFrame({"mean": [1.0, 2.0, 3.0]}, index=adata.var_names)
    adata.uns[key] = {"params": {"varm": []}}
    return adata


def make(path: Path) -> Path:
    adata = ad.AnnData(sp.eye(2, 3, format="csr"), obs=pd.DataFrame(index=["a", "b"]), var=results().var)
    (adata.write_zarr if path.suffix == ".zarr" else adata.write_h5ad)(path)
    return path


def listing(folder: Path) -> dict[str, str]:
    """List every file below a folder, with a digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(params=["data.h5ad", "data.zarr"])
def store(request, tmp_path) -> Path:
    return make(tmp_path / request.param)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_killed_writers_with_a_concurrent_reader():
    run = subprocess.run([sys.executable, ROUNDS, "1"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("'rounds': 1") == 6


def test_threads_that_write_at_the_same_time_all_succeed(store):
    keys = [f"key{i}" for i in range(6)]
    threads = [threading.Thread(target=lambda k=k: Store(store).write_results(results(k), k)) for k in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(keys) <= set(Store(store).with_results().uns)
    assert sorted(os.listdir(store.parent)) == [store.name]


def test_error_names_a_writer_that_does_not_end(store, monkeypatch):
    monkeypatch.setattr(lock, "WRITER_PATIENCE", 0.1)
    before = listing(store.parent)
    with lock.writing(store):
        with pytest.raises(InputError, match=f"process {os.getpid()} on .* has been writing into it"):
            Store(store).write_results(results(), "glmm")
    assert listing(store.parent) == before


def without_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_file_system_without_locks_allows_one_writer(store, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", without_locks)
    Store(store).write_results(results(), "glmm")
    assert sorted(os.listdir(store.parent)) == [store.name] and "glmm" in Store(store).with_results().uns
    claim = lock._claim_path(store)
    claim.write_text(f"process 999999999 on {lock.socket.gethostname()}")
    with pytest.raises(InputError, match=r"was killed while it wrote results.*no locks.*Remove .*claim and run again"):
        Store(store).write_results(results("other"), "other")
    monkeypatch.setattr(lock, "WRITER_PATIENCE", 0.1)
    claim.write_text("process 7 on elsewhere")
    with pytest.raises(InputError, match="process 7 on elsewhere has been writing"):
        Store(store).write_results(results("other"), "other")
    assert "other" not in Store(store).with_results().uns


def test_two_names_of_one_file_are_one_file(store, monkeypatch):
    link = store.parent / "elsewhere" / store.name
    link.parent.mkdir()
    link.symlink_to(store)
    monkeypatch.setattr(lock, "WRITER_PATIENCE", 0.1)
    with lock.writing(store), pytest.raises(InputError, match="has been writing into it"):
        Store(link).write_results(results(), "glmm")
    Store(link).write_results(results(), "glmm")
    assert link.is_symlink() and "glmm" in Store(store).with_results().uns
    assert os.listdir(link.parent) == [store.name]


def test_genes_changed_by_another_process_are_rejected(store):
    opened = Store(store)
    shutil.rmtree(store) if store.is_dir() else store.unlink()
    other = ad.AnnData(sp.eye(2, 4, format="csr"), var=pd.DataFrame(index=list("xyzw")))
    (other.write_zarr if store.suffix == ".zarr" else other.write_h5ad)(store)
    before = listing(store)
    with pytest.raises(InputError, match="now has other genes"):
        opened.write_results(results(), "glmm")
    assert listing(store) == before


# ----------------------------------------------------------------------------------------------------------------------
# Files beside a data file that this program did not write.


def forge(path: Path, added: dict[str, str], removed: list[str]) -> Path:
    """Make a stage with a valid list."""
    folder = stage.stage_path(path)
    for group in ("varm", "uns"):
        (folder / group).mkdir(parents=True)
    (folder / "sc-glmm.json").write_bytes(stage._sealed({"added": added, "removed": removed}))
    return folder


@pytest.mark.parametrize("door", ["info", "get", "recover", "write"])
@pytest.mark.parametrize("name", ["../victim", "ABSOLUTE", "varm/../../victim", "obs", "varm", "varm/..", "uns/a/b"])
def test_forged_list_changes_only_results(tmp_path, name, door):
    path, victim = make(tmp_path / "data.zarr"), tmp_path / "victim"
    victim.mkdir()
    (victim / "thesis.txt").write_text("years of work")
    folder = forge(path, {}, [str(victim) if name == "ABSOLUTE" else name])
    (folder / "sc-glmm.txt").write_text(f"-{name}")  # in the format of an earlier version
    before = listing(tmp_path)
    if door in ("info", "get"):
        with pytest.warns(ScGlmmWarning, match="does not contain complete results .*is read without these results"):
            Store(path).with_results() if door == "info" else Store(path).results("glmm")
    else:
        warnings.simplefilter("ignore", ScGlmmWarning)
        with pytest.raises(InputError, match=r"its list contains .*only in varm/<name> and uns/<name>"):
            sc_glmm.recover(path) if door == "recover" else Store(path).write_results(results(), "glmm")
    assert listing(tmp_path) == before


def test_damaged_stage_and_stage_with_other_paths_are_rejected(tmp_path):
    path = make(tmp_path / "data.zarr")
    folder = forge(path, {"varm/x": "0" * 64}, [])
    (folder / "varm" / "x").mkdir()
    with pytest.raises(InputError, match="varm/x does not match its digest"):
        sc_glmm.recover(path)
    sealed = json.loads((folder / "sc-glmm.json").read_text())
    (folder / "sc-glmm.json").write_text(json.dumps({**sealed, "content": sealed["content"].replace("x", "y")}))
    with pytest.raises(InputError, match="its list does not match the digest"):
        sc_glmm.recover(path)
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)
    with pytest.raises(InputError, match="it is not a folder"):
        sc_glmm.recover(path)
    folder.unlink()
    (tmp_path / "other").mkdir()
    forge(path, {}, ["varm/x"])
    shutil.rmtree(path / "varm")
    (path / "varm").symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match="is a link"):
        sc_glmm.recover(path)


@pytest.mark.parametrize("name", ["../obs", "/obs", "..", "a/b", "../../X"])
def test_names_in_a_malicious_file_remove_only_results(store, name):
    result = results()
    result.uns["glmm"] = {"params": {"varm": [name]}}
    whole = ad.read_zarr(store) if store.suffix == ".zarr" else ad.read_h5ad(store)
    whole.uns["glmm"] = result.uns["glmm"]
    (whole.write_zarr if store.suffix == ".zarr" else whole.write_h5ad)(store)
    Store(store).write_results(results(), "glmm")
    after = ad.read_zarr(store) if store.suffix == ".zarr" else ad.read_h5ad(store)
    assert list(after.obs_names) == ["a", "b"] and after.X.sum() == 2 and "glmm" in after.varm


@pytest.mark.parametrize("key", ["..", ".", ""])
def test_invalid_key_is_rejected(store, key):
    before = listing(store.parent)
    result = results()
    result.uns[key] = result.uns.pop("glmm")
    with pytest.raises(InputError, match="cannot be the name of an entry"):
        Store(store).write_results(result, key)
    assert listing(store.parent) == before


def interrupted(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave results beside a file, as a process does that is killed before it puts them in."""

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(journal, "COPY_BYTES", 0)
        patch.setattr(journal, "_finish", killed)
        patch.setattr("sc_glmm._adata.store.move_in", killed)
        with pytest.raises(SystemExit):
            Store(store).write_results(results(), "glmm")


def test_readers_use_results_beside_a_file_and_change_nothing(store, monkeypatch):
    interrupted(store, monkeypatch)
    before = listing(store.parent)
    with pytest.warns(ScGlmmWarning, match=r"results of an interrupted run are stored next to .*sc_glmm\.recover"):
        assert list(Store(store).with_results().varm["glmm"]["mean"]) == [1, 2, 3]
    with pytest.warns(ScGlmmWarning, match="results of an interrupted run"):
        assert "glmm" in Store(store).results("glmm").uns
    assert listing(store.parent) == before
    assert sc_glmm.recover(store) and not sc_glmm.recover(store)
    assert sorted(os.listdir(store.parent)) == [store.name] and "glmm" in Store(store).with_results().uns


def test_next_writer_removes_files_of_killed_processes(store):
    host = lock.socket.gethostname()
    ours, beside = stage.stage_path(store), store.parent
    dead, alive = 999_999_999, os.getppid()
    for name in (store.name, ours.name, journal.journal_path(store).name):
        for pid in (dead, alive):
            (beside / f".{name}.new.{host}-{pid}.tmp").mkdir()
            (beside / f".{name}.copy.{host}-{pid}.tmp").write_text("half")
    (beside / "mine.tmp").write_text("not ours")
    Store(store).write_results(results(), "glmm")
    assert not [name for name in os.listdir(beside) if f"-{dead}" in name]
    assert len([name for name in os.listdir(beside) if f"-{alive}" in name]) == 6 and (beside / "mine.tmp").exists()


def test_empty_or_foreign_journal_gives_a_warning_and_is_not_changed(tmp_path):
    path = make(tmp_path / "data.h5ad")
    for content in (b"", b"something else", journal.Journal(10**9, 10**9, []).to_bytes()):
        journal.journal_path(path).write_bytes(content)
        before = listing(tmp_path)
        with pytest.warns(ScGlmmWarning, match="is read without these results"):
            Store(path).with_results()
        with pytest.raises(InputError):
            sc_glmm.recover(path)
        assert listing(tmp_path) == before
    with h5py.File(path) as opened:
        np.testing.assert_array_equal(opened["X/data"][:], [1, 1])
