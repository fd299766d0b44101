"""`sc-glmm power`: compute the power of a planned study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .._errors import InputError
from .console import atomically, report_errors

if TYPE_CHECKING:
    import pandas as pd

_TABLES = {".csv": ",", ".tsv": "\t"}
_FORMATS = (".csv", ".pdf", ".png", ".svg")


def power(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            exists=True,
            help="A pilot: an .h5ad file or zarr store with results of the default test. Or assumptions: a .csv with "
            "one row for each gene or type of gene, and the columns mean, dispersion and sd.",
        ),
    ],
    n_samples: Annotated[
        list[int] | None, typer.Option("--samples", "-n", help="Total number of samples; may be repeated.")
    ] = None,
    cells: Annotated[
        list[int] | None, typer.Option("--cells", "-c", help="Number of cells per sample; may be repeated.")
    ] = None,
    log_fc: Annotated[list[float] | None, typer.Option(help="log2 fold change; may be repeated. Default: 1.")] = None,
    fdr: Annotated[float, typer.Option(help="Level of the false discovery rate.")] = 0.05,
    frac_de: Annotated[float, typer.Option(help="Fraction of the genes that differ.")] = 0.1,
    n_tests: Annotated[
        int | None, typer.Option(help="Number of genes to test; default: that of the pilot, or 10,000.")
    ] = None,
    design: Annotated[
        Literal["unpaired", "paired"] | None, typer.Option(help="Default: the design of the pilot, or unpaired.")
    ] = None,
    contrast: Annotated[str | None, typer.Option(help="Contrast of the pilot; default: the first one.")] = None,
    group: Annotated[str | None, typer.Option(metavar="LEVEL", help="Level of --groupby of the pilot.")] = None,
    key: Annotated[str, typer.Option(help="Name under which the results of the pilot are stored.")] = "glmm",
    method: Annotated[
        Literal["auto", "analytic", "simulation"],
        typer.Option(help="Method; auto simulates genes with few counts if they are frequent."),
    ] = "auto",
    budget: Annotated[float | None, typer.Option(help="Total costs, instead of --cells.")] = None,
    cost_per_sample: Annotated[float | None, typer.Option(help="Cost of a sample without its cells.")] = None,
    cost_per_cell: Annotated[float | None, typer.Option(help="Cost of a cell.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random draws.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="OUT", help="Output: .csv (table) or .pdf, .png, .svg (figure)."),
    ] = None,
) -> None:
    """Compute the power of a planned study.

    Compute the expected power of the default test, for numbers of samples and cells or for a budget.
    """
    with report_errors():
        if out is not None and out.suffix not in _FORMATS:
            raise InputError(f"The output {out} ends in {out.suffix!r}; it must end in {', '.join(_FORMATS)}.")
        from .. import power as compute_power

        options: dict[str, Any] = {"log_fc": log_fc or 1.0, "fdr": fdr, "frac_de": frac_de, "n_tests": n_tests}
        options |= {"design": design, "contrast": contrast, "group": group, "key": key, "method": method, "seed": seed}
        options |= {"budget": budget, "cost_per_sample": cost_per_sample, "cost_per_cell": cost_per_cell}
        result = compute_power(_data(source), n_samples=n_samples or None, cells_per_sample=cells or None, **options)
        if out is not None:
            with atomically(out) as path:
                if out.suffix == ".csv":
                    result.overall.to_csv(path, index=False)
                else:
                    _draw(result, path)
    typer.echo(result.overall.round({"power": 3, "discoveries": 1, "p_threshold": 5}).to_string(index=False))
    if budget is not None:
        for _, row in result.best.iterrows():
            typer.echo(
                f"best split for a log2 fold change of {row['log_fc']:g}: {int(row['n_samples'])} samples with "
                f"{int(row['cells_per_sample']):,} cells each, power {row['power']:.2f}"
            )
    if out is not None:
        typer.echo(f"Written to {out}")


def _data(source: Path) -> pd.DataFrame | Path:
    """Read a table of assumptions, or return the path of a pilot."""
    suffix = Path(source.name.removesuffix(".gz")).suffix
    if suffix not in _TABLES:
        return source
    import pandas as pd

    try:
        frame: pd.DataFrame = pd.read_csv(source, sep=_TABLES[suffix])
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as a table: {error}") from error
    return frame


def _draw(result: Any, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from .. import pl

    figure = pl.power(result).get_figure(root=True)
    if figure is not None:
        figure.savefig(path, dpi=300)
        plt.close("all")
