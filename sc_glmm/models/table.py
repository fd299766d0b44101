"""Show tables as text in a terminal or as HTML in a notebook, with numbers in R's format."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Table:
    """A table that prints itself.

    Attributes
    ----------
    table
        The numbers.
    title
        Lines above the table.
    notes
        Lines below the table.
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
    """Write a data frame in aligned columns, with text on the left and numbers on the right."""
    cells = [[""] + [str(c) for c in frame.columns]]
    formatted = {c: column_text(str(c), frame[c]) for c in frame.columns}
    for i, name in enumerate(frame.index):
        cells.append([str(name)] + [formatted[c][i] for c in frame.columns])
    left = [True] + [frame[c].dtype.kind not in "fiub" for c in frame.columns]
    return aligned(cells, left)


def frame_html(frame: pd.DataFrame) -> str:
    """Write a data frame as an HTML table."""
    formatted = {c: column_text(str(c), frame[c]) for c in frame.columns}
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in frame.columns)
    rows = []
    for i, name in enumerate(frame.index):
        cells = "".join(f"<td>{html.escape(formatted[c][i])}</td>" for c in frame.columns)
        rows.append(f"<tr><th>{html.escape(str(name))}</th>{cells}</tr>")
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def aligned(cells: list[list[str]], left: list[bool]) -> str:
    """Write lines whose columns are as wide as their widest cell."""
    widths = [max(len(row[j]) for row in cells) for j in range(len(cells[0]))]
    lines = []
    for row in cells:
        parts = [c.ljust(w) if is_left else c.rjust(w) for c, w, is_left in zip(row, widths, left, strict=True)]
        lines.append(" ".join(parts).rstrip())
    return "\n".join(lines)


def column_text(name: str, values: pd.Series) -> list[str]:
    """Write the cells of one column; missing values are empty."""
    if values.dtype.kind in "iu":
        return [f"{v:d}" for v in values]
    if values.dtype.kind != "f":
        return ["" if v is None or (isinstance(v, float) and np.isnan(v)) else str(v) for v in values]
    if name.startswith("Pr(") or name in ("p_value", "adj_p_value", "p"):
        return ["" if np.isnan(v) else p_text(float(v)) for v in values]
    return number_text([float(v) for v in values])


def p_text(p: float) -> str:
    """Write a p-value in R's format."""
    if p < 2.2e-16:
        return "<2e-16"
    return f"{p:.3g}" if p < 1e-4 else f"{p:.4f}"


def number_text(values: list[float], digits: int = 5) -> list[str]:
    """Write the numbers of a column with equal decimals (at most six); the largest has `digits` significant digits."""
    finite = [abs(v) for v in values if np.isfinite(v) and v != 0.0]
    decimals = 0
    if finite and not all(v == round(v) for v in values if np.isfinite(v)):
        magnitude = int(np.floor(np.log10(max(finite))))
        decimals = min(max(digits - 1 - magnitude, 0), 6)
        decimals = max(decimals, 2 if max(finite) < 1e4 else 0)
    return ["" if np.isnan(v) else f"{v:.{decimals}f}" if abs(v) < 1e9 else f"{v:.4g}" for v in values]


# --- number formats of R's summaries: as many decimals as a column needs for its significant digits


def needed_decimals(value: float, digits: int) -> int:
    """Return the number of decimals that `value` needs for `digits` significant digits, without trailing zeros."""
    if value == 0.0 or not np.isfinite(value):
        return 0
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    significant = len(mantissa.lstrip("-").replace(".", "").rstrip("0"))
    return max(significant - 1 - int(exponent), 0)


def format_column(values: Sequence[float], digits: int = 4) -> list[str]:
    """Write numbers as R's ``format(values, digits)`` does.

    They have equal decimals, or scientific notation if it is much shorter; NaN is empty.
    """
    finite = [v for v in values if np.isfinite(v)]
    decimals = max((needed_decimals(v, digits) for v in finite), default=0)
    width = max((len(f"{v:.{decimals}f}") for v in finite), default=0)
    if width > digits + 10 and any(v != 0.0 for v in finite):
        return ["" if np.isnan(v) else f"{v:.{digits - 1}e}" for v in values]
    return ["" if np.isnan(v) else str(v) if np.isinf(v) else f"{v:.{decimals}f}" for v in values]


def format_together(columns: Sequence[Sequence[float]], digits: int = 4) -> list[list[str]]:
    """Write estimates, standard errors (and df) with equal decimals, as R's ``printCoefmat`` does."""
    values = [v for column in columns for v in column]
    sizes = [abs(v) for v in values if np.isfinite(v) and v != 0.0]
    if not sizes:
        return [format_column(column, digits) for column in columns]
    magnitudes = [1 + int(np.floor(np.log10(v))) for v in (min(sizes), max(sizes))]
    decimals = max(1, *(digits - m for m in magnitudes))
    texts = iter(format_column([float(np.round(v, decimals)) for v in values], digits))
    return [[next(texts) for _ in column] for column in columns]


def format_test(values: Sequence[float], digits: int = 4) -> list[str]:
    """Write test statistics with equal decimals, at most three."""
    return format_column([float(np.round(v, max(1, min(5, digits - 1)))) for v in values], digits)


def format_p(values: Sequence[float], digits: int = 3) -> list[str]:
    """Write p-values: fixed notation from 0.0001 on, scientific notation below, and at least the machine precision."""
    eps = float(np.finfo(float).eps)
    fixed = [v for v in values if np.isfinite(v) and v >= 1e-4]
    decimals = max((needed_decimals(v, digits) for v in fixed), default=0)
    out = []
    for v in values:
        if np.isnan(v):
            out.append("")
        elif v < eps:
            out.append("<2e-16" if len(values) == 1 else "< 2e-16")
        elif v >= 1e-4:
            out.append(f"{v:.{decimals}f}")
        else:
            out.append(f"{v:.{digits - 1}e}")
    return out


def stars(p: float) -> str:
    """Return R's significance stars."""
    for bound, mark in ((0.001, "***"), (0.01, "**"), (0.05, "*"), (0.1, ".")):
        if p < bound:
            return mark
    return ""


def abbreviate(name: str, length: int = 6) -> str:
    """Abbreviate a name as R does: remove lower-case vowels, then other lower-case letters, from the end."""
    chars = list(name)
    for droppable in ("aeiou", "abcdefghijklmnopqrstuvwxyz"):
        i = len(chars) - 1
        while len(chars) > length and i > 0:
            if chars[i] in droppable and not (chars[i - 1] == " "):
                del chars[i]
            i -= 1
    return "".join(chars)
