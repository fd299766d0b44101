"""Record the parameters of a run as plain values, and prepare compiled kernels."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from .._display import logger
from .._results import GeneTests

PACKAGES = ("numpy", "scipy", "numba", "pandas", "anndata", "formulaic")


def make_recipe(
    options: Mapping[str, Any], tests: Sequence[GeneTests], *, notes: Sequence[str], **facts: Any
) -> dict[str, Any]:
    """Collect everything that is needed to interpret the results or to repeat the run.

    Parameters
    ----------
    options
        The options of the run, from :meth:`.options.RunOptions.for_recipe`.
    tests
        The results. Their recipes are added for each group, or directly if there are no groups.
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
    recipe["versions"] = dict(_versions())
    return recipe


@cache
def _versions() -> Mapping[str, str]:
    """Return the versions of Python and of packages; to find them takes a fifth of a run with few genes."""
    own = {"sc_glmm": version("sc-glmm"), "python": platform.python_version()}
    return {**own, **{name: version(name) for name in PACKAGES}}


def prepare_kernels(moderated: bool) -> None:
    """Report if kernels must be compiled because they are not in the cache, and begin with it.

    With two or more CPUs, large kernels are compiled in the background while the counts are read.

    Parameters
    ----------
    moderated
        Whether profiles are needed in addition to fits.
    """
    from .._engine import warm

    announced = warm.announcement()
    if announced is not None:
        logger.info(announced)
        warm.start(moderated)
