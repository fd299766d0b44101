"""Embed figures of :mod:`sc_glmm.pl` in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from .markup import Markup, tag


def figure(draw: Callable[[], Any], words: str, *, identity: str | None = None, title: object = None) -> Markup:
    """Figure drawn by `draw`, with `words` as caption.

    Parameters
    ----------
    draw
        Function that draws one figure with pyplot.
    words
        Caption, also used by screen readers.
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
            result = [plt.figure(number) for number in plt.get_fignums() if number not in before]
            return _svg(result[-1])
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def _svg(made: Figure) -> bytes:
    held = io.BytesIO()
    made.savefig(held, format="svg", transparent=True, dpi=150, metadata={"Date": None})
    return held.getvalue()


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
