"""Compute digests that distinguish data sets and plans."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..._arrays import BoolArray
from ..._compress.source import Source
from ..plan import Plan

# Number of evenly spaced rows (or columns) of the matrix whose values are part of its digest.
_PROBES = 32


def matrix_fingerprint(source: Source, cells: pd.Index, genes: pd.Index) -> str:
    """Compute a digest of a matrix and its names.

    The digest covers the names, the form, the number of stored values of every row (or column), and all values of 32
    rows. A digest of all values would need a full pass over an atlas. Other changes are detected by sums when chunks
    are read (:mod:`.sums`).
    """
    digest = hashlib.sha256(repr((source.shape, source.form)).encode())
    for names in (cells, genes):
        digest.update("\n".join(map(str, names)).encode() + b"\0")
    if source.line_ptr is not None:
        digest.update(np.ascontiguousarray(source.line_ptr, dtype=np.int64).tobytes())
    for line in np.unique(np.linspace(0, max(source.n_lines - 1, 0), _PROBES).astype(np.int64)):
        if source.n_lines:
            stored = source.read(int(line), int(line) + 1)
            digest.update(np.asarray(stored.indices, dtype=np.int64).tobytes())
            digest.update(np.asarray(stored.data, dtype=np.float64).tobytes())
    return digest.hexdigest()[:32]


def plan_fingerprint(plans: Sequence[Plan], selected: BoolArray | None) -> str:
    """Compute a digest of everything that comes from `obs` and `var`: designs, contrasts, size factors and genes."""
    digest = hashlib.sha256(b"" if selected is None else np.packbits(selected).tobytes())
    for plan in plans:
        group, design = plan.cells, plan.cells.design
        digest.update(repr((group.name, design.fixed.names, [c.name for c in plan.contrasts], plan.dfs)).encode())
        arrays = [group.cells, group.offset, design.fixed.X, *(c.L for c in plan.contrasts)]
        for term in design.random:
            digest.update(repr((term.label, term.levels)).encode())
            arrays += [term.codes, term.Z]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
