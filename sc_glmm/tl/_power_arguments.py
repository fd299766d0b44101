"""Check the arguments of :func:`sc_glmm.power`, and list the designs to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from .._display.arguments import check_choice, check_count, check_level, is_number, is_whole
from .._errors import InputError

# Number of ways to split a budget between samples and cells.
_N_SPLITS = 12
# Smallest number of cells per sample in such a split.
_MIN_CELLS = 10


def check_arguments(**arguments: Any) -> None:
    """Raise an error for fractions, numbers and words that are not allowed."""
    for name in ("fdr", "frac_de"):
        check_level(name, arguments[name])
    check_choice("design", arguments["design"], ("unpaired", "paired", None))
    check_choice("method", arguments["method"], ("auto", "analytic", "simulation"))
    if arguments["n_tests"] is not None:
        check_count("n_tests", arguments["n_tests"], 1)


def numbers(name: str, value: Any, allowed: str, is_allowed: Callable[[Any], bool]) -> list[Any]:
    """Convert one number, or several, to a list."""
    values = list(value) if isinstance(value, list | tuple | range | np.ndarray | pd.Series | pd.Index) else [value]
    for each in values:
        if not is_number(each) or not is_allowed(each):
            raise InputError(f"{name}={each!r}: allowed are {allowed}, one number or a list")
    if not values:
        raise InputError(f"{name} is empty: allowed are {allowed}, one number or a list")
    return values


def costs_of(budget: Any, per_sample: Any, per_cell: Any) -> tuple[float | None, float, float] | None:
    """Return the budget (None if there is none), the cost of a sample and the cost of a cell; None without costs."""
    arguments = {"budget": budget, "cost_per_sample": per_sample, "cost_per_cell": per_cell}
    for name, value in arguments.items():
        if value is not None and (not is_number(value) or value < 0.0 or (value == 0.0 and name != "cost_per_sample")):
            allowed = "numbers of at least 0" if name == "cost_per_sample" else "positive numbers"
            raise InputError(f"{name}={value!r}: allowed are {allowed}")
    if all(value is None for value in arguments.values()):
        return None
    if per_sample is None or per_cell is None:
        missing = [f"{name}=" for name in ("cost_per_sample", "cost_per_cell") if arguments[name] is None]
        raise InputError(f"{' and '.join(missing)} is missing: pass the cost of a sample and the cost of a cell")
    return None if budget is None else float(budget), float(per_sample), float(per_cell)


def designs_of(
    n_samples: Any, cells: Any, paired: bool, costs: tuple[float | None, float, float] | None
) -> list[tuple[int, int]]:
    """Return the numbers of samples and of cells per sample of each design to evaluate."""
    allowed = "whole numbers of at least 4, for two samples in each arm"
    if paired:
        allowed = "even numbers of at least 4, because a pair has two samples"

    def is_allowed(n: Any) -> bool:
        return is_whole(n) and n >= 4 and not (paired and n % 2)

    if costs is None or costs[0] is None:
        if n_samples is None or cells is None:
            raise InputError(
                "n_samples= or cells_per_sample= is missing: pass both, or budget= with cost_per_sample= and "
                "cost_per_cell="
            )
        samples = numbers("n_samples", n_samples, allowed, is_allowed)
        each = numbers("cells_per_sample", cells, "whole numbers of at least 1", lambda c: is_whole(c) and c >= 1)
        return [(int(n), int(c)) for n in samples for c in each]
    if cells is not None:
        raise InputError("cells_per_sample= cannot be combined with budget=, which determines it: omit one of them")
    budget, per_sample, per_cell = costs[0], costs[1], costs[2]
    min_cost = per_sample + _MIN_CELLS * per_cell
    if n_samples is None:
        max_samples = int(budget // min_cost)
        samples = sorted({2 * round(n / 2) for n in np.geomspace(4, max(max_samples - max_samples % 2, 4), _N_SPLITS)})
    else:
        samples = numbers("n_samples", n_samples, allowed, is_allowed)
    affordable = [(int(n), int((budget / n - per_sample) // per_cell)) for n in samples if n * min_cost <= budget]
    if not affordable:
        raise InputError(
            f"budget={budget:g} is too small for {min(samples)} samples with {_MIN_CELLS} cells each, which cost "
            f"{min(samples) * min_cost:g}: increase the budget, or reduce n_samples="
        )
    return affordable
