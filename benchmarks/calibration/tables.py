"""Define labels, formats and colours that all tables and figures share."""

from __future__ import annotations

import numpy as np
from methods import LABELS
from summary import Total

COLOURS = {
    "eb_lr": "#0b5394",
    "p_hk": "#45a5d9",
    "eb_wald": "#8e7cc3",
    "edger_ql": "#e69138",
    "limma_voom": "#6aa84f",
    "deseq2": "#cc4125",
    "pydeseq2": "#a64d79",
    "ml_wald": "#777777",
    "nebula": "#b7a100",
}
ORDER = tuple(COLOURS)
Stored = dict[str, list[dict]]


def label(method: str) -> str:
    """Return the name of a method on the page."""
    name, _, formula = method.partition(": ")
    return LABELS.get(name, name) + (f", {formula}" if formula else "")


def ordered(methods: dict[str, Total]) -> list[str]:
    """Sort methods in the order of the page."""
    return sorted(methods, key=lambda m: (ORDER.index(m.split(":")[0]) if m.split(":")[0] in ORDER else 99, m))


def percent(value: float, digits: int = 1) -> str:
    """Format a rate in percent, without the sign."""
    return "" if np.isnan(value) else f"{100 * value:.{digits}f}"


def rates(total: Total) -> str:
    """Format rates at 5, 1 and 0.1 %, in percent."""
    return f"{percent(total.rate(0.05), 2)} / {percent(total.rate(0.01), 2)} / {percent(total.rate(0.001), 3)}"


def errors(total: Total) -> str:
    """Format the Monte Carlo errors of these rates."""
    se = [total.rate_se(level) for level in (0.05, 0.01, 0.001)]
    return f"{percent(se[0], 2)} / {percent(se[1], 2)} / {percent(se[2], 3)}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Format a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
