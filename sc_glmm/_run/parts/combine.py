"""From the parts of a run to its tables: what needs all genes, and the refusal of what is incomplete."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..._display import logger, warn_notes
from ..._errors import InputError
from ..job import put_results
from .chunks import conductor_of, has_profiles, run_chunk
from .folder import PREPARED, Run, listed, open_run
from .manifest import MANIFEST, check_same_run, current_versions, read_manifest

# What a part says of who made it.
_BY = "combine"


def combine(
    folder: Path,
    data: Path | None = None,
    *,
    key: str | None = None,
    n_jobs: int | None = 1,
    progress: bool | None = False,
) -> Run:
    """Put the parts of a run together: the results are in ``run.opened.adata`` then, under ``run.manifest.key``.

    Stages that no chunk has begun are done here, with all threads; they leave parts, so that it can be interrupted.

    Parameters
    ----------
    folder
        The parts.
    data
        The file they were made from, if it was moved.
    key
        Name under which the results are stored; by default the one given with the chunks.
    n_jobs, progress
        As for :func:`sc_glmm.tl.test`.

    Raises
    ------
    InputError
        If a part is missing, damaged, or of another run; the message names it.
    """
    found = read_manifest(folder)
    if found is None:
        raise InputError(f"{folder} has no {MANIFEST}, so it is not a folder of parts; run the chunks with -o {folder}")
    # before the data are looked at: other versions may read them in another way
    check_same_run(folder, found, replace(found, versions=current_versions()))
    path = Path(found.data) if data is None else data
    if not path.exists():
        raise InputError(f"{path}, from which {folder} was made, is not there; say with --data where it is now")
    options = replace(found.options, key_added=key or found.key, n_jobs=n_jobs, progress=progress)
    run = open_run(folder, path, options, found.n_chunks)
    _check_stages(run)
    warn_notes(run.prepared.job.notes)
    for stage in run.stages[run.stages.index("fit") :]:
        if stage == "profile" and not has_profiles(run):
            break
        _complete(run, stage)
    tests, notes = conductor_of(run).run()
    put_results(run.opened.adata, run.manifest.key, run.prepared.job, tests, notes)
    return run


def _check_stages(run: Run) -> None:
    """Refuse gaps and strangers before any work is done."""
    known = {run.path(stage, chunk).name for stage in run.stages for chunk in range(run.manifest.n_chunks)}
    strange = sorted(path.name for path in run.folder.glob("*.npz") if path.name not in {*known, PREPARED})
    if strange:
        raise InputError(
            f"{run.folder} holds {strange[0]}, which is not a part of this run in {run.manifest.n_chunks} chunks; "
            "remove it"
        )
    first = run.stages[0]
    if first == "fit" or run.missing("fit"):
        run.need(first)
    for stage in run.stages:
        for chunk in range(run.manifest.n_chunks):
            if run.path(stage, chunk).exists():
                with run.open_part(stage, chunk) as part:
                    by = part.header.get("by")
                    part.verify()
                if by != _BY and run.missing(stage) and stage != "compress":
                    run.need(stage)


def _complete(run: Run, stage: str) -> None:
    """Do a stage that no chunk has begun."""
    missing = run.missing(stage)
    if missing:
        logger.info("stage %r was not run in chunks: %s is done here", stage, listed(missing))
    for chunk in missing:
        run_chunk(run, stage, chunk, _BY)
