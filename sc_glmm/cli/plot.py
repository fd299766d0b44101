"""`sc-glmm plot`: draw any figure of :mod:`sc_glmm.pl` from a file of results."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._display.arguments import suggest
from .._errors import InputError
from .console import atomically, report_errors

if TYPE_CHECKING:
    import pandas as pd

_FORMATS = (".pdf", ".png", ".svg")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def plot(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", exists=True, help="Results of sc-glmm test: .h5ad, zarr store, .csv, .tsv or .parquet."
        ),
    ],
    figure: Annotated[
        str,
        typer.Argument(
            metavar="FIGURE",
            help="volcano, ma, p_values, qq, heatmap, forest, counts, dispersion, samples, "
            "variance_fractions, abundance, caterpillar, diagnostics, influence, ...",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Output: .pdf, .png or .svg.")],
    gene: Annotated[str | None, typer.Option(help="Gene, for figures of one gene.")] = None,
    contrast: Annotated[
        str | None, typer.Option(help="Contrast: its label as shown in the results, or its key.")
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="LEVEL", help="Level of --groupby, such as a cell type.")] = None,
    key: Annotated[str, typer.Option(help="Name under which the results are stored.")] = "glmm",
    alpha: Annotated[float | None, typer.Option(help="Level of the adjusted p-value; default: 0.05.")] = None,
    n_labels: Annotated[int | None, typer.Option(min=0, help="Number of genes to label; default: 10.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Gene (or sample) to label instead. May be repeated.")] = None,
    gene_symbols: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of var (or of the table) with the gene names to show.")
    ] = None,
    genes: Annotated[
        list[str] | None,
        typer.Option(metavar="GENE", help="Gene of the heatmap. May be repeated."),
    ] = None,
    n_genes: Annotated[int | None, typer.Option(min=1, help="Number of genes in the heatmap; default: 30.")] = None,
    shrunken: Annotated[bool, typer.Option("--shrunken", help="Draw shrunken fold changes.")] = False,
    min_log_fc: Annotated[
        float | None, typer.Option(help="Draw lines at this log2 fold change in the volcano plot.")
    ] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Sort the forest plot by fold change, largest first.")] = False,
    what: Annotated[
        str | None, typer.Option(help="For dispersion: a grouping factor, such as sample; default: dispersion.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column on the horizontal axis, or for the colours.")
    ] = None,
    sample: Annotated[str | None, typer.Option(metavar="FACTOR", help="Grouping factor of the dots.")] = None,
    term: Annotated[str | None, typer.Option(metavar="FACTOR", help="Grouping factor, for model checks.")] = None,
    effect: Annotated[str | None, typer.Option(help="Fixed effect, for influence.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the figure.")] = None,
    width: Annotated[
        float | None, typer.Option(min=0.5, help="Width in inches; default: depends on the figure.")
    ] = None,
    height: Annotated[
        float | None, typer.Option(min=0.5, help="Height in inches; default: depends on the figure.")
    ] = None,
    dpi: Annotated[int, typer.Option(min=30, help="Dots per inch of a .png.")] = 300,
) -> None:
    """Draw a figure of stored results."""
    options: dict[str, Any] = {
        "gene": gene,
        "contrast": contrast,
        "group": group,
        "alpha": alpha,
        "n_labels": n_labels,
        "labels": label,
        "gene_symbols": gene_symbols,
        "genes": genes,
        "n_genes": n_genes,
        "shrunken": shrunken or None,
        "min_log_fc": min_log_fc,
        "sort": sort or None,
        "what": what,
        "by": by,
        "sample": sample,
        "term": term,
        "effect": effect,
        "title": title,
    }
    arguments = {name: value for name, value in options.items() if value is not None and value != []}
    with report_errors():
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        from .. import pl

        if figure not in pl.__all__:
            raise InputError(f"There is no figure {figure!r}{suggest(figure, pl.__all__, 99)}")
        if out.suffix not in _FORMATS:
            raise InputError(f"The output {out} ends in {out.suffix!r}; it must end in {', '.join(_FORMATS)}.")
        function = getattr(pl, figure)
        _check_options(figure, function, arguments)
        data = _read(source, figure, function)
        if "key" in inspect.signature(function).parameters:
            arguments["key"] = key
        function(data, **arguments)
        current = plt.gcf()
        if width is not None or height is not None:
            current.set_size_inches(width or current.get_figwidth(), height or current.get_figheight())
        with atomically(out) as path:
            current.savefig(path, dpi=dpi)
        plt.close(current)
    typer.echo(f"Written to {out}")


def _check_options(figure: str, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters
    unsupported = [name for name in arguments if name not in parameters]
    if unsupported:
        option = "label" if unsupported[0] == "labels" else unsupported[0].replace("_", "-")
        raise InputError(f"The figure {figure!r} has no --{option}; omit it.")
    if "gene" in parameters and "gene" not in arguments:
        raise InputError(f"The figure {figure!r} shows one gene; choose it with --gene.")


def _draws_a_model(function: Callable[..., Any]) -> bool:
    """Return whether the figure refits a gene, and therefore needs its counts."""
    gene = inspect.signature(function).parameters.get("gene")
    return gene is not None and gene.default is None


def _takes_a_path(function: Callable[..., Any]) -> bool:
    """Return whether the figure accepts the path of a file."""
    first = next(iter(inspect.signature(function).parameters.values()))
    return "PathLike" in str(first.annotation)


def _read(path: Path, figure: str, function: Callable[..., Any]) -> Any:
    """Read the input of the figure: a table, or an AnnData without its matrices; or return the path."""
    suffix = Path(path.name.removesuffix(".gz")).suffix
    is_table = suffix in _SEPARATORS or suffix == ".parquet"
    if is_table and (_draws_a_model(function) or _takes_a_path(function)):
        raise InputError(
            f"The figure {figure!r} needs counts, but {path.name} has no counts: use the .h5ad file or zarr store that "
            "sc-glmm test wrote."
        )
    if is_table:
        return _read_table(path, suffix)
    if _draws_a_model(function) or _takes_a_path(function):
        return path
    from .._adata.mudata import checked
    from .._adata.store import Store

    adata = Store(path).with_results()
    return checked(adata, path, list(adata.uns))


def _read_table(path: Path, suffix: str) -> pd.DataFrame:
    """Read a table of results; names stay text, because a gene can be called NA, and a cell type 1."""
    import pandas as pd

    if suffix == ".parquet":
        try:
            table: pd.DataFrame = pd.read_parquet(path)
        except ImportError:
            raise InputError("Reading .parquet needs pyarrow: run pip install 'sc-glmm[parquet]'.") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as a table: {error}") from error
    else:
        try:
            header = pd.read_csv(path, sep=_SEPARATORS[suffix], nrows=0).columns
            names = [str(c) for c in header[: list(header).index("variable") + 1]] if "variable" in header else []
            text = {name: str for name in [*names, "contrast", "status", "message"] if name in header}
            table = pd.read_csv(path, sep=_SEPARATORS[suffix], converters=text)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as a table: {error}") from error
    if "variable" not in table:
        raise InputError(
            f"{path} has no column 'variable'; its columns are {[str(c) for c in table.columns][:8]}. Use the table "
            "that sc-glmm test wrote, or the result of sc_glmm.get.results."
        )
    return table
