"""Convert the grid and the prior of the moderated tests to plain arrays and back, to test a single gene again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._fit.gene_table import GeneTable
from .._fit.grid_choice import VarianceGrid
from .._fit.moderated import Moderation
from .._fit.variance_forms import VarianceForms, forms_as_arrays
from .._inference.prior import VariancePrior


def grid_arrays(grid: VarianceGrid) -> dict[str, Any]:
    """Convert the grid to plain arrays."""
    return {
        "names": list(grid.names),
        "place": np.array(grid.place, dtype=np.int64),
        "theta": grid.theta,
        "variance": grid.variance,
        "shape": np.array(grid.shape, dtype=np.int64),
        "unit": grid.unit,
        "idle": np.array(grid.idle, dtype=np.int64),
        "centre": int(grid.centre),
    }


def grid_of(arrays: Mapping[str, Any]) -> VarianceGrid:
    """Restore the grid from its arrays."""
    return VarianceGrid(
        names=tuple(str(name) for name in np.atleast_1d(arrays["names"])),
        place=tuple((int(block), int(column)) for block, column in np.asarray(arrays.get("place", ())).reshape(-1, 2)),
        theta=np.asarray(arrays["theta"], dtype=np.float64),
        variance=np.asarray(arrays["variance"], dtype=np.float64),
        shape=tuple(int(n) for n in np.atleast_1d(arrays["shape"])),
        unit=np.asarray(arrays["unit"], dtype=np.float64),
        elasticity={},
        idle=tuple(bool(i) for i in np.atleast_1d(arrays["idle"])),
        centre=int(arrays["centre"]),
    )


def prior_of(arrays: Mapping[str, Any], grid: VarianceGrid) -> VariancePrior:
    """Restore the prior from its arrays."""
    marginals = tuple(np.asarray(arrays[f"marginal_{k}"], dtype=np.float64) for k in range(len(grid.shape)))
    return VariancePrior(np.asarray(arrays["anchors"], dtype=np.float64), marginals, grid.shape)


def variance_arrays(forms: VarianceForms, table: GeneTable) -> dict[str, Any]:
    """Convert the forms of the variances and the names of their columns to plain arrays."""
    arrays = {**forms_as_arrays(forms), "coef": list(table.coef)}
    for i, (sd, corr) in enumerate(zip(table.sd, table.corr, strict=True)):
        arrays[f"sd_{i}"] = list(sd)
        if corr:
            arrays[f"corr_{i}"] = list(corr)
    return arrays


def prior_arrays(moderation: Moderation) -> dict[str, Any]:
    """Convert the prior to plain arrays; empty if there is none."""
    prior, grid = moderation.prior, moderation.grid
    if prior is None:
        return {}
    arrays: dict[str, Any] = {"anchors": prior.anchors, "variance": grid.variance, "theta": grid.theta}
    arrays.update({f"marginal_{k}": marginal for k, marginal in enumerate(prior.marginals)})
    return arrays
