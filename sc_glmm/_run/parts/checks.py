"""Check that the arrays of a part have the shapes and values that the run needs.

A part may be damaged or come from another program. Shapes are compared before an array is read, so a small file cannot
request an array that fills the memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..._design import Design
from ..._engine import entry
from ..._fit.genes import FITTED, LOW_COUNT, NOT_SELECTED
from ..._fit.profiles import ProfilePlan
from ..plan import Plan
from ..stages import Task
from .files import Part

# Name -> kind of the numbers (numpy's letters) and shape, in which None stands for any length.
Expected = Mapping[str, tuple[str, tuple[int | None, ...]]]
_CODES = (entry.OK, entry.NOT_CONVERGED, entry.FAILED, entry.EMPTY)


def check_fits(part: Part, prefix: str, plan: Plan, task: Task, n_genes: int, n_rows: int) -> None:
    """Raise an error if the arrays are not the fits of `n_genes` genes on the design of the plan."""
    design, counts = plan.cells.design, task.family.counts
    p, n_levels = design.fixed.X.shape[1], {len(term.levels) for term in design.random}
    _expect(
        part,
        prefix,
        {
            "beta": ("f", (n_genes, p)),
            "vcov": ("f", (n_genes, p, p)),
            **dict.fromkeys(("log_dispersion", "log_dispersion_se", "loglik", "decrement", "error"), ("f", (n_genes,))),
            "on_cells": ("b", (n_genes,)),
            **dict.fromkeys(("n_iter", "status", "left_out"), ("i", (n_genes,))),
            **{f"totals_{name}": ("f", (n_genes,)) for name in ("total", "raw_total")},
            **{f"totals_{name}": ("iuf", (n_genes,)) for name in ("n_two", "n_empty", "n_nonzero")},
            "separated": ("i", (None,)),
        },
    )
    if task.test.needs.null_fits:
        _expect(part, prefix, {"ratios": ("f", (n_genes, len(plan.contrasts)))})
    if not counts:
        varpar: Expected = {"vcov_varpar": ("f", (n_genes, None, None)), "jacobian": ("f", (n_genes, None, p, p))}
        _expect(part, f"{prefix}parts_", {"vcov": ("f", (n_genes, p, p)), **varpar})
    if task.normalise:
        _expect(part, prefix, {"log_by_level": ("f", (max(n_levels),)), "dominant": ("i", (None,))})
    i = 0
    while f"{prefix}Lambda{i}" in part:
        k = part.shape(f"{prefix}Lambda{i}")[1][-1]
        _expect(part, prefix, {f"Lambda{i}": ("f", (n_genes, k, k)), f"ranef{i}": ("f", (n_genes, None, k))})
        levels = part.shape(f"{prefix}ranef{i}")[1][1]
        if levels not in n_levels:
            raise part.wrong(f"{prefix}ranef{i}", f"has {levels} levels, but the design has {sorted(n_levels)}")
        i += 1
    if i == 0:
        raise part.wrong(f"{prefix}Lambda0", "is missing")
    _check_codes(part, f"{prefix}status", _CODES)
    _check_codes(part, f"{prefix}left_out", (FITTED, LOW_COUNT, NOT_SELECTED))
    _check_positions(part, f"{prefix}separated", n_genes)
    for j in range(len(part[f"{prefix}separated"])):
        own = f"{prefix}separation{j}_"
        _expect(part, own, {"directions": ("f", (p, None)), "rows": ("b", (n_rows,)), "columns": ("i", (None,))})
        _check_positions(part, f"{own}columns", p)
    finite = ["totals_total", "totals_raw_total", *(["log_by_level"] if f"{prefix}log_by_level" in part else [])]
    for name in finite:
        if not np.isfinite(part[f"{prefix}{name}"]).all():
            raise part.wrong(f"{prefix}{name}", "contains numbers that are not finite")
    fitted = (part[f"{prefix}status"] == entry.OK) & (part[f"{prefix}left_out"] == FITTED)
    for name in ("beta", "loglik", "Lambda0") if counts else ("beta", "loglik"):
        if not np.isfinite(part[f"{prefix}{name}"][fitted]).all():
            raise part.wrong(f"{prefix}{name}", "contains numbers that are not finite for genes that were fitted")


def check_statistics(part: Part, prefix: str, n_genes: int, n_nodes: int) -> None:
    """Raise an error if the arrays are not statistics of `n_genes` genes on `n_nodes` nodes.

    The lists of large counts are checked after they are read, by :func:`.records.shape_error`.
    """
    _expect(
        part,
        prefix,
        {
            "A": ("f", (n_genes, n_nodes)),
            "tail": ("iuf", (n_genes, None)),
            "over_ptr": ("i", (n_genes + 1,)),
            "over_value": ("f", (None,)),
            "over_count": ("f", (None,)),
            "extra": ("f", (n_genes, 4)),
            "const": ("f", (n_genes,)),
        },
    )


def check_profiles(part: Part, prefix: str, design: Design, n_genes: int, plan: ProfilePlan, n_contrasts: int) -> None:
    """Raise an error if the arrays are not profiles of `n_genes` genes on the grid of the plan."""
    n_grid, p = len(plan.grid.theta), design.fixed.X.shape[1]
    _expect(
        part,
        prefix,
        {
            **dict.fromkeys(("ell", "log_det", "rss"), ("f", (n_genes, n_grid))),
            "beta": ("f", (n_genes, n_grid, p)),
            **dict.fromkeys(("delta", "var", "root", "star"), ("f", (n_genes, n_contrasts, n_grid))),
            **dict.fromkeys(("ok", "on_cells"), ("b", (n_genes,))),
            "n_agq": ("i", (n_genes,)),
            **dict.fromkeys(("information", "error"), ("f", (n_genes,))),
        },
    )
    good = part[f"{prefix}ok"]
    if not np.isfinite(part[f"{prefix}ell"][good]).any(axis=1).all():
        raise part.wrong(f"{prefix}ell", "does not have a finite number for each gene that was profiled")


def _expect(part: Part, prefix: str, expected: Expected) -> None:
    for name, (kinds, shape) in expected.items():
        if f"{prefix}{name}" not in part:
            raise part.wrong(f"{prefix}{name}", "is missing")
        kind, found = part.shape(f"{prefix}{name}")
        fits = len(found) == len(shape) and all(b is None or a == b for a, b in zip(found, shape, strict=True))
        if kind not in kinds or not fits:
            words = " x ".join("any" if n is None else str(n) for n in shape)
            raise part.wrong(f"{prefix}{name}", f"has shape {found} and kind {kind!r}, expected {words} of {kinds!r}")


def _check_codes(part: Part, name: str, allowed: Sequence[int]) -> None:
    values = part[name]
    if not np.isin(values, allowed).all():
        raise part.wrong(name, f"contains {values[~np.isin(values, allowed)][0]}; allowed are {list(allowed)}")


def _check_positions(part: Part, name: str, n: int) -> None:
    values = part[name]
    if len(values) and not (0 <= values.min() and values.max() < n):
        raise part.wrong(name, f"contains numbers outside the range 0 to {n - 1}")
