"""Check the README: its example gives the shown output, and its links work."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import sc_glmm

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_example_gives_the_shown_output(capsys):
    code, output = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL).groups()
    exec(compile(code, "README.md", "exec"), {})
    plt.close("all")
    assert capsys.readouterr().out == output


def test_linked_files_exist():
    if not (ROOT / "docs").is_dir():
        pytest.skip("the tests lie beside a wheel, not in the project")
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert "docs/figures/workflow.svg" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_addresses_are_those_of_the_project():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    addresses = (
        *urls.values(),
        "https://pypi.org/project/sc-glmm",
        "https://img.shields.io/",
        "https://readthedocs.org/projects/sc-glmm/",
    )
    for address in re.findall(r"https?://[^\s)\]]+", README):
        assert address.startswith(addresses), address


def test_the_gallery_shows_every_figure():
    gallery = ROOT / "docs" / "gallery.md"
    if not gallery.exists():
        pytest.skip("the tests lie beside a wheel, not in the project")
    shown = set(re.findall(r"img-top: figures/gallery/(\w+)\.png", gallery.read_text()))
    assert shown == set(sc_glmm.pl.__all__)
    assert all((ROOT / "docs" / "figures" / "gallery" / f"{name}.png").exists() for name in shown)
