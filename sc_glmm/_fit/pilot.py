"""Collect facts about the samples of a run, for planning another study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import FloatArray
from .._design import Contrast, Design, finest
from .genes import AllFits, GeneModel
from .grid_choice import WINSOR
from .within import constant_within


def pilot_facts(
    model: GeneModel,
    result: AllFits,
    log_size: FloatArray,
    contrasts: Sequence[Contrast],
    grid: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    """Collect facts about samples and contrasts as plain values.

    Parameters
    ----------
    model, result
        The model and the fits of all genes.
    log_size
        ``(n_obs,)`` natural logs of the size factors of the cells.
    contrasts
        The tested contrasts.
    grid
        Block and column of Z of each variance on the grid.

    Returns
    -------
    A dictionary with ``cells_per_sample`` (for the finest grouping factor), ``log_size_sd`` (standard deviation of the
    log size factors of the cells of a sample) and ``contrasts``. For each contrast of one row, this has: ``kind``
    (``"between"`` samples, ``"paired"`` within the levels of a coarser factor, or between ``"cells"`` of a sample);
    ``adds`` (for each variance of the grid, whether it is part of the variance of the contrast); ``simple`` (whether
    all of these are variances of intercepts); ``pair_variance`` (mean over genes of the variance of intercepts that
    cancel; None if there is none).
    """
    design = model.design
    samples = design.random[finest(design.random)]
    sizes = np.bincount(samples.codes, minlength=len(samples.levels))
    centred = log_size - (np.bincount(samples.codes, log_size) / np.maximum(sizes, 1))[samples.codes]
    return {
        "cells_per_sample": [int(n) for n in sizes],
        "log_size_sd": float(np.sqrt(np.mean(centred**2))),
        "contrasts": {
            contrast.name: _facts(model, result, contrast.L[0], grid) for contrast in contrasts if len(contrast.L) == 1
        },
    }


def _facts(model: GeneModel, result: AllFits, row: FloatArray, grid: Sequence[tuple[int, int]]) -> dict[str, Any]:
    design = model.design
    tested = design.fixed.X[:, row != 0.0]
    tested = tested[:, np.ptp(tested, axis=0) > 0.0]
    within = {term.group: not constant_within(tested, term.codes, len(term.levels)).all() for term in design.random}
    n_levels = {term.group: len(term.levels) for term in design.random}
    constant = [group for group, varies in within.items() if not varies]
    kind = "cells"
    if constant:
        stratum = min(constant, key=lambda group: n_levels[group])
        coarser = any(varies and n_levels[group] < n_levels[stratum] for group, varies in within.items())
        kind = "paired" if coarser or _blocked(design, row, stratum, n_levels[stratum]) else "between"
    adds, simple = [], True
    for block, column in grid:
        grouping = model.groupings[block]
        Z = model.structure.blocks[block].Z[:, column]
        intercept = bool(np.ptp(Z) == 0.0)
        adds.append(intercept and not within[grouping.name])
        simple &= intercept or not within[grouping.name]
    return {"kind": kind, "adds": adds, "simple": simple, "pair_variance": _pair_variance(model, result, within)}


def _blocked(design: Design, row: FloatArray, stratum: str, n_levels: int) -> bool:
    """Check whether other fixed effects identify at least half of the levels, as fixed effects of paired donors do."""
    term = next(term for term in design.random if term.group == stratum)
    others = design.fixed.X[:, row == 0.0]
    others = others[:, constant_within(others, term.codes, n_levels)]
    return 2 * others.shape[1] >= n_levels


def _pair_variance(model: GeneModel, result: AllFits, within: dict[str, bool]) -> float | None:
    """Average over genes the variances of intercepts that cancel, because the contrast varies within their levels."""
    means = []
    for block, grouping in enumerate(model.groupings):
        Z = model.structure.blocks[block].Z
        if within[grouping.name] and Z.shape[1] == 1 and np.ptp(Z) == 0.0:
            variance = result.fits.Lambda[block][:, 0, 0] ** 2
            good = np.isfinite(variance)
            means.append(float(np.minimum(variance[good], WINSOR).mean()) if good.any() else 0.0)
    return sum(means) if means else None
