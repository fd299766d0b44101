"""Place labels so that they do not overlap each other, and cover few points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patheffects import withStroke

from .._arrays import BoolArray, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation, Text
    from matplotlib.transforms import Bbox


_ANGLES = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
_GAPS = np.array([3.0, 7.0, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0, 78.0])  # points from the dot to its label
_LEADER_FROM = 5.0  # points; closer labels need no line to their dot
_PAD = np.array([1.5, 0.5])  # points of space around a label: words side by side need more than words in a column
_DOT = 1.7  # points: radius of a dot
_HALO = [withStroke(linewidth=1.2, foreground="white", alpha=0.85)]  # keeps text readable on the dots it must cover


def place_labels(
    ax: Axes,
    x: FloatArray,
    y: FloatArray,
    words: Sequence[str],
    *,
    crowd: FloatArray,
    obstacles: Sequence[Bbox] = (),
    fontsize: float,
    colors: Sequence[str],
) -> list[Annotation]:
    """Label the points (x, y); the first points choose their places first.

    A greedy search: each label tries places on growing rings around its dot. It takes the cheapest place inside the
    axes that touches no other label, obstacle or leader line. A label without a free place is left out, because
    overlapping labels cannot be read. The limits of the axes must be final.

    Parameters
    ----------
    x, y
        Data coordinates of the labelled points, (n,).
    words
        Their labels, n.
    crowd
        Data coordinates of all points that labels should not cover, (m, 2).
    obstacles
        Boxes in display coordinates that labels must not touch.
    fontsize
        Font size in points.
    colors
        Colours of the labels, n.
    """
    figure = ax.get_figure(root=True)
    if figure is None or len(words) == 0:
        return []
    px = figure.dpi / 72.0
    inside = _box(ax.get_window_extent())
    dots = ax.transData.transform(np.column_stack([x, y]))
    others = ax.transData.transform(crowd) if len(crowd) else np.empty((0, 2))
    taken = [_box(b) for b in obstacles]
    lines: list[FloatArray] = []
    placed: list[Annotation] = []
    for dot, word, color in zip(dots, words, colors, strict=True):
        size = _text_size(ax, word, fontsize)
        boxes, centres, gaps = _candidates(dot, size, px)
        free = _inside(boxes, inside)
        for other in taken:
            free &= ~_touch(boxes, other)
        for start, stop in lines:
            free &= ~_crossed(boxes, start, stop)
        if not free.any():
            continue
        covered = np.full(len(boxes), np.inf)
        for i in np.flatnonzero(free):
            covered[i] = _count(boxes[i], others, _DOT * px)
            if gaps[i] > _LEADER_FROM:
                end = _end(dot, boxes[i])
                covered[i] += 0.7 * _passed(dot, end, others, _DOT * px)
                if taken and _crossed(np.array(taken), dot, end).any():
                    covered[i] = np.inf
        # A covered dot costs as much as fourteen points of distance; the sides are easier to read than above or below.
        slant = np.abs(centres[:, 1] - dot[1]) / px
        cost = gaps + 14.0 * covered + 0.05 * slant
        best = int(cost.argmin())
        if not np.isfinite(cost[best]):
            continue
        annotation = ax.annotate(
            word,
            xy=tuple(dot),
            xycoords="figure pixels",
            xytext=tuple((centres[best] - dot) / px),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
            color=color,
            zorder=5,
            path_effects=_HALO,
        )
        # A second run of the layout engine must not reserve space for labels inside the axes.
        annotation.set_in_layout(False)
        annotation.xy = tuple(ax.transData.inverted().transform(dot))
        annotation.xycoords = "data"
        taken.append(boxes[best])
        placed.append(annotation)
        if gaps[best] > _LEADER_FROM:
            lines.append(np.array([dot, _end(dot, boxes[best])]))
            ends = ax.transData.inverted().transform(lines[-1])
            ax.plot(*ends.T, color=color, linewidth=0.4, alpha=0.8, zorder=4, scalex=False, scaley=False)
    return placed


def _text_size(ax: Axes, word: str, fontsize: float) -> FloatArray:
    probe: Text = ax.text(0.0, 0.0, word, fontsize=fontsize)
    extent = probe.get_window_extent()
    probe.remove()
    return np.array([extent.width, extent.height])


def _box(bbox: Bbox) -> FloatArray:
    return np.array([bbox.x0, bbox.y0, bbox.x1, bbox.y1])


def _candidates(dot: FloatArray, size: FloatArray, px: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Possible boxes (k, 4) of a label, their centres (k, 2), and their distances from the dot in points (k,)."""
    way = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    half = size / 2.0 + _PAD * px
    gap, direction = np.repeat(_GAPS, len(way)), np.tile(way, (len(_GAPS), 1))
    # The nearest point of the box, not its centre, lies on the ring.
    centres = dot + direction * gap[:, None] * px + half * direction / np.abs(direction).max(axis=1, keepdims=True)
    return np.hstack([centres - half, centres + half]), centres, gap


def _inside(boxes: FloatArray, frame: FloatArray) -> BoolArray:
    return (boxes[:, 0] >= frame[0]) & (boxes[:, 1] >= frame[1]) & (boxes[:, 2] <= frame[2]) & (boxes[:, 3] <= frame[3])


def _touch(boxes: FloatArray, other: FloatArray) -> BoolArray:
    return (boxes[:, 0] < other[2]) & (boxes[:, 2] > other[0]) & (boxes[:, 1] < other[3]) & (boxes[:, 3] > other[1])


def _crossed(boxes: FloatArray, start: FloatArray, stop: FloatArray) -> BoolArray:
    """Whether the segment crosses the boxes; tested at points that are closer than the width of a letter."""
    along = start + np.linspace(0.0, 1.0, 25)[:, None] * (stop - start)
    hit = (
        (along[None, :, 0] > boxes[:, None, 0])
        & (along[None, :, 0] < boxes[:, None, 2])
        & (along[None, :, 1] > boxes[:, None, 1])
        & (along[None, :, 1] < boxes[:, None, 3])
    )
    return np.asarray(hit.any(axis=1))


def _end(dot: FloatArray, box: FloatArray) -> FloatArray:
    """Point where the leader line meets the box."""
    return np.clip(dot, box[:2], box[2:])


def _count(box: FloatArray, points: FloatArray, radius: float) -> int:
    near = (points > box[:2] - radius) & (points < box[2:] + radius)
    return int(near.all(axis=1).sum())


def _passed(start: FloatArray, stop: FloatArray, points: FloatArray, radius: float) -> int:
    """Number of dots that the segment crosses, without the one at its start."""
    way = stop - start
    along = np.clip((points - start) @ way / (way @ way), 0.0, 1.0)
    distance = np.hypot(*(points - start - along[:, None] * way).T)
    return int(np.sum((distance < radius) & (np.hypot(*(points - start).T) > radius)))
