"""Write a report about a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from .._adata.leftovers import temporary_beside
from .._display.arguments import check_count, check_level
from .._errors import InputError
from . import sections
from .genes import caption, choose_genes, gene_cards
from .layout import layout_of
from .markup import tag
from .page import page
from .shuffled import shuffled_results
from .study import study_of
from .words import headline

if TYPE_CHECKING:
    from anndata import AnnData


def report(
    adata: AnnData | str | os.PathLike[str],
    out: str | os.PathLike[str] = "report.html",
    *,
    key: str = "glmm",
    title: str | None = None,
    genes: Sequence[str] | None = None,
    n_genes: int = 12,
    alpha: float = 0.05,
    gene_symbols: str | None = None,
    null: int = 0,
    seed: int = 0,
) -> Path:
    """Write a report about a run: one HTML page for readers who do not use Python.

    The page contains the design as text and drawing, the samples and cells of every arm, figures of the results, and
    the top genes sample by sample. It also contains a table of all genes to sort, filter and download, checks, and a
    methods paragraph with references. The page is a single file and works offline.

    Parameters
    ----------
    adata
        Annotated data after :func:`sc_glmm.tl.test`, or a MuData; or the path of an ``.h5ad`` file or a zarr store with
        results. The figures of genes and of library sizes need the counts; without counts they are left out.
    out
        File to write, ending in ``.html``.
    key
        `key_added` of the test.
    title
        Title of the page.
    genes
        Genes to draw. Default: those with the smallest p-values.
    n_genes
        Number of genes to draw for each contrast.
    alpha
        Level of the adjusted p-value below which a gene is significant.
    gene_symbols
        Column of ``var`` with the gene names to show.
    null
        Number of repeats of the run with shuffled labels of the samples, as a check of the test. Each takes as long as
        the run, and the counts must fit in memory.
    seed
        Seed for the shuffling.

    Returns
    -------
    pathlib.Path
        The path of the file.

    Raises
    ------
    InputError
        If there are no results under `key`, if an argument has an invalid value, or if the file cannot be written.

    Examples
    --------
    >>> import tempfile, sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=6, n_cells=300, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", test="t")
    >>> sc_glmm.report(adata, f"{tempfile.mkdtemp()}/report.html", n_genes=2).name
    'report.html'
    """
    target = _target(out)
    _check(alpha=alpha, n_genes=n_genes, null=null, seed=seed)
    study = study_of(adata, key)
    if gene_symbols is not None and gene_symbols not in study.adata.var:
        columns = [str(name) for name in study.adata.var.columns][:8]
        raise InputError(f"gene_symbols={gene_symbols!r} is not a column of var, whose columns are {columns}")
    rows = choose_genes(study, genes, int(n_genes))
    layout = layout_of(study)
    choices = sections.Choices(float(alpha), gene_symbols)
    shuffled = None
    if null:
        shuffled = shuffled_results(study, layout, int(null), int(seed))
    params = {"" if group is None else group: study.run_params(group) for group in study.groups}
    cards = gene_cards(study, rows, gene_symbols)
    missing = tag("p", f"The counts cannot be read, so genes are not drawn: {study.no_matrix}", class_="note")
    heading = title if title is not None else f"Differential expression, {', '.join(study.contrasts[:3])}"
    lead = [tag("p", headline(study, alpha), class_="lead"), sections.tiles(study, layout, choices)]
    contents: list[tuple[str, str, list[object]]] = [
        ("design", "Design", sections.design(study, layout)),
        ("results", "Results", sections.results(study, choices)),
        ("top", "Top genes", [caption(), tag("div", *cards, class_="figures")] if cards else [missing]),
        ("all", "All genes", sections.all_genes(study, choices)),
        ("checks", "Checks", sections.checks(study, layout, params, shuffled)),
        ("methods", "Methods", sections.methods(study, choices)),
        ("run", "Run", sections.run(study)),
    ]
    foot = tag("p", f"Made with sc_glmm on {date.today().isoformat()}.")
    text = page(heading, tag("div", *lead), contents, foot)
    with temporary_beside(target, target.suffix) as temporary:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, target)
    return target


def _target(out: str | os.PathLike[str]) -> Path:
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the output {str(out)!r} ends in {path.suffix!r}; it must end in .html")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"the folder of the output, {folder}, does not exist; create it first")
    if path.is_dir():
        raise InputError(f"the output {path} is a folder; it must be a file")
    if not os.access(folder, os.W_OK):
        raise InputError(f"the folder of the output, {folder}, is not writable; choose another one")
    return path


def _check(*, alpha: float, **whole: int) -> None:
    check_level("alpha", alpha)
    for name, value in whole.items():
        check_count(name, value, 0)
