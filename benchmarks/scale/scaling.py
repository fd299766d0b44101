"""Measure time and memory of the default test by number of cells, genes and samples.

    python benchmarks/scale/scaling.py measure [--folder DIR] [--results scaling.csv]
    python benchmarks/scale/scaling.py report  [--results scaling.csv]

`measure` makes a file for every point (make.py), runs the test on it (run.py, in a process of its own) and adds a line
to the results. Existing points are skipped, so that an interrupted run can be continued. `report`
draws the figure of docs/scale.md and writes its table. Every point differs from 100,000 cells, 20,000 genes and 100
samples, tested with two threads, in one quantity. If the number of samples varies, there are 5,000 genes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
STAGES = ("library sizes", "statistics", "fits", "profiles", "prior and tests")
AXES = {"cells": "n_cells", "genes": "n_genes", "samples": "n_samples"}
THREADS = 2
POINTS = [
    *(("cells", n, 20_000, 100) for n in (10_000, 30_000, 100_000, 300_000, 1_000_000)),
    *(("genes", 100_000, n, 100) for n in (2_000, 5_000, 10_000, 20_000)),
    *(("samples", 100_000, 5_000, n) for n in (10, 30, 100, 300, 1_000)),
]

app = typer.Typer(help=__doc__, add_completion=False)
Results = Annotated[Path, typer.Option(help="Table with a line for each point.")]


@app.command()
def measure(
    folder: Annotated[Path, typer.Option(help="Folder of the files; the largest has 13 GB.")] = Path(),
    results: Results = HERE / "scaling.csv",
) -> None:
    """Run the points without a result."""
    stored = pd.read_csv(results) if results.exists() else pd.DataFrame(columns=["axis", *AXES.values()])
    for axis, *point in POINTS:
        cells, genes, samples = point
        if ((stored["axis"] == axis) & (stored[list(AXES.values())] == point).all(axis=1)).any():
            continue
        file = folder / f"scaling_{cells}_{genes}_{samples}.h5ad"
        if not file.exists():
            # counts per gene do not depend on the number of genes
            run("make.py", file, "--cells", cells, "--genes", genes, "--samples", samples, "--depth", 0.175 * genes)
        report = json.loads(run("run.py", file, "--jobs", THREADS).splitlines()[-1])
        line = {"axis": axis, **dict(zip(AXES.values(), point, strict=True)), "file_gb": file.stat().st_size / 1e9}
        line |= {stage: report[stage][0] for stage in STAGES} | {
            "seconds": report["all"][0],
            "memory_gb": report["all"][2],
        }
        stored = pd.concat([stored, pd.DataFrame([line])], ignore_index=True)
        stored.to_csv(results, index=False, float_format="%.3f")
        print(f"{axis}: {cells:,} cells, {genes:,} genes, {samples:,} samples: {line['seconds']:.1f} s")
        if not any(other[1:4] == (cells, genes, samples) and other[0] != axis for other in POINTS):
            file.unlink()


@app.command()
def report(results: Results = HERE / "scaling.csv") -> None:
    """Draw the figure and write the table of docs/scale.md."""
    table = pd.read_csv(results)
    draw(table, DOCS / "figures" / "scaling.png")
    page = DOCS / "scale.md"
    text, n = re.subn(
        r"(<!-- scaling -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{markdown(table)}\n\n{found[2]}",
        page.read_text(),
        flags=re.DOTALL,
    )
    if not n:
        raise SystemExit(f"{page} has no mark for the table")
    page.write_text(text)


def run(script: str, *args: object) -> str:
    """Run a script of this folder and return its standard output."""
    command = [sys.executable, HERE / script, *args]
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def markdown(table: pd.DataFrame) -> str:
    """Format every point as a line of a table."""
    lines = [
        "| cells | genes | samples | file, GB | reading and statistics, s | fits, s | profiles and tests, s | total, s "
        "| memory, GB |",
        "|" + "---|" * 9,
    ]
    for _, row in table.drop_duplicates(list(AXES.values())).iterrows():
        size = " | ".join(f"{int(row[name]):,}" for name in AXES.values())
        parts = (row["library sizes"] + row["statistics"], row["fits"], row["profiles"] + row["prior and tests"])
        seconds = " | ".join(f"{value:.1f}" for value in (*parts, row["seconds"]))
        lines.append(f"| {size} | {row['file_gb']:.2f} | {seconds} | {row['memory_gb']:.2f} |")
    return "\n".join(lines)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the seconds of each stage by number of cells, genes and samples."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = {
        "library sizes and statistics": ("library sizes", "statistics"),
        "fits": ("fits",),
        "profiles and tests": ("profiles", "prior and tests"),
    }
    colours = ("#0b5394", "#e69138", "#6aa84f")
    titles = {
        "cells": "20,000 genes, 100 samples",
        "genes": "100,000 cells, 100 samples",
        "samples": "100,000 cells, 5,000 genes",
    }
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6), layout="constrained", sharey=True)
    for ax, (axis, title) in zip(axes, titles.items(), strict=True):
        rows = table[table["axis"] == axis].sort_values(AXES[axis])
        x = rows[AXES[axis]]
        ax.plot(x, rows["seconds"], "o-", color="0.2", lw=1.4, ms=4, label="all")
        for (name, stages), colour in zip(groups.items(), colours, strict=True):
            ax.plot(x, rows[list(stages)].sum(axis=1), "o-", color=colour, lw=1, ms=2.5, label=name)
        ax.set(xscale="log", yscale="log")
        ax.set_xticks(x, [f"{n:,}" for n in x], rotation=30)
        ax.minorticks_off()
        ax.set_xlabel(axis, fontsize=8)
        ax.set_title(title, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks([1, 10, 100], ["1", "10", "100"])
    axes[0].set_ylabel(f"seconds, {THREADS} threads", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=200)


if __name__ == "__main__":
    app()
