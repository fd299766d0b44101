"""A table with a title and notes: text in a terminal, HTML in a notebook, a data frame for everything else."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Table:
    """A printed table.

    Attributes
    ----------
    table
        The numbers.
    title
        Lines above it.
    notes
        Lines below it.
    """

    table: pd.DataFrame
    title: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [self.title] if self.title else []
        parts.append(frame_text(self.table))
        return "\n".join([*parts, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = f"<p><strong>{html.escape(self.title)}</strong></p>" if self.title else ""
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return head + frame_html(self.table) + notes


def frame_text(frame: pd.DataFrame) -> str:
    """The frame in fixed columns: text to the left, numbers to the right, probabilities and counts in their own way."""
    cells = [[""] + [str(c) for c in frame.columns]]
    formatted = {c: column_text(str(c), frame[c]) for c in frame.columns}
    for i, name in enumerate(frame.index):
        cells.append([str(name)] + [formatted[c][i] for c in frame.columns])
    left = [True] + [frame[c].dtype.kind not in "fiub" for c in frame.columns]
    return aligned(cells, left)


def frame_html(frame: pd.DataFrame) -> str:
    """The same as an HTML table."""
    formatted = {c: column_text(str(c), frame[c]) for c in frame.columns}
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in frame.columns)
    rows = []
    for i, name in enumerate(frame.index):
        cells = "".join(f"<td>{html.escape(formatted[c][i])}</td>" for c in frame.columns)
        rows.append(f"<tr><th>{html.escape(str(name))}</th>{cells}</tr>")
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def aligned(cells: list[list[str]], left: list[bool]) -> str:
    """Lines of columns as wide as their widest cell."""
    widths = [max(len(row[j]) for row in cells) for j in range(len(cells[0]))]
    lines = []
    for row in cells:
        parts = [c.ljust(w) if is_left else c.rjust(w) for c, w, is_left in zip(row, widths, left, strict=True)]
        lines.append(" ".join(parts).rstrip())
    return "\n".join(lines)


def column_text(name: str, values: pd.Series) -> list[str]:
    """Cells of one column; missing ones are empty."""
    if values.dtype.kind in "iu":
        return [f"{v:d}" for v in values]
    if values.dtype.kind != "f":
        return ["" if v is None or (isinstance(v, float) and np.isnan(v)) else str(v) for v in values]
    if name.startswith("Pr(") or name in ("p_value", "p"):
        return ["" if np.isnan(v) else p_text(float(v)) for v in values]
    return number_text([float(v) for v in values])


def p_text(p: float) -> str:
    """A probability as R prints it."""
    if p < 2.2e-16:
        return "<2e-16"
    return f"{p:.3g}" if p < 1e-4 else f"{p:.4f}"


def number_text(values: list[float], digits: int = 5) -> list[str]:
    """Numbers of a column with common decimals, so that the smallest shows `digits` significant ones (at most six)."""
    finite = [abs(v) for v in values if np.isfinite(v) and v != 0.0]
    decimals = 0
    if finite and not all(v == round(v) for v in values if np.isfinite(v)):
        magnitude = int(np.floor(np.log10(max(finite))))
        decimals = min(max(digits - 1 - magnitude, 0), 6)
        decimals = max(decimals, 2 if max(finite) < 1e4 else 0)
    return ["" if np.isnan(v) else f"{v:.{decimals}f}" if abs(v) < 1e9 else f"{v:.4g}" for v in values]
