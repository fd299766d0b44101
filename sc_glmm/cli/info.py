"""`sc-glmm info`: show the contents of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .._errors import InputError
from .console import report_errors
from .output import ALPHA

if TYPE_CHECKING:
    from anndata import AnnData

Source = Annotated[
    Path, typer.Argument(metavar="IN", exists=True, help="An .h5ad file or zarr store with results of sc-glmm test.")
]


def info(source: Source) -> None:
    """Show the contents of a file.

    Print the number of cells, the columns of obs, and a summary of the stored results.
    """
    with report_errors():
        if source.suffix in (".csv", ".tsv", ".parquet"):
            raise InputError(
                f"{source} is a table; info shows an .h5ad file or zarr store. Write one with sc-glmm test -o "
                f"{source.with_suffix('.h5ad').name}, or read the table with pandas."
            )
        lines = describe(read_adata(source, counts=False))
    for line in lines:
        typer.echo(line)


def describe(adata: AnnData) -> list[str]:
    """Write the lines that :func:`info` prints."""
    from .._adata.checks import has_results

    lines = [f"{adata.n_obs:,} cells, {adata.n_vars:,} genes", "columns of cells:"]
    for name in adata.obs.columns:
        column = adata.obs[name]
        levels = [str(level) for level in column.dropna().unique()]
        if column.dtype.kind in "fc" or (column.dtype.kind in "iu" and len(levels) > 20):
            lines.append(f"  {name}: numbers from {column.min():g} to {column.max():g}")
        else:
            shown = ", ".join(sorted(levels)[:6]) + (", ..." if len(levels) > 6 else "")
            lines.append(f"  {name}: {len(levels)} level{'s' if len(levels) != 1 else ''} ({shown})")
    runs = [key for key, entry in adata.uns.items() if has_results(entry)]
    if not runs:
        lines.append("no results of sc-glmm test")
    for key in runs:
        lines += _run_lines(adata, str(key))
    return lines


def _run_lines(adata: AnnData, key: str) -> list[str]:
    from .. import get

    params = adata.uns[key]["params"]
    results = get.results(adata, key, columns="all")
    groupby = params.get("cells_grouped_by")
    lines = [
        f"results {key!r}: {params['formula']}  (family {params['family']}, test {params['test']}"
        + (f", by {groupby}" if groupby else "")
        + ")"
    ]
    fits = results.drop_duplicates(["variable", *([groupby] if groupby else [])])
    counts = fits["status"].astype(str).value_counts()
    lines.append("  genes: " + ", ".join(f"{n:,} {str(word).replace('_', ' ')}" for word, n in counts.items()))
    by = [*([groupby] if groupby else []), "contrast"]
    for names, rows in results.groupby(by, sort=False, observed=True):
        significant = int((rows["adj_p_value"] < ALPHA).sum())
        lines.append(f"  {', '.join(map(str, names))}: {significant:,} at FDR {100 * ALPHA:g} %")
    lines += [f"  note: {note}" for note in params.get("notes", [])]
    lines += [f"  {sentence}" for sentence in params.get("attention", [])]
    if groupby:
        details = get.details(adata, key)
        lines += [
            f"  {row[groupby]}: skipped, {row['skipped']}" for _, row in details.iterrows() if str(row["skipped"])
        ]
    return lines


def read_adata(path: Path, counts: bool) -> AnnData:
    """Read a file, with its matrices only if `counts`."""
    from .._adata.mudata import checked
    from .._adata.store import Store

    if not counts:
        adata = Store(path).with_results()
        return checked(adata, path, list(adata.uns))  # type: ignore[no-any-return]
    import anndata

    try:
        return anndata.read_zarr(path) if path.is_dir() else anndata.read_h5ad(path)
    # for files that are not an AnnData, anndata raises different errors, depending on their content
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as an AnnData: {error}. Use an intact copy of the file") from error
