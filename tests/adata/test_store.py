"""Check data on disk: the same results as in memory, results written into the file, errors about damage."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sc_glmm
from sc_glmm import InputError
from sc_glmm._adata import journal, lock
from sc_glmm._adata.hdf5 import H5Reader
from sc_glmm._adata.store import Store
from sc_glmm._compress import count_problem, library_size, source

FORMULA = "counts ~ disease + (1|sample)"
DISK = {"reference": {"disease": "ctl"}, "progress": False}


@pytest.fixture(scope="module")
def adata():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=600, n_genes=80, seed=3)
    counts = adata.layers["counts"].tolil()
    counts[5, 7] = 700
    counts = counts.tocsr().astype(np.float32)
    adata.layers["counts"], adata.layers["csc"], adata.layers["dense"] = counts, counts.tocsc(), counts.toarray()
    adata.obs["half"] = np.where(np.arange(600) % 3 == 0, "a", "b")
    adata.X = counts.copy()
    return adata


@pytest.fixture(scope="module")
def tested(adata):
    return sc_glmm.tl.test(adata, FORMULA, copy=True, **DISK)


@pytest.fixture(scope="module")
def expected(tested):
    return sc_glmm.get.results(tested, columns="all")


@pytest.fixture(scope="module")
def folder(adata, tmp_path_factory):
    """Write the data to every kind of file."""
    folder = tmp_path_factory.mktemp("files")
    adata.write_h5ad(folder / "plain.h5ad")
    adata.write_h5ad(folder / "gzip.h5ad", compression="gzip")
    adata.write_h5ad(folder / "lzf.h5ad", compression="lzf")
    adata.write_zarr(folder / "store.zarr")
    with h5py.File(folder / "plain.h5ad", "r") as old, h5py.File(folder / "contiguous.h5ad", "w") as new:
        for key in old:
            old.copy(key, new)
        new.attrs.update(old.attrs)
        for name in ("data", "indices"):
            values = old[f"layers/counts/{name}"][:]
            del new[f"layers/counts/{name}"]
            new["layers/counts"].create_dataset(name, data=values)
            del new[f"layers/csc/{name}"]
            values = old[f"layers/csc/{name}"][:]
            new["layers/csc"].create_dataset(name, data=values, chunks=(1000,), compression="gzip", shuffle=True)
    shutil.copy(folder / "plain.h5ad", folder / "chunked.h5ad")
    with h5py.File(folder / "chunked.h5ad", "r+") as opened:
        for name in ("layers/counts/data", "layers/counts/indices"):
            values = opened[name][:]
            del opened[name]
            chunked = opened.create_dataset(name, values.shape, values.dtype, maxshape=(None,), chunks=(300,))
            for part in (slice(1500, None), slice(0, 1500)):  # chunks are not in the order of the file
                chunked[part] = values[part]
    return folder


@pytest.fixture
def file(folder, tmp_path):
    return Path(shutil.copy(folder / "plain.h5ad", tmp_path / "data.h5ad"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(source, "CHUNK_VALUES", 700)


@pytest.mark.parametrize(
    "name", ["plain.h5ad", "chunked.h5ad", "contiguous.h5ad", "gzip.h5ad", "lzf.h5ad", "store.zarr"]
)
@pytest.mark.parametrize("layer", ["counts", "csc", "dense"])
def test_every_kind_of_file_is_read_as_it_was_written(adata, folder, name, layer):
    ours = pickle.loads(pickle.dumps(Store(folder / name).matrix(layer)))
    matrix = sp.csc_matrix(adata.layers[layer]) if ours.form == "csc" else sp.csr_matrix(adata.layers[layer])
    assert ours.shape == matrix.shape and len(ours.spans()) > 3
    for first, last in [*ours.spans(), (0, 1), (3, 3), (0, ours.n_lines)]:
        stored = ours.read(first, last)
        lo, hi = matrix.indptr[[first, last]]
        np.testing.assert_array_equal(stored.data, matrix.data[lo:hi])
        np.testing.assert_array_equal(stored.indices, matrix.indices[lo:hi])
        np.testing.assert_array_equal(stored.indptr, matrix.indptr[first : last + 1] - lo)
        values, indptr = ours.read_values(first, last)
        assert values.sum() == stored.data.sum() and len(indptr) == last - first + 1
    np.testing.assert_array_equal(library_size(ours, check=True), library_size(adata.layers["counts"]))
    assert count_problem(ours) is None


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}])
def test_chunks_that_were_never_written_are_zeros(tmp_path, options):
    path = tmp_path / "holes.h5"
    with h5py.File(path, "w") as opened:
        dataset = opened.create_dataset("x", (5300,), "i4", chunks=(1000,), **options)
        dataset[700:900], dataset[3000:4500] = np.arange(200), np.arange(1500)
        values = dataset[:]
    reader = H5Reader(str(path), "x")
    for first, last in [(0, 5300), (500, 4200), (1000, 3000), (2500, 3500), (4400, 5300), (800, 800)]:
        np.testing.assert_array_equal(reader.read(first, last), values[first:last])


@pytest.mark.parametrize("name", ["plain.h5ad", "store.zarr"])
@pytest.mark.parametrize("layer", ["counts", "csc", "dense"])
def test_a_file_gives_the_numbers_of_memory_to_the_last_bit(folder, tmp_path, expected, name, layer, monkeypatch):
    monkeypatch.undo()  # the same chunks as in memory, so that sums of counts and offsets are added in the same order
    path = tmp_path / name
    (shutil.copytree if name.endswith("zarr") else shutil.copy)(folder / name, path)
    sc_glmm.tl.test(path, FORMULA.replace("counts", layer), **DISK)
    read = ad.read_zarr(path) if name.endswith("zarr") else ad.read_h5ad(path)
    pd.testing.assert_frame_equal(sc_glmm.get.results(read, columns="all"), expected, check_exact=True)
    assert read.uns["glmm"]["params"]["response"] == f"layers['{layer}']"
    np.testing.assert_array_equal(read.layers["dense"], read.layers["csc"].toarray())


@pytest.mark.parametrize("limit", [None, 60_000])
def test_memory_limit_and_groups(adata, file, limit, caplog):
    whole = sc_glmm.tl.test(adata, FORMULA, groupby="half", copy=True, **DISK)
    ours = sc_glmm.tl.test(file, FORMULA, groupby="half", memory_limit=limit, copy=True, **DISK)
    assert ("passes over the matrix" in caplog.text) == (limit is not None)
    pd.testing.assert_frame_equal(
        sc_glmm.get.results(ours, columns="all"), sc_glmm.get.results(whole, columns="all"), rtol=1e-9
    )
    assert ours.X is None and "glmm" not in ad.read_h5ad(file).uns, "copy=True leaves the file alone"


def test_gaussian_and_a_covariate_of_cells_from_a_file(adata, file):
    adata = adata.copy()
    adata.obs["depth"] = np.log(adata.X.sum(axis=1))
    with h5py.File(file, "r+") as opened:
        opened["obs"].attrs["column-order"] = [*opened["obs"].attrs["column-order"], "depth"]
        ad.io.write_elem(opened["obs"], "depth", adata.obs["depth"].to_numpy())
    for formula, options in [
        ("csc ~ disease + (1|sample)", {"family": "gaussian", "memory_limit": "20 kB"}),
        ("counts ~ disease + depth + (1|sample)", {"test": "t", "memory_limit": "100 kB"}),
    ]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)  # that depth varies within samples
            whole = sc_glmm.tl.test(
                adata, formula, copy=True, within="homogeneous", **{**options, "memory_limit": None}
            )
            ours = sc_glmm.tl.test(file, formula, copy=True, within="homogeneous", **options)
        pd.testing.assert_frame_equal(
            sc_glmm.get.results(ours, columns="all"), sc_glmm.get.results(whole, columns="all"), rtol=1e-7
        )


def test_backed_and_lazy_objects(file, expected):
    opened = ad.read_h5ad(file, backed="r")
    sc_glmm.tl.test(opened, "X ~ disease + (1|sample)", **DISK)
    pd.testing.assert_frame_equal(sc_glmm.get.results(opened, columns="all"), expected, rtol=1e-9)
    opened.file.close()
    pytest.importorskip("xarray")
    lazy = ad.experimental.read_lazy(file)
    sc_glmm.tl.test(lazy, FORMULA, **DISK)
    pd.testing.assert_frame_equal(sc_glmm.get.results(lazy, columns="all"), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_dask_arrays(adata, expected, kind):
    da = pytest.importorskip("dask.array")
    values = da.from_array(adata.layers["dense"], chunks=(600, 30) if kind == "csc" else (170, 50))
    if kind != "dense":
        values = values.map_blocks(sp.csr_matrix if kind == "csr" else sp.csc_matrix)
    lazy = ad.AnnData(obs=adata.obs, var=adata.var, layers={"counts": values})
    sc_glmm.tl.test(lazy, FORMULA, **DISK)
    pd.testing.assert_frame_equal(sc_glmm.get.results(lazy, columns="all"), expected, rtol=1e-9)
    assert hasattr(lazy.layers["counts"], "dask"), "the layer was read"


def test_results_go_into_the_file_and_replace_older_ones(file, expected):
    before = ad.read_h5ad(file)
    with pytest.warns(sc_glmm.ScGlmmWarning, match="effects within samples"):
        sc_glmm.tl.test(file, "counts ~ disease + half + (1|sample)", within="homogeneous", **DISK)
    assert {"glmm", "glmm_disease", "glmm_half"} <= {name.split("[")[0] for name in ad.read_h5ad(file).varm}
    sc_glmm.tl.test(file, FORMULA, **DISK)
    sc_glmm.tl.test(file, FORMULA, groupby="half", key_added="halves", **DISK)
    after = ad.read_h5ad(file)
    assert not any("half" in name for name in after.varm)
    pd.testing.assert_frame_equal(sc_glmm.get.results(after, columns="all"), expected, rtol=1e-9)
    assert set(sc_glmm.get.results(after, key="halves", columns="all")["half"]) == {"a", "b"}
    pd.testing.assert_frame_equal(before.obs, after.obs)
    np.testing.assert_array_equal(before.X.toarray(), after.X.toarray())
    assert sorted(os.listdir(file.parent)) == ["data.h5ad"]


def test_file_that_is_not_anndata_is_rejected(tmp_path, file):
    with pytest.raises(InputError, match="there is no file"):
        sc_glmm.tl.test(tmp_path / "none.h5ad", FORMULA)
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with pytest.raises(InputError, match=r"text\.h5ad cannot be read as an AnnData"):
        sc_glmm.tl.test(tmp_path / "text.h5ad", FORMULA)
    with h5py.File(tmp_path / "other.h5ad", "w") as other:
        other["x"] = 1
    with pytest.raises(InputError, match=r"cannot be read as an AnnData: it contains \['x'\] but not 'obs'"):
        sc_glmm.tl.test(tmp_path / "other.h5ad", FORMULA)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder, but not a zarr store"):
        sc_glmm.tl.test(tmp_path / "folder", FORMULA)
    with pytest.raises(InputError, match="memory_limit='lots'"):
        sc_glmm.tl.test(file, FORMULA, memory_limit="lots")


def test_values_that_are_not_counts_are_found_on_disk(file):
    with h5py.File(file, "r+") as opened:
        opened["layers/counts/data"][-1] = 0.5
        opened["X/data"][0] = -1
    with pytest.raises(InputError, match=r"layers\['counts'\] holds 0.5 \(row 599"):
        sc_glmm.tl.test(file, FORMULA, **DISK)
    with pytest.raises(InputError, match=r"layers\['counts'\] holds 0.5 in row 599"):
        sc_glmm.tl.test(file, FORMULA, size_factors=np.ones(600), **DISK)
    with pytest.raises(InputError, match=r"X holds -1 .*layers with counts: 'counts', 'csc', 'dense'"):
        sc_glmm.tl.test(file, "X ~ disease + (1|sample)", **DISK)


@pytest.mark.parametrize("name", ["plain.h5ad", "gzip.h5ad", "contiguous.h5ad"])
def test_truncated_file_gives_a_clear_error(folder, tmp_path, name):
    path = tmp_path / "cut.h5ad"
    path.write_bytes((folder / name).read_bytes()[:-4000])
    with pytest.raises(InputError, match=r"cut\.h5ad cannot be read as an AnnData.*truncated"):
        sc_glmm.tl.test(path, FORMULA, **DISK)


def test_a_file_that_shrinks_while_it_is_read(folder, tmp_path):
    path = Path(shutil.copy(folder / "contiguous.h5ad", tmp_path / "shrunk.h5ad"))
    ours = Store(path).matrix("counts")
    os.truncate(path, path.stat().st_size // 8)
    with pytest.raises(InputError, match=r"shrunk\.h5ad is damaged or truncated: .*/data: it needs bytes"):
        library_size(ours)


def _raw_chunk(path: Path, name: str, number: int) -> tuple[int, int]:
    with h5py.File(path) as opened:
        info = opened[name].id.get_chunk_info(number)
    return info.byte_offset, info.size


def test_unreadable_and_impossible_chunks_are_named(folder, tmp_path):
    path = Path(shutil.copy(folder / "gzip.h5ad", tmp_path / "packed.h5ad"))
    offset, size = _raw_chunk(path, "layers/counts/data", 1)
    with path.open("r+b") as opened:
        opened.seek(offset)
        opened.write(b"\0" * size)
    with pytest.raises(InputError, match=r"is damaged .*layers/counts/data: chunk 1 cannot be decompressed"):
        sc_glmm.tl.test(path, FORMULA, **DISK)
    path = Path(shutil.copy(folder / "plain.h5ad", tmp_path / "wild.h5ad"))
    offset, _ = _raw_chunk(path, "layers/counts/indices", 2)
    with path.open("r+b") as opened:
        opened.seek(offset)
        opened.write(b"\x7f" * 4)
    with pytest.raises(InputError, match=r"layers\['counts'\] is damaged: .* an index outside of 0 to 79"):
        sc_glmm.tl.test(path, FORMULA, **DISK)
    with h5py.File(path, "r+") as opened:
        opened["layers/counts/indptr"][-1] = 10**6
    with pytest.raises(InputError, match=r"layers\['counts'\] is damaged: its indptr"):
        sc_glmm.tl.test(path, FORMULA, **DISK)


def test_a_zarr_store_without_a_chunk_or_with_a_damaged_one(folder, tmp_path):
    store = Path(shutil.copytree(folder / "store.zarr", tmp_path / "store.zarr"))
    for name in ("data", "indices"):
        array = store / "layers" / "counts" / name
        (chunk,) = [path for path in array.rglob("*") if path.is_file() and path.name == "0"]
        before = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(InputError, match=rf"of 1 chunks of layers/counts/{name}, 1 are missing.*intact copy"):
            sc_glmm.tl.test(store, FORMULA, **DISK)
        chunk.write_bytes(before[: len(before) // 2])
        with pytest.raises(InputError, match=rf"store\.zarr is damaged: layers/counts/{name} cannot be read"):
            sc_glmm.tl.test(store, FORMULA, **DISK)
        chunk.write_bytes(before)
    sc_glmm.tl.test(store, FORMULA, **DISK)


@pytest.mark.parametrize("layer", ["counts", "csc"])
def test_unsorted_indices_are_sorted_and_repeated_ones_rejected(adata, file, expected, layer):
    place, formula = f"layers/{layer}", FORMULA.replace("counts", layer)
    with h5py.File(file, "r+") as opened:
        indptr = opened[f"{place}/indptr"][:]
        for name in ("data", "indices"):
            values = opened[f"{place}/{name}"][:]
            for lo, hi in zip(indptr[:-1], indptr[1:], strict=True):
                values[lo:hi] = values[lo:hi][::-1]
            opened[f"{place}/{name}"][:] = values
    tested = sc_glmm.tl.test(file, formula, copy=True, **DISK)
    pd.testing.assert_frame_equal(sc_glmm.get.results(tested, columns="all"), expected, rtol=1e-9)
    with h5py.File(file, "r+") as opened:
        line = int(np.flatnonzero(np.diff(indptr) > 1)[-1])
        opened[f"{place}/indices"][indptr[line]] = opened[f"{place}/indices"][indptr[line] + 1]
    with pytest.raises(InputError, match=rf"data\.h5ad: layers\['{layer}'\] is damaged: line {line} holds two values"):
        sc_glmm.tl.test(file, formula, copy=True, **DISK)


# Processes that write the results and are killed when they call a function of the operating system once too often; the
# bytes of a write that is interrupted are half written.
KILLED = """
import os, pickle, sys
from sc_glmm._adata import journal
from sc_glmm._adata.store import Store

made = pickle.load(open(sys.argv[1], "rb"))
if any("zarr" in job for job in sys.argv[2:]):
    import zarr  # once, and not in every child

def dying(name, left):
    real = getattr(os, name)
    def call(*args, **kwargs):
        nonlocal left
        if left == 0:
            if name == "pwrite":
                real(args[0], args[1][: len(args[1]) // 2], args[2])
            os.kill(os.getpid(), 9)
        left -= 1
        return real(*args, **kwargs)
    setattr(os, name, call)

for job in sys.argv[2:]:
    path, name, left = job.split(":")
    child = os.fork()
    if child == 0:
        if "replaced" not in path:
            journal.COPY_BYTES = 0
        if name:
            dying(name, int(left))
        Store(path).write_results(made, "glmm")
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""
MOMENTS = {
    "replaced.h5ad": {"old": ["fsync:0", "pwrite:1", "replace:0"], "new": []},
    "plain.h5ad": {
        "old": ["fsync:0", "replace:0"],
        "new": ["posix_fallocate:0", "pwrite:0", "pwrite:2", "ftruncate:0", "unlink:1"],
    },
    "store.zarr": {"old": ["fsync:0", "rename:0"], "new": ["rename:1", "rename:3", "rename:4"]},
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
@pytest.mark.parametrize("kind", MOMENTS)
def test_process_killed_while_writing_loses_nothing(folder, tmp_path, adata, tested, expected, kind):
    (tmp_path / "results.pickle").write_bytes(pickle.dumps(tested))
    read = ad.read_zarr if kind.endswith("zarr") else ad.read_h5ad
    copy = shutil.copytree if kind.endswith("zarr") else shutil.copy
    cases = [(moment, state) for state, moments in MOMENTS[kind].items() for moment in moments] + [(":0", "done")]
    paths = []
    for moment, _ in cases:
        paths.append(tmp_path / moment.replace(":", "_") / kind)
        paths[-1].parent.mkdir()
        copy(folder / kind.replace("replaced", "plain"), paths[-1])
    jobs = [f"{path}:{moment}" for path, (moment, _) in zip(paths, cases, strict=True)]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path / "results.pickle", *jobs],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(sc_glmm.__file__).parents[1],
    )
    for path, (moment, state), status in zip(paths, cases, run.stdout.split(), strict=True):
        assert status == ("0" if state == "done" else "9"), f"{moment}: {run.stderr}"
        assert sc_glmm.recover(path) == (state == "new"), moment
        assert not sc_glmm.recover(path)
        after = read(path)
        np.testing.assert_array_equal(after.layers["counts"].toarray(), adata.layers["counts"].toarray())
        pd.testing.assert_frame_equal(after.obs, adata.obs)
        assert ("glmm" in after.uns) == (state != "old"), moment
        if state != "old":
            pd.testing.assert_frame_equal(sc_glmm.get.results(after, columns="all"), expected)


@pytest.fixture
def in_place(monkeypatch):
    """Change files in place, as for large files."""
    monkeypatch.setattr(journal, "COPY_BYTES", 0)


def test_full_disk_does_not_change_the_file(file, tested, monkeypatch):
    before = file.read_bytes()
    real = os.fsync

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left on device.*the file was not changed"):
        Store(file).write_results(tested, "glmm")
    monkeypatch.setattr(os, "fsync", real)
    monkeypatch.setattr(journal, "COPY_BYTES", 0)
    assert file.read_bytes() == before and sorted(os.listdir(file.parent)) == [file.name]
    monkeypatch.setattr(os, "posix_fallocate", full_at_second_step)
    with pytest.raises(InputError, match=r"No space left on device.*the results are stored next to it"):
        Store(file).write_results(tested, "glmm")
    assert file.read_bytes() == before
    monkeypatch.undo()
    assert sc_glmm.recover(file) and "glmm" in ad.read_h5ad(file).uns


def full_at_second_step(*_):
    raise OSError(28, "No space left on device")


def test_a_file_changed_by_others_is_not_touched(file, tested, monkeypatch):
    monkeypatch.setattr(journal, "COPY_BYTES", 0)
    monkeypatch.setattr(os, "posix_fallocate", full_at_second_step)
    with pytest.raises(InputError, match="the results are stored next to it"):
        Store(file).write_results(tested, "glmm")
    monkeypatch.undo()
    kept = journal.journal_path(file).read_bytes()
    with h5py.File(file, "r+") as opened:
        opened.create_group("uns/mine")
        opened["uns/mine"]["x"] = np.arange(50_000)
    before = file.read_bytes()
    with pytest.raises(InputError, match="was changed after an interrupted run"):
        sc_glmm.tl.test(file, FORMULA, **DISK)
    assert file.read_bytes() == before
    journal.journal_path(file).write_bytes(kept[:-5])
    with pytest.raises(InputError, match="is not a complete journal"):
        sc_glmm.recover(file)


def test_results_go_beside_a_file_that_other_processes_have_open(file, tested, expected, in_place, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(lock, "GATE_PATIENCE", 0.1)
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(InputError, match="is open in another program"):
            Store(file).write_results(tested, "glmm")
        before = file.read_bytes()
        with pytest.warns(sc_glmm.ScGlmmWarning, match="results of an interrupted run are stored next to"):
            pd.testing.assert_frame_equal(sc_glmm.get.results(file, columns="all"), expected)
        assert file.read_bytes() == before, "readers do not finish the work"
    assert sc_glmm.recover(file) and "glmm" in ad.read_h5ad(file).uns


def test_file_with_readers_is_replaced_and_readers_keep_the_old_one(file, tested, expected):
    file.chmod(0o640)
    with h5py.File(file, "r") as other:
        Store(file).write_results(tested, "glmm")
        assert "glmm" not in other["uns"] and other["layers/counts/data"][-1] > 0
    pd.testing.assert_frame_equal(sc_glmm.get.results(ad.read_h5ad(file), columns="all"), expected)
    assert file.stat().st_mode & 0o777 == 0o640


def test_file_with_another_writer_is_not_changed(file, tested, monkeypatch):
    monkeypatch.setattr(lock, "GATE_PATIENCE", 0.1)
    with h5py.File(file, "r+"), pytest.raises(InputError, match="is open for writing in another program"):
        Store(file).write_results(tested, "glmm")
    opened, real = h5py.File, journal.commit

    def changed_meanwhile(path, overlay):
        with opened(path, "r+") as other:
            other.create_dataset("uns/mine", data=np.arange(5))
        real(path, overlay)

    monkeypatch.setattr(journal, "commit", changed_meanwhile)
    with pytest.raises(InputError, match="was changed by another program while the results"):
        Store(file).write_results(tested, "glmm")
    assert "mine" in opened(file)["uns"] and "glmm" not in opened(file)["uns"]
    assert sorted(os.listdir(file.parent)) == [file.name]
