"""Adjust for multiple testing over groups of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .._arrays import FloatArray
from .._inference.multiple import benjamini_hochberg
from .._results import GeneTests


def adjust_over_groups(tests: Sequence[GeneTests], weight: FloatArray | None = None) -> list[GeneTests]:
    """Adjust the p-values of each contrast over the tested genes of all groups together (Benjamini and Hochberg).

    With ``(n_genes,)`` weights, the adjustment is weighted.
    """
    adjusted: dict[tuple[str, str], np.ndarray] = {}
    for name in dict.fromkeys(contrast.name for group in tests for contrast in group.contrasts):
        same_name = [(group.group, c) for group in tests for c in group.contrasts if c.name == name]
        weights = None if weight is None else np.tile(weight, len(same_name))
        p_values = [c.table["p_value"].to_numpy(dtype=np.float64) for _, c in same_name]
        parts = np.split(
            benjamini_hochberg(np.concatenate(p_values), weights), np.cumsum([len(p) for p in p_values])[:-1]
        )
        adjusted |= {(group, name): part for (group, _), part in zip(same_name, parts, strict=True)}
    return [
        replace(
            group,
            contrasts=tuple(
                replace(c, table=c.table.assign(adj_p_value=adjusted[group.group, c.name])) for c in group.contrasts
            ),
        )
        for group in tests
    ]
