"""Compute statistics of the cells: as sums over chunks of cells, or directly if the matrix is stored by genes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..._arrays import FloatArray, IntArray
from ..._compress import CountStats, GaussianStats
from ..._compress.slices import take_genes
from ..._errors import InputError
from ..._fit.cluster import PartialStats, add_partial, on_nodes
from ..._fit.compress import Compressed, CompressionPlan
from ..._fit.sizes import sample_totals
from .files import Part
from .folder import Run
from .records import Arrays, arrays_of, shape_error, stats_from


def compressed_genes(run: Run, chunk: int) -> tuple[dict[int, Compressed], list[FloatArray | None]]:
    """Return the statistics of all cells for a chunk of genes, and the counts of the samples in all genes, by group."""
    return _all_cells(run, chunk) if run.manifest.layout == "cells" else _read_genes(run, *run.gene_range(chunk))


def compress_cells(run: Run, chunk: int) -> Arrays:
    """Compute the statistics of a chunk of cells for all genes, on the nodes of these cells.

    They are stored by chunks of genes, which can be read separately.

    Raises
    ------
    InputError
        If the counts have changed since the run was prepared.
    """
    first, last = run.cell_range(chunk)
    prepared, n_counts = run.prepared, 0.0
    out: Arrays = {}
    for k, each in enumerate(prepared.passes):
        partial_stats = each.add_up_rows(run.source, (first, last), n_jobs=run.n_jobs, progress=run.progress)
        stats, nodes = partial_stats.stats, partial_stats.nodes
        out[f"{k}/nodes"] = nodes
        for j in range(run.manifest.n_chunks):
            out.update(arrays_of(take_genes(stats, *run.gene_range(j)), f"{k}/{j}/"))
        if isinstance(stats, CountStats):
            n_counts += float(stats.total.sum())
            if prepared.job.task.normalise:
                out |= {f"{i}/bulk": bulk for i, bulk in _bulk_of(run, each, stats.A, nodes)}
    if len(prepared.library):
        cells = np.concatenate([plan.cells.cells for plan in prepared.job.plans])
        expected = float(prepared.library[cells[(cells >= first) & (cells < last)]].sum())
        _check_sum(run, n_counts, expected, f"cells {first} to {last - 1}")
    return out


def _bulk_of(run: Run, each: CompressionPlan, A: FloatArray, nodes: IntArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield the counts of the samples of each plan of a pass, from sums on some of the nodes of all its plans."""
    for place, i in enumerate(each.groups):
        lo, hi = each.first_node[place : place + 2]
        of_plan = (nodes >= lo) & (nodes < hi)
        design = run.prepared.job.plans[i].cells.design
        yield i, sample_totals(design, each.layouts[place], A[:, of_plan], nodes[of_plan] - lo)


def _check_sum(run: Run, found: float, expected: float, subset: str) -> None:
    """Compare the sum of counts, which is exact for whole numbers, to detect changed data."""
    if found != expected:
        raise InputError(
            f"{run.manifest.data} has changed: {subset} have {found:.0f} counts, but had {expected:.0f} when the run "
            f"was prepared; remove the folder {run.folder} and run all chunks again"
        )


def _all_cells(run: Run, chunk: int) -> tuple[dict[int, Compressed], list[FloatArray | None]]:
    """Add up the statistics of a chunk of genes over all chunks of cells; also the counts of the samples."""
    run.need("compress")
    prepared = run.prepared
    sums: list[PartialStats] = []
    bulk: list[FloatArray | None] = [None] * len(prepared.job.plans)
    for c in range(run.manifest.n_chunks):
        with run.open_part("compress", c) as part:
            addends = [
                PartialStats(stats_from(part, f"{k}/{chunk}/"), part[f"{k}/nodes"]) for k in range(len(prepared.passes))
            ]
            for addend, each in zip(addends, prepared.passes, strict=True):
                _check_shapes(run, part, addend, chunk, int(each.first_node[-1]))
            sums = addends if c == 0 else [add_partial(a, b) for a, b in zip(sums, addends, strict=True)]
            if prepared.job.task.normalise:
                counts = [part[f"{i}/bulk"] for i in range(len(bulk))]
                bulk = [b if a is None else a + b for a, b in zip(bulk, counts, strict=True)]
    totals = [on_nodes(each, np.arange(p.first_node[-1])) for each, p in zip(sums, prepared.passes, strict=True)]
    return _by_plan(prepared.passes, totals), bulk


def _check_shapes(run: Run, part: Part, addend: PartialStats, chunk: int, n_nodes: int) -> None:
    """Raise an error for sums whose shapes do not match the run."""
    first, last = run.gene_range(chunk)
    nodes, problem = addend.nodes, None
    if nodes.ndim != 1 or nodes.dtype.kind != "i" or nodes.min(initial=0) < 0 or nodes.max(initial=0) >= n_nodes:
        problem = f"it has nodes outside the range 0 to {n_nodes - 1}"
    elif isinstance(addend.stats, CountStats):
        problem = shape_error(addend.stats, last - first, len(nodes))
    if problem is not None:
        raise part.damaged(ValueError(problem))


def _read_genes(run: Run, first: int, last: int) -> tuple[dict[int, Compressed], list[FloatArray | None]]:
    """Compute the statistics of a chunk of genes from the matrix."""
    prepared = run.prepared
    sums = [
        each.add_up(run.source, genes=slice(first, last), n_jobs=run.n_jobs, progress=run.progress)
        for each in prepared.passes
    ]
    groups = _by_plan(prepared.passes, sums)
    for i, bulk in enumerate(prepared.bulk):
        if bulk is not None:
            expected = float(bulk[:, first:last].sum())
            _check_sum(run, float(groups[i].total.sum()), expected, f"genes {first} to {last - 1}")
    return groups, prepared.bulk


def _by_plan(passes: Iterable[CompressionPlan], sums: Iterable[CountStats | GaussianStats]) -> dict[int, Compressed]:
    return {
        i: cells
        for each, stats in zip(passes, sums, strict=True)
        for i, cells in zip(each.groups, each.by_group(stats), strict=True)
    }
