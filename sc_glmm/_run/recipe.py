"""Record the parameters of a run as plain values, and report them in the log."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pandas as pd

from .._display import logger
from .._fit.details import failed_genes
from .._parallel.resources import available_cpus
from .._results import GeneTests

PACKAGES = ("numpy", "scipy", "numba", "pandas", "anndata", "formulaic")


def make_recipe(
    options: Mapping[str, Any], tests: Sequence[GeneTests], *, notes: Sequence[str], **facts: Any
) -> dict[str, Any]:
    """Everything needed to interpret the results or to repeat the run.

    Parameters
    ----------
    options
        The options of the run, as recorded.
    tests
        The results, whose recipes are added per group (or directly, without groups).
    notes
        Notes of the run.
    facts
        Other values to store.
    """
    recipe = {**options, **facts}
    pairs = list(dict.fromkeys((contrast.name, contrast.words) for group in tests for contrast in group.contrasts))
    recipe["contrast_keys"] = [name for name, _ in pairs]
    recipe["contrast_words"] = [words for _, words in pairs]  # labels of the same name may differ between groups
    recipe["test"] = str(tests[0].recipe.get("test", ""))
    if recipe["cells_grouped_by"] is None:
        recipe.update(tests[0].recipe)
    else:
        recipe["groups"] = {group.group: dict(group.recipe) for group in tests}
    recipe["notes"] = list(notes)
    recipe["versions"] = {
        "sc_glmm": version("sc-glmm"),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
    return recipe


def summary_line(
    tests: Sequence[GeneTests],
    seconds: float,
    key: str,
    groupby: str | None,
    where: str = "adata",
    min_counts: int = 0,
    beyond: str = "",
) -> str:
    """One line: number of genes tested, number per status, time, and where the results are.

    With groups, a gene counts once for each group; the table of details has the counts per group. After a moderated
    test, the line also reports how correlated genes are (:func:`sc_glmm._fit.information.eigen_ratio`), as the maximum
    over groups. `beyond` describes the tested effects, if not any.
    """
    statuses = pd.concat([group.genes["status"].astype(str) for group in tests]).value_counts()
    tested = sum(int(_has_p_value(group).sum()) for group in tests)
    counts = [
        f"{int(statuses[word]):,} {word.replace('_', ' ')}"
        for word in ("singular", "separated", "all_zero", "not_selected")
        if word in statuses
    ]
    if "low_count" in statuses:
        weak = int(statuses["low_count"])
        counts.append(f"{weak:,} with fewer than {min_counts} counts were not tested; min_counts=0 tests them")
    failed = sum(int(failed_genes(group).sum()) for group in tests)
    counts.append(f"{failed:,} failed")
    ratios = [float(group.recipe.get("eigen_ratio", math.nan)) for group in tests]
    known = [ratio for ratio in ratios if math.isfinite(ratio)]
    details = f"{', '.join(counts)}; eigenvalue ratio {'up to ' * (len(known) > 1)}{max(known):.1f}" if known else ""
    n_genes = len(tests[0].genes)
    what = f"{tested:,} of {n_genes:,} genes"
    if groupby is not None:
        levels = f"{len(tests)} level{'s' if len(tests) != 1 else ''}"
        what = f"{tested:,} of {len(tests) * n_genes:,} genes in {levels} of {groupby!r}"
    default = "" if key == "glmm" else f", key={key!r}"
    what, details = f"{what}{beyond}", details or ", ".join(counts)
    return f"tested {what} in {seconds:.1f} s ({details}): sc_glmm.get.results({where}{default})"


def _has_p_value(group: GeneTests) -> pd.Series:
    return pd.concat([contrast.table["p_value"].notna() for contrast in group.contrasts], axis=1).any(axis=1)


def prepare_kernels(moderated: bool) -> None:
    """Report if kernels must be compiled because they are not in the cache, and start with half of them.

    Parameters
    ----------
    moderated
        Whether profiles are needed in addition to fits; with two CPUs, both are compiled at the same time.
    """
    from .._engine import profile, warm

    announced = warm.announcement()
    if announced is not None:
        logger.info(announced)
        if moderated and not warm.is_compiled(profile.profile_block) and available_cpus() > 1:
            warm.start()
