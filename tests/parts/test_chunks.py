"""Check runs in chunks: the same results as in one process, and errors about parts of different runs."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import cli
from sc_glmm._errors import InputError
from sc_glmm._run.options import RunOptions
from sc_glmm._run.parts import manifest
from sc_glmm._run.parts.chunks import run_chunk
from sc_glmm._run.parts.combine import combine
from sc_glmm._run.parts.files import Part, write_part
from sc_glmm._run.parts.folder import open_run

FORMULA = "counts ~ disease + (1|sample)"
N = 2


def simulated() -> ad.AnnData:
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=480, n_genes=90, seed=6)
    counts = adata.layers["counts"].toarray()
    counts[:, 3] = 0
    counts[(adata.obs["disease"] == adata.obs["disease"].iloc[0]).to_numpy(), 70] = 0
    counts[0, 71] = 700
    adata.layers["counts"] = sp.csr_matrix(counts)
    adata.obs["kind"] = np.where(np.arange(adata.n_obs) % 3 == 0, "a", "b")
    adata.var["chosen"] = np.arange(90) % 3 != 1
    adata.obs["depth"] = np.log(counts.sum(axis=1))
    del adata.uns["truth"]
    return adata


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder, adata = tmp_path_factory.mktemp("data"), simulated()
    paths = {form: folder / f"{form}.h5ad" for form in ("csr", "csc")}
    for form, path in paths.items():
        adata.layers["counts"] = adata.layers["counts"].asformat(form)
        adata.layers["logs"] = adata.layers["counts"].log1p()
        adata.write_h5ad(path)
    return paths


def chunks(folder: Path, data: Path, options: RunOptions, stages=(None,), n_chunks=N):
    for stage in stages:
        for chunk in range(n_chunks):
            run = open_run(folder, data, options, n_chunks)
            run_chunk(run, stage or run.stages[0], chunk)
    return folder


@pytest.fixture(scope="module")
def done(files, tmp_path_factory) -> Path:
    """Make a folder in which every chunk of every stage is finished."""
    folder = tmp_path_factory.mktemp("done")
    return chunks(folder, files["csr"], RunOptions(FORMULA), ("compress", "fit", "profile"))


@pytest.fixture
def parts(done, tmp_path) -> Path:
    """Copy the folder, for tests that damage it."""
    return Path(shutil.copytree(done, tmp_path / "parts"))


def assert_same(mine: pd.DataFrame, theirs: pd.DataFrame, exact: bool) -> None:
    assert list(mine.columns) == list(theirs.columns)
    for name in mine:
        if mine[name].dtype.kind != "f" or exact:
            pd.testing.assert_series_equal(mine[name], theirs[name], check_exact=True)
        else:
            # relative to the size of the summands, because they cancel; Hessians by differences lose digits
            rtol = 1e-6 if name == "log_dispersion_se" else 1e-8
            np.testing.assert_allclose(mine[name], theirs[name], rtol=rtol, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("form", "options", "stages"),
    [
        ("csc", {}, (None,)),
        ("csr", {}, ("compress", "fit", "profile")),
        ("csr", {"formula": "counts ~ disease + depth + (1|sample)", "contrasts": ["disease"]}, (None,)),
        ("csr", {"groupby": "kind", "test": "lrt", "min_counts": 5}, ("compress", "fit")),
        ("csc", {"family": "gaussian", "formula": "logs ~ disease + (1|sample)", "genes": "chosen"}, (None,)),
        ("csr", {"genes": "chosen"}, (None,)),
        ("csc", {"family": "poisson", "groupby": "kind", "offset": "depth"}, ("fit", "profile")),
    ],
)  # fmt: skip
def test_chunks_give_the_numbers_of_one_process(files, tmp_path, form, options, stages, recwarn):
    options = RunOptions(**{"formula": FORMULA, **options})
    folder = chunks(tmp_path, files[form], options, stages)
    run = combine(folder)
    whole = ad.read_h5ad(files[form])
    arguments = {
        name: getattr(options, name)
        for name in ("family", "test", "groupby", "reference", "min_counts", "offset", "genes")
    }  # fmt: skip
    sc_glmm.tl.test(whole, options.formula, contrasts=options.contrasts, **arguments)
    assert_same(
        sc_glmm.get.results(run.opened.adata, columns="all"),
        sc_glmm.get.results(whole, columns="all"),
        exact=form == "csc",
    )
    mine, theirs = run.opened.adata.uns["glmm"]["params"], whole.uns["glmm"]["params"]
    assert set(mine) == set(theirs)
    for name in ("formula", "notes", "contrast_words", "varm", "size_factors", "test"):
        assert str(mine[name]) == str(theirs[name]), name


def test_several_variances_are_probed_with_the_statistics_of_the_parts(files, tmp_path):
    options = RunOptions("counts ~ disease + (1|sample) + (0 + depth|sample)", contrasts=["disease"])
    run = combine(chunks(tmp_path, files["csc"], options))
    whole = ad.read_h5ad(files["csc"])
    sc_glmm.tl.test(whole, options.formula, contrasts=["disease"])
    assert len(json.loads(run.opened.adata.uns["glmm"]["params"]["elasticities"])) == 2
    assert_same(
        sc_glmm.get.results(run.opened.adata, columns="all"), sc_glmm.get.results(whole, columns="all"), exact=True
    )


def test_finished_chunk_is_skipped_and_damaged_chunk_is_repeated(files, parts, caplog):
    path = parts / "compress-0001.npz"
    before = path.read_bytes()
    run = open_run(parts, files["csr"], RunOptions(FORMULA), N)
    assert run_chunk(run, "compress", 1).skipped
    path.write_bytes(before[: len(before) // 2])
    # file of a process of this machine that no longer exists
    leftover = parts / f".compress-0001.npz.new.{socket.gethostname()}-99999999.tmp"
    leftover.write_bytes(b"half")
    with caplog.at_level("WARNING", logger="sc_glmm"):
        assert not run_chunk(run, "compress", 1).skipped
    assert "compress-0001.npz is damaged or truncated" in caplog.text
    assert path.read_bytes() == before
    assert not leftover.exists()


def test_error_names_missing_chunks(parts):
    (parts / "profile-0001.npz").unlink()
    with pytest.raises(InputError, match=r"chunk 1 of stage 'profile' is missing \(of 2\); run it with --chunk 1"):
        combine(parts)
    for path in parts.glob("profile-*.npz"):
        path.unlink()
    (parts / "fit-0000.npz").unlink()
    with pytest.raises(InputError, match="chunk 0 of stage 'fit' is missing"):
        combine(parts)
    (parts / "fit-0001.npz").unlink()
    (parts / "compress-0000.npz").unlink()
    with pytest.raises(InputError, match="chunk 0 of stage 'compress' is missing"):
        combine(parts)


def test_stage_needs_the_previous_stage(files, tmp_path):
    run = open_run(tmp_path, files["csr"], RunOptions(FORMULA), N)
    run_chunk(run, "compress", 1)
    with pytest.raises(InputError, match="chunk 0 of stage 'compress' is missing"):
        run_chunk(run, "fit", 1)
    with pytest.raises(InputError, match="chunks 0, 1 of stage 'fit' are missing"):
        run_chunk(run, "profile", 0)
    assert [path.name for path in tmp_path.glob("fit-*")] == []


@pytest.mark.parametrize("damage", ["truncated", "one byte", "empty", "no archive"])
def test_error_names_damaged_parts(parts, damage):
    path = parts / "fit-0001.npz"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-100]
    elif damage == "one byte":
        content[len(content) // 2] ^= 0xFF
    path.write_bytes({"empty": b"", "no archive": b"a" * 1000}.get(damage, bytes(content)))
    with pytest.raises(InputError, match=r"fit-0001\.npz is damaged or truncated .*--chunk 1 --stage fit"):
        combine(parts)


def test_error_names_parts_of_another_run(files, parts, tmp_path):
    other = chunks(tmp_path / "other", files["csr"], RunOptions(FORMULA, min_counts=3), ("compress",))
    shutil.copy(other / "compress-0000.npz", parts / "compress-0000.npz")
    with pytest.raises(InputError, match=r"compress-0000\.npz is a part of another run \(minimum number of counts: 3"):
        combine(parts)


def test_part_with_another_name_is_rejected(parts):
    shutil.copy(parts / "fit-0000.npz", parts / "fit-0001.npz")
    with pytest.raises(InputError, match=r"fit-0001\.npz contains chunk 0 of stage 'fit', which does not match"):
        combine(parts)
    shutil.copy(parts / "fit-0000.npz", parts / "fit-0007.npz")
    with pytest.raises(InputError, match=r"contains fit-0007\.npz, which is not a part of this run in 2 chunks"):
        combine(parts)


def test_parts_of_another_version_are_rejected(files, parts, monkeypatch):
    versions = {**manifest.current_versions(), "sc_glmm": "0.0.1"}
    with Part(parts / "fit-0001.npz", "") as part:
        header, arrays = part.header, {name[:-4]: part[name[:-4]] for name in part._archive.NameToInfo}
    facts = {**header["facts"], "version of sc_glmm": "0.0.1"}
    del arrays["header"]
    write_part(parts / "fit-0001.npz", {**header, "facts": facts, "run": "0123456789abcdef"}, arrays)
    with pytest.raises(InputError, match=r"fit-0001\.npz is a part of another run \(version of sc_glmm: '0\.0\.1'"):
        combine(parts)
    from sc_glmm._run.parts import folder

    monkeypatch.setattr(folder, "current_versions", lambda: versions)
    with pytest.raises(InputError, match=r"the parts of another run \(version of sc_glmm: .* instead of '0\.0\.1'"):
        open_run(parts, files["csr"], RunOptions(FORMULA), N)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"formula": "counts ~ (1|sample)"}, "formula: "),
        ({"groupby": "kind"}, "groupby: None instead of 'kind'"),
        ({"n_chunks": 3}, "number of chunks: 2 instead of 3"),
    ],
)
def test_a_folder_belongs_to_one_run(files, parts, changed, message):
    n_chunks = changed.pop("n_chunks", N)
    with pytest.raises(InputError, match=f"contains the parts of another run .{message}"):
        open_run(parts, files["csr"], replace(RunOptions(FORMULA), **changed), n_chunks)


def test_changed_data_are_noticed(files, parts, tmp_path):
    adata = ad.read_h5ad(files["csr"])
    # one more count, in a line outside the fingerprint, with the same number of stored values
    adata.layers["counts"].data[adata.layers["counts"].indptr[1]] += 1
    moved = tmp_path / "moved.h5ad"
    adata.write_h5ad(moved)
    run = open_run(parts, moved, RunOptions(FORMULA), N)
    (parts / "compress-0000.npz").unlink()
    with pytest.raises(InputError, match="has changed: cells 0 to 239 have "):
        run_chunk(run, "compress", 0)
    adata.obs["disease"] = adata.obs["disease"].cat.rename_categories({"ctl": "AD", "AD": "ctl"})
    adata.write_h5ad(moved)
    with pytest.raises(InputError, match="columns of obs in the formula, or the selected genes, have changed"):
        run_chunk(open_run(parts, moved, RunOptions(FORMULA), N), "compress", 0)
    adata[:-1].write_h5ad(moved)
    with pytest.raises(InputError, match="another run .fingerprint of the data"):
        open_run(parts, moved, RunOptions(FORMULA), N)


def test_damaged_manifest_is_rejected(parts, tmp_path):
    path = parts / "manifest.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "n_chunks": 1}))
    with pytest.raises(InputError, match="was edited"):
        combine(parts)
    path.write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        combine(parts)
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        combine(tmp_path)


def sc(*arguments: object):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def test_the_commands(files, tmp_path):
    data, folder = shutil.copy(files["csc"], tmp_path / "in.h5ad"), tmp_path / "parts"
    test = ("test", data, FORMULA, "--n-chunks", 2, "-o", folder)
    result = sc(*test, "--stage", "prepare")
    assert result.exit_code == 0, result.output
    assert "stages: fit, profile" in result.output
    for chunk in (1, 0):
        assert sc(*test, "--chunk", chunk).exit_code == 0
    assert "is already finished" in sc(*test, "--chunk", 0).output
    for out in ("out.csv", "out.h5ad", "in.h5ad"):
        result = sc("combine", folder, "-o", tmp_path / out)
        assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out.csv")
    assert len(table) == 90
    for out in ("out.h5ad", "in.h5ad"):
        stored = ad.read_h5ad(tmp_path / out)
        np.testing.assert_allclose(sc_glmm.get.results(stored, columns="all")["p_value"], table["p_value"])
        assert (stored.layers["counts"] != ad.read_h5ad(files["csc"]).layers["counts"]).nnz == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--chunk", 0), "--n-chunks None"),
        (("--n-chunks", 2), "pass both --n-chunks"),
        (("--n-chunks", 2, "--chunk", 0, "--stage", "prepare"), "--stage prepare has no --chunk"),
        (("--n-chunks", 2, "--chunk", 2), "allowed are 0 to 1"),
        (("--n-chunks", 2, "--chunk", 0, "--stage", "compress"), "split by genes first"),
        (("--n-chunks", 91, "--chunk", 0), "allowed are 1 to 90"),
    ],
)
def test_invalid_chunks_are_rejected(files, tmp_path, arguments, message):
    result = sc("test", files["csc"], FORMULA, "-o", tmp_path / "parts", *arguments)
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")
    assert (
        "must be a folder"
        in sc("test", files["csc"], FORMULA, "-o", tmp_path / "a.csv", "--n-chunks", 2, "--chunk", 0).output
    )


def test_other_genes_are_another_run(files, tmp_path):
    names = [str(name) for name in ad.read_h5ad(files["csr"]).var_names[:60]]
    chunks(tmp_path / "named", files["csr"], RunOptions(FORMULA, genes=names, test="t"))
    with pytest.raises(InputError, match=r"genes: '60 named, \w+' instead of '59 named"):
        open_run(tmp_path / "named", files["csr"], RunOptions(FORMULA, genes=names[1:], test="t"), N)
    combined = sc_glmm.get.results(combine(tmp_path / "named").opened.adata, columns="all")
    assert set(combined.loc[combined["status"] != "not_selected", "variable"]) <= set(names)
    # the column has the same name but different content
    other = tmp_path / "other.h5ad"
    shutil.copy(files["csr"], other)
    folder = chunks(tmp_path / "column", other, RunOptions(FORMULA, genes="chosen", test="t"))
    changed = ad.read_h5ad(other)
    changed.var["chosen"] = ~changed.var["chosen"]
    changed.write_h5ad(other)
    with pytest.raises(InputError, match="selected genes, have changed"):
        combine(folder)


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a complete part with other arrays and valid checksums."""
    with np.load(path) as old:
        arrays = {name: old[name] for name in old.files if name != "header"}
        header = json.loads(old["header"].tobytes())
    change(arrays)
    write_part(path, header, arrays)


@pytest.mark.parametrize(
    ("stage", "name", "change"),
    [
        ("fit", "0/stats/A", lambda a: a[:, :-1]),
        ("fit", "0/stats/A", lambda a: a[:-1]),
        ("fit", "0/stats/tail", lambda a: a[:, :3]),
        ("fit", "0/stats/over_ptr", lambda a: a + 10**6),
        ("fit", "0/stats/over_ptr", lambda a: a - 10**6),
        ("fit", "0/stats/const", lambda a: a[:2]),
        ("compress", "0/nodes", lambda a: a + 10**6),
        ("compress", "0/1/A", lambda a: a[:, :-1]),
    ],
    ids=["nodes", "genes", "tail", "beyond", "before", "const", "places", "sums"],
)
def test_forged_parts_do_not_reach_the_kernels(files, parts, stage, name, change):
    path = parts / f"{stage}-0001.npz"
    rewritten(path, lambda arrays: arrays.update({name: change(arrays[name])}))
    later = "fit" if stage == "compress" else "profile"
    for done in parts.glob(f"{later}-*.npz"):
        done.unlink()
    with pytest.raises(InputError, match=rf"{path.name} is damaged"):
        run_chunk(open_run(parts, files["csr"], RunOptions(FORMULA), N), later, 1)
