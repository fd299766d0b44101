"""Write text about the design, the results and the checks, for readers without statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .._formula.records import unique_labels
from .layout import Layout, counted, listed
from .study import Study


def headline(study: Study, alpha: float) -> str:
    """Write the result of each contrast as one sentence; the sentence covers all groups."""
    sentences = []
    for words in study.contrasts:
        rows = study.results[study.results["contrast"].astype(str) == words]
        tested, hits, up, down = counts_of(rows, alpha)
        if study.groupby is not None:
            n = rows.loc[rows["adj_p_value"] < alpha, study.groupby].nunique()
            levels = counted(rows[study.groupby].nunique(), "level")
            found = f"{hits:,} of {tested:,} tests are significant, in {n:,} of {levels} of {study.groupby}"
        else:
            found = f"{hits:,} of {counted(tested, 'tested gene')} are significant"
        direction = f": {up:,} with a higher mean, {down:,} with a lower one" if up + down else ""
        sentences.append(f"{words}: {found} at a false discovery rate of {100 * alpha:g} %{direction}.")
    return " ".join(sentences)


def counts_of(rows: pd.DataFrame, alpha: float) -> tuple[int, int, int, int]:
    """Count the rows that were tested and that are significant, and of the significant ones those up and down."""
    hits = (rows["adj_p_value"] < alpha).to_numpy()
    effect = rows["log_fc"].to_numpy(dtype=np.float64)
    return (
        int(rows["tested"].sum()),
        int(hits.sum()),
        int((hits & (effect > 0)).sum()),
        int((hits & (effect < 0)).sum()),
    )


def design_in_words(study: Study, layout: Layout) -> list[str]:
    """Describe the comparison, the replicates, the adjustments and the random effects, in sentences."""
    sentences = [f"The tested comparison is {listed(study.contrasts)}."]
    n_cells = counted(len(study.obs), "cell")
    if layout.pair:
        n = study.units[layout.pair].nunique()
        sentences.append(
            f"There are {n_cells}. Each of {counted(n, layout.pair)} was measured under several levels of "
            f"{layout.factor}, so the comparison is made within each {layout.pair}."
        )
    elif layout.factor:
        arms = [f"{counted(len(layout.of_arm(i)), layout.sample)} in {level}" for i, level in enumerate(layout.levels)]
        sentences.append(f"There are {n_cells}: {listed(arms)}. Each {layout.sample} belongs to one arm.")
    else:
        sentences.append(f"There are {n_cells} of {counted(study.units[layout.sample].nunique(), layout.sample)}.")
    replicate = layout.pair or layout.sample
    sentences.append(
        f"Cells of one {layout.sample} resemble each other, so each {replicate} counts as one replicate. More cells "
        f"make a {layout.sample} more precise, but they are not more replicates."
    )
    others = _adjustments(study, layout)
    if others:
        sentences.append(f"The comparison is adjusted for {listed(others)}.")
    if study.groupby is not None:
        names = [str(group) for group in study.groups]
        sentences.append(f"Each level of {study.groupby} was tested separately: {listed(names)}.")
    sentences += [_random(term) for term in study.formula.random]
    return sentences


def _adjustments(study: Study, layout: Layout) -> list[str]:
    return [label for term, label in study.formula.labels.items() if term and term not in layout.tested]


def _random(term: Any) -> str:
    name = term.group_name
    effects = [label for each, label in unique_labels(term.terms).items() if each]
    if not effects:
        return f"Every {name} has its own level of each gene."
    own = f"its own level of each gene and its own effect of {listed(effects)}"
    return f"Every {name} has {own if () in term.terms else f'its own effect of {listed(effects)}'}."


def eigen_ratio_in_words(ratio: float) -> tuple[bool, str]:
    """Check whether the eigenvalue ratio is acceptable, and explain its meaning."""
    if ratio <= 3.0:
        return (
            True,
            "Genes vary between samples almost independently of each other (eigenvalue ratio "
            f"{ratio:.1f}; above 3 is high).",
        )
    return False, (
        f"Many genes vary together between samples (eigenvalue ratio {ratio:.1f}; above 3 is high). False positives "
        "are then clustered: a few studies have many, and most have none. A hidden factor may be the cause."
    )


def checks_in_words(study: Study, group_params: Mapping[str, Mapping[str, Any]]) -> list[tuple[bool, str]]:
    """List the checks with a numeric criterion: whether each is passed, and a sentence."""
    result: list[tuple[bool, str]] = []
    ratios = {name: float(params.get("eigen_ratio", np.nan)) for name, params in group_params.items()}
    finite = {name: ratio for name, ratio in ratios.items() if np.isfinite(ratio)}
    if finite:
        worst = max(finite, key=lambda name: finite[name])
        fine, words = eigen_ratio_in_words(finite[worst])
        result.append((fine, (f"In {worst}: " if worst and len(finite) > 1 else "") + words))
    df = [value for params in group_params.values() for value in dict(params.get("df") or {}).values()]
    few = min((float(value) for value in df), default=np.inf)
    if np.isfinite(few):
        fine = few >= 4
        words = f"The smallest number of degrees of freedom between samples is {few:g}."
        result.append((fine, words if fine else f"{words} P-values from so few replicates are unreliable."))
    fits = study.results.drop_duplicates(["variable", *([study.groupby] if study.groupby else [])])
    failed = int(fits["status"].astype(str).isin(["error", "not_converged"]).sum())
    result.append((failed <= 0.01 * len(fits), f"{failed:,} of {len(fits):,} fits failed."))
    if "more_variable" in fits:
        odd = int(fits["more_variable"].fillna(False).astype(bool).sum())
        share = odd / max(len(fits), 1)
        result.append(
            (
                share <= 0.05,
                f"{odd:,} of {len(fits):,} fits show more variation between samples than other genes of their "
                "abundance; interpret their p-values with care.",
            )
        )
    result += _influence(study)
    return result


def _influence(study: Study) -> list[tuple[bool, str]]:
    """Check whether one sample is the extreme one too often, among genes with an extreme sample."""
    column = f"extreme_{study.sample}"
    if column not in study.results or f"{column}_z" not in study.results:
        return []
    rows = study.results[study.results["tested"].astype(bool)]
    rows = rows[rows[f"{column}_z"].abs() > 2.0]
    n = study.units[study.sample].nunique()
    if len(rows) < 20 or n < 4:
        return []
    shares = rows[column].astype(str).value_counts(normalize=True)
    worst, share = str(shares.index[0]), float(shares.iloc[0])
    fine = share <= max(3.0 / n, 0.25)
    words = (
        f"{worst} is the most extreme {study.sample} in {100 * share:.0f} % of the genes that have one "
        f"({100 / n:.0f} % would be expected)."
    )
    return [(fine, words if fine else f"{words} Check its quality, and test again without it.")]
