"""Read the statistics and results of a run from its folder of parts, which has one file per chunk and stage."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ..._arrays import FloatArray
from ..._engine.genes import GeneStats
from ..._errors import InputError
from ..._fit.compress import Compressed, Layout
from ..._fit.profiles import GeneProfiles, ProfilePlan
from ..._fit.ranges import RangeFit
from ..._fit.sizes import SampleFactors
from ..conductor import Store
from ..stages import composition
from .checks import check_fits, check_profiles, check_statistics
from .folder import Run
from .records import Arrays, fit_from, gene_stats_from, profiles_from, shape_error
from .sums import compressed_genes

T = TypeVar("T")


class PartsStore(Store):
    """Store that reads fits and profiles from parts; other results are computed and kept for one group."""

    def __init__(self, run: Run) -> None:
        super().__init__([run.gene_range(chunk) for chunk in range(run.manifest.n_chunks)])
        self._run = run
        self._cells: dict[int, Compressed] = {}
        self._bulk: list[FloatArray | None] = []
        self._chunk: int | None = None

    def layout(self, i: int) -> Layout:
        """Return the rows and nodes of group `i`."""
        return self._run.prepared.layouts[i]

    def cells(self, i: int, chunk: int) -> Compressed:
        """Return the compressed cells of group `i`; the cells of all groups are read together."""
        if self._chunk != chunk:
            self._cells, self._bulk = compressed_genes(self._run, chunk)
            self._chunk = chunk
        return self._cells[i]

    def stats(self, i: int, chunk: int) -> GeneStats:
        """Read the statistics of a chunk, which are stored with its fits."""
        with self._run.open_part("fit", chunk) as part:
            first, last = self.ranges[chunk]
            check_statistics(part, f"{i}/stats/", last - first, self.layout(i).n_nodes)
            stats = gene_stats_from(part, f"{i}/stats/")
            problem = shape_error(stats, last - first, self.layout(i).n_nodes)
            if problem is not None:
                raise part.damaged(ValueError(problem))
            return stats

    def factors(self, i: int, chunk: int) -> SampleFactors | None:
        """Compute the composition factors of the samples from the counts of all genes in all chunks of cells."""
        job, cells = self._run.prepared.job, self.cells(i, chunk)
        bulk = self._bulk[i]
        return composition(job.plans[i], cells, job.task, bulk) if job.task.normalise and bulk is not None else None

    def get(self, stage: str, i: int, chunk: int, compute: Callable[[], T]) -> T:
        """Return a result: fits and profiles are read from their parts, others are computed on first use."""
        source: Any = compute
        if stage == "fit":
            source = partial(self._fits, i, chunk)
        elif stage == "profile":
            source = partial(self._profiles, i, chunk)
        return super().get(stage, i, chunk, source)

    def _fits(self, i: int, chunk: int) -> RangeFit:
        if not self._run.path("fit", chunk).exists():
            self._run.need("fit")
        plan, (first, last) = self._run.prepared.job.plans[i], self.ranges[chunk]
        design, layout, prefix = plan.cells.design, self.layout(i), f"{i}/fit/"
        with self._run.open_part("fit", chunk) as part:
            check_fits(part, prefix, plan, self._run.prepared.job.task, last - first, len(layout.rows.X))
            return fit_from(part, prefix, design, layout)

    def _profiles(self, i: int, chunk: int) -> GeneProfiles:
        """Read the profiles of a chunk; it is an error if they belong to other fits."""
        plan: ProfilePlan = self._results["plan", i, 0]
        with self._run.open_part("profile", chunk) as part:
            same_input = f"{i}/theta" in part and all(
                part.shape(f"{i}/{name}") == ("f", expected.shape)
                and np.array_equal(part[f"{i}/{name}"], expected, equal_nan=True)
                for name, expected in input_of_profiles(plan, *self.ranges[chunk]).items()
            )
            if not same_input:
                raise InputError(
                    f"{part.path} was computed from other fits than those in {self._run.folder}; remove it and run it "
                    f"again with --chunk {chunk} --stage profile"
                )
            own, (first, last) = self._run.prepared.job.plans[i], self.ranges[chunk]
            check_profiles(part, f"{i}/profiles/", own.cells.design, last - first, plan, len(own.contrasts))
            return profiles_from(part, f"{i}/profiles/")


def input_of_profiles(plan: ProfilePlan, first: int, last: int) -> Arrays:
    """Return the input of the profiles of a range of genes, which shows whether they belong to the same fits."""
    return {"theta": plan.grid.theta, "log_dispersion": plan.log_dispersion[first:last]}
