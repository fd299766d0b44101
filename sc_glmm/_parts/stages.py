"""The stages of a run in chunks: each reads what the stages before have written, and writes one part per chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._compress import CountStats, GaussianStats
from .._compress.kernels import N_TAIL
from .._compress.slices import take_genes
from .._display import logger
from .._engine.fit import GeneStats
from .._errors import InputError
from .._fit.cluster import Some, add_some, on_nodes
from .._fit.compress import Compressed, Pass
from .._fit.genes import GeneModel
from .._fit.profiles import GeneProfiles, ProfilePlan, plan_profiles, profile_all
from .._fit.ranges import RangeFit, join_fits
from .._fit.run import fit_range, model_of, normalise
from .._fit.sizes import sample_totals, sample_totals_of
from .._fit.slabs import join_stats
from .._fit.tests import is_moderated, needs_every_node
from .context import Run
from .files import write_part
from .records import (
    Arrays,
    arrays_of,
    arrays_of_fit,
    arrays_of_profiles,
    fit_from,
    gene_stats_from,
    profiles_from,
    stats_from,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Done:
    """What became of a chunk: its file, and whether it was there before."""

    path: Path
    skipped: bool


def run_chunk(run: Run, stage: str, chunk: int, by: str = "chunk") -> Done:
    """Do one chunk of one stage, unless its part is there and sound.

    Parameters
    ----------
    run
        The run.
    stage
        ``"compress"``, ``"fit"`` or ``"profile"``.
    chunk
        Which of its chunks.
    by
        Who does it: what :func:`.combine.combine` has begun it may go on with.

    Raises
    ------
    InputError
        If the run has no such chunk or stage, what it needs is missing or damaged, or the part cannot be written.
    """
    if stage not in run.stages:
        raise InputError(
            f"stage {stage!r}: a matrix in form {run.source.form!r} is cut by {run.manifest.layout} first, with stages "
            f"{', '.join(map(repr, run.stages))}"
        )
    if not 0 <= chunk < run.manifest.n_chunks:
        raise InputError(f"chunk={chunk}: allowed are 0 to {run.manifest.n_chunks - 1} (n_chunks - 1)")
    path = run.path(stage, chunk)
    if path.exists():
        try:
            with run.open_part(stage, chunk) as part:
                part.verify()
            return Done(path, True)
        except InputError as error:
            logger.warning("%s; it is made again", str(error).partition("; remove")[0])
    arrays = _WORK[stage](run, chunk)
    write_part(path, run.manifest.header(stage, chunk, by=by), arrays)
    return Done(path, False)


def _compress(run: Run, chunk: int) -> Arrays:
    """Statistics of a chunk of cells, for all genes, on the nodes that these cells write to.

    They are laid out by chunks of genes, which are read alone.
    """
    first, last = run.cell_range(chunk)
    prepared, n_counts = run.prepared, 0.0
    out: Arrays = {}
    for k, each in enumerate(prepared.passes):
        some = each.add_up_some(run.source, (first, last), n_jobs=run.n_jobs, progress=run.progress)
        out[f"{k}/nodes"] = some.nodes
        for j in range(run.manifest.n_chunks):
            out.update(arrays_of(take_genes(some.stats, *run.gene_range(j)), f"{k}/{j}/"))
        if isinstance(some.stats, CountStats):
            n_counts += float(some.stats.total.sum())
            if prepared.job.task.normalise:
                out |= {f"{i}/bulk": bulk for i, bulk in _bulk_of(run, each, some.stats.A, some.nodes)}
    if len(prepared.library):
        mine = np.concatenate([plan.cells.cells for plan in prepared.job.plans])
        expected = float(prepared.library[mine[(mine >= first) & (mine < last)]].sum())
        _check_sum(run, n_counts, expected, f"cells {first} to {last - 1}")
    return out


def _bulk_of(run: Run, each: Pass, A: FloatArray, nodes: IntArray) -> Iterator[tuple[int, FloatArray]]:
    """Per plan of a pass the counts of its samples, from sums on some of the nodes of all its plans."""
    for place, i in enumerate(each.groups):
        lo, hi = each.first_node[place : place + 2]
        mine = (nodes >= lo) & (nodes < hi)
        yield i, sample_totals_of(_bare_model(run, i), A[:, mine], nodes[mine] - lo)


def _bare_model(run: Run, i: int) -> GeneModel:
    """The model of group i, without statistics."""
    layout, none = run.prepared.layouts[i], np.zeros(0)
    stats = GeneStats(
        A=np.zeros((0, layout.n_nodes)),
        tail=np.zeros((0, N_TAIL)),
        over_ptr=np.zeros(1, dtype=np.int64),
        over_value=none,
        over_count=none,
        extra=np.zeros((0, 2)),
        const=none,
    )
    return model_of(run.prepared.job.plans[i], layout, stats, run.prepared.job.task)


def _check_sum(run: Run, found: float, expected: float, what: str) -> None:
    """Counts are whole numbers: sums over them are exact, and tell changed data."""
    if found != expected:
        raise InputError(
            f"{run.manifest.data}: {what} have {found:.0f} counts, and had {expected:.0f} when the run was prepared: "
            f"the data have changed; remove the folder {run.folder} and run all chunks again"
        )


def _fit(run: Run, chunk: int) -> Arrays:
    """Fits of a chunk of genes, and their statistics for the stages to come."""
    first, last = run.gene_range(chunk)
    prepared, task = run.prepared, run.prepared.job.task
    groups, bulk = _all_cells(run, chunk) if run.manifest.layout == "cells" else _read_genes(run, first, last)
    out: Arrays = {}
    for i, plan in enumerate(prepared.job.plans):
        cells = groups[i]
        raw = model_of(plan, cells, cells.stats, task)
        model, _ = normalise(raw, task, bulk[i])
        fitted = fit_range(
            run.source, plan, cells, model, task, first_gene=first, n_jobs=run.n_jobs, progress=run.progress
        )
        out |= arrays_of_fit(fitted, f"{i}/fit/")
        out |= arrays_of(_compact(cells.stats), f"{i}/stats/")
        if task.normalise:
            out[f"{i}/bulk"] = sample_totals(raw)
    return out


def _compact(stats: GeneStats) -> GeneStats:
    """The same with the overflow lists of these genes alone."""
    return stats.pick(np.arange(len(stats), dtype=np.int64))


def _all_cells(run: Run, chunk: int) -> tuple[dict[int, Compressed], list[FloatArray | None]]:
    """Statistics of a chunk of genes summed over all chunks of cells, and the counts of the samples in all genes."""
    run.need("compress")
    prepared = run.prepared
    sums: list[Some] = []
    bulk: list[FloatArray | None] = [None] * len(prepared.job.plans)
    for c in range(run.manifest.n_chunks):
        with run.open_part("compress", c) as part:
            mine = [Some(stats_from(part, f"{k}/{chunk}/"), part[f"{k}/nodes"]) for k in range(len(prepared.passes))]
            sums = mine if c == 0 else [add_some(a, b) for a, b in zip(sums, mine, strict=True)]
            if prepared.job.task.normalise:
                counts = [part[f"{i}/bulk"] for i in range(len(bulk))]
                bulk = [b if a is None else a + b for a, b in zip(bulk, counts, strict=True)]
    whole = [on_nodes(some, np.arange(p.first_node[-1])) for some, p in zip(sums, prepared.passes, strict=True)]
    return _by_plan(prepared.passes, whole), bulk


def _read_genes(run: Run, first: int, last: int) -> tuple[dict[int, Compressed], list[FloatArray | None]]:
    """Statistics of a chunk of genes from the matrix."""
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


def _by_plan(passes: Iterable[Pass], sums: Iterable[CountStats | GaussianStats]) -> dict[int, Compressed]:
    return {
        i: cells
        for each, stats in zip(passes, sums, strict=True)
        for i, cells in zip(each.groups, each.by_group(stats), strict=True)
    }


@dataclass(frozen=True)
class GroupFits:
    """Fits of all genes of one group.

    Attributes
    ----------
    fitted
        The fits.
    bulk
        ``(n_levels, n_genes)`` counts of the samples, if they are needed.
    """

    fitted: RangeFit
    bulk: FloatArray | None


def read_fits(run: Run) -> list[GroupFits]:
    """The fits of all genes, group by group; the statistics stay where they are."""
    run.need("fit")
    job = run.prepared.job
    fits: list[list[RangeFit]] = [[] for _ in job.plans]
    bulk: list[list[FloatArray]] = [[] for _ in job.plans]
    for chunk in range(run.manifest.n_chunks):
        with run.open_part("fit", chunk) as part:
            for i in range(len(job.plans)):
                fits[i].append(fit_from(part, f"{i}/fit/"))
                if job.task.normalise:
                    bulk[i].append(part[f"{i}/bulk"])
    return [
        GroupFits(join_fits(mine), np.concatenate(counts, axis=1) if counts else None)
        for mine, counts in zip(fits, bulk, strict=True)
    ]


def plan_of_profiles(run: Run, i: int, group: GroupFits) -> ProfilePlan | None:
    """Trend and grid of group i, from the fits of all genes."""
    job, layout = run.prepared.job, run.prepared.layouts[i]
    plan = job.plans[i]
    model, _ = normalise(
        model_of(plan, layout, stats_of(run, i, np.zeros(0, dtype=np.int64)), job.task), job.task, group.bulk
    )
    contrasts = [c.L for c in plan.contrasts]

    def pick(genes: IntArray) -> GeneStats:
        return stats_of(run, i, genes)

    return plan_profiles(model, group.fitted.result, group.fitted.totals, contrasts, pick, job.task.dispersion)


def stats_of(run: Run, i: int, genes: IntArray) -> GeneStats:
    """Statistics of a few genes of group i, in their order; of no genes, those of the first chunk cut to none."""
    parts, order = [], []
    for chunk in range(run.manifest.n_chunks):
        first, last = run.gene_range(chunk)
        places = np.flatnonzero((genes >= first) & (genes < last))
        if len(places) or (chunk == 0 and len(genes) == 0):
            with run.open_part("fit", chunk) as part:
                parts.append(gene_stats_from(part, f"{i}/stats/").pick(genes[places] - first))
            order.append(places)
    joined = join_stats(parts, np.concatenate([part.A for part in parts]))
    return joined.pick(np.argsort(np.concatenate(order), kind="stable"))


def _profile(run: Run, chunk: int) -> Arrays:
    """Profiles of a chunk of genes; nothing if the test needs none."""
    if not has_profiles(run):
        return {}
    first, last = run.gene_range(chunk)
    job = run.prepared.job
    out: Arrays = {}
    for i, group in enumerate(read_fits(run)):
        plan = job.plans[i]
        profile_plan = plan_of_profiles(run, i, group)
        if profile_plan is None:
            continue
        with run.open_part("fit", chunk) as part:
            stats, own = gene_stats_from(part, f"{i}/stats/"), fit_from(part, f"{i}/fit/")
        model, _ = normalise(model_of(plan, run.prepared.layouts[i], stats, job.task), job.task, group.bulk)
        mine = profile_plan.take(first, last)
        contrasts = [c.L for c in plan.contrasts]
        made = profile_all(
            model,
            own.result,
            mine,
            contrasts,
            every_node=needs_every_node(job.task.test),
            n_jobs=run.n_jobs,
            progress=run.progress,
        )
        out |= arrays_of_profiles(made, f"{i}/profiles/")
        out |= {f"{i}/theta": mine.grid.theta, f"{i}/log_dispersion": mine.log_dispersion}
    return out


def read_profiles(run: Run, i: int, plan: ProfilePlan) -> list[GeneProfiles]:
    """The profiles of group i, chunk by chunk; refused if they were made from other fits."""
    out = []
    for chunk in range(run.manifest.n_chunks):
        first, last = run.gene_range(chunk)
        mine = plan.take(first, last)
        with run.open_part("profile", chunk) as part:
            same = f"{i}/theta" in part and all(
                np.array_equal(part[f"{i}/{name}"], wanted, equal_nan=True)
                for name, wanted in (("theta", mine.grid.theta), ("log_dispersion", mine.log_dispersion))
            )
            if not same:
                raise InputError(
                    f"{part.path} was made from other fits than those in {run.folder} now; remove it and run it with "
                    f"--chunk {chunk} --stage profile"
                )
            out.append(profiles_from(part, f"{i}/profiles/"))
    return out


def has_profiles(run: Run) -> bool:
    """Whether the test needs profiles."""
    return is_moderated(run.prepared.job.task.test, run.prepared.job.task.family)


_WORK: dict[str, Callable[[Run, int], Arrays]] = {"compress": _compress, "fit": _fit, "profile": _profile}
