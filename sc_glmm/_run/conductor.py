"""Run the stages in their order, for every kind of store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from .._arrays import FloatArray, IntArray
from .._compress.lists import GeneLists
from .._compress.matrix import Matrix
from .._compress.source import Source
from .._display import by_note, counted, current_run
from .._engine.genes import GeneStats
from .._fit.bootstrap import bootstrap_p_values
from .._fit.compress import Compressed, Layout
from .._fit.genes import BLOCK, GeneModel
from .._fit.moderated import moderate
from .._fit.profiles import GeneProfiles, ProfilePlan, plan_profiles, profile_all
from .._fit.ranges import RangeFit, join_fits, join_profiles
from .._fit.sizes import SampleFactors
from .._fit.slabs import join_stats
from .._inference.prior import VariancePrior
from .._parallel.blocks import blocks_under_way
from .._results import GeneTests
from .plan import Plan
from .stages import Task, finish, fit_range, model_of

T = TypeVar("T")


class Store(ABC):
    """Storage for the statistics of the genes and the results of the stages, by chunk.

    Parameters
    ----------
    ranges
        First gene and end of each chunk.
    memory_limit
        Memory in bytes that statistics may use; None for no limit.
    """

    def __init__(self, ranges: Sequence[tuple[int, int]], memory_limit: int | None = None) -> None:
        self.ranges, self.memory_limit = ranges, memory_limit
        self._results: dict[tuple[str, int, int], Any] = {}

    @abstractmethod
    def layout(self, i: int) -> Layout:
        """Return the rows and nodes of group `i`."""

    @abstractmethod
    def cells(self, i: int, chunk: int) -> Compressed:
        """Return the cells of group `i`, compressed for the genes of a chunk, as input of the fits."""

    @abstractmethod
    def stats(self, i: int, chunk: int) -> GeneStats:
        """Return the statistics of the genes of a chunk, for the stages after the fits."""

    @abstractmethod
    def factors(self, i: int, chunk: int) -> SampleFactors | None:
        """Return the composition factors of the samples, from the counts of all genes; None if they are not used."""

    def prior(self, i: int) -> tuple[VariancePrior | None, FloatArray] | None:
        """Return the prior of the variances and the abundance ranks of the genes from an earlier run, if any."""
        return None

    def get(self, stage: str, i: int, chunk: int, compute: Callable[[], T]) -> T:
        """Return the result of a stage (or ``"model"``, ``"plan"``) for a chunk of group `i`, computed on first use."""
        if (stage, i, chunk) not in self._results:
            self._results[stage, i, chunk] = compute()
        result: T = self._results[stage, i, chunk]
        return result

    def drop(self, i: int) -> None:
        """Delete the intermediate results of group `i` after its tables are finished."""
        self._results = {key: result for key, result in self._results.items() if key[1] != i}


@dataclass(frozen=True)
class Conductor:
    """A run with its store.

    Attributes
    ----------
    plans
        The groups, with their positions in `matrix`.
    task
        Settings that all groups share.
    matrix
        (n_obs, n_genes) response, in memory or read chunk by chunk.
    genes
        Names of the genes.
    store
        Storage of statistics and results.
    n_jobs, progress
        Number of threads, and whether to show a progress bar.
    """

    plans: Sequence[Plan]
    task: Task
    matrix: Matrix | Source
    genes: pd.Index
    store: Store
    n_jobs: int = 1
    progress: bool | None = False

    def run(self) -> tuple[list[GeneTests], list[str]]:
        """Run all stages of all groups; return the tables of every group and notes for the user."""
        tests: list[GeneTests] = []
        notes: list[tuple[str, str]] = []
        for i, plan in enumerate(self.plans):
            result, more = self.tables(i)
            self.store.drop(i)
            tests.append(result)
            notes += [(plan.cells.name, note) for note in more]
        return tests, by_note(notes, len(self.plans), self.task.options.groupby)

    def fit(self, i: int, chunk: int) -> RangeFit:
        """Fit the genes of a chunk."""
        self._begin(i, "fits")
        plan, cells, factors = self.plans[i], self.store.cells(i, chunk), self.store.factors(i, chunk)
        lists = self._lists(i, cells.stats, chunk)
        model = self.store.get("model", i, chunk, lambda: model_of(plan, cells, cells.stats, self.task, factors, lists))
        return fit_range(
            plan,
            cells,
            model,
            self.task,
            factors,
            first_gene=self.store.ranges[chunk][0],
            n_jobs=self.n_jobs,
            progress=self.progress,
        )

    def fitted(self, i: int, chunk: int) -> RangeFit:
        """Return the fits of a chunk, computed on first use."""
        return self.store.get("fit", i, chunk, lambda: self.fit(i, chunk))

    def all_fitted(self, i: int) -> RangeFit:
        """Return the fits of all genes."""
        return join_fits([self.fitted(i, chunk) for chunk in range(len(self.store.ranges))])

    def model(self, i: int, chunk: int) -> GeneModel:
        """Return the model of a chunk after its genes were fitted."""
        return self.store.get("model", i, chunk, lambda: self._model(i, self.store.stats(i, chunk), chunk))

    def profile_plan(self, i: int) -> ProfilePlan | None:
        """Compute the dispersion trend and the grid of the variances from the fits of all genes.

        None if the test does not use profiles.
        """
        return self.store.get("plan", i, 0, lambda: self._plan_profiles(i))

    def profile(self, i: int, chunk: int) -> GeneProfiles | None:
        """Profile the genes of a chunk; None if the test or the group does not use profiles."""
        plan = self.profile_plan(i)
        if plan is None:
            return None
        self._begin(i, "variances")
        return profile_all(
            self.model(i, chunk),
            self.fitted(i, chunk).result,
            plan.take(*self.store.ranges[chunk]),
            self._contrasts(i),
            every_node=self.task.test.needs.every_node,
            n_jobs=self.n_jobs,
            progress=self.progress,
        )

    def tables(self, i: int) -> tuple[GeneTests, list[str]]:
        """Estimate the prior of a group, test its genes, and return tables and notes."""
        fitted, plan, moderation = self.all_fitted(i), self.profile_plan(i), None
        if plan is not None:
            chunks = range(len(self.store.ranges))
            by_chunk = [self.store.get("profile", i, chunk, partial(self.profile, i, chunk)) for chunk in chunks]
            profiles = join_profiles([each for each in by_chunk if each is not None])
            moderation = moderate(
                self.model(i, 0),
                fitted.result,
                plan,
                profiles,
                self.store.prior(i),
                few=self.task.rows_are_samples,
            )
        return finish(
            self.plans[i],
            self.store.layout(i),
            self.model(i, 0),
            self.task,
            self.genes,
            fitted,
            moderation,
            self._bootstrap(i),
        )

    def _model(self, i: int, stats: GeneStats, chunk: int | None = None) -> GeneModel:
        lists = None if chunk is None else self._lists(i, stats, chunk)
        return model_of(self.plans[i], self.store.layout(i), stats, self.task, self.fitted(i, 0).factors, lists)

    def _lists(self, i: int, stats: GeneStats, chunk: int) -> GeneLists | None:
        """Return a reader of the counts of single cells, if covariates differ between the cells of group `i`."""
        centred = self.store.layout(i).centred
        if centred is None:
            return None
        return self.store.get("lists", i, chunk, partial(self._read_lists, i, stats, chunk, centred.table.order))

    def _read_lists(self, i: int, stats: GeneStats, chunk: int, order: IntArray) -> GeneLists:
        """Create the reader of the counts of a chunk; its cells are sorted by their rows of the design."""
        rank = np.full(self.matrix.shape[0], -1, dtype=np.int64)
        rank[self.plans[i].cells.cells[order]] = np.arange(len(order))
        limit = self.store.memory_limit
        return GeneLists(
            self.matrix,
            rank,
            np.arange(*self.store.ranges[chunk]),
            # numbers of cells with a count; those in the file of a part may be damaged
            np.clip(np.nan_to_num(stats.tail[:, 0]), 0, len(order)).astype(np.int64),
            # statistics that are larger than the limit are in a file
            memory_limit=None if limit is None else max(limit - stats.A.nbytes, limit // 2),
            under_way=BLOCK * blocks_under_way(self.n_jobs),
            n_jobs=self.n_jobs,
            progress=self.progress,
        )

    def _contrasts(self, i: int) -> list[FloatArray]:
        return [contrast.L for contrast in self.plans[i].contrasts]

    def _plan_profiles(self, i: int) -> ProfilePlan | None:
        if not self.task.test.profiles(self.task.family):
            return None
        fitted, kind = self.all_fitted(i), self.task.options.dispersion
        pick = partial(self._pick, i)
        return plan_profiles(self.model(i, 0), fitted.result, fitted.totals, self._contrasts(i), pick, kind)

    def _pick(self, i: int, genes: IntArray) -> GeneStats:
        """Return the statistics of `genes`, which may be in any chunk, with the model's size factors."""
        parts, order = [], []
        for chunk, (first, last) in enumerate(self.store.ranges):
            places = np.flatnonzero((genes >= first) & (genes < last))
            if len(places):
                parts.append(self.store.stats(i, chunk).pick(genes[places] - first))
                order.append(places)
        joined = join_stats(parts, np.concatenate([part.A for part in parts]))
        return self._model(i, joined.pick(np.argsort(np.concatenate(order), kind="stable"))).stats

    def _bootstrap(self, i: int) -> Callable[[FloatArray], FloatArray] | None:
        """Return a function that computes bootstrap p-values of a contrast matrix; None for other tests.

        All genes must be in one chunk.
        """
        if not self.task.test.needs.simulations or self.task.selected is None:
            return None
        settings: dict[str, Any] = {"n_boot": self.task.options.n_boot, "seed": self.task.options.seed}
        return partial(
            bootstrap_p_values,
            self.plans[i].cells,
            self.store.cells(i, 0),
            self.model(i, 0),
            genes=np.flatnonzero(self.task.selected),
            n_jobs=self.n_jobs,
            **settings,
        )

    def _begin(self, i: int, stage: Literal["fits", "variances"]) -> None:
        """Show in the progress bar of the run which stage of which group begins."""
        run = current_run()
        if run is None:
            return
        name, groupby, n_groups = self.plans[i].cells.name, self.task.options.groupby, len(self.plans)
        where = "" if groupby is None else f"{name}, {i + 1} of {counted(n_groups, groupby)}, "
        only = not self.task.test.profiles(self.task.family)
        run.stage(f"{where}{stage}", i, n_groups, fits=stage == "fits", only=only)
