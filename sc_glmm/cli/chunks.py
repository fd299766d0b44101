"""What the commands for runs in chunks do: one chunk, and what becomes of all of them."""

from __future__ import annotations

import shutil
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import InputError

# The command loads what its commands need when they are called: `--help` answers at once.
if TYPE_CHECKING:
    from .._run.options import RunOptions
    from .._run.parts.folder import Run


class Stage(StrEnum):
    """What a chunk goes through."""

    prepare = "prepare"
    compress = "compress"
    fit = "fit"
    profile = "profile"


def run_one_chunk(
    source: Path, folder: Path, options: RunOptions, n_chunks: int | None, chunk: int | None, stage: Stage | None
) -> str:
    """Do one stage of one chunk and say so.

    Parameters
    ----------
    source, folder
        The input, and where the parts go.
    options
        What is done.
    n_chunks, chunk, stage
        Number of chunks, number of this chunk, and stage, as the user gave them.
    """
    if options.memory_limit is not None:
        raise InputError(
            f"--memory-limit {options.memory_limit} does not go with chunks, whose statistics are as large as their "
            "share of the data; take more chunks to make them smaller"
        )
    if n_chunks is None or (chunk is None) != (stage == "prepare"):
        raise InputError(
            f"--n-chunks {n_chunks}, --chunk {chunk}, --stage {stage}: a chunk needs both its number (from 0 on) and "
            "how many there are; only --stage prepare goes without --chunk, because it is done once for all"
        )
    if folder.suffix in (".h5ad", ".csv", ".parquet") or folder.is_file():
        raise InputError(f"The output {folder} must be a folder for the parts; 'sc-glmm combine' makes files of them.")
    start = time.perf_counter()
    from .._run.parts.chunks import has_profiles, run_chunk
    from .._run.parts.folder import open_run

    run = open_run(folder, source, options, n_chunks)
    if chunk is None:
        notes = "".join(f"note: {note}\n" for note in run.prepared.job.notes)
        stages = [name for name in run.stages if name != "profile" or has_profiles(run)]
        return f"{notes}Prepared {folder} for {n_chunks} chunks; stages: {', '.join(stages)}"
    name = run.stages[0] if stage is None else stage.value
    done = run_chunk(run, name, chunk)
    if done.skipped:
        return f"Chunk {chunk} of stage {name} was finished before: {done.path}"
    return f"Chunk {chunk} of stage {name} in {time.perf_counter() - start:.1f} s: {done.path}"


def write_into_copy(run: Run, path: Path) -> None:
    """Copy the input to `path` and write the results into the copy, without a matrix in memory."""
    from .._adata.store import Store

    store = run.opened.store
    if store is None or store.is_zarr:
        raise InputError("The input is not an .h5ad file, so the output cannot be one; choose .csv or .parquet.")
    shutil.copyfile(store.path, path)
    Store(path).write_results(run.opened.adata, run.manifest.key)
