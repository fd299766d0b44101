"""`sc-glmm latent`: estimate hidden factors of the samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .._errors import InputError
from .console import atomically, report_errors
from .info import Source, read_adata
from .options import parse_references
from .yaml import parse_contrast

_FORMATS = (".h5ad", ".csv")


def latent(
    source: Source,
    formula: Annotated[
        str,
        typer.Argument(metavar="FORMULA", help="Formula of the test without factors: 'counts ~ x + (1|sample)'."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="OUT", help="Output: .h5ad (data and factors) or .csv (the report)."),
    ],
    n_factors: Annotated[str, typer.Option(metavar="N", help="A whole number, or auto.")] = "auto",
    contrasts: Annotated[
        list[str] | None, typer.Option("--contrast", help="Contrast to test later; default: every fixed effect.")
    ] = None,
    groupby: Annotated[str | None, typer.Option(help="Column of obs; each of its levels gets its own factors.")] = None,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="FACTOR=LEVEL", help="Base level of a factor; may be repeated.")
    ] = None,
    size_factors: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of obs with size factors (linear).")
    ] = None,
    key: Annotated[str, typer.Option(help="Name of the factors.")] = "latent",
    n_jobs: Annotated[int | None, typer.Option(help="Threads; default: all CPUs available to this process.")] = None,
) -> None:
    """Estimate hidden factors of the samples.

    The factors are estimated from all genes and written into columns of obs.
    """
    with report_errors():
        if out.suffix not in _FORMATS:
            raise InputError(f"The output {out} ends in {out.suffix!r}; it must end in {' or '.join(_FORMATS)}.")
        number = _number(n_factors)
        from .. import get, pp

        adata = read_adata(source, counts=True)
        pp.latent_factors(
            adata,
            formula,
            n_factors=number,
            contrasts=[parse_contrast(text) for text in contrasts or []] or None,
            groupby=groupby,
            reference=parse_references(reference or []) or None,
            size_factors=size_factors,
            n_jobs=n_jobs,
            key_added=key,
        )
        report = get.latent_factors(adata, key)
        with atomically(out) as path:
            if out.suffix == ".csv":
                report.to_csv(path, index=False)
            else:
                adata.write_h5ad(path)
    typer.echo(report.T.to_string(header=False) if len(report) else "No hidden factor was found.")
    typer.echo(f"Written to {out}")


def _number(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise InputError(f"--n-factors {text!r} must be a whole number of at least 0, or auto.")
    return int(text)
