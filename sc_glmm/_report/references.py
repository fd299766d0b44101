"""Read the bibliography, which the documentation shares, and replace citations in text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_ENTRY = re.compile(r"^@\w+\{(?P<key>\w+),\n(?P<fields>.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)
_CITED = re.compile(r"\[((?:@\w+(?:; )?)+)\]")
_ACCENTS = {r"{\"a}": "\u00e4", r"{\'e}": "\u00e9", r"{\'n}": "\u0144", r"\_": "_", "--": "\u2013"}


@cache
def bibliography() -> Mapping[str, Mapping[str, str]]:
    """Read the entries of ``references.bib``; every field is one line."""
    text = files(__package__).joinpath("references.bib").read_text(encoding="utf-8")
    for latex, char in _ACCENTS.items():
        text = text.replace(latex, char)
    return {
        found["key"]: {name: value.replace("{", "").replace("}", "") for name, value in _FIELD.findall(found["fields"])}
        for found in _ENTRY.finditer(text)
    }


def cite(text: str) -> tuple[str, list[str]]:
    """Replace ``[@key; @key]`` by authors and years; also return the sorted references."""
    used: list[str] = []

    def short(found: re.Match[str]) -> str:
        keys = [key.strip("@ ") for key in found[1].split(";")]
        used.extend(keys)
        return f"({'; '.join(_short(key) for key in keys)})"

    result = _CITED.sub(short, text)
    return result, sorted(_long(key) for key in dict.fromkeys(used))


def _names(key: str) -> list[str]:
    author = bibliography()[key]["author"]
    return [name.partition(",")[0].strip() for name in author.split(" and ")]


def _short(key: str) -> str:
    names = _names(key)
    who = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} et al."
    return f"{who} {bibliography()[key]['year']}"


def _long(key: str) -> str:
    entry = bibliography()[key]
    people = entry["author"].split(" and ")
    who = ", ".join(" ".join(name.split(", ")) for name in people[:3]) + (", et al." if len(people) > 3 else ".")
    where = entry.get("journal") or entry.get("booktitle", "")
    volume = f" {entry['volume']}" if "volume" in entry else ""
    pages = f": {entry['pages']}" if "pages" in entry else ""
    return f"{who} {entry['title']}." + (f" {where}{volume}{pages}" if where else "") + f" ({entry['year']})."
