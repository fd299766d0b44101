"""Measure the seconds of each stage of a notebook, from reading a file to figures on disk.

python workflow.py kang8.h5ad "counts ~ stim + (1|donor) + (1|sample)" --groupby cell_type --reference stim=ctrl
python workflow.py onek1k_40.h5ad "counts ~ sex + (1|indiv)" --groupby cell_type
python workflow.py onek1k_40.h5ad "counts ~ sex + (1|indiv)"

The file must have raw counts in ``layers["counts"]`` (or X). All waiting times of a new notebook kernel are
included: imports, loading of compiled kernels, and with ``--cold``, which uses an empty cache of numba, compilation of
them, as happens once after an installation.
"""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer


class Clock:
    """Clock of wall and processor seconds of named stages."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.rows.append((name, time.perf_counter() - wall, time.process_time() - cpu))

    def report(self) -> str:
        total = ("total", sum(row[1] for row in self.rows), sum(row[2] for row in self.rows))
        lines = [f"{'stage':<28}{'wall s':>9}{'CPU s':>9}"]
        return "\n".join([*lines, *(f"{name:<28}{wall:>9.2f}{cpu:>9.2f}" for name, wall, cpu in [*self.rows, total])])


def main(
    path: Annotated[Path, typer.Argument(help="AnnData with counts in a layer `counts`, or in X.")],
    formula: Annotated[str, typer.Argument(help="With the left side `counts`.")],
    groupby: Annotated[str | None, typer.Option(help="Column of obs: each level is tested separately.")] = None,
    reference: Annotated[str | None, typer.Option(metavar="FACTOR=LEVEL", help="Base level.")] = None,
    min_cells: Annotated[int, typer.Option(help="Levels of --groupby with fewer cells are skipped.")] = 0,
    min_counts: Annotated[int, typer.Option(help="Do not test genes with fewer counts in a level of --groupby.")] = 0,
    expressed: Annotated[
        str | None,
        typer.Option(metavar="SAMPLE", help="Test only genes selected by pp.filter_genes with this sample column."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("workflow"),
    cold: Annotated[bool, typer.Option("--cold", help="Compile the kernels again.")] = False,
) -> None:
    """Run the workflow and print its stages."""
    if cold:
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="workflow-")
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    with clock.stage("import"):
        import matplotlib

        matplotlib.use("agg")
        import anndata
        import matplotlib.pyplot as plt

        import sc_glmm
        from sc_glmm import pl

    with clock.stage("read_h5ad"):
        adata = anndata.read_h5ad(path)
    base = dict([reference.split("=")]) if reference else None
    genes = None
    if expressed is not None:
        with clock.stage("pp.filter_genes"):
            layer = "counts" if "counts" in adata.layers else None
            sc_glmm.pp.filter_genes(adata, expressed, layer=layer)
            genes = "expressed"
    with clock.stage("tl.test"):
        sc_glmm.tl.test(
            adata,
            formula,
            groupby=groupby,
            reference=base,
            min_cells=min_cells,
            min_counts=min_counts,
            genes=genes,
        )
    with clock.stage("get.results"):
        results = sc_glmm.get.results(adata, columns="all")
    contrast = str(results["contrast"].iloc[0])
    well = results[results["status"].isin(["ok", "singular"])].sort_values("p_value", kind="stable")
    gene = str(well["variable"].iloc[0])
    group = str(well[groupby].iloc[0]) if groupby else None

    def save(name: str) -> None:
        plt.gcf().savefig(out / f"{name}.png", dpi=150)
        plt.close("all")

    with clock.stage("pl.volcano"):
        pl.volcano(adata, group=group, contrast=contrast)
        save("volcano")
    with clock.stage("pl.p_values"):
        pl.p_values(adata, contrast=contrast)
        save("p_values")
    with clock.stage("pl.samples"):
        pl.samples(adata, gene, group=group)
        save("samples")
    if groupby:
        with clock.stage("pl.heatmap"):
            pl.heatmap(adata, contrast=contrast, genes=list(dict.fromkeys(well["variable"]))[:25])
            save("heatmap")
        with clock.stage("pl.counts"):
            pl.counts(adata)
            save("counts")
    tested = int(results["p_value"].notna().sum())
    print(f"{adata.n_obs:,} cells, {adata.n_vars:,} genes, {tested:,} tests, best gene {gene} ({group or 'all cells'})")
    print(clock.report())
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB; figures in {out}")


if __name__ == "__main__":
    typer.run(main)
