"""Links, loops and false sizes in files from strangers: no other file is read or changed; errors name the element."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sc_glmm import InputError
from sc_glmm._adata import claims
from sc_glmm._adata.store import Store
from tests.adata.rounds import results


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("links") / "data.h5ad"
    counts = sp.random(3, 300, 0.5, format="csr", random_state=1, dtype=np.float32)
    obs = pd.DataFrame({"half": pd.Categorical(["a", "b", "a"])}, index=["a", "b", "c"])
    adata = ad.AnnData(counts, obs=obs, var=results("base", 0).var, layers={"counts": counts.copy()})
    adata.varm["mine"] = np.ones((300, 2))
    adata.write_h5ad(path)
    Store(path).write_results(results("base", 1), "base")
    return path


@pytest.fixture
def path(whole, tmp_path) -> Path:
    shutil.copy(whole, tmp_path / "other.h5ad")
    return Path(shutil.copy(whole, tmp_path / "data.h5ad"))


def read_all(path: Path) -> None:
    store = Store(path)
    store.with_results()
    store.matrix(None), store.matrix("counts")


def external(place: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[place]
        file[place] = h5py.ExternalLink(str(Path(file.filename).with_name("other.h5ad")), f"/{place}")

    return change


def bomb(file: h5py.File) -> None:
    """Each group is in the next one twice."""
    held = file["uns/base"].create_group("b0")
    for i in range(1, 40):
        bigger = file["uns/base"].create_group(f"b{i}")
        bigger["x"] = bigger["y"] = held
        held = bigger


def loop(file: h5py.File) -> None:
    file["uns/base/loop"] = file["uns/base"]


def soft_loop(file: h5py.File) -> None:
    file["uns/base/loop"] = h5py.SoftLink("/uns")


def bytes_of_another_file(file: h5py.File) -> None:
    del file["uns/base/log_sizes"]
    other = str(Path(file.filename).with_name("other.h5ad"))
    file["uns/base"].create_dataset("log_sizes", shape=(300,), dtype="f8", external=[(other, 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((300,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(Path(file.filename).with_name("other.h5ad")), "uns/base/log_sizes", (300,))
    del file["uns/base/log_sizes"]
    file["uns/base"].create_virtual_dataset("log_sizes", layout)


def huge(place: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        # anndata 0.13 stores an index as a group of values and a mask
        whole = f"{place}/values" if isinstance(file[place], h5py.Group) else place
        kind = file[whole].dtype
        del file[whole]
        file.create_dataset(whole, shape=(10**13,), chunks=(1000,), dtype=kind)

    return change


def wide(file: h5py.File) -> None:
    file["layers/counts"].attrs["shape"] = np.array([3, 10**9])


CASES = {
    **{f"external {place}": (external(place), place) for place in ("uns", "varm", "obs", "layers", "X")},
    "external run": (external("uns/base"), "uns"),
    "external table": (external("varm/base"), "varm"),
    "external column": (external("obs/half"), "obs"),
    "external layer": (external("layers/counts"), "counts"),
    **{change.__name__: (change, "uns/base") for change in (bomb, loop, soft_loop, bytes_of_another_file, virtual)},
    "huge index": (huge("var/_index"), "var"),
    "huge array": (huge("uns/base/log_sizes"), "uns/base"),
    "huge indptr": (huge("layers/counts/indptr"), "counts"),
    "wide": (wide, "counts"),
}


@pytest.mark.parametrize("case", CASES)
def test_links_loops_and_false_sizes_are_refused_by_name(path, case, monkeypatch):
    monkeypatch.setattr(claims, "_MOST", 5_000)  # counting 200,000 parts takes 12 s
    change, element = CASES[case]
    other = path.with_name("other.h5ad").read_bytes()
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=rf"data\.h5ad: .*{element}"):
        read_all(path)
    assert path.with_name("other.h5ad").read_bytes() == other


def names(file: h5py.File, listed: list[str]) -> None:
    """The file says that these are the tables of the run."""
    del file["uns/base/params/varm"]
    file.create_dataset("uns/base/params/varm", data=np.array(listed, dtype=object), dtype=h5py.string_dtype())
    file["uns/base/params/varm"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})


@pytest.mark.parametrize(
    "link", [lambda file: file["layers"], lambda _: h5py.SoftLink("/layers")], ids=["hard", "soft"]
)
def test_writing_through_a_link_inside_the_file_deletes_no_layer(path, link):
    with h5py.File(path, "r+") as file:
        del file["varm"]
        file["varm"] = link(file)
        names(file, ["counts"])
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"data\.h5ad: varm is a link"):
        Store(path).write_results(results("base", 2), "base")
    assert path.read_bytes() == before


def test_writing_into_another_file_is_refused(path):
    with h5py.File(path, "r+") as file:
        external("varm")(file)
    other = path.with_name("other.h5ad").read_bytes()
    with pytest.raises(InputError, match=r"data\.h5ad: .*varm"):
        Store(path).write_results(results("base", 2), "base")
    assert path.with_name("other.h5ad").read_bytes() == other


@pytest.mark.parametrize("listed", [["mine"], ["../layers", "../../data", "/X", "..", ""]], ids=["table", "paths"])
def test_a_file_cannot_list_what_is_not_its_own_as_tables(path, listed):
    with h5py.File(path, "r+") as file:
        names(file, listed)
    Store(path).write_results(results("base", 2), "base")
    after = ad.read_h5ad(path)
    assert after.varm["mine"].sum() == 600 and "counts" in after.layers and after.X is not None
    assert after.uns["base"]["params"]["token"] == 2
