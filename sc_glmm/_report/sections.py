"""Write the sections of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .. import pl
from .._errors import InputError
from ..get import describe
from . import pictures
from .drawing import caption, draw_design
from .figures import figure
from .layout import Layout, counted
from .markup import Markup, escape, tag
from .methods import methods_text, notes_of, provenance
from .study import Study, composition, sample_columns
from .tables import MOST_CHOICES, Column, table
from .words import checks_in_words, counts_of, design_in_words

# Largest number of sets of tests (groups and contrasts) with figures, and of rows in the table of all genes.
_MOST_SETS = 12
_MOST_ROWS = 40_000


@dataclass(frozen=True)
class Choices:
    """Options of the report.

    Attributes
    ----------
    alpha
        Level of the adjusted p-value.
    gene_symbols
        Column of ``var`` with the names to show.
    """

    alpha: float
    gene_symbols: str | None


def tiles(study: Study, layout: Layout, choices: Choices) -> Markup:
    """Write the key numbers at the top."""
    rows = study.results
    tested, hits, up, down = counts_of(rows, choices.alpha)
    n_samples = study.units[layout.sample].nunique()
    shown: list[tuple[object, object]] = [
        (f"{n_samples:,}", counted(n_samples, layout.sample).partition(" ")[2]),
        (f"{len(study.obs):,}", "cells"),
    ]
    several = study.groupby is not None or len(study.contrasts) > 1
    shown.append((f"{tested:,}", "tests" if several else "genes tested"))
    shown.append((f"{hits:,}", f"significant at FDR {100 * choices.alpha:g} %"))
    if up + down:
        words = tag("span", f"{up:,} \u2191", class_="up"), " ", tag("span", f"{down:,} \u2193", class_="down")
        shown.append((Markup("".join(escape(word) for word in words)), "higher, lower"))
    return tag("ul", *(tag("li", tag("strong", number), words) for number, words in shown), class_="tiles")


def design(study: Study, layout: Layout) -> list[object]:
    """Describe the design as text and drawing, with a table of the samples."""
    return [
        tag("p", " ".join(design_in_words(study, layout))),
        tag("figure", draw_design(layout), tag("figcaption", caption(layout))),
        tag("p", "Model: ", tag("code", " ".join(str(study.params["formula"]).split()))),
        tag("h3", "Samples"),
        table("samples", sample_columns(study), "samples"),
    ]


def results(study: Study, choices: Choices) -> list[object]:
    """Draw volcano and MA plots of every set of tests; with groups, also the numbers of significant genes."""
    result: list[object] = []
    if study.groupby is not None and study.details is not None:
        for words in study.contrasts:
            counts = _optional(
                partial(pl.counts, study.adata, key=study.key, contrast=words, alpha=choices.alpha),
                f"{words}: significant genes in each level of {study.groupby}. Levels with more cells and samples "
                "have more significant genes.",
            )
            result.append(counts)
        result += [tag("h3", f"Levels of {study.groupby}"), table("groups", _detail_columns(study), "groups")]
    figures = [
        each
        for words, group in _sets(study, choices.alpha)[:_MOST_SETS]
        for each in _effect_figures(study, choices, words, group)
    ]
    result.append(tag("div", *figures, class_="figures"))
    n_sets = len(_sets(study, choices.alpha))
    if n_sets > _MOST_SETS:
        result.append(
            tag(
                "p",
                f"Only the {_MOST_SETS} of {n_sets} sets of tests with the most significant genes are drawn.",
                class_="soft",
            )
        )
    return result


def _sets(study: Study, alpha: float) -> list[tuple[str, str | None]]:
    """List contrast and group of every set of tests with an effect, sorted by number of significant genes."""
    rows = study.results[
        np.isfinite(study.results["log_fc"].to_numpy(np.float64)) & study.results["tested"].astype(bool)
    ]
    by = ["contrast", *([study.groupby] if study.groupby is not None else [])]
    hits = (rows["adj_p_value"] < alpha).groupby([rows[name].astype(str) for name in by], sort=False).sum()
    ranked = hits.sort_values(ascending=False, kind="stable").index.tolist()
    return [(str(each[0]), str(each[1])) if isinstance(each, tuple) else (str(each), None) for each in ranked]


def _effect_figures(study: Study, choices: Choices, words: str, group: str | None) -> list[Markup]:
    where = words if group is None else f"{group}, {words}"
    options: dict[str, Any] = {"key": study.key, "contrast": words, "group": group, "alpha": choices.alpha}
    if choices.gene_symbols is not None:
        options["gene_symbols"] = choices.gene_symbols
    figures = [
        _optional(
            partial(pl.volcano, study.adata, **options),
            f"{where}. Each mark is one gene: fold change against the strength of the evidence. Coloured genes are "
            "significant.",
        )
    ]
    if study.groupby is None:
        figures.append(
            _optional(
                partial(pl.ma, study.adata, **options),
                f"{where}. Fold change against mean count. Most genes should lie around zero at every abundance.",
            )
        )
    return [each for each in figures if each is not None]


def all_genes(study: Study, choices: Choices) -> list[object]:
    """Write the table of all tests."""
    rows = study.results
    order = np.argsort(rows["p_value"].to_numpy(np.float64), kind="stable")
    shown = rows.iloc[order[:_MOST_ROWS]]
    result: list[object] = [
        tag(
            "p",
            "Click a heading to sort. The download contains the rows that pass the filters. Move the mouse over a "
            "heading to see the meaning of the column.",
        )
    ]
    if len(shown) < len(rows):
        result.append(
            tag(
                "p",
                f"The page contains only the {len(shown):,} rows with the smallest p-values, of {len(rows):,}.",
                class_="note",
            )
        )
    return [*result, table("genes", _gene_columns(study, shown, choices), "results", cards="gene-")]


def _gene_columns(study: Study, rows: pd.DataFrame, choices: Choices) -> list[Column]:
    meanings = describe(study.adata, study.key)["meaning"].to_dict()
    columns = [Column("gene", rows["variable"].astype(str).tolist(), help="gene; with a link if there is a figure")]
    if choices.gene_symbols is not None:
        symbols = study.adata.var[choices.gene_symbols].astype(str).reindex(rows["variable"].astype(str))
        columns.append(Column("symbol", symbols.tolist(), help=f"column {choices.gene_symbols} of the genes"))
    for name in [*([study.groupby] if study.groupby is not None else []), "contrast"]:
        values = rows[name].astype(str).tolist()
        if len(set(values)) > 1:
            columns.append(Column(name, values, help=meanings.get(name, ""), choose=len(set(values)) <= MOST_CHOICES))
    numbers = ("log_fc", "ci_low", "ci_high", "p_value", "adj_p_value", "log_fc_shrunk", "lfsr", "mean", "pct")
    for name in numbers:
        if name not in rows or not np.isfinite(rows[name].to_numpy(np.float64)).any():
            continue
        limit = {"adj_p_value": "max", "log_fc": "min"}.get(name, "")
        columns.append(Column(name, rows[name].tolist(), number=True, help=meanings.get(name, ""), limit=limit))
    status = [word.replace("_", " ") for word in rows["status"].astype(str)]
    return [*columns, Column("status", status, help=meanings.get("status", ""), choose=True)]


def _detail_columns(study: Study) -> list[Column]:
    details = study.details if study.details is not None else pd.DataFrame()
    columns = []
    for name in details.columns:
        values = details[name]
        is_number = pd.api.types.is_numeric_dtype(values)
        if is_number and name != study.groupby and not np.nan_to_num(np.asarray(values, dtype=np.float64)).any():
            continue
        if not is_number and name != study.groupby and not values.astype(str).str.strip().any():
            continue
        entries = values.tolist() if is_number else values.astype(str).tolist()
        label = str(name) if name == study.groupby else str(name).removeprefix("n_")
        columns.append(Column(label, entries, number=is_number))
    return columns


def checks(
    study: Study, layout: Layout, group_params: Mapping[str, Mapping[str, Any]], null: list[pd.DataFrame] | None
) -> list[object]:
    """Write the checks of the results."""
    result: list[object] = [
        tag(
            "div",
            tag("span", "\u2713" if fine else "!", aria_label="fine" if fine else "needs attention"),
            tag("div", words),
            class_="check",
        )
        for fine, words in checks_in_words(study, group_params)
    ]
    figures: list[Markup | None] = []
    sets = _sets(study, 0.05)[:_MOST_SETS]
    for words in dict.fromkeys(each[0] for each in sets):
        figures.append(
            _optional(
                partial(pl.p_values, _rows(study, words, sets), key=study.key),
                f"P-values of {words}. Without effects, the histogram is flat; effects give a peak near zero. If the "
                "bars rise towards one, the test is conservative.",
            )
        )
    if null is not None:
        figures.append(_null_figure(null))
    if study.library is not None:
        figures.append(
            _optional(
                partial(pictures.draw_library_sizes, study, layout),
                f"Counts per cell of each {layout.sample}: median, quartiles, and 5 and 95 % quantiles. The test "
                f"corrects for arms of different depth, but a single unusual {layout.sample} should be checked.",
            )
        )
    if len(composition(study)):
        figures.append(
            _optional(
                partial(pictures.draw_composition, study, layout),
                f"Fraction of the cells of each {layout.sample} in each level of {study.groupby}.",
            )
        )
    figures += [_variation(study, what) for what in ("dispersion", study.sample)]
    result.append(tag("div", *(each for each in figures if each is not None), class_="figures"))
    if null is not None:
        result.insert(-1, tag("p", *_null_words(null)))
    return result


def _rows(study: Study, words: str, sets: list[tuple[str, str | None]]) -> pd.DataFrame:
    rows = study.results[study.results["contrast"].astype(str) == words]
    if study.groupby is not None:
        rows = rows[rows[study.groupby].astype(str).isin([str(group) for _, group in sets])]
    return rows


def _variation(study: Study, what: str) -> Markup | None:
    if not study.counts:
        return None
    group = None
    if study.groupby is not None:
        tested = study.results[study.results["tested"].astype(bool)]
        if len(tested) == 0:
            return None
        group = str(tested[study.groupby].astype(str).value_counts().index[0])
    where = "" if group is None else f" in {group}"
    words = (
        f"Variation between cells of one sample{where}, for genes of every abundance."
        if what == "dispersion"
        else f"Variation between samples{where}. The line is the typical variation of genes of this abundance. "
        "Coloured genes vary more, and their p-values tend to be too small."
    )
    return _optional(partial(pl.dispersion, study.adata, key=study.key, what=what, group=group), words)


def _null_figure(null: list[pd.DataFrame]) -> Markup | None:
    rows = pd.concat([frame.assign(contrast="shuffled", variable=f"{i}") for i, frame in enumerate(null)])
    frame = pd.DataFrame({"variable": [str(i) for i in range(len(rows))], "p_value": rows["p_value"].to_numpy()})
    return _optional(
        partial(pl.p_values, frame), "P-values after the labels of the samples were shuffled. They should be flat."
    )


def _null_words(null: list[pd.DataFrame]) -> list[object]:
    p = np.concatenate([frame["p_value"].to_numpy(np.float64) for frame in null])
    p = p[np.isfinite(p)]
    hits = [int((frame["adj_p_value"] < 0.05).sum()) for frame in null]
    share = 100.0 * float((p < 0.05).mean()) if len(p) else np.nan
    return [
        f"With shuffled labels ({len(null)} runs), {share:.1f} % of the p-values are below 0.05 (5 % is ideal), ",
        f"and {np.mean(hits):,.1f} genes per run are significant at FDR 5 %. ",
        "True effects add to the variation between samples here, so this check is conservative.",
    ]


def methods(study: Study, choices: Choices) -> list[object]:
    """Write the methods paragraph for a paper, with references."""
    text, references = methods_text(study, choices.alpha)
    return [
        tag(
            "p",
            "A paragraph for the methods section of a paper. ",
            tag("button", "Copy", type="button", class_="copy", data_target="paste", hidden=True),
        ),
        tag("div", text, "\n\nReferences\n", "\n".join(references), class_="paste", id="paste"),
    ]


def run(study: Study) -> list[object]:
    """List options, versions and warnings."""
    result: list[object] = [tag("p", note, class_="note") for note in notes_of(study)]
    pairs = [part for name, value in provenance(study) for part in (tag("dt", name), tag("dd", tag("code", value)))]
    return [*result, tag("details", tag("summary", "Options and versions"), tag("dl", *pairs), open=True)]


def _optional(draw: Callable[[], Any], words: str) -> Markup | None:
    """Draw a figure, unless the run has no data for it."""
    try:
        return figure(draw, words)
    except InputError:
        return None
