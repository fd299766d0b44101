"""Figures of :mod:`sc_glmm.pl` as pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from .markup import Markup, tag


def figure(draw: Callable[[], Any], words: str, *, identity: str | None = None, title: object = None) -> Markup:
    """What `draw` draws, with `words` below.

    Parameters
    ----------
    draw
        Draws one figure with pyplot.
    words
        Caption, and what a screen reader says.
    identity
        Its anchor in the page.
    title
        A heading.
    """
    return tag(
        "figure",
        tag("h3", title) if title is not None else None,
        tag("img", src=_data_uri(drawn(draw)), alt=words),
        tag("figcaption", words),
        id=identity,
    )


def drawn(draw: Callable[[], Any]) -> bytes:
    """The figure that `draw` makes, as SVG; figures of the caller stay as they are."""
    import matplotlib.pyplot as plt

    before = set(plt.get_fignums())
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "sc_glmm", "figure.dpi": 100}), plt.ioff():
        try:
            draw()
            made = [plt.figure(number) for number in plt.get_fignums() if number not in before]
            return _svg(made[-1])
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def _svg(made: Figure) -> bytes:
    held = io.BytesIO()
    made.savefig(held, format="svg", transparent=True, dpi=150, metadata={"Date": None})
    return held.getvalue()


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
