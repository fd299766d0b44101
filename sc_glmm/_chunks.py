"""What the commands for runs in chunks do: one chunk, and what becomes of all of them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from ._errors import InputError
from ._io.store import Store
from ._parallel import resolve_n_jobs
from ._parts.context import Run, open_run
from ._parts.manifest import Options
from ._parts.stages import has_profiles, run_chunk


def run_one_chunk(
    source: Path,
    folder: Path,
    options: dict[str, Any],
    which: tuple[int | None, int | None, str | None],
    *,
    key: str,
    n_jobs: int | None,
    progress: bool,
) -> str:
    """Do one stage of one chunk and say so.

    Parameters
    ----------
    source, folder
        The input, and where the parts go.
    options
        Arguments of :class:`~sc_glmm._parts.manifest.Options`.
    which
        Number of chunks, number of this chunk, and stage, as the user gave them.
    key, n_jobs, progress
        As for :func:`sc_glmm.tl.test`.
    """
    n_chunks, chunk, stage = which
    if n_chunks is None or (chunk is None) != (stage == "prepare"):
        raise InputError(
            f"--n-chunks {n_chunks}, --chunk {chunk}, --stage {stage}: a chunk needs both its number (from 0 on) and "
            "how many there are; only --stage prepare goes without --chunk, because it is done once for all"
        )
    if folder.suffix in (".h5ad", ".csv", ".parquet") or folder.is_file():
        raise InputError(f"The output {folder} must be a folder for the parts; 'sc-glmm combine' makes files of them.")
    start = time.perf_counter()
    run = open_run(
        folder, source, Options(**options), n_chunks, key=key, n_jobs=resolve_n_jobs(n_jobs), progress=progress
    )
    if chunk is None:
        notes = "".join(f"note: {note}\n" for note in run.prepared.job.notes)
        stages = [name for name in run.stages if name != "profile" or has_profiles(run)]
        return f"{notes}Prepared {folder} for {n_chunks} chunks; stages: {', '.join(stages)}"
    name = stage or run.stages[0]
    done = run_chunk(run, name, chunk)
    if done.skipped:
        return f"Chunk {chunk} of stage {name} was finished before: {done.path}"
    return f"Chunk {chunk} of stage {name} in {time.perf_counter() - start:.1f} s: {done.path}"


def write_into_copy(run: Run, path: Path) -> None:
    """Copy the input to `path` and write the results into the copy, without a matrix in memory."""
    store = run.opened.store
    if store is None or store.is_zarr:
        raise InputError("The input is no .h5ad file, so that the output cannot be one; choose .csv or .parquet.")
    shutil.copyfile(store.path, path)
    Store(path).write_results(run.opened.adata, run.manifest.key)
