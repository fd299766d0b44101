"""Tables of samples by cell types or neighbourhoods: the mark that says so, written and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._arrays import FloatArray
from .._errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

# Entry of uns that marks a table, and the columns that it has.
MARK = "abundance"
SIZES = "size_factors"
N_CELLS = "n_cells"
WEIGHTS = "spatial_weight"

ReferenceKind = Literal["robust", "total", "types"]


@dataclass(frozen=True)
class AbundanceTable:
    """What is known of a table of samples by cell types.

    Attributes
    ----------
    sample
        Column of ``obs`` that names the samples, one in each row.
    what
        What the columns are: the column of cells that they were counted by, or ``"neighbourhoods"``.
    reference
        What changes are measured against: ``"robust"``, what most types do along the design; ``"total"``, all cells;
        ``"types"``, the cells of `reference_types`.
    reference_types
        Names of these types.
    varying
        Columns of the cells that have several values within a sample, so that the table lacks them.
    """

    sample: str
    what: str
    reference: ReferenceKind
    reference_types: tuple[str, ...] = ()
    varying: tuple[str, ...] = ()


def mark_table(adata: AnnData, table: AbundanceTable) -> None:
    """Say in ``uns`` that the rows are samples."""
    adata.uns[MARK] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(table).items()
    }


def table_of(adata: AnnData) -> AbundanceTable | None:
    """The table that an AnnData is; None for one of cells."""
    entry = adata.uns.get(MARK)
    if not isinstance(entry, Mapping) or not {"sample", "what", "reference"} <= set(entry):
        return None
    kind: Any = str(entry["reference"])
    return AbundanceTable(
        sample=str(entry["sample"]),
        what=str(entry["what"]),
        reference=kind,
        reference_types=_words(entry.get("reference_types")),
        varying=_words(entry.get("varying")),
    )


def require_table(adata: AnnData) -> AbundanceTable:
    """As :func:`table_of`, or an error."""
    table = table_of(adata)
    if table is None:
        raise InputError(
            f"this AnnData ({adata.n_obs} rows) is not a table of samples by cell types; make one with "
            "sc_glmm.pp.abundance(adata, sample=..., groupby=...)"
        )
    return table


def spatial_weights(adata: AnnData) -> FloatArray | None:
    """``(n_vars,)`` weights of neighbourhoods in the false discovery rate; None if there are none."""
    if WEIGHTS not in adata.var:
        return None
    weight = adata.var[WEIGHTS].to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight > 0.0)))
    if len(bad):
        raise InputError(
            f"var[{WEIGHTS!r}] is {weight[bad[0]]:g} for {adata.var_names[bad[0]]!r}: weights are positive numbers"
        )
    return weight


def _words(value: Any) -> tuple[str, ...]:
    """Names as a file gives them back."""
    return () if value is None else tuple(str(each) for each in np.atleast_1d(value))
