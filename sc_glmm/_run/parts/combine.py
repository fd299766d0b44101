"""Check that the parts of a run are complete, and combine them into its tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..._display import logger, warn_notes
from ..._errors import InputError
from ..job import put_results
from .chunks import conductor_of, has_profiles, run_chunk
from .folder import PREPARED, Run, listed, open_run
from .manifest import MANIFEST, check_same_run, current_versions, read_manifest

# The parts that `combine` computes have this word in their header.
_BY = "combine"


def combine(
    folder: Path,
    data: Path | None = None,
    *,
    key: str | None = None,
    n_jobs: int | None = 1,
    progress: bool | None = False,
) -> Run:
    """Combine the parts of a run into tables.

    Stages without any part are run here, with all threads. They write parts, so an interrupted `combine` can continue.

    Parameters
    ----------
    folder
        Folder of the parts.
    data
        The input file, if it was moved.
    key
        Name under which the results are stored. Default: the name given for the chunks.
    n_jobs, progress
        As in :func:`sc_glmm.tl.test`.

    Returns
    -------
    The run; its results are in ``run.opened.adata``, under ``run.manifest.key``.

    Raises
    ------
    InputError
        If a part is missing, damaged, or from another run; the message contains its path.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder} has no {MANIFEST}, so it is not a folder of parts; run the chunks with -o {folder}")
    # before the data are read, because other versions may read them differently
    check_same_run(folder, manifest, replace(manifest, versions=current_versions()))
    path = Path(manifest.data) if data is None else data
    if not path.exists():
        raise InputError(f"{path}, the input of {folder}, does not exist; pass its new path with --data")
    options = replace(manifest.options, key_added=key or manifest.key, n_jobs=n_jobs, progress=progress)
    run = open_run(folder, path, options, manifest.n_chunks)
    _check_stages(run)
    warn_notes(run.prepared.job.notes)
    for stage in run.stages[run.stages.index("fit") :]:
        if stage == "profile" and not has_profiles(run):
            break
        _complete(run, stage)
    tests, notes = conductor_of(run).run()
    warn_notes(notes)
    put_results(run.opened.adata, run.manifest.key, run.prepared.job, tests, notes)
    return run


def _check_stages(run: Run) -> None:
    """Raise an error for missing parts, and parts of other runs, before any work is done."""
    expected = {run.path(stage, chunk).name for stage in run.stages for chunk in range(run.manifest.n_chunks)}
    others = sorted(path.name for path in run.folder.glob("*.npz") if path.name not in {*expected, PREPARED})
    if others:
        raise InputError(
            f"{run.folder} contains {others[0]}, which is not a part of this run in {run.manifest.n_chunks} chunks; "
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
    """Run the chunks of a stage that have no part."""
    missing = run.missing(stage)
    if missing:
        logger.info("stage %r was not run in chunks: %s is run here", stage, listed(missing))
    for chunk in missing:
        run_chunk(run, stage, chunk, _BY)
