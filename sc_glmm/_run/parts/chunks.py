"""Run one chunk of one stage and write its part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..._display import logger
from ..._errors import InputError
from ..conductor import Conductor
from .files import write_part
from .folder import Run
from .records import Arrays, arrays_of, arrays_of_fit, arrays_of_profiles
from .store import PartsStore, input_of_profiles
from .sums import compress_cells


@dataclass(frozen=True)
class ChunkResult:
    """File of a chunk, and whether it existed before."""

    path: Path
    skipped: bool


def run_chunk(run: Run, stage: str, chunk: int, by: str = "chunk") -> ChunkResult:
    """Run one chunk of one stage, unless its part exists and is valid.

    Parameters
    ----------
    run
        The run.
    stage
        ``"compress"``, ``"fit"`` or ``"profile"``.
    chunk
        Number of the chunk.
    by
        Name of the caller; :func:`.combine.combine` may continue parts that it started.

    Raises
    ------
    InputError
        If the run has no such chunk or stage, if its input is missing or damaged, or if the part cannot be written.
    """
    if stage not in run.stages:
        raise InputError(
            f"stage {stage!r} does not exist for this matrix: form {run.source.form!r} is split by "
            f"{run.manifest.layout} first, with the stages {', '.join(map(repr, run.stages))}"
        )
    if not 0 <= chunk < run.manifest.n_chunks:
        raise InputError(f"chunk={chunk}: allowed are 0 to {run.manifest.n_chunks - 1} (n_chunks - 1)")
    path = run.path(stage, chunk)
    if path.exists():
        try:
            with run.open_part(stage, chunk) as part:
                part.verify()
            return ChunkResult(path, True)
        except InputError as error:
            logger.warning("%s; it is computed again", str(error).partition("; remove")[0])
    arrays = _STAGE_FUNCTIONS[stage](run, chunk)
    write_part(path, run.manifest.header(stage, chunk, by=by), arrays)
    return ChunkResult(path, False)


def conductor_of(run: Run) -> Conductor:
    """Create the conductor for the parts of a run."""
    job = run.prepared.job
    genes = run.opened.adata.var_names
    return Conductor(job.plans, job.task, run.source, genes, PartsStore(run), run.n_jobs, run.progress)


def has_profiles(run: Run) -> bool:
    """Return whether the test needs profiles."""
    return run.prepared.job.task.test.profiles(run.prepared.job.task.family)


def _fit(run: Run, chunk: int) -> Arrays:
    """Fit a chunk of genes, and return the fits with the statistics that later stages need."""
    conductor = conductor_of(run)
    out: Arrays = {}
    for i in range(len(conductor.plans)):
        fitted, stats = conductor.fit(i, chunk), conductor.store.cells(i, chunk).stats
        out |= arrays_of_fit(fitted, f"{i}/fit/")
        # picking the genes drops the overflow lists of other genes
        out |= arrays_of(stats.pick(np.arange(len(stats), dtype=np.int64)), f"{i}/stats/")
        conductor.store.drop(i)
    return out


def _profile(run: Run, chunk: int) -> Arrays:
    """Profile a chunk of genes, and return profiles with a copy of their input; empty if no test needs them."""
    conductor = conductor_of(run)
    out: Arrays = {}
    for i in range(len(conductor.plans)):
        result, plan = conductor.profile(i, chunk), conductor.profile_plan(i)
        if result is not None and plan is not None:
            out |= arrays_of_profiles(result, f"{i}/profiles/")
            out |= {f"{i}/{name}": array for name, array in input_of_profiles(plan, *run.gene_range(chunk)).items()}
        conductor.store.drop(i)
    return out


_STAGE_FUNCTIONS: dict[str, Callable[[Run, int], Arrays]] = {
    "compress": compress_cells,
    "fit": _fit,
    "profile": _profile,
}
