"""Check damaged metadata: every error names the file and the element, for any error of anndata, h5py or zarr."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from sc_glmm import InputError
from sc_glmm._adata.store import Store
from sc_glmm.cli import app

TEXTS = [
    ("obs", "encoding-type"),
    ("obs", "encoding-version"),
    ("obs/disease", "encoding-type"),
    ("obs/disease/codes", "encoding-type"),
    ("obs/_index", "encoding-type"),
    ("var", "encoding-type"),
    ("uns/glmm", "encoding-type"),
    ("uns/glmm/params", "encoding-version"),
    ("varm/glmm", "encoding-type"),
    ("varm/glmm/status", "encoding-type"),
]
MATRICES = [("X", "encoding-type"), ("X", "shape"), ("layers/counts", "encoding-type"), ("layers/counts", "shape")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder, genes = tmp_path_factory.mktemp("damage"), pd.Index([f"g{i}" for i in range(7)])
    counts = sp.random(12, 7, 0.6, format="csr", random_state=0, dtype=np.float32)
    obs = pd.DataFrame({"disease": pd.Categorical(["a", "b"] * 6)}, index=[f"c{i}" for i in range(12)])
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes), layers={"counts": counts.tocsc()})
    adata.varm["glmm"] = pd.DataFrame({"status": pd.Categorical(["ok"] * 7)}, index=genes)
    adata.uns["glmm"] = {"params": {"varm": ["glmm"]}}
    adata.write_h5ad(folder / "data.h5ad")
    adata.write_zarr(folder / "data.zarr")
    return folder


@pytest.fixture(params=["data.h5ad", "data.zarr"])
def path(request, folder, tmp_path) -> Path:
    copy = shutil.copytree if request.param.endswith("zarr") else shutil.copy
    return Path(copy(folder / request.param, tmp_path / request.param))


def damage(path: Path, element: str, attribute: str, value: object = None) -> None:
    """Change one character of an attribute (in both of zarr's copies), or replace its value."""
    if path.suffix == ".h5ad":
        with h5py.File(path, "r+") as file:
            attrs = file[element].attrs
            attrs[attribute] = _wrong(attrs[attribute]) if value is None else value
        return
    for file, place in ((path / element / "zarr.json", None), (path / "zarr.json", element)):
        if not file.exists():  # version 2 of the format
            file, place = path / element / ".zattrs", None
        content = json.loads(file.read_text())
        inside = content if place is None else (content.get("consolidated_metadata") or {}).get("metadata", {})
        inside = inside if place is None else inside.get(place, {})
        attrs = inside.get("attributes", inside)
        if attribute in attrs:
            attrs[attribute] = _wrong(attrs[attribute]) if value is None else value
        file.write_text(json.dumps(content))
    if (path / ".zmetadata").exists():
        (path / ".zmetadata").unlink()


def _wrong(text: object) -> object:
    return f"{text[:2]}~{text[3:]}" if isinstance(text, str) else [0.5]


@pytest.mark.parametrize(("element", "attribute"), TEXTS)
def test_error_names_the_place_of_one_wrong_character(path, element, attribute):
    damage(path, element, attribute)
    result = CliRunner().invoke(app, ["info", str(path)])
    assert result.exit_code == 2, result.output
    assert path.name in result.stderr and element.split("/")[0] in result.stderr and "intact copy" in result.stderr


@pytest.mark.parametrize(("element", "attribute"), MATRICES)
def test_error_names_a_matrix_with_wrong_metadata(path, element, attribute):
    damage(path, element, attribute)
    with pytest.raises(InputError, match=rf"{path.name}: .*{element.split('/')[-1]}"):
        Store(path).matrix(None if element == "X" else "counts")


@pytest.mark.parametrize("element", ["obs", "var", "varm", "uns", "obs/disease", "X", "layers/counts"])
def test_error_names_an_element_of_the_wrong_kind(folder, tmp_path, element):
    path = Path(shutil.copy(folder / "data.h5ad", tmp_path / "data.h5ad"))
    with h5py.File(path, "r+") as file:
        del file[element]
        file[element] = np.arange(3)
    with pytest.raises(InputError, match=r"data\.h5ad"):
        store = Store(path)
        store.with_results()
        store.matrix(None), store.matrix("counts")


def test_an_indptr_that_does_not_grow_is_found(folder, tmp_path):
    path = Path(shutil.copy(folder / "data.h5ad", tmp_path / "data.h5ad"))
    with h5py.File(path, "r+") as file:
        values = file["X/indptr"][:]
        file["X/indptr"][2] = values[3] + 1
    with pytest.raises(InputError, match=r"data\.h5ad: X is damaged: its indptr"):
        Store(path).matrix(None)
