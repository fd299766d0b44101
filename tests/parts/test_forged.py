"""Check a folder of parts from an unknown source: errors name the file and the array that does not fit the run."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

import sc_glmm
from sc_glmm import InputError
from sc_glmm._run.options import RunOptions
from sc_glmm._run.parts.chunks import run_chunk
from sc_glmm._run.parts.combine import combine
from sc_glmm._run.parts.folder import open_run

OPTIONS = RunOptions("counts ~ disease + (1|sample)", reference={"disease": "ctl"}, progress=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """Make a complete run of 60 genes in two chunks."""
    folder = tmp_path_factory.mktemp("forged")
    data = folder / "in.h5ad"
    sc_glmm.datasets.simulate(n_samples=8, n_cells=300, n_genes=60, seed=4).write_h5ad(data)
    for stage in ("compress", "fit", "profile"):
        for chunk in range(2):
            run = open_run(folder / "parts", data, OPTIONS, 2)
            run_chunk(run, stage, chunk)
    assert len(sc_glmm.get.results(combine(folder / "parts").opened.adata)) == 60
    return folder / "parts"


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name for name in archive.namelist() if name != "header.npy"]


def forge(path: Path, name: str, content: bytes | None) -> None:
    """Replace the content of one array (None: remove it), with valid checksums."""
    with zipfile.ZipFile(path) as archive:
        values = {each: archive.read(each) for each in archive.namelist()}
    values.pop(name)
    if content is not None:
        values[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in values.items():
            archive.writestr(each, data)


def as_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    npy.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


def forgeries(array: np.ndarray) -> dict[str, bytes | None]:
    """List forgeries of an array."""
    result = {
        "missing": None,
        "one dimension more": as_npy(array[None]),
        "text": as_npy(np.full(array.shape, "x")),
        "a pickle": _header("|O", (1,)),
    }
    if array.ndim:
        result["too long"] = as_npy(np.concatenate([array, array[:1] if len(array) else np.zeros(1, array.dtype)]))
        result["a shape that fills the memory"] = _header(array.dtype.str, (10**13, *array.shape[1:]))
    return result


@pytest.mark.parametrize("part", ["fit-0001.npz", "profile-0000.npz"])
def test_error_names_every_forged_array(done, tmp_path, part):
    place = tmp_path / "parts"
    shutil.copytree(done, place)
    whole, tried = (done / part).read_bytes(), 0
    for name in names(done / part):
        if "/stats/" in name:
            continue  # these arrays are not read from this chunk
        with zipfile.ZipFile(done / part) as archive:
            array = npy.read_array(io.BytesIO(archive.read(name)))
        for how, content in forgeries(array).items():
            (place / part).write_bytes(whole)
            free = name.removesuffix(".npy").rpartition("/")[2] in ("separated", "dominant", "over_value", "over_count")
            if free and how in ("too long", "missing"):
                continue  # these arrays may have any length
            forge(place / part, name, content)
            try:
                combine(place)
            except InputError as error:
                assert part in str(error), (name, how)
            else:
                pytest.fail(f"{name}, {how}: was read")
            tried += 1
    assert tried > 50


@pytest.mark.parametrize("name", ["status", "left_out", "separated"])
def test_codes_without_a_meaning_are_rejected(done, tmp_path, name):
    place = tmp_path / "parts"
    shutil.copytree(done, place)
    path = place / "fit-0000.npz"
    with zipfile.ZipFile(path) as archive:
        array = npy.read_array(io.BytesIO(archive.read(f"0/fit/{name}.npy")))
    forge(path, f"0/fit/{name}.npy", as_npy(np.append(array[: len(array) - 1], 99)))
    with pytest.raises(InputError, match=f"fit-0000.npz.*{name} contains"):
        combine(place)
