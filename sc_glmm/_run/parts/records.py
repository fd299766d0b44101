"""Convert the records of the stages to named arrays and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..._compress import CountStats, GaussianStats
from ..._design import Design
from ..._engine.genes import GeneFits, GeneStats
from ..._engine.grid_profiles import Profiles
from ..._families.nb import N_TAIL
from ..._fit.compress import Layout
from ..._fit.gaussian import GaussianParts
from ..._fit.genes import AllFits
from ..._fit.profiles import GeneProfiles
from ..._fit.ranges import RangeFit
from ..._fit.sizes import factors_of_levels
from ..._fit.totals import GeneTotals
from ..._inference.separation import Separation

Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")


class Readable(Protocol):
    """Protocol of a source of named arrays."""

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """Return the array with this name."""

    def __contains__(self, name: str, /) -> bool:
        """Return whether there is an array with this name."""


def arrays_of(record: Any, prefix: str) -> Arrays:
    """Convert a record whose fields are all arrays."""
    return {f"{prefix}{field.name}": np.asarray(getattr(record, field.name)) for field in fields(record)}


def record_from(kind: type[T], part: Readable, prefix: str) -> T:
    """Restore a record from its arrays."""
    return kind(**{field.name: part[f"{prefix}{field.name}"] for field in fields(kind)})  # type: ignore[arg-type]


def stats_from(part: Readable, prefix: str) -> CountStats | GaussianStats:
    """Restore statistics of counts or of a Gaussian response, depending on the names of the arrays."""
    if f"{prefix}tail" in part:
        return record_from(CountStats, part, prefix)
    return record_from(GaussianStats, part, prefix)


def gene_stats_from(part: Readable, prefix: str) -> GeneStats:
    """Restore statistics in the format of the engine."""
    return record_from(GeneStats, part, prefix)


def shape_error(stats: CountStats | GeneStats, n_genes: int, n_nodes: int) -> str | None:
    """Describe an error in the shapes of statistics, which compiled kernels do not check; None if there is none."""
    values, ptr = stats.A, stats.over_ptr
    lists = (stats.over_value, stats.over_count)
    if values.shape != (n_genes, n_nodes) or values.dtype != np.float64:
        return f"it has {values.shape} sums instead of {n_genes} genes on {n_nodes} nodes"
    if stats.tail.shape[-2:] != (n_genes, N_TAIL) or stats.const.shape[-1:] != (n_genes,):
        return f"it has arrays of shapes {stats.tail.shape} and {stats.const.shape} for {n_genes} genes"
    if ptr.shape[-1:] != (n_genes + 1,) or ptr.dtype.kind != "i" or (np.diff(ptr, axis=-1) < 0).any():
        return "its large counts are not sorted by gene"
    if ptr.min() < 0 or any(each.ndim != 1 or len(each) < ptr.max() for each in lists):
        return "it has fewer large counts than its index states"
    return None


# Fields of the fits that are a single array; Lambda and ranef have one array for each grouping factor.
_FIT_FIELDS = tuple(field.name for field in fields(GeneFits) if field.name not in ("Lambda", "ranef", "vcov_full"))
_RESULT_FIELDS = ("left_out", "on_cells", "error")
_PROFILE_FIELDS = tuple(field.name for field in fields(GeneProfiles) if field.name != "profiles")


def arrays_of_fit(fitted: RangeFit, prefix: str) -> Arrays:
    """Convert the fits of a range of genes to arrays."""
    fits, separations = fitted.result.fits, fitted.result.separations
    out: Arrays = {f"{prefix}{name}": getattr(fits, name) for name in _FIT_FIELDS}
    for i, (lam, b) in enumerate(zip(fits.Lambda, fits.ranef, strict=True)):
        out[f"{prefix}Lambda{i}"], out[f"{prefix}ranef{i}"] = lam, b
    out |= {f"{prefix}{name}": getattr(fitted.result, name) for name in _RESULT_FIELDS}
    out |= arrays_of(fitted.totals, f"{prefix}totals_")
    if fitted.ratios is not None:
        out[f"{prefix}ratios"] = fitted.ratios
    if fitted.parts is not None:
        out |= arrays_of(fitted.parts, f"{prefix}parts_")
    if fitted.factors is not None:
        out[f"{prefix}log_by_level"] = fitted.factors.log_by_level
        out[f"{prefix}dominant"] = fitted.factors.dominant
    out[f"{prefix}separated"] = np.array(list(separations), dtype=np.int64)
    for i, separation in enumerate(separations.values()):
        out[f"{prefix}separation{i}_directions"] = separation.directions
        out[f"{prefix}separation{i}_rows"] = separation.rows
        out[f"{prefix}separation{i}_columns"] = np.array(separation.columns, dtype=np.int64)
    return out


def fit_from(part: Readable, prefix: str, design: Design, layout: Layout) -> RangeFit:
    """Restore the fits of a group with this design from their arrays."""
    n_factors = next(i for i in range(10**6) if f"{prefix}Lambda{i}" not in part)
    fits = GeneFits(
        **{name: part[f"{prefix}{name}"] for name in _FIT_FIELDS},
        Lambda=tuple(part[f"{prefix}Lambda{i}"] for i in range(n_factors)),
        ranef=tuple(part[f"{prefix}ranef{i}"] for i in range(n_factors)),
        vcov_full=None,
    )
    separations = {
        int(gene): Separation(
            directions=part[f"{prefix}separation{i}_directions"],
            rows=part[f"{prefix}separation{i}_rows"],
            columns=tuple(int(c) for c in part[f"{prefix}separation{i}_columns"]),
        )
        for i, gene in enumerate(part[f"{prefix}separated"])
    }
    factors = None
    if f"{prefix}log_by_level" in part:
        factors = factors_of_levels(design, layout, part[f"{prefix}log_by_level"], part[f"{prefix}dominant"])
    return RangeFit(
        result=AllFits(fits, separations, **{name: part[f"{prefix}{name}"] for name in _RESULT_FIELDS}),
        totals=record_from(GeneTotals, part, f"{prefix}totals_"),
        ratios=part[f"{prefix}ratios"] if f"{prefix}ratios" in part else None,
        parts=record_from(GaussianParts, part, f"{prefix}parts_") if f"{prefix}parts_vcov" in part else None,
        factors=factors,
    )


def arrays_of_profiles(genes: GeneProfiles, prefix: str) -> Arrays:
    """Convert the profiles of a range of genes to arrays."""
    more = {f"{prefix}{name}": getattr(genes, name) for name in _PROFILE_FIELDS}
    return {**arrays_of(genes.profiles, prefix), **more}


def profiles_from(part: Readable, prefix: str) -> GeneProfiles:
    """Restore profiles from their arrays."""
    return GeneProfiles(
        profiles=record_from(Profiles, part, prefix), **{name: part[f"{prefix}{name}"] for name in _PROFILE_FIELDS}
    )
