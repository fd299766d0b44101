"""`sc-glmm report`: write a page about a run, for readers who do not use Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import report_errors
from .info import Source


def report(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Output: a file that ends in .html.")] = Path(
        "report.html"
    ),
    key: Annotated[str, typer.Option(help="Name under which the results are stored.")] = "glmm",
    title: Annotated[str | None, typer.Option(help="Title of the page; default: the tested contrasts.")] = None,
    gene: Annotated[
        list[str] | None, typer.Option(help="Gene to draw instead of the top genes. May be repeated.")
    ] = None,
    n_genes: Annotated[int, typer.Option(min=0, help="Number of genes to draw for each contrast.")] = 12,
    alpha: Annotated[float, typer.Option(help="Level of the adjusted p-value.")] = 0.05,
    gene_symbols: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of var with the gene names to show.")
    ] = None,
    null: Annotated[
        int, typer.Option(min=0, help="Number of additional runs with shuffled labels of the samples, as a check.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the shuffled labels.")] = 0,
) -> None:
    """Write an HTML report about a run.

    The report has sections about design, results, top genes, checks and methods.
    """
    with report_errors():
        import matplotlib

        matplotlib.use("agg")
        from .._report import report as write

        write(
            source,
            out,
            key=key,
            title=title,
            genes=gene or None,
            n_genes=n_genes,
            alpha=alpha,
            gene_symbols=gene_symbols,
            null=null,
            seed=seed,
        )
    typer.echo(f"Written to {out}")
