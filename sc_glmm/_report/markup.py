"""Build HTML from elements, so that no text in a file can become markup."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"br", "hr", "img", "input", "meta"})


class Markup(str):
    """Text that is already HTML; everything else is escaped."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Convert any value to text of a page; HTML is unchanged."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(value)), quote=True))


def join(children: Iterable[object], between: str = "") -> Markup:
    """Concatenate children; None is left out."""
    return Markup(escape(between).join(escape(child) for child in children if child is not None))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """Build an element.

    Parameters
    ----------
    name
        Name of the element.
    children
        Text, which is escaped, or HTML; None is left out.
    attributes
        Attributes with their values, which are escaped. ``class_`` gives ``class``, ``data_name`` gives ``data-name``.
        None and False omit an attribute, and True adds one without a value.
    """
    written = "".join(
        f" {_attribute(key)}" + ("" if value is True else f'="{escape(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def data_element(identity: str, value: Any) -> Markup:
    """Embed data for the script of the page, as JSON in which no text can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(f'<script type="application/json" id="{escape(identity)}">{text}</script>')
