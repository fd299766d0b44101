"""Open a run in chunks: the data, manifest and plan of one process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..._adata.open import Opened, open_data
from ..._adata.tables import columns_of
from ..._arrays import FloatArray
from ..._compress.size_factors import library_size, pseudobulk
from ..._compress.source import Source
from ..._design import finest
from ..._display import logger
from ..._errors import InputError
from ..._fit.compress import CompressionPlan, Layout, plan_passes
from ..._fit.genes import BLOCK
from ..._parallel.resources import resolve_n_jobs
from ..job import Job, ParsedRequest, plan_job, validate_request
from ..options import RunOptions
from ..plan import Plan
from .files import Part, write_part
from .fingerprint import matrix_fingerprint, plan_fingerprint
from .manifest import (
    MANIFEST,
    Manifest,
    check_part,
    check_same_run,
    current_versions,
    read_manifest,
    write_manifest,
)

PREPARED = "prepared.npz"
# Stages of a run, by the axis that is split first.
STAGES = {"cells": ("compress", "fit", "profile"), "genes": ("fit", "profile")}


@dataclass(frozen=True)
class Run:
    """A run in chunks that one of its processes has opened.

    Attributes
    ----------
    folder
        Folder of the parts.
    manifest
        Settings on which all processes agree.
    opened, request, source
        The data, the checked request, and the matrix.
    """

    folder: Path
    manifest: Manifest
    opened: Opened
    request: ParsedRequest
    source: Source

    @property
    def n_jobs(self) -> int:
        """Threads of this process."""
        return resolve_n_jobs(self.request.options.n_jobs)

    @property
    def progress(self) -> bool | None:
        """Whether to show a progress bar."""
        return self.request.options.progress

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of this run, in their order."""
        return STAGES[self.manifest.layout]

    def writes_to(self, out: Path) -> bool:
        """Write the results into the input if `out` is the input; return whether this was done."""
        store = self.opened.store
        if store is None or not out.exists() or not out.samefile(store.path):
            return False
        store.write_results(self.opened.adata, self.manifest.key)
        return True

    def path(self, stage: str, chunk: int) -> Path:
        """Return the path of a part."""
        return self.folder / f"{stage}-{chunk:04d}.npz"

    def missing(self, stage: str) -> list[int]:
        """Return the chunks of a stage that have no part."""
        return [chunk for chunk in range(self.manifest.n_chunks) if not self.path(stage, chunk).exists()]

    def need(self, stage: str) -> None:
        """Raise an error if chunks of a stage are missing."""
        missing = self.missing(stage)
        if missing:
            raise InputError(
                f"{self.folder}: {listed(missing)} of stage {stage!r} {'is' if len(missing) == 1 else 'are'} missing "
                f"(of {self.manifest.n_chunks}); {chunk_remedy(stage, missing[0])}, then repeat this command"
            )

    def open_part(self, stage: str, chunk: int) -> Part:
        """Open a part and check that it belongs to this run."""
        part = Part(self.path(stage, chunk), chunk_remedy(stage, chunk))
        check_part(part, self.manifest, stage, chunk)
        return part

    def cell_range(self, chunk: int) -> tuple[int, int]:
        """Return first row and end of a chunk of cells."""
        n, n_chunks = self.source.shape[0], self.manifest.n_chunks
        return chunk * n // n_chunks, (chunk + 1) * n // n_chunks

    def gene_range(self, chunk: int) -> tuple[int, int]:
        """Return first column and end of a chunk of genes.

        If there are enough genes, chunks are whole blocks of the engine, which makes results identical to the last bit.
        """
        n, n_chunks = self.source.shape[1], self.manifest.n_chunks
        step = BLOCK if n >= BLOCK * n_chunks else 1
        n_steps = -(-n // step)
        return chunk * n_steps // n_chunks * step, min((chunk + 1) * n_steps // n_chunks * step, n)

    @cached_property
    def prepared(self) -> Prepared:
        """Data that all chunks share. The first process that needs them computes them, and the others read them."""
        path = self.folder / PREPARED
        if not path.exists():
            _prepare(self, path)
        with Part(path, f"run --stage prepare (or any chunk) again in {self.folder}") as part:
            check_part(part, self.manifest, "prepare", None)
            library = part["library"] if "library" in part else np.zeros(0)
            job = plan_job(self.opened.adata, self.request, lambda: library, self.opened.labels)
            if part.header.get("plan") != plan_fingerprint(job.plans, self.request.selected):
                raise InputError(
                    f"{self.manifest.data}: the columns of obs in the formula, or the selected genes, have changed "
                    f"since {path} was written; restore them, or remove the folder and run all chunks again"
                )
            bulk = [part[f"{i}/bulk"] if f"{i}/bulk" in part else None for i in range(len(job.plans))]
        passes = plan_passes([plan.cells for plan in job.plans], job.task.family, self.source.shape[0])
        return Prepared(job, library, bulk, passes)


@dataclass(frozen=True)
class Prepared:
    """Data that all chunks share.

    Attributes
    ----------
    job
        Plans of all groups.
    library
        (n_obs,) library sizes if the user passed no size factors; otherwise empty.
    bulk
        For each plan, (n_levels, n_genes) counts of the samples, if they are needed and no later stage computes them.
    passes
        Plans of the compression; each adds up the counts of several groups in one pass.
    """

    job: Job
    library: FloatArray
    bulk: list[FloatArray | None]
    passes: list[CompressionPlan]

    @cached_property
    def layouts(self) -> dict[int, Layout]:
        """Layout of each plan, by its position."""
        return {i: layout for each in self.passes for i, layout in zip(each.groups, each.layouts, strict=True)}


def open_run(folder: Path, data: Path, options: RunOptions, n_chunks: int) -> Run:
    """Open the data, and join a run or start it.

    Raises
    ------
    InputError
        If the data cannot be used, or if the folder contains another run.
    """
    columns = columns_of(options.formula, options.groupby, options.size_factors, options.offset)
    opened = open_data(data, options.key_added, columns=columns)
    request = validate_request(opened, options)
    if request.test.needs.simulations:
        raise InputError(f"test={request.test.name!r} is for a few genes and cannot run in chunks; use sc_glmm.tl.test")
    source = request.response.matrix
    if not isinstance(source, Source):
        raise InputError(f"{data} cannot be read in chunks; pass the path of an .h5ad file or a zarr store")
    limit = min(source.shape)
    if not 1 <= n_chunks <= limit:
        raise InputError(
            f"n_chunks={n_chunks}: allowed are 1 to {limit}, because the matrix has {source.shape[0]} cells and "
            f"{source.shape[1]} genes"
        )
    manifest = Manifest(
        options=options,
        fingerprint=matrix_fingerprint(source, opened.adata.obs_names, opened.adata.var_names),
        shape=source.shape,
        layout="genes" if source.form == "csc" else "cells",
        n_chunks=n_chunks,
        versions=current_versions(),
        data=str(data.resolve()),
        key=options.key_added,
    )
    found = read_manifest(folder)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted(path.name for path in folder.glob("*.npz"))
        if foreign:
            raise InputError(
                f"{folder} contains {foreign[0]} but no {MANIFEST}; use an empty folder for the run, or remove the "
                "files in this one"
            )
        write_manifest(folder, manifest)
    else:
        check_same_run(folder, found, manifest)
    return Run(folder, manifest, opened, request, source)


def _prepare(run: Run, path: Path) -> None:
    """Compute the data that all chunks share, and write them to `path`.

    The matrix is read once if the user passed no size factors, and once more for the counts of the samples if chunks
    are split by genes first.
    """
    arrays: dict[str, FloatArray] = {}
    library = np.zeros(0)
    if run.request.needs_library:
        logger.info("reading the matrix for the library sizes")
        library = library_size(run.source, check=True, n_jobs=run.n_jobs, progress=run.progress)
        arrays["library"] = library
    job = plan_job(run.opened.adata, run.request, lambda: library)
    if job.task.normalise and run.manifest.layout == "genes":
        arrays |= {f"{i}/bulk": bulk for i, bulk in enumerate(_bulk(run, job.plans))}
    write_part(path, run.manifest.header("prepare", plan=plan_fingerprint(job.plans, run.request.selected)), arrays)


def _bulk(run: Run, plans: list[Plan]) -> list[FloatArray]:
    """Count all genes in the levels of the finest grouping factor of each plan, in a single pass."""
    codes = np.full(run.source.shape[0], -1, dtype=np.int64)
    edges = [0]
    for plan in plans:
        random = plan.cells.design.random
        samples = random[finest(random)]
        codes[plan.cells.cells] = edges[-1] + samples.codes
        edges.append(edges[-1] + len(samples.levels))
    bulk = pseudobulk(run.source, codes, edges[-1], n_jobs=run.n_jobs)
    return [bulk[first:last] for first, last in zip(edges[:-1], edges[1:], strict=True)]


def listed(chunks: list[int], most: int = 10) -> str:
    """Write a list of chunks: ``chunk 3``, ``chunks 3, 4, 7, ... (20 in all)``."""
    shown = ", ".join(map(str, chunks[:most]))
    tail = "" if len(chunks) <= most else f", ... ({len(chunks)} in all)"
    return f"chunk{'' if len(chunks) == 1 else 's'} {shown}{tail}"


def chunk_remedy(stage: str, chunk: int) -> str:
    """Write the advice for a missing or damaged part."""
    return f"run it with --chunk {chunk} --stage {stage}"
