"""Draw the design: one circle per sample, with the number of cells as area, and one column per arm."""

from __future__ import annotations

import numpy as np

from .layout import Layout, counted
from .markup import Markup, tag

_WIDTH = 720.0
_TOP = 62.0
_STEP = 27.0
_MOST_ROWS = 14
_MOST_ARMS = 7
_RADII = (3.0, 11.0)


def draw_design(layout: Layout) -> Markup:
    """Draw the samples of every arm; lines join samples of one donor (or another pairing factor)."""
    arms = range(min(max(len(layout.levels), 1), _MOST_ARMS))
    width = _WIDTH / len(arms)
    largest = float(layout.places["cells"].max())
    paired = _pairs(layout) if layout.pair else []
    across = max(int((width - 20.0) // _STEP), 1)
    circles, lines, heads = [], [], []
    at: dict[str, list[tuple[float, float]]] = {}
    deepest = 1
    for arm in arms:
        rows = layout.of_arm(arm)
        left = arm * width
        heads.append(_head(layout, arm, rows["cells"].to_numpy(), left, width))
        if paired:
            rows = rows[rows["pair"].isin(paired)]
            taken: dict[str, int] = {}
        shown = rows.sort_values("cells", ascending=False, kind="stable") if not paired else rows
        columns = (shown[name].tolist() for name in ("sample", "pair", "cells"))
        for i, (sample, pair, n_cells) in enumerate(zip(*columns, strict=True)):
            if paired:
                # several samples of a donor in one arm are drawn side by side
                slot, line = taken.get(pair, 0), paired.index(pair)
                taken[pair] = slot + 1
                x = left + width / 2 + 0.8 * _STEP * slot
            else:
                line, slot = divmod(i, across)
                x = left + (width - min(across, len(shown)) * _STEP) / 2 + _STEP * (slot + 0.5)
            if line >= _MOST_ROWS:
                break
            y = _TOP + _STEP * (line + 0.5)
            deepest = max(deepest, line + 1)
            words = f"{sample}: {counted(n_cells, 'cell')}"
            circle = tag("title", words)
            circles.append(
                tag(
                    "circle",
                    circle,
                    cx=f"{x:.1f}",
                    cy=f"{y:.1f}",
                    r=f"{_radius(n_cells, largest):.1f}",
                    class_=f"arm-{arm % 7}",
                )
            )
            at.setdefault(pair, []).append((x, y))
    for places in at.values() if paired else []:
        for (x1, y1), (x2, y2) in zip(places[:-1], places[1:], strict=True):
            lines.append(tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_="join"))
    height = _TOP + _STEP * deepest + 12.0
    frames = [
        tag(
            "rect",
            x=f"{arm * width + 4:.1f}",
            y="4",
            width=f"{width - 8:.1f}",
            height=f"{height - 8:.1f}",
            rx="10",
            class_="arm",
        )
        for arm in arms
    ]
    return tag(
        "svg",
        *frames,
        *lines,
        *circles,
        *heads,
        viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}",
        role="img",
        aria_label=_label(layout),
    )


def caption(layout: Layout) -> str:
    """Explain the marks of the drawing, and what it leaves out."""
    cells = layout.places["cells"]
    sizes = f"{int(cells.min()):,} to {int(cells.max()):,}"
    words = f"One circle is one {layout.sample}; its area is the number of cells ({sizes})."
    if layout.pair and layout.pair != layout.sample:
        words += f" Lines join the samples of one {layout.pair}."
    elif layout.pair:
        words += f" Lines join the cells of one {layout.sample}."
    if len(layout.levels) > _MOST_ARMS:
        words += f" Only the first {_MOST_ARMS} of {len(layout.levels)} arms are drawn."
    if layout.pair and layout.places["pair"].nunique() > _MOST_ROWS:
        words += f" Only {_MOST_ROWS} of {layout.places['pair'].nunique():,} are drawn."
    return words


def _pairs(layout: Layout) -> list[str]:
    return list(dict.fromkeys(layout.places["pair"]))[:_MOST_ROWS]


def _radius(cells: float, largest: float) -> float:
    return max(_RADII[0], _RADII[1] * float(np.sqrt(cells / largest)))


def _head(layout: Layout, arm: int, cells: np.ndarray, left: float, width: float) -> Markup:
    name = layout.levels[arm] if layout.levels else "all samples"
    centre = f"{left + width / 2:.1f}"
    room = max(int(width / 8.5), 6)
    return tag(
        "g",
        tag("title", name),
        tag("text", shorter(name, room), x=centre, y="28", text_anchor="middle", class_="name"),
        tag("text", _head_words(layout, cells, room), x=centre, y="47", text_anchor="middle", class_="soft"),
    )


def _head_words(layout: Layout, cells: np.ndarray, room: int) -> str:
    words = f"{counted(len(cells), layout.sample)}, {counted(int(cells.sum()), 'cell')}"
    return words if len(words) <= 1.4 * room else f"{len(cells):,} | {int(cells.sum()):,}"


def shorter(text: str, room: int) -> str:
    """Shorten a text to `room` characters, with an ellipsis."""
    return text if len(text) <= room else text[: max(room - 1, 1)] + "\u2026"


def _label(layout: Layout) -> str:
    arms = [f"{level}: {counted(len(layout.of_arm(i)), layout.sample)}" for i, level in enumerate(layout.levels)] or [
        counted(len(layout.places), layout.sample)
    ]
    return f"Samples of the study. {'; '.join(arms)}"
