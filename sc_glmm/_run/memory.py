"""Store statistics and results in memory, with all genes in one chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .._compress.matrix import Matrix
from .._compress.source import Source
from .._engine.genes import GeneStats
from .._fit.compress import Compressed, Layout, compress_groups
from .._fit.sizes import SampleFactors, sample_totals
from .conductor import Store
from .plan import Plan
from .stages import Task, composition


class MemoryStore(Store):
    """Store of all genes of `matrix`, which is compressed in one pass.

    Parameters
    ----------
    matrix, plans, task
        As in :class:`.conductor.Conductor`.
    n_jobs, memory_limit, progress
        As in :func:`sc_glmm.tl.test`.
    """

    def __init__(
        self,
        matrix: Matrix | Source,
        plans: Sequence[Plan],
        task: Task,
        *,
        n_jobs: int = 1,
        memory_limit: int | None = None,
        progress: bool | None = False,
    ) -> None:
        super().__init__([(0, matrix.shape[1])], memory_limit)
        self._plans, self._task = plans, task
        compressed = compress_groups(
            matrix,
            [plan.cells for plan in plans],
            task.family,
            n_jobs=n_jobs,
            memory_limit=memory_limit,
            progress=progress,
        )
        # simulated counts need another pass
        self._compressed = (
            compressed if task.test.needs.simulations else [_without_weights(each) for each in compressed]
        )

    def layout(self, i: int) -> Layout:
        """Return the rows and nodes of group `i`."""
        return self._compressed[i]

    def cells(self, i: int, chunk: int) -> Compressed:
        """Return the compressed cells of group `i`."""
        return self._compressed[i]

    def stats(self, i: int, chunk: int) -> GeneStats:
        """Return the statistics of the genes in group `i`."""
        return self._compressed[i].stats

    def factors(self, i: int, chunk: int) -> SampleFactors | None:
        """Compute the composition factors of the samples from the counts of all genes."""
        if not self._task.normalise:
            return None
        design, cells = self._plans[i].cells.design, self._compressed[i]
        return composition(self._plans[i], cells, self._task, sample_totals(design, cells, cells.stats.A))


def _without_weights(compressed: Compressed) -> Compressed:
    """Drop the weights of the cells, a few hundred bytes for each cell."""
    if compressed.centred is None:
        return compressed
    return replace(compressed, centred=compressed.centred.without_weights())
