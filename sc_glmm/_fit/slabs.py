"""Handle statistics larger than the memory limit: several passes over the matrix, and a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np

from .._arrays import FloatArray, IntArray
from .._display import logger
from .._engine.genes import GeneStats
from .._errors import InputError
from .._families.nb import N_TAIL

_GB = 1e9


def gene_slabs(genes: IntArray, nodes: Sequence[int], memory_limit: int | None) -> list[IntArray]:
    """Divide the genes into sets of consecutive genes whose statistics fit the memory limit; one pass each.

    Parameters
    ----------
    genes
        Columns of the matrix.
    nodes
        Number of nodes of each group.
    memory_limit
        Bytes; None for no limit.
    """
    if memory_limit is None:
        return [genes]
    # Sums on nodes (twice if each group is copied out of a common array), histogram (int32), tail and large counts.
    bytes_per_gene = 8 * sum(nodes) * (1 if len(nodes) == 1 else 2) + len(nodes) * (12 * N_TAIL + 64)
    n_passes = min(max(-(-bytes_per_gene * len(genes) // memory_limit), 1), max(len(genes), 1))
    if n_passes > 1:
        logger.info(
            "the statistics of %s genes need %.2g GB, but memory_limit is %.2g GB: %d passes over the matrix are "
            "needed, and the statistics are kept in a temporary file",
            f"{len(genes):,}",
            bytes_per_gene * len(genes) / _GB,
            memory_limit / _GB,
            n_passes,
        )
    return [part for part in np.array_split(genes, n_passes) if len(part)] or [genes]


def scratch_array(shape: tuple[int, int]) -> FloatArray:
    """Create an array of zeros in a temporary file, which is deleted with the array or the process.

    Raises
    ------
    InputError
        If there is not enough disk space.
    """
    n_bytes = 8 * shape[0] * shape[1]
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile(prefix="sc-glmm-", dir=folder) as file:
        try:
            # Without reserved space, writing to a full disk would kill the process instead of raising an error.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(n_bytes, 1))
            else:
                file.truncate(n_bytes)
        except OSError as error:
            raise InputError(
                f"memory_limit needs {n_bytes / _GB:.2g} GB for statistics in a temporary file, but {folder} has no "
                f"space for them ({error.strerror}); increase memory_limit, or set TMPDIR to a larger disk"
            ) from error
        return np.asarray(np.memmap(file, dtype=np.float64, mode="r+", shape=shape))


def join_stats(parts: Sequence[GeneStats], A: FloatArray) -> GeneStats:
    """Join the statistics of consecutive sets of genes; `A` already contains the sums of all genes."""
    spans = [(int(part.over_ptr[0]), int(part.over_ptr[-1])) for part in parts]
    starts = np.cumsum([0, *(last - first for first, last in spans)]).astype(np.int64)
    ptr = [
        part.over_ptr[:-1] - first + start
        for part, (first, _), start in zip(parts, spans, starts[:-1].tolist(), strict=True)
    ]

    def joined(name: str) -> FloatArray:
        return np.concatenate([getattr(part, name) for part in parts])

    def joined_over(name: str) -> FloatArray:
        return np.concatenate([getattr(part, name)[slice(*span)] for part, span in zip(parts, spans, strict=True)])

    return GeneStats(
        A=A,
        tail=joined("tail"),
        over_ptr=np.concatenate([*ptr, starts[-1:]]),
        over_value=joined_over("over_value"),
        over_count=joined_over("over_count"),
        extra=joined("extra"),
        const=joined("const"),
    )
