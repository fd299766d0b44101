"""Join the results of ranges of genes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from .._arrays import FloatArray
from .._engine.genes import GeneFits
from .._engine.grid_profiles import Profiles
from .gaussian import GaussianParts
from .genes import AllFits, join_genes
from .profiles import GeneProfiles
from .sizes import SampleFactors
from .totals import GeneTotals

T = TypeVar("T")


@dataclass(frozen=True)
class RangeFit:
    """Fits of a range of genes, and the parts of their statistics that later stages need.

    Attributes
    ----------
    result
        The fits.
    totals
        Totals of the genes.
    ratios
        ``(n_genes, n_contrasts)`` likelihood ratios, with ``test="lrt"`` only.
    parts
        Quantities for degrees of freedom; only for Gaussian genes.
    factors
        Composition factors of the samples, the same for all ranges; None if the user gave size factors.
    """

    result: AllFits
    totals: GeneTotals
    ratios: FloatArray | None
    parts: GaussianParts | None = None
    factors: SampleFactors | None = None


def join_fits(parts: Sequence[RangeFit]) -> RangeFit:
    """Join the fits of consecutive ranges of genes."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.totals.total) for part in parts)])
    separations = {
        int(start) + gene: separation
        for start, part in zip(starts[:-1], parts, strict=True)
        for gene, separation in part.result.separations.items()
    }
    fits: GeneFits = join_genes([part.result.fits for part in parts])
    names = ("left_out", "on_cells", "error")
    arrays = {name: np.concatenate([getattr(part.result, name) for part in parts]) for name in names}
    ratios = [part.ratios for part in parts if part.ratios is not None]
    gaussian = [part.parts for part in parts if part.parts is not None]
    return RangeFit(
        result=AllFits(fits, separations, **arrays),
        totals=_joined(GeneTotals, [part.totals for part in parts]),
        ratios=np.concatenate(ratios) if ratios else None,
        parts=_joined(GaussianParts, gaussian) if gaussian else None,
        factors=parts[0].factors,
    )


def join_profiles(parts: Sequence[GeneProfiles]) -> GeneProfiles:
    """Join the profiles of consecutive ranges of genes."""
    if len(parts) == 1:
        return parts[0]
    return GeneProfiles(
        profiles=_joined(Profiles, [part.profiles for part in parts]),
        n_agq=np.concatenate([part.n_agq for part in parts]),
        information=np.concatenate([part.information for part in parts]),
        on_cells=np.concatenate([part.on_cells for part in parts]),
        error=np.concatenate([part.error for part in parts]),
    )


def _joined(kind: type[T], records: Iterable[T]) -> T:
    """Concatenate the arrays of several records into one record."""
    records = list(records)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: np.concatenate([getattr(record, name) for record in records]) for name in names})
