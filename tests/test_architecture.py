"""Check that the architecture page names existing files and functions, and its drawing existing rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import sc_glmm

PACKAGE = Path(sc_glmm.__file__).parent
DOCS = Path(__file__).resolve().parents[1] / "docs"


def page() -> str:
    path = DOCS / "architecture.md"
    if not path.exists():
        pytest.skip("the tests lie beside a wheel, not in the project")
    return path.read_text()


def walk() -> list[tuple[str, str]]:
    section = page().split("## From the call to the table")[1].split("\n## ")[0]
    return re.findall(r"^\| \d \| `([^`]+)` \| `([^`]+)` \|", section, re.MULTILINE)


def test_walk_names_existing_functions_in_few_files():
    steps = walk()
    for path, name in steps:
        tree = ast.parse((PACKAGE / path).read_text())
        assert name in {getattr(node, "name", None) for node in tree.body}, (path, name)
    assert 10 < len({path for path, _ in steps}) <= 15


def test_files_and_names_on_the_page_exist():
    for path in re.findall(r"`([a-z_/]+\.py)`", page()):
        assert (PACKAGE / path).is_file(), path
    for room in re.findall(r"`(_?[a-z_]+)/`", page()):
        assert (PACKAGE / room).is_dir(), room
    for name, path in re.findall(r"`(_?[A-Z]\w+)` in `([a-z_/]+\.py)`", page()):
        assert f"class {name}" in (PACKAGE / path).read_text(), name


def test_the_rooms_of_the_drawing_exist():
    rooms = re.findall(r'class="room">([^<]+)<', (DOCS / "figures" / "architecture.svg").read_text())
    assert len(rooms) > 10
    for label in rooms:
        for room in re.findall(r"_?[a-z_]+/|_[a-z]+\b", label):
            assert (PACKAGE / room.rstrip("/")).is_dir() or (PACKAGE / f"{room.rstrip('/')}.py").is_file(), label
