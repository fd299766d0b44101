"""Arguments of :func:`sc_glmm.power`, checked, and the designs that they ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from .._errors import InputError
from .._run.options import is_whole

# Splits of a budget that are tried, and fewest cells of a sample in these.
_N_SPLITS, _FEWEST_CELLS = 12, 10


def check_arguments(**given: Any) -> None:
    """Refuse levels, shares and words that are not allowed."""
    for name in ("fdr", "frac_de"):
        value = given[name]
        if not _is_number(value) or not 0.0 < value < 1.0:
            raise InputError(f"{name}={value!r}: allowed are numbers between 0 and 1, such as 0.05")
    for name, words in (("design", ("unpaired", "paired", None)), ("method", ("auto", "analytic", "simulation"))):
        if given[name] not in words:
            allowed = ", ".join(repr(word) for word in words if word is not None)
            raise InputError(f"{name}={given[name]!r}: allowed are {allowed}")
    if given["n_tests"] is not None and not (is_whole(given["n_tests"]) and given["n_tests"] > 0):
        raise InputError(f"n_tests={given['n_tests']!r}: allowed are whole numbers from 1 on")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)


def numbers(name: str, value: Any, allowed: str, fits: Callable[[Any], bool]) -> list[Any]:
    """One number or several, as a list."""
    values = list(value) if isinstance(value, list | tuple | range | np.ndarray | pd.Series | pd.Index) else [value]
    for each in values:
        if not _is_number(each) or not fits(each):
            raise InputError(f"{name}={each!r}: allowed are {allowed}, one or a list of them")
    if not values:
        raise InputError(f"{name} is empty: allowed are {allowed}, one or a list of them")
    return values


def costs_of(budget: Any, per_sample: Any, per_cell: Any) -> tuple[float | None, float, float] | None:
    """Budget (None without), cost of a sample and of a cell; None if there are no costs."""
    given = {"budget": budget, "cost_per_sample": per_sample, "cost_per_cell": per_cell}
    for name, value in given.items():
        if value is not None and (not _is_number(value) or value < 0.0 or (value == 0.0 and name != "cost_per_sample")):
            allowed = "numbers from 0 on" if name == "cost_per_sample" else "positive numbers"
            raise InputError(f"{name}={value!r}: allowed are {allowed}")
    if all(value is None for value in given.values()):
        return None
    if per_sample is None or per_cell is None:
        lacking = [name for name in ("cost_per_sample", "cost_per_cell") if given[name] is None]
        raise InputError(f"{' and '.join(lacking)} must be given, too: costs are those of samples and of cells")
    return None if budget is None else float(budget), float(per_sample), float(per_cell)


def designs_of(
    n_samples: Any, cells: Any, paired: bool, costs: tuple[float | None, float, float] | None
) -> list[tuple[int, int]]:
    """Numbers of samples and cells that are looked at."""
    what = "even numbers from 4 on: a pair has two samples" if paired else "whole numbers from 4 on, two in each arm"

    def fits(n: Any) -> bool:
        return is_whole(n) and n >= 4 and not (paired and n % 2)

    if costs is None or costs[0] is None:
        if n_samples is None or cells is None:
            raise InputError("give n_samples and cells_per_sample, or a budget with cost_per_sample and cost_per_cell")
        samples = numbers("n_samples", n_samples, what, fits)
        each = numbers("cells_per_sample", cells, "whole numbers from 1 on", lambda c: is_whole(c) and c >= 1)
        return [(int(n), int(c)) for n in samples for c in each]
    if cells is not None:
        raise InputError("cells_per_sample follows from the budget: leave it out")
    budget, per_sample, per_cell = costs[0], costs[1], costs[2]
    least = per_sample + _FEWEST_CELLS * per_cell
    if n_samples is None:
        most = int(budget // least)
        samples = sorted({2 * round(n / 2) for n in np.geomspace(4, max(most - most % 2, 4), _N_SPLITS)})
    else:
        samples = numbers("n_samples", n_samples, what, fits)
    affordable = [(int(n), int((budget / n - per_sample) // per_cell)) for n in samples if n * least <= budget]
    if not affordable:
        raise InputError(
            f"budget={budget:g} does not pay for {min(samples)} samples of {_FEWEST_CELLS} cells, which cost "
            f"{min(samples) * least:g}: give more, or fewer samples"
        )
    return affordable
