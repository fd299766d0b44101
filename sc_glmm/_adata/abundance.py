"""Mark an AnnData as a table of samples by cell types or neighbourhoods, and read this mark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._arrays import FloatArray
from .._errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

# The entry of uns that marks a table, and the names of its columns.
MARK = "abundance"
SIZES = "size_factors"
N_CELLS = "n_cells"
WEIGHTS = "spatial_weight"

ReferenceKind = Literal["robust", "total", "types"]


@dataclass(frozen=True)
class AbundanceTable:
    """Description of a table of samples by cell types.

    Attributes
    ----------
    sample
        Column of ``obs`` with the names of the samples, one per row.
    what
        Meaning of the columns: the column of cell types, or ``"neighbourhoods"``.
    reference
        Reference for changes: ``"robust"``, the change of most types along the design; ``"total"``, all cells;
        ``"types"``, the cells of `reference_types`.
    reference_types
        Names of the cell types that form the reference.
    varying
        Columns of the cells with several values within a sample; these columns are not in the table.
    """

    sample: str
    what: str
    reference: ReferenceKind
    reference_types: tuple[str, ...] = ()
    varying: tuple[str, ...] = ()


def mark_table(adata: AnnData, table: AbundanceTable) -> None:
    """Mark an AnnData in ``uns`` as a table whose rows are samples."""
    adata.uns[MARK] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(table).items()
    }


def table_of(adata: AnnData) -> AbundanceTable | None:
    """Read the description of a table of samples; None for an AnnData of cells."""
    entry = adata.uns.get(MARK)
    if not isinstance(entry, Mapping) or not {"sample", "what", "reference"} <= set(entry):
        return None
    kind: Any = str(entry["reference"])
    return AbundanceTable(
        sample=str(entry["sample"]),
        what=str(entry["what"]),
        reference=kind,
        reference_types=_names(entry.get("reference_types")),
        varying=_names(entry.get("varying")),
    )


def require_table(adata: AnnData) -> AbundanceTable:
    """Read the description of a table of samples.

    Raises
    ------
    InputError
        If the AnnData is not a table of samples.
    """
    table = table_of(adata)
    if table is None:
        raise InputError(
            f"this AnnData ({adata.n_obs} rows) is not a table of samples by cell types; create one with "
            "sc_glmm.pp.abundance(adata, sample=..., groupby=...)"
        )
    return table


def spatial_weights(adata: AnnData) -> FloatArray | None:
    """Read the ``(n_vars,)`` weights of neighbourhoods for the false discovery rate; return None if there are none.

    Raises
    ------
    InputError
        If a weight is not a positive number.
    """
    if WEIGHTS not in adata.var:
        return None
    weight = adata.var[WEIGHTS].to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight > 0.0)))
    if len(bad):
        raise InputError(
            f"var[{WEIGHTS!r}] is {weight[bad[0]]:g} for {adata.var_names[bad[0]]!r}: weights must be positive numbers"
        )
    return weight


def _names(value: Any) -> tuple[str, ...]:
    """Convert names from a file, where they may be an array or a single string."""
    return () if value is None else tuple(str(each) for each in np.atleast_1d(value))
