"""`sc-glmm plot`: a figure of stored results."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from .._errors import InputError
from .console import atomically, report_errors
from .info import Source, read_adata

_FORMATS = (".pdf", ".png", ".svg")
# Figures that are drawn from a gene's fit, which needs its counts.
_WITH_COUNTS = ("caterpillar", "samples")

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
    with report_errors():
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt

        from .. import pl

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
        adata = read_adata(source, counts=figure in _WITH_COUNTS)
        function(adata, key=key, **{name: value for name, value in given.items() if value is not None})
        drawn = plt.gcf()
        if width is not None or height is not None:
            drawn.set_size_inches(width or drawn.get_figwidth(), height or drawn.get_figheight())
        with atomically(out) as path:
            drawn.savefig(path, dpi=dpi)
        plt.close(drawn)
    typer.echo(f"Written to {out}")
