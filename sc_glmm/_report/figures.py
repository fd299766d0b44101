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
    """Embed the figure that `draw` draws, with `words` as caption.

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
        tag("img", src=_data_uri(draw_svg(draw)), alt=words),
        tag("figcaption", words),
        id=identity,
    )


def draw_svg(draw: Callable[[], Any]) -> bytes:
    """Convert the figure that `draw` draws to SVG; open figures of the caller do not change."""
    import matplotlib.pyplot as plt

    before = set(plt.get_fignums())
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "sc_glmm", "figure.dpi": 100}), plt.ioff():
        try:
            draw()
            new = [plt.figure(number) for number in plt.get_fignums() if number not in before]
            return _svg(new[-1])
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def _svg(new: Figure) -> bytes:
    buffer = io.BytesIO()
    new.savefig(buffer, format="svg", transparent=True, dpi=150, metadata={"Date": None})
    return buffer.getvalue()


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
