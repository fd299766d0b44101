"""Numbers as R prints them in summaries: as many decimals as the column needs for its significant digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def needed_decimals(value: float, digits: int) -> int:
    """Decimals that `value` needs to show `digits` significant digits, trailing zeros dropped."""
    if value == 0.0 or not np.isfinite(value):
        return 0
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    significant = len(mantissa.lstrip("-").replace(".", "").rstrip("0"))
    return max(significant - 1 - int(exponent), 0)


def format_column(values: Sequence[float], digits: int = 4) -> list[str]:
    """R's ``format(values, digits)``: common decimals; scientific where that is much shorter; empty for NaN."""
    finite = [v for v in values if np.isfinite(v)]
    decimals = max((needed_decimals(v, digits) for v in finite), default=0)
    width = max((len(f"{v:.{decimals}f}") for v in finite), default=0)
    if width > digits + 10 and any(v != 0.0 for v in finite):
        return ["" if np.isnan(v) else f"{v:.{digits - 1}e}" for v in values]
    return ["" if np.isnan(v) else str(v) if np.isinf(v) else f"{v:.{decimals}f}" for v in values]


def format_together(columns: Sequence[Sequence[float]], digits: int = 4) -> list[list[str]]:
    """Estimates, standard errors (and df) with common decimals, as R's ``printCoefmat``."""
    values = [v for column in columns for v in column]
    sizes = [abs(v) for v in values if np.isfinite(v) and v != 0.0]
    if not sizes:
        return [format_column(column, digits) for column in columns]
    magnitudes = [1 + int(np.floor(np.log10(v))) for v in (min(sizes), max(sizes))]
    decimals = max(1, *(digits - m for m in magnitudes))
    texts = iter(format_column([float(np.round(v, decimals)) for v in values], digits))
    return [[next(texts) for _ in column] for column in columns]


def format_test(values: Sequence[float], digits: int = 4) -> list[str]:
    """Test statistics: three decimals at most, and common ones."""
    return format_column([float(np.round(v, max(1, min(5, digits - 1)))) for v in values], digits)


def format_p(values: Sequence[float], digits: int = 3) -> list[str]:
    """Probabilities: fixed from 0.0001 on, scientific below, and nothing smaller than the precision of numbers."""
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
    """R's marks of significance."""
    for bound, mark in ((0.001, "***"), (0.01, "**"), (0.05, "*"), (0.1, ".")):
        if p < bound:
            return mark
    return ""


def abbreviate(name: str, length: int = 6) -> str:
    """A name shortened as R does: lower-case vowels go first, then lower-case letters, from the end."""
    chars = list(name)
    for droppable in ("aeiou", "abcdefghijklmnopqrstuvwxyz"):
        i = len(chars) - 1
        while len(chars) > length and i > 0:
            if chars[i] in droppable and not (chars[i - 1] == " "):
                del chars[i]
            i -= 1
    return "".join(chars)
