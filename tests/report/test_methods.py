"""Check the methods paragraph: every test has sentences, and every citation has a reference."""

from __future__ import annotations

import re

import pytest

from sc_glmm._hypotheses.registry import get_test, names
from sc_glmm._report.references import bibliography, cite


@pytest.mark.parametrize("name", [name for name in names() if name is not None])
def test_every_test_has_sentences_with_known_references(name):
    text, references = cite(get_test(name).methods)
    assert text.endswith(".")
    assert "@" not in text
    assert len(references) == len(set(re.findall(r"@(\w+)", get_test(name).methods)))


def test_the_bibliography_is_read_whole():
    from importlib.resources import files

    source = files("sc_glmm._report").joinpath("references.bib").read_text(encoding="utf-8")
    assert len(bibliography()) == source.count("\n@") + 1
    for entry in bibliography().values():
        assert {"author", "title", "year"} <= set(entry)
        assert not re.search(r"[{}\\]", "".join(entry.values()))


def test_citations_in_words():
    text, references = cite("By rules [@benjamini1995; @koenker2014] of [@smyth2004].")
    assert text == "By rules (Benjamini and Hochberg 1995; Koenker and Mizera 2014) of (Smyth 2004)."
    assert references[0].startswith("Benjamini Yoav, Hochberg Yosef.")
    assert len(references) == 3
