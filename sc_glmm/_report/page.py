"""Assemble the page from its sections, with a content security policy."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from .markup import Markup, join, tag


def page(title: str, lead: object, sections: list[tuple[str, str, list[object]]], foot: object) -> str:
    """Assemble one HTML page.

    Parameters
    ----------
    title
        Title of the page.
    lead
        Content above the sections.
    sections
        Anchor, heading and content of each.
    foot
        Content at the end.
    """
    style, script = (
        files(__package__).joinpath("assets", name).read_text("utf-8") for name in ("report.css", "report.js")
    )
    # The page downloads nothing and runs only its own script and style, even if names in the data contain code.
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    links = [tag("a", heading, href=f"#{anchor}") for anchor, heading, _ in sections]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), lead, id="top"),
        tag(
            "nav",
            tag("div", *links, tag("button", "Dark", type="button", id="theme", hidden=True)),
            aria_label="Sections",
        ),
        tag(
            "main",
            *(tag("section", tag("h2", heading, id=anchor), join(content)) for anchor, heading, content in sections),
        ),
        tag("footer", foot, class_="soft"),
        tag("script", Markup(script)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
