"""Check the commands that read results, and options and contrasts from files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import InputError, cli
from sc_glmm.cli.yaml import as_contrasts, read_contrasts, read_yaml

FORMULA = "counts ~ disease + (1|sample)"


def run(*arguments: object):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Make three cell types, one with a single condition, with results under two keys."""
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=600, n_genes=12, seed=3)
    rng = np.random.default_rng(0)
    kind = np.array(["B", "T", "lone"])[rng.integers(0, 3, adata.n_obs)]
    adata.obs["kind"] = np.where((kind == "lone") & (adata.obs["disease"] == "AD"), "B", kind)
    sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, test="t")
    with pytest.warns(sc_glmm.ScGlmmWarning, match="'lone' was skipped"):
        sc_glmm.tl.test(adata, FORMULA, reference={"disease": "ctl"}, test="t", groupby="kind", key_added="kinds")
    path = tmp_path_factory.mktemp("cli") / "a.h5ad"
    adata.write_h5ad(path)
    return path


def test_info_describes_a_file(source, tmp_path) -> None:
    result = run("info", source)
    assert result.exit_code == 0, result.output
    message = result.stdout
    assert message.startswith("600 cells, 12 genes\n")
    assert "  disease: 2 levels (AD, ctl)\n" in message
    assert re.search(r"^  true_size_factor: numbers from 0\.\d+ to \d", message, re.MULTILINE)
    assert f"results 'glmm': {FORMULA}  (family nb, test t)\n" in message
    assert f"results 'kinds': {FORMULA}  (family nb, test t, by kind)\n" in message
    assert re.search(r"^  T, disease: AD vs ctl: \d+ at FDR 5 %$", message, re.MULTILINE)
    assert re.search(r"^  lone: skipped, 'disease' has only one level", message, re.MULTILINE)
    bare = tmp_path / "bare.h5ad"
    sc_glmm.datasets.simulate(n_samples=4, n_cells=40, n_genes=5).write_h5ad(bare)
    assert run("info", bare).stdout.endswith("no results of sc-glmm test\n")
    (tmp_path / "results.csv").write_text("variable,log_fc\n")
    assert "results.csv is a table; info shows an .h5ad file" in refused("info", tmp_path / "results.csv")


@pytest.mark.parametrize(
    ("figure", "options", "form"),
    [
        ("volcano", [], "png"),
        ("volcano", ["--key", "kinds", "--group", "B"], "pdf"),
        ("ma", ["--contrast", "disease: AD vs ctl", "--width", "3", "--height", "2"], "svg"),
        ("samples", ["--gene", "gene_01"], "png"),
        ("forest", ["--key", "kinds", "--gene", "gene_01"], "png"),
    ],
)
def test_plot_draws_a_figure(source, tmp_path, figure: str, options: list, form: str) -> None:
    out, open_before = tmp_path / f"figure.{form}", plt.get_fignums()
    result = run("plot", source, figure, "-o", out, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Written to {out}\n"
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[form]
    assert out.read_bytes().startswith(start)
    if "--width" in options:
        assert b'width="216pt" height="144pt"' in out.read_bytes()
    assert plt.get_fignums() == open_before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vulcano"], "no figure 'vulcano'; did you mean 'volcano'"),
        (["forest"], "shows one gene; choose it with --gene"),
        (["volcano", "--gene", "g"], "has no --gene"),
        (["volcano", "--key", "kinds"], "Select one with group='B' \\(in the command, --group\\)"),
        (["volcano", "--key", "none"], "no results under key='none'"),
    ],
)
def test_plots_that_cannot_be_drawn(source, tmp_path, arguments: list, words: str) -> None:
    assert re.search(words, refused("plot", source, *arguments, "-o", tmp_path / "a.png"))
    assert not (tmp_path / "a.png").exists()
    assert "must end in .pdf, .png, .svg" in refused("plot", source, "volcano", "-o", tmp_path / "a.doc")


def test_contrasts_from_a_file(source, tmp_path) -> None:
    contrasts, out = tmp_path / "contrasts.yaml", tmp_path / "out.csv"
    contrasts.write_text("ill: [disease, AD, ctl]\nback: \"cond(disease='ctl') - cond(disease='AD')\"\n")
    result = run("test", source, FORMULA, "-o", out, "-q", "--test", "t", "--contrasts", contrasts)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert list(table["contrast"].unique()) == ["ill", "back"]
    twice = refused("test", source, FORMULA, "-o", out, "--contrasts", contrasts, "--contrast", "AD")
    assert "cannot come from both" in twice


def test_options_from_a_file(source, tmp_path) -> None:
    config, out = tmp_path / "run.yaml", tmp_path / "out.csv"
    config.write_text(
        f"formula: {FORMULA}\nout: {out}\nreference: {{disease: AD}}\ntest: t\ngroupby: kind\nmin-samples: 3\n"
        "adjust: global\nquiet: true\ncontrasts:\n  there: ctl vs AD\n"
    )
    result = run("test", source, "--config", config)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert set(table["contrast"]) == {"there"}
    assert set(table["kind"]) == {"B", "T"}
    # the command line overrides the file
    result = run("test", source, "--config", config, "--groupby", "disease", "--contrast", "AD")
    assert "cannot come from both" in result.stderr
    config.write_text("groupbye: kind\n")
    assert re.search(
        "'groupbye', which is not an option; did you mean 'groupby'", refused("test", source, "--config", config)
    )
    config.write_text("- a\n- b\n")
    assert "contains no options" in refused("test", source, "--config", config)


def test_formats_of_contrasts(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "contrasts:\n"
        "  - id: one\n    comparison: [disease, ctl, AD]\n"
        "  - {id: two, comparison: [dose, 1, 2], blocking: batch}\n"
    )
    assert read_contrasts(path) == {"one": ("disease", "AD", "ctl"), "two": ("dose", 2, 1)}
    value = {"w": [0, 1, -0.5], "j": {"joint": ["AD", ["disease", "MCI", "ctl"]]}, "t": "disease: AD vs ctl"}
    assert as_contrasts(value, path) == {
        "w": [0, 1, -0.5],
        "j": ["AD", ("disease", "MCI", "ctl")],
        "t": ("disease", "AD", "ctl"),
    }
    for wrong in ([], {}, None, [{"id": "a"}], {"a": 3}, {"a": {"joints": []}}, {"a": ["x", "y"]}):
        with pytest.raises(InputError, match="contrast"):
            as_contrasts(wrong, path)
    path.write_text("a: [")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        read_yaml(path)


def test_ctrl_c_ends_a_command_with_the_code_of_a_shell(source, tmp_path, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sc_glmm.tl, "test", interrupted)
    result = run("test", source, FORMULA, "-o", tmp_path / "out.csv")
    assert result.exit_code == 130
    assert "interrupted: all files are intact" in result.stderr
    assert not (tmp_path / "out.csv").exists()


def test_scanpy_finds_the_command() -> None:
    executable = Path(sys.executable).with_name("scanpy-glmm")
    if not executable.exists():
        pytest.skip("the package was installed before it had this command")
    version = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True).stdout
    assert version == f"sc-glmm {sc_glmm.__version__}\n"


def test_the_commands_are_typer_commands() -> None:
    assert isinstance(cli.app, typer.Typer)
    assert {"test", "plot", "info", "demo"} <= {
        command.name or command.callback.__name__ for command in cli.app.registered_commands
    }
