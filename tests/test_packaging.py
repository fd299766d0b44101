"""Check that recipes agree with pyproject.toml, actions are pinned, and the workflow module runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import sc_glmm

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "packaging").is_dir():
    pytest.skip("the tests lie beside a wheel, not in the project", allow_module_level=True)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULE = (ROOT / "packaging" / "nf-core" / "scglmm" / "test" / "main.nf").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# conda-forge has another name for this package
CONDA_NAMES = {"matplotlib": "matplotlib-base"}


def recipe() -> dict:
    text = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()
    named = dict(re.findall(r'\{% set (\w+) = "([^"]+)" %\}', text))
    text = re.sub(r"\{%.*?%\}\n", "", text)
    return yaml.safe_load(re.sub(r"\{\{ (\w+) \}\}", lambda found: named.get(found[1], found[1]), text))


def test_the_conda_recipe_has_the_dependencies_of_the_project():
    result = recipe()
    needed = {}
    for text in PROJECT["dependencies"]:
        name, least = re.match(r"([\w-]+)>=([\d.]+)", text).groups()
        needed[CONDA_NAMES.get(name, name)] = f">={least}"
    found = dict(text.split(" ", 1) for text in result["requirements"]["run"])
    assert found.pop("python") == PROJECT["requires-python"]
    assert found == needed
    assert result["package"]["version"] == PROJECT["version"]
    assert result["build"]["entry_points"] == [f"{name} = {where}" for name, where in PROJECT["scripts"].items()]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_hash(path):
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_only_the_job_that_publishes_may_ask_for_a_token():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]


def test_forms_and_lists_are_valid():
    for path in [*(ROOT / ".github").rglob("*.yml"), *(ROOT / "packaging").rglob("*.yml"), ROOT / ".readthedocs.yaml"]:
        assert yaml.safe_load(path.read_text()), path
    listed = yaml.safe_load((ROOT / "packaging" / "scverse" / "meta.yaml").read_text())
    assert listed["version"] == f"v{PROJECT['version']}"
    assert listed["license"] == PROJECT["license"]
    assert listed["install"]["pypi"] == PROJECT["name"]
    assert listed["project_home"] == PROJECT["urls"]["Source"]


def test_groups_are_the_extras():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert groups == {name: [f"sc-glmm[{name}]"] for name in ("test", "doc", "dev")}
    assert set(groups) <= set(PROJECT["optional-dependencies"])


def test_containers_compile_the_kernels():
    for name in ("Dockerfile", "sc_glmm.def"):
        text = (ROOT / "packaging" / "container" / name).read_text()
        assert re.search(r"^\s*(RUN )?sc-glmm compile$", text, re.MULTILINE), name


def script(part: str, values: dict[str, str]) -> str:
    """Build the script of the module as Nextflow does: insert Groovy's values, and remove its escapes."""
    block = MODULE.split(f"{part}:\n", 1)[1]
    text = re.search(r'"""\n(.*?)\n    """', block, re.DOTALL)[1]
    text = re.sub(r"(?<!\\)\$\{([\w.]+)\}", lambda found: values[found[1]], text)
    lines = [line.removeprefix("    ") for line in text.replace("\\$", "$").splitlines()]
    return "\n".join(lines).replace("<<-END_VERSIONS", "<<END_VERSIONS")


def run(text: str, folder: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("part", ["script", "stub"])
def test_module_creates_its_outputs(part, tmp_path):
    if not Path(sys.executable).with_name("sc-glmm").exists():
        pytest.skip("the command is not installed beside Python")
    adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=240, n_genes=30, seed=0, depth=500)
    adata.write_h5ad(tmp_path / "in.h5ad")
    values = {
        "h5ad": "in.h5ad",
        "formula": "counts ~ disease + (1|sample)",
        "args": "--reference disease=ctl --test t",
        "args2": "--n-genes 1",
        "prefix": "study",
        "task.cpus": "1",
        "task.process": "SCGLMM_TEST",
    }
    process = run(script(part, values), tmp_path)
    assert process.returncode == 0, process.stderr
    promised = re.findall(r'path\("?([^")]+)"?\)', MODULE.split("output:")[1].split("when:")[0])
    for name in promised:
        assert (tmp_path / name.replace("${prefix}", "study")).exists(), name
    versions = yaml.safe_load((tmp_path / "versions.yml").read_text())
    assert versions == {"SCGLMM_TEST": {"sc-glmm": sc_glmm.__version__}}
    if part == "script":
        assert (tmp_path / "study.csv").read_text().startswith("variable,contrast,")
        assert "</html>" in (tmp_path / "study.html").read_text()
