"""Check that one record defines all options of a run, for functions, the command, files and help."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path
from typing import get_type_hints

import anndata
import pytest
import typer.main
from typer.testing import CliRunner

import sc_glmm
from sc_glmm import _hypotheses, cli
from sc_glmm._adata.stored import read_run
from sc_glmm._errors import InputError
from sc_glmm._families.registry import FAMILIES
from sc_glmm._run.options import RunOptions, allowed_words, option_info
from sc_glmm._run.parts.manifest import Manifest

FORMULA = "counts ~ disease + (1|sample)"
ROOT = Path(__file__).resolve().parents[1]
# a value of each option that is not its default and that the command and a manifest can contain
OTHER = RunOptions(
    "counts ~ disease + (1|donor)",
    family="poisson",
    size_factors="depth",
    offset="log_depth",
    reference={"disease": "ctl"},
    contrasts=[("disease", "AD", "ctl"), "age"],
    groupby="cell_type",
    test="hk",
    genes=["a", "b"],
    n_boot=9,
    seed=3,
    within="homogeneous",
    min_cells=1,
    min_samples=2,
    min_counts=3,
    dispersion="shrunken",
    adjust="global",
    method="ml",
    n_agq=5,
    min_log_fc=0.5,
    alternative="greater",
    n_jobs=2,
    memory_limit="1 GB",
    key_added="mine",
    modality="rna",
    copy=True,
    progress=False,
)


def test_every_option_has_another_value_here():
    plain = RunOptions(FORMULA)
    assert [f.name for f in fields(OTHER) if getattr(OTHER, f.name) == getattr(plain, f.name)] == []


def test_the_signature_of_the_call():
    function = sc_glmm.tl.test
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("adata")
    assert list(parameters) == [f.name for f in fields(RunOptions)]
    hints, types = get_type_hints(function, localns={"AnnData": anndata.AnnData}), get_type_hints(RunOptions)
    for name, parameter in parameters.items():
        assert parameter.default == getattr(RunOptions, name, inspect.Parameter.empty), name
        assert hints[name] == types[name], name
    arguments = {f.name: getattr(OTHER, f.name) for f in fields(OTHER)}
    assert RunOptions.from_arguments({"adata": None, **arguments}) == OTHER


def test_the_options_of_the_command():
    command = typer.main.get_command(cli.app).commands["test"]
    parameters = {parameter.name: parameter for parameter in command.params}
    text = CliRunner().invoke(cli.app, ["test", "--help"], terminal_width=200).stdout
    for name, option in option_info().items():
        if option.flag == "":
            continue
        parameter = parameters.pop((option.flag or name).lstrip("-").replace("-", "_"))
        default = getattr(RunOptions, name, None)
        assert parameter.default == default or parameter.default is None, name
        assert parameter.help == option.help
        words = [word for word in allowed_words().get(name, ()) if word is not None]
        assert "|".join(words) in text, name
        assert parameter.required == (name == "formula")
    # the other options are about files, chunks and the terminal
    assert set(parameters) == {"source", "out", "contrasts", "n_chunks", "chunk", "stage", "quiet", "config"}


def test_manifest_contains_options_that_change_results():
    aside = {"n_jobs", "memory_limit", "key_added", "modality", "copy", "progress"}
    assert {name for name, info in option_info().items() if not info.affects_numbers} == aside
    stored = json.loads(json.dumps(OTHER.to_json()))
    plain = RunOptions(FORMULA)
    assert RunOptions.from_json(stored) == replace(OTHER, **{name: getattr(plain, name) for name in aside})
    manifest = Manifest(OTHER, "", (1, 1), "cells", 1, {}, "", "")
    for each in fields(RunOptions):
        changed = replace(manifest, options=replace(OTHER, **{each.name: getattr(plain, each.name)}))
        assert (changed.digest() == manifest.digest()) == (each.name in aside), each.name


def test_a_recipe_gives_the_options_back():
    back = RunOptions.from_recipe(OTHER.for_recipe(size_factors="in words", genes="in words"))
    gone = {name for name, option in option_info().items() if option.stored is None or not option.stored_unchanged}
    plain = RunOptions(FORMULA)
    assert back == replace(OTHER, **{name: getattr(plain, name) for name in gone})
    assert gone == {
        "size_factors",
        "offset",
        "contrasts",
        "genes",
        "n_jobs",
        "memory_limit",
        "key_added",
        "modality",
        "copy",
        "progress",
    }


def test_a_run_stores_its_options():
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=120, n_genes=20, seed=1)
    sc_glmm.tl.test(adata, FORMULA, test="t", min_cells=2, n_boot=7, seed=5, reference={"disease": "ctl"})
    read = RunOptions.from_recipe(read_run(adata, "glmm", None).params)
    assert read == RunOptions(FORMULA, test="t", min_cells=2, n_boot=7, seed=5, reference={"disease": "ctl"})


def test_allowed_values_equal_the_registries():
    assert allowed_words()["test"] == (*_hypotheses.names(), None)
    assert set(allowed_words()["family"]) == {name for name, family in FAMILIES.items() if not family.trials}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("family", "binomial", "'gaussian'; a binomial response needs the number of trials: use sc_glmm.glmer"),
        ("test", "eb", "test='eb': allowed are 'bootstrap', 'eb_lr', 'eb_wald'"),
        ("within", "same", "within='same': allowed are 'heterogeneous', 'homogeneous'"),
        ("min_cells", -1, "min_cells=-1: allowed are whole numbers of at least 0"),
        ("min_counts", 2.5, "min_counts=2.5: allowed are whole numbers of at least 0"),
        ("n_boot", 0, "n_boot=0: allowed are whole numbers of at least 1"),
    ],
)
def test_values_that_are_not_allowed(name, value, says):
    with pytest.raises(InputError, match=re.escape(says)):
        RunOptions(FORMULA, **{name: value})
    with pytest.raises(InputError, match=re.escape(says)):
        sc_glmm.tl.test(sc_glmm.datasets.simulate(4, 40, 5), FORMULA, **{name: value})


def test_help_does_not_load_numerical_packages():
    """Check imports in the process of the command, which registers no accessor."""
    enter = "from sc_glmm_command import main; main()"
    assert 'scripts.sc-glmm = "sc_glmm_command:main"' in (ROOT / "pyproject.toml").read_text()
    heavy = {"numpy", "pandas", "scipy", "anndata", "numba", "matplotlib"}
    for options in (["--help"], ["test", "--help"], ["plot", "--help"]):
        run = [sys.executable, "-X", "importtime", "-c", enter, *options]
        process = subprocess.run(run, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        loaded = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines() if "|" in line}
        assert "sc_glmm" in loaded
        assert not heavy & loaded


def test_a_new_option_is_written_in_three_places(tmp_path):
    """Check the worked example of docs/contributing.md on a copy: the record, the signature, the place of use."""
    page = (ROOT / "docs" / "contributing.md").read_text()
    section = page[page.index("### A new option") :]
    blocks = re.findall(r"^   ```python\n(.*?)^   ```", section, re.MULTILINE | re.DOTALL)
    record, signature, use = [textwrap.dedent(block) for block in blocks[:3]]
    package = tmp_path / "sc_glmm"
    shutil.copytree(ROOT / "sc_glmm", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, new in (
        ("_run/options.py", "    min_counts: int = ", record),
        ("tl/_test.py", "    min_counts: int = ", signature),
    ):
        text = (package / name).read_text()
        assert text.count(before) == 1
        (package / name).write_text(text.replace(before, textwrap.indent(new, "    ") + before))
    assert "max_pct" in use
    code = (
        "import inspect, sc_glmm; from typer.testing import CliRunner; from sc_glmm.cli import app\n"
        f"assert sc_glmm.__file__.startswith({str(tmp_path)!r})\n"
        "from sc_glmm._run.options import RunOptions\n"
        "assert inspect.signature(sc_glmm.tl.test).parameters['max_pct'].default == 100\n"
        "assert '--max-pct' in CliRunner().invoke(app, ['test', '--help']).stdout\n"
        "options = RunOptions('y ~ (1|s)', max_pct=50)\n"
        "assert RunOptions.from_json(options.to_json()) == options == RunOptions.from_recipe(options.for_recipe())\n"
        "try: RunOptions('y ~ (1|s)', max_pct=-1)\n"
        "except sc_glmm.ScGlmmError as error: assert 'max_pct=-1' in str(error)\n"
        "else: raise SystemExit('taken')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
