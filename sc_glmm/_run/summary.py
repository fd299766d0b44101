"""Write the messages at the end of a run: the comparisons, what was not tested, and what needs attention."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from .._display import some_names
from .._fit.details import failed_genes
from .._results import GeneTests
from .plan import Plan

# Genes are reported as correlated if the ratio of largest and median eigenvalue of their residuals is larger.
_NOTABLE_EIGEN_RATIO = 3.0
# A composition factor of a sample (natural log) is reported if it is larger.
_NOTABLE_SHIFT = 0.7
# Size factors from fewer genes are unreliable.
_FEW_GENES = 200
_MAX_LISTED_CONTRASTS = 6
# Number of characters that explain a name.
_MAX_MEANING = 90


def summary_line(
    tests: Sequence[GeneTests],
    seconds: float,
    key: str,
    groupby: str | None,
    where: str = "adata",
    beyond: str = "",
) -> str:
    """Write one line with the number of genes tested, the number per status, the time, and how to get the results.

    With groups, a gene counts once for each group; the table of details has the counts per group. After a moderated
    test, the line also has the eigenvalue ratio (:func:`sc_glmm._fit.information.eigen_ratio`), which measures how
    strongly genes are correlated, as the maximum over groups. `beyond` describes a minimum effect, if there is one.
    """
    statuses = pd.concat([group.genes["status"].astype(str) for group in tests]).value_counts()
    tested = sum(int(_has_p_value(group).sum()) for group in tests)
    counts = [
        f"{int(statuses[word]):,} {word.replace('_', ' ')}"
        for word in ("singular", "separated", "all_zero", "low_count", "not_selected")
        if word in statuses
    ]
    counts.append(f"{_n_failed(tests):,} failed")
    details, ratios = ", ".join(counts), [ratio for _, ratio in _ratios(tests)]
    if ratios:
        details += f"; eigenvalue ratio {'up to ' * (len(ratios) > 1)}{max(ratios):.1f}"
    n_genes = len(tests[0].genes)
    genes = f"{tested:,} of {n_genes:,} genes"
    if groupby is not None:
        levels = f"{len(tests)} level{'s' if len(tests) != 1 else ''}"
        genes = f"{tested:,} of {len(tests) * n_genes:,} genes in {levels} of {groupby!r}"
    key_argument = "" if key == "glmm" else f", key={key!r}"
    return f"tested {genes}{beyond} in {seconds:.1f} s ({details}): sc_glmm.get.results({where}{key_argument})"


def attention(
    tests: Sequence[GeneTests],
    plans: Sequence[Plan],
    skipped: Collection[str],
    groupby: str | None,
    min_counts: int,
    default_sizes: bool,
) -> list[str]:
    """Write sentences about the comparisons, what was not tested, and what needs attention, with advice.

    Parameters
    ----------
    tests, plans
        The tested groups and their plans.
    skipped
        Names of the groups that were not tested.
    groupby
        The column of the groups.
    min_counts
        Genes with fewer counts are not tested.
    default_sizes
        Whether size factors come from the counts of all genes.
    """
    return [
        *_compared(tests),
        *_low_counts(tests, min_counts),
        *_not_tested(tests, plans, skipped, groupby),
        *_failed(tests),
        *_correlated(tests),
        *(_composition(tests) if default_sizes else ()),
    ]


def _compared(tests: Sequence[GeneTests]) -> list[str]:
    words = list(dict.fromkeys(_in_words(label, facts) for group in tests for label, facts in _facts(group)))
    more = " ..." if len(words) > _MAX_LISTED_CONTRASTS else ""
    return [f"compared: {'; '.join(words[:_MAX_LISTED_CONTRASTS])}{more}"]


def _low_counts(tests: Sequence[GeneTests], min_counts: int) -> list[str]:
    n_low = sum(int((group.genes["status"].astype(str) == "low_count").sum()) for group in tests)
    return [f"low count: fewer than {min_counts} counts, not tested (min_counts=0 tests them)"] if n_low else []


def _facts(group: GeneTests) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return dict(group.recipe["contrast_facts"]).items()


def _in_words(label: str, facts: Mapping[str, Any]) -> str:
    """A label; after a name that the user chose, what it means."""
    meaning = str(facts["meaning"])
    return label if meaning == label else f"{label} = {textwrap.shorten(meaning, _MAX_MEANING, placeholder=' ...')}"


def _not_tested(
    tests: Sequence[GeneTests], plans: Sequence[Plan], skipped: Collection[str], groupby: str | None
) -> list[str]:
    out = []
    if skipped:
        out.append(
            f"{len(skipped)} of {len(skipped) + len(tests)} levels of {groupby!r} could not be tested "
            f"({some_names(list(skipped))}); sc_glmm.get.details lists the reasons"
        )
    incomplete = [plan.cells.name for plan in plans if plan.not_tested]
    if incomplete and groupby is not None:
        out.append(
            f"some contrasts could not be tested in {len(incomplete)} levels of {groupby!r} "
            f"({some_names(incomplete)}); sc_glmm.get.details lists the reasons"
        )
    return out


def _failed(tests: Sequence[GeneTests]) -> list[str]:
    n_failed = _n_failed(tests)
    if not n_failed:
        return []
    return [
        f"{n_failed:,} {'fit failed and has' if n_failed == 1 else 'fits failed and have'} no p-value; the columns "
        "status and message of sc_glmm.get.results(..., columns='all') give the reasons. If there are many, the "
        "formula is too complex for the samples: remove random slopes or covariates"
    ]


def _correlated(tests: Sequence[GeneTests]) -> list[str]:
    ratios = [(name, ratio) for name, ratio in _ratios(tests) if ratio > _NOTABLE_EIGEN_RATIO]
    if not ratios:
        return []
    name, largest = max(ratios, key=lambda pair: pair[1])
    where = f" in {len(ratios)} of {len(tests)} groups, most in {name}" if name else ""
    return [
        f"genes vary together between samples{where} (eigenvalue ratio {largest:.1f}), so the number of significant "
        "genes depends strongly on the choice of samples. If a batch may be the cause, add it to the formula, or "
        "look for hidden factors with sc_glmm.pp.latent_factors"
    ]


def _composition(tests: Sequence[GeneTests]) -> list[str]:
    out, n_genes = [], len(tests[0].genes)
    if n_genes < _FEW_GENES:
        out.append(
            f"size factors were computed from only {n_genes:,} genes. If adata was subset to these, test all genes "
            "and select them with genes=, or pass the size factors of the whole matrix as size_factors="
        )
    shifted = [
        (float(group.recipe.get("sample_factor_shift", 0.0)), group)
        for group in tests
        if float(group.recipe.get("sample_factor_shift", 0.0)) > _NOTABLE_SHIFT
    ]
    if shifted:
        shift, group = max(shifted, key=lambda pair: pair[0])
        by_level: dict[str, float] = group.recipe["log_sample_factors"]
        sample = max(by_level, key=lambda level: abs(by_level[level]))
        named = group.recipe.get("dominant_genes", [])[:5]
        where = f" of {group.group}" if group.group else ""
        reason = f"; genes with more than 5 % of the counts of a sample: {', '.join(named)}" if named else ""
        out.append(
            f"the library sizes of sample {sample}{where} were corrected by a factor of {math.exp(shift):.1f} for "
            f"its composition{reason}. If the cause is contamination or low quality, remove the sample; or pass your "
            "own size_factors="
        )
    return out


def _ratios(tests: Sequence[GeneTests]) -> list[tuple[str, float]]:
    """Return name and eigenvalue ratio of each group that has one."""
    found = [(group.group, float(group.recipe.get("eigen_ratio", math.nan))) for group in tests]
    return [(name, ratio) for name, ratio in found if math.isfinite(ratio)]


def _n_failed(tests: Sequence[GeneTests]) -> int:
    return sum(int(failed_genes(group).sum()) for group in tests)


def _has_p_value(group: GeneTests) -> pd.Series:
    return pd.concat([contrast.table["p_value"].notna() for contrast in group.contrasts], axis=1).any(axis=1)


def as_lines(sentences: Iterable[str]) -> str:
    """Write the sentences on separate lines."""
    return "\n".join(f"  {sentence}" for sentence in sentences)
