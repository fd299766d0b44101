"""What was done, in plain values, and the lines that tell the user."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from ._display import logger
from ._results import GeneTests

PACKAGES = ("numpy", "scipy", "numba", "pandas", "anndata", "formulaic")


def make_recipe(*, tests: Sequence[GeneTests], notes: Sequence[str], **choices: Any) -> dict[str, Any]:
    """Everything needed to read the results or to run them again.

    Parameters
    ----------
    tests
        The results, whose own recipes go in per group (or directly, without groups).
    notes
        What was told while running.
    choices
        The arguments of the run.
    """
    recipe: dict[str, Any] = dict(choices)
    grouped = recipe.pop("groupby", None)
    recipe["cells_grouped_by"] = grouped  # scanpy has a use of its own for "groupby"
    pairs = list(dict.fromkeys((contrast.name, contrast.words) for group in tests for contrast in group.contrasts))
    recipe["contrast_keys"] = [name for name, _ in pairs]
    recipe["contrast_words"] = [words for _, words in pairs]  # of one name, they may differ between groups
    recipe["test"] = str(tests[0].recipe.get("test", ""))
    if grouped is None:
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


def summary_line(tests: Sequence[GeneTests], seconds: float, key: str, groupby: str | None) -> str:
    """How many genes ended with which status, where the results are, how long it took."""
    lines = []
    for group in tests:
        counts = group.genes["status"].value_counts()
        tested = int(counts.get("ok", 0) + counts.get("singular", 0))
        others = [
            f"{int(counts[word]):,} {word.replace('_', ' ')}"
            for word in ("singular", "separated", "not_converged", "low_count", "all_zero", "error")
            if counts.get(word, 0)
        ]
        where = f"{groupby} {group.group}: " if groupby else ""
        tail = f" ({', '.join(others)})" if others else ""
        lines.append(f"{where}{tested:,} of {len(group.genes):,} genes tested{tail}")
    slots = f".uns['{key}_results']" if groupby else f".varm['{key}*']"
    lines.append(
        f"finished in {seconds:.1f} s; see sc_glmm.get.results(adata, key={key!r}), stored in {slots}, .uns['{key}']"
    )
    return "\n".join(lines)


def announce_compilation() -> None:
    """Say that the kernels are about to be compiled, if they are not in numba's cache."""
    from ._engine.entry import is_compiled

    if not is_compiled():
        logger.info("compiling the kernels; this happens once after installation and takes about a minute")
