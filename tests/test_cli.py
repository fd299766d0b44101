"""Check the command: its output, its messages, and errors without a traceback."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import cli
from sc_glmm.cli.yaml import parse_contrast

FORMULA = "counts ~ disease + (1|sample)"


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def refused(*arguments):
    """Run a command that must fail with a user error, and return its message."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    return result.stderr


@pytest.fixture(scope="module")
def adata():
    return sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=25, n_cell_types=2, depth=50, seed=5)


@pytest.fixture(scope="module")
def stored(adata, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "stored.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture
def source(stored, tmp_path):
    """Make a file that a test may change."""
    path = tmp_path / "in.h5ad"
    path.write_bytes(stored.read_bytes())
    return path


def test_version_and_help():
    assert run("--version").stdout == f"sc-glmm {sc_glmm.__version__}\n"
    text = run("--help").stdout
    assert re.search(r"^\s+test\s", text, re.MULTILINE)
    assert re.search(r"^\s+demo\s", text, re.MULTILINE)
    assert run().exit_code == 2


def test_the_installed_script():
    script = Path(sys.executable).with_name("sc-glmm")
    process = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert process.stdout == f"sc-glmm {sc_glmm.__version__}\n"


def test_csv_equals_the_results_in_python(adata, source, tmp_path):
    out = tmp_path / "results.csv"
    result = run("test", source, FORMULA, "-o", out, "--reference", "disease=ctl", "--n-jobs", 1, "--test", "t")
    assert result.exit_code == 0, result.output
    expected = sc_glmm.get.results(
        sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, test="t", copy=True), columns="all"
    )
    found = pd.read_csv(out)
    assert list(found.columns) == list(expected.columns)
    assert list(found["variable"]) == list(expected["variable"])
    for column in ("log_fc", "log_fc_se", "p_value", "adj_p_value"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-12)
    assert "25 genes in" in result.stdout
    assert f"Written to {out}" in result.stdout
    assert expected.sort_values("p_value")["variable"].iloc[0] in result.stdout


def test_parquet(source, tmp_path):
    out = tmp_path / "results.parquet"
    assert run("test", source, FORMULA, "-o", out, "-q").exit_code == 0
    assert len(pd.read_parquet(out)) == 25


def test_the_output_may_be_the_input(adata, source):
    source.chmod(0o640)
    result = run("test", source, FORMULA, "-o", source, "--key", "mine", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    back = ad.read_h5ad(source)
    assert (back.layers["counts"] != adata.layers["counts"]).nnz == 0
    assert len(sc_glmm.get.results(back, key="mine", columns="all")) == 25
    assert stat.S_IMODE(source.stat().st_mode) == 0o640
    assert os.listdir(source.parent) == ["in.h5ad"]


def test_failure_while_writing_does_not_change_the_input(source, monkeypatch):
    before = source.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for out in (source, source.with_name("out.h5ad")):
        assert "No space left on device" in refused("test", source, FORMULA, "-o", out, "-q")
        assert source.read_bytes() == before
        assert os.listdir(source.parent) == ["in.h5ad"]


def test_a_link_stays_a_link(source, tmp_path):
    target = tmp_path / "elsewhere" / "real.csv"
    target.parent.mkdir()
    target.write_text("old")
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    assert run("test", source, FORMULA, "-o", link, "-q").exit_code == 0
    assert link.is_symlink()
    assert len(pd.read_csv(target)) == 25


def test_groupby_tests_each_group(source, tmp_path):
    out = tmp_path / "results.csv"
    result = run("test", source, FORMULA, "-o", out, "--groupby", "cell_type")
    assert result.exit_code == 0, result.output
    found = pd.read_csv(out)
    assert len(found) == 50
    assert set(found["cell_type"]) == {"type_1", "type_2"}
    assert "50 genes in 2 levels of 'cell_type' in" in result.stdout
    assert "type_1" in result.stdout


def test_options_reach_the_model(source, tmp_path):
    out = tmp_path / "out.h5ad"
    options = ["--family", "poisson", "--method", "ml", "--size-factors", "true_size_factor", "--test", "t"]
    chosen = ["--reference", "disease=AD", "--contrast", "disease: ctl vs AD"]
    result = run("test", source, FORMULA, "-o", out, "-q", *options, *chosen)
    assert result.exit_code == 0, result.output
    expected = sc_glmm.tl.test(
        ad.read_h5ad(source),
        FORMULA,
        family="poisson",
        method="ml",
        size_factors="true_size_factor",
        reference={"disease": "AD"},
        test="t",
        contrasts=[("disease", "ctl", "AD")],
        copy=True,
    )
    found = sc_glmm.get.results(ad.read_h5ad(out), columns="all")
    np.testing.assert_allclose(found["log_fc"], sc_glmm.get.results(expected, columns="all")["log_fc"])


def test_warnings_about_the_analysis_are_on_stderr(adata, tmp_path):
    changed = adata.copy()
    # Strings have no base level, so one is chosen, with a note.
    changed.obs["disease"] = changed.obs["disease"].astype(str)
    changed.write_h5ad(tmp_path / "in.h5ad", convert_strings_to_categoricals=False)
    result = run("test", tmp_path / "in.h5ad", FORMULA, "-o", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    assert re.search(r"^note: .*'?AD'?", result.stderr, re.MULTILINE)
    assert "note:" not in result.stdout
    quiet = run("test", tmp_path / "in.h5ad", FORMULA, "-o", tmp_path / "out.csv", "-q")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_a_mistake_in_the_formula_is_marked(source, tmp_path):
    message = refused("test", source, "counts ~ disease + (1|sample", "-o", tmp_path / "out.csv")
    assert message.startswith("error: ")
    assert "    counts ~ disease + (1|sample\n" in message
    assert "^" in message
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("counts ~ diseas + (1|sample)", "diseas.*disease"),
        ("counts ~ disease", "no random effect"),
        ("counts ~ disease + (1|donors)", "donors.*donor"),
    ],
)
def test_error_about_a_wrong_name_lists_the_right_ones(source, tmp_path, formula, words):
    message = refused("test", source, formula, "-o", tmp_path / "out.csv")
    assert re.search(words, message, re.DOTALL)
    assert "Traceback" not in message


def test_left_side_that_is_not_a_layer_gives_a_note(source, tmp_path):
    result = run("test", source, "nothing ~ disease + (1|sample)", "-o", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    assert re.search(r"^note: .*nothing.*X", result.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "{tmp}/out.txt"], "'.txt'.*must end in .h5ad, .csv or .parquet"),
        (["-o", "{tmp}/none/out.csv"], "none, does not exist"),
        (["-o", "{tmp}/folder.csv"], "is a folder"),
        (["-o", "{tmp}/out.csv", "--reference", "disease"], "'disease' must have the form FACTOR=LEVEL"),
        (["-o", "{tmp}/out.csv", "--reference", "a=b", "--reference", "a=c"], "'a' twice"),
        (["-o", "{tmp}/out.csv", "--reference", "disease=none"], "none.*ctl"),
        (["-o", "{tmp}/out.csv", "--contrast", "disease: AD vs none"], "none"),
        (["-o", "{tmp}/out.csv", "--size-factors", "none"], "none"),
        (["-o", "{tmp}/out.csv", "--family", "gamma"], "gamma.*poisson"),
        (["-o", "{tmp}/out.csv", "--n-agq", "0"], "n-agq"),
    ],
)
def test_wrong_options(source, tmp_path, options, words):
    (tmp_path / "folder.csv").mkdir()
    message = refused("test", source, FORMULA, *(o.format(tmp=tmp_path) for o in options))
    assert re.search(words, message, re.DOTALL)
    assert not (tmp_path / "out.csv").exists()


def test_parquet_without_pyarrow_is_rejected_early(source, tmp_path, monkeypatch):
    monkeypatch.setattr("sc_glmm.cli.output.find_spec", lambda name: None)
    message = refused("test", source, FORMULA, "-o", tmp_path / "out.parquet")
    assert "pip install 'sc-glmm[parquet]'" in message


def test_inputs_that_are_not_anndata(tmp_path):
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["X"] = "no matrix"
    for name in ("text", "other"):
        message = refused("test", tmp_path / f"{name}.h5ad", FORMULA, "-o", tmp_path / "out.csv")
        assert re.search(f"^error: .*{name}.h5ad cannot be read as an AnnData", message)
    assert "none.h5ad" in refused("test", tmp_path / "none.h5ad", FORMULA, "-o", tmp_path / "out.csv")


def test_a_bug_keeps_its_traceback(source, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(sc_glmm.tl, "test", broken)
    result = run("test", source, FORMULA, "-o", tmp_path / "out.csv")
    assert isinstance(result.exception, RuntimeError)
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("disease: AD vs ctl", ("disease", "AD", "ctl")),
        (" cell type :  B cell vs  T cell ", ("cell type", "B cell", "T cell")),
        ("disease[T.AD]", "disease[T.AD]"),
        ("disease:sex", "disease:sex"),
    ],
)
def test_contrasts_in_words(text, expected):
    assert parse_contrast(text) == expected


def test_demo(tmp_path):
    out = tmp_path / "demo"
    result = run("demo", "--out", out, "--cells", 1200, "--genes", 60, "--n-jobs", 1)
    assert result.exit_code == 0, result.output
    assert {p.name for p in out.iterdir()} == {"volcano.png", "results.csv", "demo.h5ad"}
    assert (out / "volcano.png").read_bytes().startswith(b"\x89PNG")
    assert "1,200 cells of 12 samples, 60 genes" in result.stdout
    assert re.search(r"^(Load|Compil)ing the kernels.*\.\.\. \d+\.\d s$", result.stdout, re.MULTILINE)
    assert re.search(r"^60 genes in \d+\.\d s", result.stdout, re.MULTILINE)
    assert re.search(r"^  disease: AD vs ctl, FDR 5 %\s+\d+$", result.stdout, re.MULTILINE)
    assert "true_log_fc" in result.stdout
    # A clean simulation gives no notes except about single genes.
    assert "warning:" not in result.stderr
    # the proposed command works, and gives the same results
    command = shlex.split(result.stdout.splitlines()[-1])
    assert command[0] == "sc-glmm"
    again = run(*command[1:])
    assert again.exit_code == 0, again.output
    first, second = pd.read_csv(out / "results.csv"), pd.read_csv(out / "again.csv")
    np.testing.assert_allclose(first["p_value"], second["p_value"])


def test_options_of_the_model_reach_it(source, tmp_path):
    out = tmp_path / "out.h5ad"
    result = run("test", source, FORMULA, "-o", out, "-q", "--within", "homogeneous", "--dispersion", "shrunken")
    assert result.exit_code == 0, result.output
    params = ad.read_h5ad(out).uns["glmm"]["params"]
    assert (params["within"], params["dispersions"]) == ("homogeneous", "shrunken")
    assert "moderated test" in refused(
        "test", source, FORMULA, "-o", out, "-q", "--dispersion", "shrunken", "--test", "t"
    )
    message = refused("test", source, FORMULA, "-o", tmp_path, "--n-chunks", 2, "--chunk", 0, "--memory-limit", "1 GB")
    assert "cannot be used with chunks" in message


def test_genes_from_a_file_a_column_and_a_config(adata, source, tmp_path):
    names = list(adata.var_names[[2, 5, 9]])
    (tmp_path / "genes.txt").write_text("\n".join(names) + "\n\n")
    (tmp_path / "run.yaml").write_text(f"genes: [{', '.join(names)}]\n")
    marked = ad.read_h5ad(source)
    marked.var["mine"] = marked.var_names.isin(names)
    marked.write_h5ad(source)
    out = tmp_path / "out.csv"
    for options in (["--genes", tmp_path / "genes.txt"], ["--genes", "mine"], ["--config", tmp_path / "run.yaml"]):
        result = run("test", source, FORMULA, "-o", out, "-q", "--test", "t", *options)
        assert result.exit_code == 0, result.output
        found = pd.read_csv(out)
        assert list(found.loc[found["p_value"].notna(), "variable"]) == names
    assert "the file does not exist" in refused("test", source, FORMULA, "-o", out, "--genes", "none.txt")
    (tmp_path / "empty.txt").write_text("\n")
    assert "contains no gene names" in refused("test", source, FORMULA, "-o", out, "--genes", tmp_path / "empty.txt")
    assert "'mine'" in refused("test", source, FORMULA, "-o", out, "--genes", "mien")
    parts = tmp_path / "parts"
    for chunk in (0, 1):
        options = ["--genes", tmp_path / "genes.txt", "--test", "t", "--n-chunks", 2, "--chunk", chunk]
        assert run("test", source, FORMULA, "-o", parts, *options).exit_code == 0
    assert run("combine", parts, "-o", tmp_path / "combined.csv", "-q").exit_code == 0
    combined = pd.read_csv(tmp_path / "combined.csv")
    assert list(combined.loc[combined["p_value"].notna(), "variable"]) == names


def test_bootstrap_of_named_genes(adata, source, tmp_path):
    (tmp_path / "genes.txt").write_text(str(adata.var_names[2]))
    out = tmp_path / "out.csv"
    options = ["--test", "bootstrap", "--genes", tmp_path / "genes.txt", "--n-boot", 9, "--seed", 4]
    assert run("test", source, FORMULA, "-o", out, "-q", *options).exit_code == 0
    found = pd.read_csv(out).set_index("variable")["p_value"].dropna()
    expected = sc_glmm.tl.test(
        adata, FORMULA, test="bootstrap", genes=[adata.var_names[2]], n_boot=9, seed=4, copy=True
    )
    assert found.to_dict() == sc_glmm.get.results(expected, columns="all")["p_value"].dropna().to_dict()
    assert "genes=" in refused("test", source, FORMULA, "-o", out, "--test", "bootstrap")
