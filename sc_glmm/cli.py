"""The command `sc-glmm`: the main job from a shell, and a demonstration that needs no data."""

from __future__ import annotations

import os
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._choices import Adjust, Dispersion, Family, Method, Stage, Test, Within
from ._commands import info, plot
from ._console import atomically as _atomically
from ._console import told_to_the_user as _told_to_the_user
from ._errors import InputError
from ._yaml import CONTRASTS, GENES, parse_contrast, read_contrasts, read_genes, read_options

# numpy, pandas, anndata and numba are loaded by the commands that use them: `--help` answers at once.
if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

app = typer.Typer(
    name="sc-glmm",
    help="Mixed models for multi-sample single-cell counts.",
    no_args_is_help=True,
    add_completion=False,
    # Formulas and column names are full of square brackets, which rich would take for markup.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_ALPHA = 0.05
_TOP = 10
_KERNELS_COMPILE = "Compiling the kernels, once after installation; this takes about half a minute ..."


def _version(wanted: bool) -> None:
    if wanted:
        from . import __version__

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
    formula: Annotated[
        str,
        typer.Argument(
            metavar="FORMULA", help="lme4 syntax; the left side names a layer, or X: 'counts ~ disease + (1|sample)'."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="Ends in .h5ad (data and results), .csv or .parquet (the table of results); or the input itself. "
            "With --n-chunks the folder of the parts.",
        ),
    ],
    family: Annotated[Family, typer.Option(help="Distribution of the counts.")] = Family.nb,
    method: Annotated[Method, typer.Option(help="How variances are estimated.")] = Method.reml,
    test: Annotated[
        Test | None,
        typer.Option(help="The test; default: eb_lr, moderated over genes (Gaussian: satterthwaite)."),
    ] = None,
    dispersion: Annotated[
        Dispersion, typer.Option(help="Dispersions of the moderated tests: a gene's own, or drawn to their trend.")
    ] = Dispersion.ml,
    within: Annotated[
        Within, typer.Option(help="Whether effects within samples may differ between them; cells count if not.")
    ] = Within.heterogeneous,
    genes: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|COLUMN",
            help="Test these genes only: a file with one name a line, or a var column of True and False.",
        ),
    ] = None,
    min_counts: Annotated[int, typer.Option(min=0, help="Genes with fewer counts in all are not tested.")] = 0,
    n_boot: Annotated[int, typer.Option(min=1, help="Simulated data sets of each gene, for --test bootstrap.")] = 999,
    seed: Annotated[int, typer.Option(help="Seed of --test bootstrap.")] = 0,
    n_agq: Annotated[
        int, typer.Option(min=1, help="Nodes of adaptive Gauss-Hermite quadrature; 1 is the Laplace approximation.")
    ] = 1,
    size_factors: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="obs column of size factors (linear, positive).")
    ] = None,
    offset: Annotated[str | None, typer.Option(metavar="COLUMN", help="obs column of offsets (natural log).")] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="FACTOR=LEVEL", help="Base level of a factor: disease=ctl. May be repeated."),
    ] = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONTRAST",
            help="'disease: AD vs ctl', a level, the name of a term or column, or \"cond(disease='AD') - cond(...)\". "
            "May be repeated; default: every term.",
        ),
    ] = None,
    contrasts: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", exists=True, dir_okay=False, help="Named contrasts, such as AD: AD vs ctl."),
    ] = None,
    groupby: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="obs column; each of its levels is tested separately.")
    ] = None,
    min_cells: Annotated[int, typer.Option(min=0, help="Levels of --groupby with fewer cells are skipped.")] = 0,
    min_samples: Annotated[
        int, typer.Option(min=0, help="Levels of --groupby with fewer samples in an arm are skipped.")
    ] = 0,
    adjust: Annotated[
        Adjust, typer.Option(help="Adjust p-values over the genes of each level of --groupby, or of all together.")
    ] = Adjust.group,
    n_jobs: Annotated[int | None, typer.Option(help="Threads; default: the cores this process may use.")] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="What the statistics may take, such as '4 GB'; default: half of what is free."
        ),
    ] = None,
    key: Annotated[str, typer.Option(help="Name under which the results are stored.")] = "glmm",
    n_chunks: Annotated[
        int | None, typer.Option(min=1, help="Run in so many chunks, one per process; see 'sc-glmm combine'.")
    ] = None,
    chunk: Annotated[int | None, typer.Option(min=0, help="The chunk of this process, from 0 on.")] = None,
    stage: Annotated[
        Stage | None,
        typer.Option(help="What to do with the chunk; default: its part of the first stage, which reads the matrix."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            exists=True,
            dir_okay=False,
            is_eager=True,
            callback=read_options,
            help="Options and arguments by name, such as groupby: cell_type; those of the command line go before.",
        ),
    ] = None,
) -> None:
    """Fit one mixed model to every gene and test the contrasts."""
    in_chunks = n_chunks is not None or chunk is not None or stage is not None
    with _told_to_the_user():
        if not in_chunks:
            _check_output(out, source)
        references = _parse_references(reference or [])
        named = read_contrasts(contrasts) if contrasts is not None else context.meta.get(CONTRASTS)
        if named and contrast:
            raise InputError("Contrasts were given twice, by --contrast and in a file; keep one.")
        asked: Any = named or [parse_contrast(text) for text in contrast or []] or None
        if _must_compile():
            typer.echo(_KERNELS_COMPILE, err=True)
        options: dict[str, Any] = {
            "formula": formula,
            "family": family.value,
            "method": method.value,
            "test": None if test is None else test.value,
            "dispersion": dispersion.value,
            "within": within.value,
            "genes": read_genes(genes) or context.meta.get(GENES),
            "min_counts": min_counts,
            "n_agq": n_agq,
            "size_factors": size_factors,
            "offset": offset,
            "reference": references or None,
            "contrasts": asked,
            "adjust": adjust.value,
            "min_cells": min_cells,
            "min_samples": min_samples,
            "groupby": groupby,
        }
        if in_chunks:
            from ._chunks import run_one_chunk

            if memory_limit is not None:
                raise InputError(
                    f"--memory-limit {memory_limit} does not go with chunks, whose statistics are as large as their "
                    "share of the data; take more chunks to make them smaller"
                )
            which = (n_chunks, chunk, None if stage is None else stage.value)
            progress = not quiet and sys.stderr.isatty()
            typer.echo(run_one_chunk(source, out, options, which, key=key, n_jobs=n_jobs, progress=progress))
            return

        from . import get, tl

        start = time.perf_counter()
        adata: Any = tl.test(
            source,
            **options,
            n_boot=n_boot,
            seed=seed,
            n_jobs=n_jobs,
            memory_limit=memory_limit,
            key_added=key,
            copy=True,
            progress=not quiet and sys.stderr.isatty(),
        )
        seconds = time.perf_counter() - start
        results = get.results(adata, key=key)
        _write_beside(source, adata, key, results, out)
    if not quiet:
        typer.echo(_top(results, groupby))
        typer.echo("")
        for line in _summary(results, seconds, groupby):
            typer.echo(line)
    typer.echo(f"Written to {out}")


@app.command("combine")
def run_combine(
    parts: Annotated[
        Path, typer.Argument(metavar="PARTS", exists=True, file_okay=False, help="Folder that the chunks wrote to.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="OUT", help="As for 'sc-glmm test': ends in .h5ad, .csv or .parquet."),
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="IN.h5ad", dir_okay=False, help="The input, if it was moved.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Name under which the results are stored; default: as for the chunks.")
    ] = None,
    n_jobs: Annotated[int | None, typer.Option(help="Threads; default: the cores this process may use.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")] = False,
) -> None:
    """Put the parts of all chunks together: prior, p-values over all genes, tables. Refuses gaps and mixtures."""
    with _told_to_the_user():
        _check_output(out)
        from . import get
        from ._chunks import write_into_copy
        from ._parallel import resolve_n_jobs
        from ._parts.combine import combine

        start = time.perf_counter()
        progress = not quiet and sys.stderr.isatty()
        run = combine(parts, data, key=key, n_jobs=resolve_n_jobs(n_jobs), progress=progress)
        seconds = time.perf_counter() - start
        results = get.results(run.opened.adata, key=run.manifest.key)
        if out.suffix != ".h5ad":
            _write(run.opened.adata, results, out)
        elif not run.writes_to(out):
            with _atomically(out) as path:
                write_into_copy(run, path)
    groupby = run.manifest.options.groupby
    if not quiet:
        typer.echo(_top(results, groupby))
        typer.echo("")
        for line in _summary(results, seconds, groupby):
            typer.echo(line)
    typer.echo(f"Written to {out}")


app.command()(plot)
app.command()(info)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the files.")] = Path(
        "sc-glmm-demo"
    ),
    cells: Annotated[int, typer.Option(min=100, help="Number of simulated cells.")] = 6000,
    genes: Annotated[int, typer.Option(min=20, help="Number of simulated genes.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    n_jobs: Annotated[int | None, typer.Option(help="Threads; default: the cores this process may use.")] = None,
) -> None:
    """Simulate a case-control study with a known truth, test every gene, and draw the volcano."""
    with _told_to_the_user():
        import matplotlib

        matplotlib.use("agg")
        from . import datasets, get, pl, tl

        out.mkdir(parents=True, exist_ok=True)
        adata = datasets.simulate(n_cells=cells, n_genes=genes, seed=seed)
        formula = adata.uns["truth"]["formula"]
        n_samples = adata.obs["sample"].nunique()
        typer.echo(f"Simulated {cells:,} cells of {n_samples} samples, {genes:,} genes.")

        typer.echo(_KERNELS_COMPILE if _must_compile() else "Loading the kernels ...", nl=False)
        start = time.perf_counter()
        # A matrix of any size will do; this keeps the time of compiling apart from that of the work.
        tl.test(datasets.simulate(12, 240, 60, depth=600), formula, n_jobs=1, progress=False)
        typer.echo(f" {time.perf_counter() - start:.1f} s")

        typer.echo(f"Testing every gene: {formula}")
        start = time.perf_counter()
        tl.test(adata, formula, n_jobs=n_jobs, progress=sys.stderr.isatty())
        seconds = time.perf_counter() - start
        results = get.results(adata)
        truth: pd.DataFrame = adata.var  # type: ignore[assignment]
        results["true_log_fc"] = truth["true_log_fc"].reindex(results["variable"]).to_numpy()

        _write(adata, results, out / "demo.h5ad")
        _write(adata, results, out / "results.csv")
        with _atomically(out / "volcano.png") as path:
            figure = pl.volcano(adata).get_figure(root=True)
            if figure is not None:
                figure.savefig(path, dpi=300)
    typer.echo("")
    typer.echo(_top(results))
    typer.echo("")
    for line in _summary(results, seconds):
        typer.echo(line)
    hit = results["adj_p_value"] < _ALPHA
    false = int((hit & (results["true_log_fc"] == 0)).sum())
    typer.echo(_line("of these without a true effect", false))
    typer.echo(f"Volcano plot, table and data are in {out}{os.sep}: volcano.png, results.csv, demo.h5ad")
    typer.echo("The same on a file:")
    typer.echo(f'  sc-glmm test {out / "demo.h5ad"} "{formula}" --reference disease=ctl -o {out / "again.csv"}')


def _must_compile() -> bool:
    from ._engine import entry, warm

    return not warm.is_compiled(entry.fit_block)


def _check_output(out: Path, source: Path | None = None) -> None:
    """Refuse before the work what could not be written after it."""
    if source is not None and _is_same(out, source):
        if not os.access(source, os.W_OK):
            raise InputError(f"The input {source} cannot be written to; give another output.")
        from ._io.store import recover

        recover(source)
        return
    if source is not None and out.suffix == ".h5ad" and source.is_dir():
        raise InputError(
            f"The input {source} is a zarr store, the output {out} ends in .h5ad; give it itself, or .csv."
        )
    if out.suffix not in _WRITERS:
        raise InputError(f"The output {out} ends in {out.suffix!r}; it must end in .h5ad, .csv or .parquet.")
    folder = out.resolve().parent
    if not folder.is_dir():
        raise InputError(f"The folder of the output, {folder}, does not exist; make it first.")
    if out.is_dir():
        raise InputError(f"The output {out} is a folder; give the name of a file.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"The folder of the output, {folder}, cannot be written to; choose another one.")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise InputError("Writing .parquet needs pyarrow: pip install 'sc-glmm[parquet]'; or choose .csv.")


def _parse_references(texts: list[str]) -> dict[str, str]:
    references: dict[str, str] = {}
    for text in texts:
        factor, equals, level = text.partition("=")
        if not (equals and factor.strip() and level.strip()):
            raise InputError(f"--reference {text!r} is not of the form FACTOR=LEVEL, such as disease=ctl.")
        if factor.strip() in references:
            raise InputError(f"--reference names {factor.strip()!r} twice; a factor has one base level.")
        references[factor.strip()] = level.strip()
    return references


def _write_h5ad(adata: AnnData, _: pd.DataFrame, path: Path) -> None:
    adata.write_h5ad(path)


def _write_csv(_: AnnData, results: pd.DataFrame, path: Path) -> None:
    results.to_csv(path, index=False)


def _write_parquet(_: AnnData, results: pd.DataFrame, path: Path) -> None:
    results.to_parquet(path, index=False)


_WRITERS = {".h5ad": _write_h5ad, ".csv": _write_csv, ".parquet": _write_parquet}


def _is_same(out: Path, source: Path) -> bool:
    return out.exists() and out.samefile(source)


def _write_beside(source: Path, adata: AnnData, key: str, results: pd.DataFrame, out: Path) -> None:
    """Write what a run on a file gave: into this file, a copy of it, or a table."""
    from ._io.store import Store

    if _is_same(out, source):
        Store(source).write_results(adata, key)
    elif out.suffix == ".h5ad":
        with _atomically(out) as path:
            shutil.copyfile(source, path)
            Store(path).write_results(adata, key)
    else:
        _write(adata, results, out)


def _write(adata: AnnData, results: pd.DataFrame, out: Path) -> None:
    with _atomically(out) as path:
        _WRITERS[out.suffix](adata, results, path)


def _top(results: pd.DataFrame, groupby: str | None = None) -> str:
    """The genes with the smallest p-values, as a table for the eye."""
    columns = [
        "variable",
        groupby,
        "contrast",
        "log_fc",
        "log_fc_se",
        "p_value",
        "adj_p_value",
        "true_log_fc",
        "status",
    ]
    if results["contrast"].nunique() == 1:
        columns.remove("contrast")
    shown = results.sort_values("p_value", kind="stable").head(_TOP)[[c for c in columns if c in results]]
    return shown.to_string(index=False, float_format=lambda value: f"{value:.3g}", na_rep="-")


def _summary(results: pd.DataFrame, seconds: float, groupby: str | None = None) -> list[str]:
    """What became of the genes: how many, with which status, how many significant, in what time."""
    # A gene has one fit in each group, and one row for each contrast of that fit.
    fits = results.drop_duplicates(["variable", groupby] if groupby in results else ["variable"])
    each = 1e3 * seconds / max(len(fits), 1)
    lines = [f"{len(fits):,} genes in {seconds:.1f} s ({each:.2f} ms a gene)"]
    counts = [(str(word).replace("_", " "), n) for word, n in fits["status"].astype(str).value_counts().items()]
    for words, rows in results.groupby("contrast", sort=False, observed=True):
        counts.append((f"{words}, FDR {100 * _ALPHA:g} %", int((rows["adj_p_value"] < _ALPHA).sum())))
    return lines + [_line(*count) for count in counts]


def _line(words: str, n: int) -> str:
    return f"  {words:<36}{n:>7,}"
