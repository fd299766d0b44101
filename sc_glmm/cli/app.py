"""Define the commands `sc-glmm test`, `combine`, `compile` and `demo`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .abundance import abundance
from .chunks import Stage
from .console import atomically, report_errors
from .info import info
from .latent import latent
from .options import run_options, with_run_options
from .output import ALPHA, check_output, line, summary, top, write, write_beside
from .plot import plot
from .power import power
from .report import report
from .signals import INTERRUPTED, TERMINATED, ending_at_once
from .yaml import read_options

# The commands import the numerical packages when they run, because `--help` should be fast.
if TYPE_CHECKING:
    import pandas as pd


class _App(typer.Typer):
    """The command, which exits with the code that a shell expects if a signal ends it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with ending_at_once():
            try:
                return super().__call__(*args, **kwargs)
            except SystemExit as end:
                if end.code in (INTERRUPTED, TERMINATED):
                    # the files are already cleaned up; exit without waiting for running threads
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(end.code)
                raise


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]

app = _App(
    name="sc-glmm",
    help="Mixed models for multi-sample single-cell counts.",
    no_args_is_help=True,
    add_completion=False,
    # Formulas and column names contain square brackets, which rich would read as markup.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> None:
    if show:
        from .. import __version__

        typer.echo(f"sc-glmm {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Mixed models for multi-sample single-cell counts."""


@app.command("test")
@with_run_options
def run_test(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            exists=True,
            help="AnnData with raw counts: an .h5ad file or a zarr store, read chunk by chunk.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="Output: .h5ad (data and results), .csv or .parquet (table of results), or the input itself. "
            "With --n-chunks: the folder for the parts.",
        ),
    ],
    contrasts: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", exists=True, dir_okay=False, help="Named contrasts, such as AD: AD vs ctl."),
    ] = None,
    n_chunks: Annotated[
        int | None, typer.Option(min=1, help="Number of chunks, each run by its own process; see 'sc-glmm combine'.")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=0, help="Number of the chunk that this process runs, from 0.")
    ] = None,
    stage: Annotated[
        Stage | None,
        typer.Option(help="Stage to run for the chunk; default: the first one, which reads the matrix."),
    ] = None,
    quiet: Quiet = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            exists=True,
            dir_okay=False,
            is_eager=True,
            callback=read_options,
            help="YAML file with options and arguments, such as groupby: cell_type; the command line takes precedence.",
        ),
    ] = None,
    **given: Any,
) -> None:
    """Fit one mixed model to every gene and test the contrasts."""
    in_chunks = n_chunks is not None or chunk is not None or stage is not None
    with report_errors(quiet):
        if not in_chunks:
            check_output(out, source)
        options = replace(run_options(given, contrasts, context), copy=True, progress=False if quiet else None)
        from .._engine.warm import announcement

        announced = announcement()
        if announced is not None and not quiet:
            typer.echo(announced, err=True)
        if in_chunks:
            from .chunks import run_one_chunk

            message = run_one_chunk(source, out, options, n_chunks, chunk, stage)
            if not quiet:
                typer.echo(message)
            return

        from .. import get, tl

        start = time.perf_counter()
        adata: Any = tl.test(source, **vars(options))
        seconds = time.perf_counter() - start
        results = get.results(adata, key=options.key_added, columns="all")
        write_beside(source, adata, options.key_added, results, out)
    if not quiet:
        _report(results, adata.uns[options.key_added]["params"], seconds, out)


@app.command("combine")
def run_combine(
    parts: Annotated[
        Path, typer.Argument(metavar="PARTS", exists=True, file_okay=False, help="Folder with the parts.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="OUT", help="Output: .h5ad, .csv or .parquet, as for 'sc-glmm test'."),
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="IN.h5ad", dir_okay=False, help="Path of the input, if it was moved.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Name under which the results are stored; default: as for the chunks.")
    ] = None,
    n_jobs: Annotated[int | None, typer.Option(help="Threads; default: all CPUs available to this process.")] = None,
    quiet: Quiet = False,
) -> None:
    """Combine the parts of all chunks.

    Estimate the prior, adjust p-values over all genes, and write the tables. Missing parts, and parts of another run,
    are errors.
    """
    with report_errors(quiet):
        check_output(out)
        from .. import get
        from .._run.parts.combine import combine
        from .chunks import write_into_copy

        start = time.perf_counter()
        progress = False if quiet else None
        run = combine(parts, data, key=key, n_jobs=n_jobs, progress=progress)
        seconds = time.perf_counter() - start
        results = get.results(run.opened.adata, key=run.manifest.key, columns="all")
        if out.suffix != ".h5ad":
            write(run.opened.adata, results, out)
        elif not run.writes_to(out):
            with atomically(out) as path:
                write_into_copy(run, path)
    if not quiet:
        _report(results, run.opened.adata.uns[run.manifest.key]["params"], seconds, out)


app.command()(plot)
app.command()(report)
app.command()(info)
app.command()(latent)
app.command()(power)
app.command()(abundance)


@app.command("compile")
def run_compile() -> None:
    """Compile and store the kernels.

    Use this command for container images and shared installations. Later runs load the compiled kernels.
    """
    with report_errors():
        from .. import compile_kernels

        seconds = compile_kernels()
    typer.echo(f"Compiled the kernels in {seconds:.1f} s")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the output files.")] = Path(
        "sc-glmm-demo"
    ),
    cells: Annotated[int, typer.Option(min=100, help="Number of simulated cells.")] = 6000,
    genes: Annotated[int, typer.Option(min=20, help="Number of simulated genes.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    n_jobs: Annotated[int | None, typer.Option(help="Threads; default: all CPUs available to this process.")] = None,
) -> None:
    """Test all genes of a simulated study.

    Simulate a case-control study with known effects, test every gene, and draw a volcano plot.
    """
    with report_errors():
        import matplotlib

        matplotlib.use("agg")
        from .. import datasets, get, pl, tl
        from .._engine.warm import announcement

        out.mkdir(parents=True, exist_ok=True)
        adata = datasets.simulate(n_cells=cells, n_genes=genes, seed=seed)
        formula = adata.uns["truth"]["formula"]
        n_samples = adata.obs["sample"].nunique()
        typer.echo(f"Simulated {cells:,} cells of {n_samples} samples, {genes:,} genes.")

        typer.echo(announcement() or "Loading the kernels ...", nl=False)
        start = time.perf_counter()
        # A small run first, to measure the time of compiling and the time of the analysis separately.
        tl.test(datasets.simulate(12, 240, 60, depth=600), formula, n_jobs=1, progress=False)
        typer.echo(f" {time.perf_counter() - start:.1f} s")

        typer.echo(f"Testing every gene: {formula}")
        start = time.perf_counter()
        tl.test(adata, formula, n_jobs=n_jobs, progress=sys.stderr.isatty())
        seconds = time.perf_counter() - start
        results = get.results(adata, columns="all")
        truth: pd.DataFrame = adata.var  # type: ignore[assignment]
        results["true_log_fc"] = truth["true_log_fc"].reindex(results["variable"]).to_numpy()

        write(adata, results, out / "demo.h5ad")
        write(adata, results, out / "results.csv")
        with atomically(out / "volcano.png") as path:
            figure = pl.volcano(adata).get_figure(root=True)
            if figure is not None:
                figure.savefig(path, dpi=300)
    typer.echo("")
    typer.echo(top(results))
    typer.echo("")
    for text in summary(results, seconds):
        typer.echo(text)
    hit = results["adj_p_value"] < ALPHA
    false = int((hit & (results["true_log_fc"] == 0)).sum())
    typer.echo(line("of these without a true effect", false))
    typer.echo(f"Volcano plot, table and data are in {out}{os.sep}: volcano.png, results.csv, demo.h5ad")
    typer.echo("To run the same test on the file:")
    typer.echo(f'  sc-glmm test {out / "demo.h5ad"} "{formula}" --reference disease=ctl -o {out / "again.csv"}')


def _report(results: pd.DataFrame, params: Mapping[str, Any], seconds: float, out: Path) -> None:
    groupby = params["cells_grouped_by"]
    typer.echo(top(results, groupby))
    typer.echo("")
    for text in [*summary(results, seconds, groupby), *(f"  {text}" for text in params["attention"])]:
        typer.echo(text)
    typer.echo(f"Written to {out}")
