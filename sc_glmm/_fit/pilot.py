"""What a run says of the samples of its study, for planning another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._design import Contrast, Design, finest
from .genes import AllFits, GeneModel
from .grid_choice import WINSOR


def pilot_facts(
    model: GeneModel, result: AllFits, log_size: FloatArray, contrasts: Sequence[Contrast], grid_names: Sequence[str]
) -> dict[str, Any]:
    """Facts as plain values.

    Parameters
    ----------
    model, result
        The model and the fits of all genes.
    log_size
        ``(n_obs,)`` natural logs of the size factors of the cells.
    contrasts
        What is tested.
    grid_names
        The variances of the prior.

    Returns
    -------
    ``cells_per_sample`` (of the finest grouping factor), ``log_size_sd`` (of the cells of a sample), and for each
    contrast of one row ``kind`` (``"between"`` samples, ``"paired"`` within the levels of a coarser factor, or within
    samples between ``"cells"``), ``adds`` (which variances of the grid are part of its variance), ``simple`` (whether
    all of these are of intercepts) and ``pair_variance`` (mean over genes of the variance of intercepts that cancel;
    None if there is none).
    """
    design = model.design
    samples = design.random[finest(design.random)]
    sizes = np.bincount(samples.codes, minlength=len(samples.levels))
    centred = log_size - (np.bincount(samples.codes, log_size) / np.maximum(sizes, 1))[samples.codes]
    return {
        "cells_per_sample": [int(n) for n in sizes],
        "log_size_sd": float(np.sqrt(np.mean(centred**2))),
        "contrasts": {
            contrast.name: _facts(model, result, contrast.L[0], grid_names)
            for contrast in contrasts
            if len(contrast.L) == 1
        },
    }


def _facts(model: GeneModel, result: AllFits, row: FloatArray, grid_names: Sequence[str]) -> dict[str, Any]:
    design = model.design
    tested = design.fixed.X[:, row != 0.0]
    tested = tested[:, np.ptp(tested, axis=0) > 0.0]
    within = {term.group: bool(_varies(tested, term.codes, len(term.levels)).any()) for term in design.random}
    n_levels = {term.group: len(term.levels) for term in design.random}
    constant = [group for group, varies in within.items() if not varies]
    kind = "cells"
    if constant:
        stratum = min(constant, key=lambda group: n_levels[group])
        coarser = any(varies and n_levels[group] < n_levels[stratum] for group, varies in within.items())
        kind = "paired" if coarser or _blocked(design, row, stratum, n_levels[stratum]) else "between"
    adds, simple, places = [], True, _grid_places(model)
    for name in grid_names:
        block, column = places[name]
        grouping = model.groupings[block]
        Z = model.structure.blocks[block].Z[:, column]
        intercept = bool(np.ptp(Z) == 0.0)
        adds.append(intercept and not within[grouping.name])
        simple &= intercept or not within[grouping.name]
    return {"kind": kind, "adds": adds, "simple": simple, "pair_variance": _pair_variance(model, result, within)}


def _varies(columns: FloatArray, codes: IntArray, n_levels: int) -> BoolArray:
    """Whether each column varies within a level, beyond rounding."""
    first = np.empty(n_levels, dtype=np.int64)
    first[codes[::-1]] = np.arange(codes.size)[::-1]
    spread = np.abs(columns - columns[first][codes]).max(axis=0, initial=0.0)
    return np.asarray(spread > 1e-10 * np.ptp(columns, axis=0))


def _blocked(design: Design, row: FloatArray, stratum: str, n_levels: int) -> bool:
    """Whether other fixed effects take at least half of the levels, as those of the donors of pairs do."""
    term = next(term for term in design.random if term.group == stratum)
    others = design.fixed.X[:, row == 0.0]
    others = others[:, ~_varies(others, term.codes, n_levels)]
    return 2 * others.shape[1] >= n_levels


def _grid_places(model: GeneModel) -> dict[str, tuple[int, int]]:
    """Block and column of each variance, by its name on the grid."""
    return {
        grouping.name if len(grouping.columns) == 1 else f"{grouping.name}: {column}": (block, k)
        for block, grouping in enumerate(model.groupings)
        for k, column in enumerate(grouping.columns)
    }


def _pair_variance(model: GeneModel, result: AllFits, within: dict[str, bool]) -> float | None:
    """Mean over genes of the variances of intercepts within whose levels the contrast varies."""
    found = []
    for block, grouping in enumerate(model.groupings):
        Z = model.structure.blocks[block].Z
        if within[grouping.name] and Z.shape[1] == 1 and np.ptp(Z) == 0.0:
            variance = result.fits.Lambda[block][:, 0, 0] ** 2
            good = np.isfinite(variance)
            found.append(float(np.minimum(variance[good], WINSOR).mean()) if good.any() else 0.0)
    return sum(found) if found else None
