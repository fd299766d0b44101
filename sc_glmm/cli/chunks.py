"""Run one chunk, and write the combined results."""

from __future__ import annotations

import shutil
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import InputError

# The commands import these when they run, because `--help` should be fast.
if TYPE_CHECKING:
    from .._run.options import RunOptions
    from .._run.parts.folder import Run


class Stage(StrEnum):
    """Stages of a chunk."""

    prepare = "prepare"
    compress = "compress"
    fit = "fit"
    profile = "profile"


def run_one_chunk(
    source: Path, folder: Path, options: RunOptions, n_chunks: int | None, chunk: int | None, stage: Stage | None
) -> str:
    """Run one stage of one chunk, and return the message for the user.

    Parameters
    ----------
    source
        The input.
    folder
        Folder for the parts.
    options
        Options of the run.
    n_chunks, chunk, stage
        Number of chunks, number of this chunk, and stage, from the command line.

    Raises
    ------
    InputError
        If the options do not fit together, or the chunk cannot be run.
    """
    if options.memory_limit is not None:
        raise InputError(
            f"--memory-limit {options.memory_limit} cannot be used with chunks, because the statistics of a chunk have "
            "a fixed size: use more chunks to reduce it"
        )
    if n_chunks is None or (chunk is None) != (stage == "prepare"):
        raise InputError(
            f"--n-chunks {n_chunks}, --chunk {chunk}, --stage {stage}: pass both --n-chunks and --chunk (from 0). Only "
            "--stage prepare has no --chunk, because it runs once for all chunks"
        )
    if folder.suffix in (".h5ad", ".csv", ".parquet") or folder.is_file():
        raise InputError(
            f"The output {folder} must be a folder for the parts; 'sc-glmm combine' writes the result files."
        )
    start = time.perf_counter()
    from .._run.parts.chunks import has_profiles, run_chunk
    from .._run.parts.folder import open_run

    run = open_run(folder, source, options, n_chunks)
    if chunk is None:
        notes = "".join(f"note: {note}\n" for note in run.prepared.job.notes)
        stages = [name for name in run.stages if name != "profile" or has_profiles(run)]
        return f"{notes}Prepared {folder} for {n_chunks} chunks; stages: {', '.join(stages)}"
    name = run.stages[0] if stage is None else stage.value
    result = run_chunk(run, name, chunk)
    if result.skipped:
        return f"Chunk {chunk} of stage {name} is already finished: {result.path}"
    return f"Chunk {chunk} of stage {name} in {time.perf_counter() - start:.1f} s: {result.path}"


def write_into_copy(run: Run, path: Path) -> None:
    """Copy the input to `path` and write the results into the copy, without loading the matrix."""
    from .._adata.store import Store

    store = run.opened.store
    if store is None or store.is_zarr:
        raise InputError("The output cannot be an .h5ad file, because the input is not one; use .csv or .parquet.")
    shutil.copyfile(store.path, path)
    Store(path).write_results(run.opened.adata, run.manifest.key)
