"""Check the structure of the package: layers, public functions, cost of an import, distribution."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, version
from importlib.resources import files
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml

import sc_glmm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGE = Path(sc_glmm.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = [
    (room, name)
    for room in ("tl", "pp", "get", "pl", "datasets")
    for name in importlib.import_module(f"sc_glmm.{room}").__all__
]
# sc_glmm.models also has the classes that its functions return
PUBLIC += [
    ("models", name)
    for name in importlib.import_module("sc_glmm.models").__all__
    if inspect.isfunction(getattr(importlib.import_module("sc_glmm.models"), name))
]


def _ids(values):
    return [".".join(v) for v in values]


@pytest.fixture(scope="module")
def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_tests_import_the_package_in_this_repository(pyproject):
    # A plain `pip install .` leaves a copy in site-packages that does not follow changes of the sources. If the tests
    # are in a folder of their own (check of the wheel), the installed copy is tested on purpose.
    if (ROOT / "sc_glmm").is_dir():
        assert PACKAGE == ROOT / "sc_glmm", "install with `pip install -e '.[test]'`, so that the sources are tested"
    assert sc_glmm.__version__ == version("sc-glmm") == pyproject["project"]["version"]


def test_imports_point_downward():
    # the executable is beside Python, even if the environment is not active
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


def _imports(path: Path) -> set[str]:
    """List modules of the package that a file imports, also inside functions and under TYPE_CHECKING."""
    package = [*path.relative_to(PACKAGE.parent).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def test_no_circular_imports():
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in SOURCES}
    # a package imports its modules, but they do not import it
    graph = {names[path]: _imports(path) & set(names.values()) for path in SOURCES if path.name != "__init__.py"}
    while graph:
        leaves = {name for name, imported in graph.items() if not imported & set(graph)}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {name: imported for name, imported in graph.items() if name not in leaves}


METHODS = [
    (cls, name)
    for cls in ("LmmFit", "GlmmFit")
    for name, _ in inspect.getmembers(getattr(importlib.import_module("sc_glmm.models"), cls), inspect.isfunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize(("cls", "name"), METHODS, ids=_ids(METHODS))
def test_methods_of_fits_show_their_options_in_help(cls, name):
    method = getattr(getattr(importlib.import_module("sc_glmm.models"), cls), name)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    text = inspect.getdoc(method)
    assert text and text.splitlines()[0].endswith(".")
    # only update() passes options on, those of lmer and glmer
    assert not [p for p in parameters if p.kind is p.VAR_KEYWORD] or name == "update"
    assert all(p.annotation is not p.empty for p in parameters)
    if any(p.default is not p.empty for p in parameters):
        assert {p.name for p in parameters} <= _documented(text)
        assert re.search(r"^Returns\n-+$", text, re.MULTILINE)


def test_import_loads_no_package_heavier_than_anndata():
    """Compare with the modules that anndata itself loads, which differ between its versions."""
    loaded = []
    for code in ("import anndata", "import sc_glmm; sc_glmm.__version__; dir(sc_glmm)"):
        run = f"import sys; {code}; print(' '.join(sys.modules))"
        process = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
        loaded.append(set(process.stdout.split()))
    heavy = {"numba", "formulaic", "matplotlib", "joblib", "tqdm", "typer", "dask", "zarr", "yaml"}
    assert "anndata" in loaded[1]
    assert not heavy & (loaded[1] - loaded[0])


def test_submodules_are_attributes_of_the_package():
    code = (
        "import sys, sc_glmm\n"
        "assert 'sc_glmm.datasets' not in sys.modules\n"
        "sc_glmm.datasets.simulate(4, 20, 5)\n"
        "assert 'numba' not in sys.modules and 'matplotlib' not in sys.modules\n"
        "assert all(hasattr(sc_glmm, room) for room in ('tl', 'pp', 'pl', 'get'))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"tl", "pp", "pl", "get", "datasets"} <= set(dir(sc_glmm))
    with pytest.raises(AttributeError, match="nonsense"):
        sc_glmm.nonsense  # noqa: B018


@pytest.mark.parametrize(("room", "name"), PUBLIC, ids=_ids(PUBLIC))
def test_public_signatures(room, name):
    function = getattr(importlib.import_module(f"sc_glmm.{room}"), name)
    parameters = inspect.signature(function).parameters
    positional = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert len(positional) <= 3
    if room in ("tl", "pp", "get"):
        assert positional[0].name == "adata"
    if room == "pl":
        assert positional[0].name == "data"
        assert parameters["ax"].kind is inspect.Parameter.KEYWORD_ONLY
    if "copy" in parameters:
        assert parameters["copy"].default is False
        assert parameters["copy"].kind is inspect.Parameter.KEYWORD_ONLY
    assert all(p.annotation is not p.empty for p in parameters.values())
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize(("room", "name"), PUBLIC, ids=_ids(PUBLIC))
def test_public_docstrings_name_every_parameter(room, name):
    function = getattr(importlib.import_module(f"sc_glmm.{room}"), name)
    text = inspect.getdoc(function)
    assert re.search(r"^Parameters\n-+$", text, re.MULTILINE)
    assert re.search(r"^Returns\n-+$", text, re.MULTILINE)
    assert set(inspect.signature(function).parameters) <= _documented(text)


def _documented(text: str) -> set[str]:
    """List names in the Parameters section: they begin in its first column, and several may share an entry."""
    sections = re.split(r"^Parameters\n-+$", text, flags=re.MULTILINE)
    assert len(sections) == 2
    section = re.split(r"^[A-Z]\w+\n-+$", sections[1], flags=re.MULTILINE)[0]
    return {word for line in section.splitlines() if line[:1].strip() for word in re.split(r"[,\s:]+", line) if word}


@pytest.mark.parametrize(("room", "name"), PUBLIC, ids=_ids(PUBLIC))
def test_examples_in_docstrings(room, name, capsys):
    function = getattr(importlib.import_module(f"sc_glmm.{room}"), name)
    tests = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    results = [doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test) for test in tests]
    plt.close("all")
    assert sum(r.failed for r in results) == 0, capsys.readouterr().out


def test_pytest_does_not_collect_the_main_job():
    assert sc_glmm.tl.test.__test__ is False
    # The usual pattern *_test.py would match tl/_test.py, so pyproject.toml has another one.
    assert not list(PACKAGE.rglob("test_*.py"))


def test_benchmarks_import_what_exists():
    """They are not run here, and a name that has moved would be found by a stranger."""
    paths = sorted((ROOT / "benchmarks").rglob("*.py"))
    missing = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("sc_glmm"):
                continue
            module = importlib.import_module(node.module)
            known = {*dir(module), *(sub.stem for sub in Path(module.__file__).parent.glob("*"))}
            missing += [f"{path.name}: {node.module}.{each.name}" for each in node.names if each.name not in known]
    assert paths and not missing


def test_digest_covers_all_sources_of_the_kernels():
    from sc_glmm._engine import digest

    covered, found, ahead = set(digest.sources()), set(), list(digest.ENTRIES)
    while ahead:
        path = ahead.pop()
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("sc_glmm."):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                paths = [PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py") for name in names]
                ahead += [new for new in paths if new.is_file() and new not in found]
    # at least entries, arrow, laplace and the families
    assert len(found) > 15
    # files for the cache of compiled code, without kernels
    uncovered = [path for path in found - covered if re.search("numba|import kernel|jit", path.read_text())]
    assert not uncovered


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_sources(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 500
    # `python -O` removes assertions, so the user would not see the error
    assert not [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]


def _is_kernel(function):
    names = [ast.unparse(d).split("(")[0].rsplit(".")[-1] for d in function.decorator_list]
    return bool({"kernel", "allocating", "cached", "njit"} & set(names))


def _nesting(node, depth=0):
    """Count the levels of loops and conditions below a node; ``elif`` does not count as a level."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        one_more = isinstance(child, ast.For | ast.While | ast.If | ast.With | ast.Try) and not is_elif
        deepest = max(deepest, _nesting(child, depth + one_more))
    return deepest


KERNELS = [
    pytest.param(node, id=f"{path.relative_to(PACKAGE).as_posix()}:{node.name}")
    for path in SOURCES
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef) and _is_kernel(node)
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_short_and_flat(kernel):
    text = ast.get_docstring(kernel)
    lines = kernel.end_lineno - kernel.lineno + 1 - (len(text.splitlines()) if text else 0)
    assert lines <= 80
    assert _nesting(kernel) <= 4
    # long tuples should be records with named fields
    assert len(kernel.args.args) <= 15


def test_contents_of_the_distribution():
    assert files("sc_glmm").joinpath("py.typed").is_file()
    assert metadata("sc-glmm")["License-Expression"] == "BSD-3-Clause"
    assert metadata("sc-glmm")["Requires-Python"] == ">=3.11"


def test_readme_contains_the_two_commands_of_ci():
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("sc-glmm demo")
    assert "-m pytest" in commands[1]
    if (ROOT / ".ci").is_dir():
        assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_requirements_of_the_ecosystem_list(pyproject):
    if not (ROOT / "CITATION.cff").exists():
        pytest.skip("the tests lie beside a wheel, not in the project")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == pyproject["project"]["version"]
    assert cited["license"] == pyproject["project"]["license"]
    for name in ("CONTRIBUTING.md", "CODE_OF_CONDUCT.md"):
        links = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text())
        assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_version_is_in_the_changelog(pyproject):
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert "Unreleased" in headings[0] or headings[0].startswith(pyproject["project"]["version"])


def test_shapes_are_prefixes():
    late = [path.name for path in SOURCES if re.search(r"^ .*[a-z`], shape \(", path.read_text(), re.MULTILINE)]
    assert not [name for name in late if name != "check.py"], late
