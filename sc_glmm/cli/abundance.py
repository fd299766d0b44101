"""`sc-glmm abundance`: count the cells of each type in each sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .._errors import InputError
from .console import atomically, report_errors
from .info import read_adata

_FORMATS = (".h5ad", ".csv")


def abundance(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", exists=True, help="Cells (.h5ad or zarr store), or Milo's neighbourhoods (.h5mu)."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="OUT", help="Output: .h5ad (table for sc-glmm test) or .csv (the counts)."),
    ],
    sample: Annotated[str, typer.Option(metavar="COLUMN", help="Column with the sample of each cell.")] = "sample",
    groupby: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column with the type of each cell; '' for a table of counts.")
    ] = "cell_type",
    nhoods: Annotated[
        str | None, typer.Option(metavar="KEY", help="Entry of obsm with neighbourhoods to count instead of types.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="Reference: robust, total, or a type that does not change; may be repeated."),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Weights of neighbourhoods: k-distance, graph-overlap or none.")
    ] = "k-distance",
) -> None:
    """Count the cells of each type in each sample.

    Test the table with: sc-glmm test OUT "X ~ disease" -o results.csv
    """
    with report_errors():
        if out.suffix not in _FORMATS:
            raise InputError(f"The output {out} ends in {out.suffix!r}; it must end in {' or '.join(_FORMATS)}.")
        from .. import pp

        names = reference or ["robust"]
        weights_or_none: Any = None if weights == "none" else weights
        table = pp.abundance(
            _read(source),
            sample,
            groupby or None,
            nhoods=nhoods,
            reference=names[0] if len(names) == 1 else names,
            weights=weights_or_none,
        )
        counts = table.to_df().astype(int)
        with atomically(out) as path:
            if out.suffix == ".csv":
                counts.to_csv(path)
            else:
                table.write_h5ad(path)
    typer.echo(counts.to_string(max_rows=20, max_cols=12))
    typer.echo(f"Written to {out}")


def _read(source: Path) -> Any:
    """Read an AnnData of cells, or a MuData with Milo's table."""
    if source.suffix != ".h5mu":
        return read_adata(source, counts=True)
    try:
        import mudata
    except ImportError:
        raise InputError("Reading .h5mu needs mudata: pip install mudata.") from None
    return mudata.read_h5mu(source)
