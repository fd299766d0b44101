"""Commands that look at what is there: `sc-glmm plot` and `sc-glmm info`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._console import atomically, told_to_the_user
from ._errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

_FORMATS = (".pdf", ".png", ".svg")
_ALPHA = 0.05
# Figures that are drawn from a gene's fit, which needs its counts.
_WITH_COUNTS = ("caterpillar", "samples")

Source = Annotated[
    Path, typer.Argument(metavar="IN", exists=True, help="An .h5ad file or zarr store with results of sc-glmm test.")
]
Key = Annotated[str, typer.Option(help="Name under which the results are stored.")]


def plot(
    source: Source,
    figure: Annotated[
        str, typer.Argument(metavar="FIGURE", help="volcano, ma, p_values, qq, samples, forest, heatmap, ...")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Ends in .pdf, .png or .svg.")],
    gene: Annotated[str | None, typer.Option(help="For figures of one gene.")] = None,
    contrast: Annotated[str | None, typer.Option(help="In words, as the results show it, or by its key.")] = None,
    group: Annotated[str | None, typer.Option(metavar="LEVEL", help="Level of --groupby.")] = None,
    key: Key = "glmm",
    width: Annotated[float | None, typer.Option(min=0.5, help="Inches; default: what the figure has.")] = None,
    height: Annotated[float | None, typer.Option(min=0.5, help="Inches; default: what the figure has.")] = None,
    dpi: Annotated[int, typer.Option(min=30, help="Dots per inch of a .png.")] = 300,
) -> None:
    """Draw a figure of stored results."""
    with told_to_the_user():
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        from . import pl

        if figure not in pl.__all__:
            raise InputError(f"There is no figure {figure!r}; there are {', '.join(pl.__all__)}.")
        if out.suffix not in _FORMATS:
            raise InputError(f"The output {out} ends in {out.suffix!r}; it must end in {', '.join(_FORMATS)}.")
        function = getattr(pl, figure)
        known = inspect.signature(function).parameters
        given = {"gene": gene, "contrast": contrast, "group": group}
        surplus = [name for name, value in given.items() if value is not None and name not in known]
        if surplus:
            raise InputError(f"The figure {figure!r} takes no --{surplus[0]}; leave it out.")
        if "gene" in known and gene is None:
            raise InputError(f"The figure {figure!r} is one of a gene; name it with --gene.")
        adata = _read(source, counts=figure in _WITH_COUNTS)
        function(adata, key=key, **{name: value for name, value in given.items() if value is not None})
        drawn = plt.gcf()
        if width is not None or height is not None:
            drawn.set_size_inches(width or drawn.get_figwidth(), height or drawn.get_figheight())
        with atomically(out) as path:
            drawn.savefig(path, dpi=dpi)
        plt.close(drawn)
    typer.echo(f"Written to {out}")


def info(source: Source) -> None:
    """Say what is in a file: cells, columns, and the results in it."""
    with told_to_the_user():
        lines = describe(_read(source, counts=False))
    for line in lines:
        typer.echo(line)


def describe(adata: AnnData) -> list[str]:
    """What :func:`info` prints."""
    lines = [f"{adata.n_obs:,} cells, {adata.n_vars:,} genes", "columns of cells:"]
    for name in adata.obs.columns:
        column = adata.obs[name]
        levels = [str(level) for level in column.dropna().unique()]
        if column.dtype.kind in "fc" or (column.dtype.kind in "iu" and len(levels) > 20):
            lines.append(f"  {name}: numbers from {column.min():g} to {column.max():g}")
        else:
            shown = ", ".join(sorted(levels)[:6]) + (", ..." if len(levels) > 6 else "")
            lines.append(f"  {name}: {len(levels)} level{'s' if len(levels) != 1 else ''} ({shown})")
    runs = [key for key, entry in adata.uns.items() if isinstance(entry, Mapping) and _is_run(entry)]
    if not runs:
        lines.append("no results of sc-glmm test")
    for key in runs:
        lines += _run_lines(adata, str(key))
    return lines


def _is_run(entry: Mapping[str, Any]) -> bool:
    params = entry.get("params")
    return isinstance(params, Mapping) and "contrast_keys" in params


def _run_lines(adata: AnnData, key: str) -> list[str]:
    from . import get

    params = adata.uns[key]["params"]
    results = get.results(adata, key)
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
        significant = int((rows["adj_p_value"] < _ALPHA).sum())
        lines.append(f"  {', '.join(map(str, names))}: {significant:,} at FDR {100 * _ALPHA:g} %")
    if groupby:
        details = get.details(adata, key)
        lines += [
            f"  {row[groupby]}: skipped, {row['skipped']}" for _, row in details.iterrows() if str(row["skipped"])
        ]
    return lines


def _read(path: Path, counts: bool) -> AnnData:
    """The file, or all of it but the matrices."""
    from ._io.store import Store

    if not counts:
        return Store(path).with_results()
    import anndata

    try:
        return anndata.read_zarr(path) if path.is_dir() else anndata.read_h5ad(path)
    # What anndata raises for a file that is no AnnData depends on what it finds there.
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as an AnnData: {error}. Get a sound copy of the file") from error
