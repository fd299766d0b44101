"""Build tables that readers can sort, filter and download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .markup import Markup, data_element, tag

# Rows in the HTML of the page, visible without JavaScript.
PAGE = 25
# A text column with at most this many values gets a list to choose from.
MOST_CHOICES = 40


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    label
        Heading of the column.
    values
        One value per row.
    number
        Whether the values are numbers; missing ones are NaN.
    help
        Meaning of the column.
    choose
        Whether its values can be selected from a list.
    limit
        ``"max"`` or ``"min"``: type of the limit on (absolute) values that the reader can set; empty for none.
    """

    label: str
    values: Sequence[Any]
    number: bool = False
    help: str = ""
    choose: bool = False
    limit: str = ""


def table(identity: str, columns: Sequence[Column], name: str, *, cards: str = "") -> Markup:
    """Build a table with its controls.

    Parameters
    ----------
    identity
        Anchor of the table, unique within the page.
    columns
        Columns of the table, at least one.
    name
        Label of the table, and name of the downloaded file.
    cards
        Prefix of the anchors of the genes in the first column, if they have figures.
    """
    head = tag(
        "tr",
        *(
            tag("th", column.label, scope="col", title=column.help or None, class_="n" if column.number else None)
            for column in columns
        ),
    )
    n_rows = len(columns[0].values)
    rows = [tag("tr", *(_cell(column, column.values[i]) for column in columns)) for i in range(min(n_rows, PAGE))]
    return tag(
        "div",
        tag("div", class_="controls", hidden=True),
        tag(
            "div", tag("table", tag("thead", head), tag("tbody", *rows), aria_label=name), class_="scroll", tabindex="0"
        ),
        tag("p", f"{min(n_rows, PAGE):,} of {n_rows:,} rows", class_="shown"),
        data_element(f"{identity}-data", {"name": name, "cards": cards, "columns": [_data(c) for c in columns]}),
        class_="table",
        id=identity,
    )


def _cell(column: Column, value: Any) -> Markup:
    if not column.number:
        return tag("td", value)
    return tag("td", number(float(value)), class_="n")


def number(value: float) -> str:
    """Write a number with three significant digits; whole numbers stay unchanged."""
    if not np.isfinite(value):
        return "" if np.isnan(value) else ("\u2212\u221e" if value < 0.0 else "\u221e")
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", "\u2212")
    return f"{value:.3g}".replace("-", "\u2212", 1) if abs(value) >= 1e-3 else f"{value:.2e}"


def _data(column: Column) -> dict[str, Any]:
    facts = {
        "label": column.label,
        "help": column.help,
        "number": column.number,
        "choose": column.choose,
        "limit": column.limit,
    }
    if column.number:
        return {**facts, "values": [_json(float(value)) for value in column.values]}
    texts = [str(value) for value in column.values]
    levels = list(dict.fromkeys(texts))
    place = {level: i for i, level in enumerate(levels)}
    return {**facts, "levels": levels, "codes": [place[text] for text in texts]}


def _json(value: float) -> float | str | None:
    """Round to six significant digits; infinite values become text, and NaN becomes None."""
    if np.isnan(value):
        return None
    return float(f"{value:.6g}") if np.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
