"""Compute size factors of the cells: those of the user, or library size times a composition factor of the sample."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays import BoolArray, FloatArray, IntArray
from .._compress.composition import pooled_factors
from .._compress.reference import common_change
from .._compress.size_factors import DOMINANT_SHARE
from .._compress.sums import membership
from .._design import Design, finest
from .._errors import InputError
from .compress import CellGroup, Layout
from .genes import GeneModel, node_sums
from .rows import design_rows

# Smallest change of the size factors of a sample by composition (natural log) that is reported.
NOTABLE_SHIFT = 0.1
# No cell has a size factor of exp(30), which is 1e13. Larger numbers are therefore not logs.
LOG_LIMIT = 30.0


@dataclass(frozen=True)
class CellSizes:
    """Size factors of all cells of a matrix, before any correction for the composition of their samples.

    Attributes
    ----------
    log
        ``(n_obs,)`` natural logs; for a Gaussian response, the offset that is subtracted.
    used
        ``(n_obs,)`` whether a cell has a size factor; other cells are left out.
    default
        Whether these are the default size factors, which are corrected for composition.
    source
        Source of the size factors, as text.
    notes
        Notes for the user.
    digest
        Checksum of the library sizes; empty if size factors were given.
    """

    log: FloatArray
    used: BoolArray
    default: bool
    source: str
    notes: tuple[str, ...]
    digest: str = ""


def library_sizes(library: FloatArray, notes: Sequence[str] = ()) -> CellSizes:
    """Scale library sizes to mean 1; cells without a count are left out.

    Raises
    ------
    InputError
        If no cell has a count.
    """
    used = library > 0.0
    if not used.any():
        raise InputError("no cell has a count; is this the right layer?")
    dropped = [] if used.all() else [f"{int((~used).sum())} cells without a count were dropped"]
    log = np.log(np.where(used, library, 1.0) / library[used].mean())
    all_notes = (*dropped, *notes)
    source = "library size x sample factor"
    return CellSizes(np.where(used, log, 0.0), used, True, source, all_notes, digest_of(library))


def digest_of(library: FloatArray) -> str:
    """Compute a checksum of the counts from the sums of the cells.

    It depends neither on the order of the cells nor on the format of the matrix. Sums of counts are exact, so they do
    not depend on the type of the numbers or on the order in which they are read.
    """
    return hashlib.sha256(np.sort(np.asarray(library, dtype="<f8")).tobytes()).hexdigest()[:32]


def given_sizes(values: FloatArray, source: str, *, linear: bool, counts: bool) -> CellSizes:
    """Check size factors of the user: `linear` ones, or an offset on the scale of the linear predictor.

    Raises
    ------
    InputError
        If a value is not finite, not positive, or far too large for a log.
    """
    what = "size_factors" if linear else "offset"
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0.0)) if linear else ~np.isfinite(values))
    if len(bad):
        rule = "size factors must be positive numbers on the linear scale" if linear else "it must be finite"
        raise InputError(
            f"{what} is {values[bad[0]]:g} in cell {bad[0]} ({len(bad)} such cells): {rule}; remove these cells"
            + (", or pass logs as offset=" if linear else "")
        )
    log = np.log(values) if linear else values
    if counts and not linear and np.abs(values).max(initial=0.0) > LOG_LIMIT:
        raise InputError(
            f"offset reaches {np.abs(values).max():g}, but an offset is a natural log, and exp({LOG_LIMIT:g}) is "
            "larger than any size factor; pass linear numbers such as library sizes as size_factors="
        )
    return CellSizes(log, np.ones(len(values), dtype=bool), False, source, ())


@dataclass(frozen=True)
class SampleFactors:
    """Correction of library sizes for the composition of the samples.

    Attributes
    ----------
    log_factor
        ``(n_rows,)`` natural log of the factor of the sample of each row.
    log_by_level
        ``(n_levels,)`` the same by sample.
    levels
        Names of the samples.
    dominant
        ``(n_dominant,)`` indices of the genes with more than 5 % of the counts of a sample.
    """

    log_factor: FloatArray
    log_by_level: FloatArray
    levels: tuple[str, ...]
    dominant: IntArray

    @property
    def shift(self) -> float:
        """Largest absolute log factor."""
        return float(np.abs(self.log_factor).max(initial=0.0))

    @property
    def by_level(self) -> dict[str, float]:
        """Log factors by name of the sample."""
        return dict(zip(self.levels, self.log_by_level.tolist(), strict=True))


def sample_totals(design: Design, layout: Layout, A: FloatArray, nodes: IntArray | None = None) -> FloatArray:
    """Compute ``(n_levels, n_genes)`` counts of samples from sums ``A (n_genes, n_nodes)`` on all or some `nodes`."""
    place = finest(design.random)
    codes, n_levels, ptr = layout.rows.codes[place], len(design.random[place].levels), layout.nodes.ptr
    if nodes is not None:
        row_of_node = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
        return np.round(membership(codes[row_of_node[nodes]], n_levels) @ A.T)
    bulk = np.zeros((n_levels, len(A)))
    np.add.at(bulk, codes, node_sums(A, ptr).T)
    # Sums over nodes are whole numbers up to rounding errors. Trimming needs exact ties.
    return np.round(bulk)


def sample_factors(design: Design, layout: Layout, bulk: FloatArray) -> SampleFactors:
    """Compute composition factors of the samples from their counts of all genes, ``bulk (n_levels, n_genes)``."""
    share = bulk / np.maximum(bulk.sum(axis=1, keepdims=True), 1.0)
    dominant = np.flatnonzero(share.max(axis=0, initial=0.0) > DOMINANT_SHARE)
    return factors_of_levels(design, layout, np.log(pooled_factors(bulk)), dominant)


def reference_factors(design: Design, layout: Layout, bulk: FloatArray, log_size: FloatArray) -> SampleFactors:
    """Compute factors of samples such that most cell types do not change along the design; each sample is a row.

    Parameters
    ----------
    design, layout
        The design, and its rows.
    bulk
        ``(n_levels, n_types)`` counts.
    log_size
        ``(n_obs,)`` natural logs of the numbers of cells of the rows.
    """
    codes = design.random[finest(design.random)].codes
    X, sizes = np.empty_like(design.fixed.X), np.empty_like(log_size)
    X[codes], sizes[codes] = design.fixed.X, log_size
    return factors_of_levels(design, layout, common_change(bulk, sizes, X).log_shift)


def factors_of_levels(
    design: Design, layout: Layout, log_by_level: FloatArray, dominant: IntArray | None = None
) -> SampleFactors:
    """Assign the log factors of the samples to the rows."""
    place = finest(design.random)
    dominant = np.zeros(0, dtype=np.int64) if dominant is None else dominant
    return SampleFactors(log_by_level[layout.rows.codes[place]], log_by_level, design.random[place].levels, dominant)


def cell_offsets(group: CellGroup, compressed: Layout, model: GeneModel) -> FloatArray:
    """Compute ``(n_obs,)`` log size factors of the model: those of the cells, plus the log factors of their samples."""
    if model.cells is not None:
        order = model.cells.rows.table.order
        out = np.empty(len(order))
        out[order] = model.cells.rows.cells.offset
        return out
    first, base = model.nodes.ptr[:-1], design_rows(group.design).row_of
    after, before = (
        (model.nodes.weight, compressed.nodes.weight)
        if model.family.one_node
        else (model.nodes.ec, compressed.nodes.ec)
    )
    return group.offset + np.log(after[first] / before[first])[base]
