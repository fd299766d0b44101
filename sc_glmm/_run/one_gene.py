"""Refit one gene of an earlier run with the stored sample factors, grid and prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._compress.matrix import Matrix
from .._design import Contrast, finest
from .._errors import InputError
from .._families.registry import Family
from .._fit.compress import CellGroup, Compressed, tests_slopes
from .._fit.gaussian import GaussianParts
from .._fit.genes import AllFits, GeneModel
from .._fit.grid_choice import VarianceGrid
from .._fit.profiles import ProfilePlan
from .._fit.sizes import SampleFactors, cell_offsets, factors_of_levels
from .._hypotheses.df import contrast_df
from .._hypotheses.records import HypothesisTest
from .._inference.prior import VariancePrior
from .._results import ContrastTable
from .conductor import Conductor
from .memory import MemoryStore
from .options import RunOptions
from .plan import Plan
from .stages import Task

T = TypeVar("T")


@dataclass(frozen=True)
class StoredGene:
    """Stored quantities that the moderated tests of one gene need.

    Attributes
    ----------
    grid
        Grid of the variances.
    prior
        Prior of the variances; None if the run has no prior.
    rank
        Abundance rank of the gene in the prior.
    dispersion
        The fixed dispersion of the gene.
    phi_from_trend
        Whether the dispersion comes from the trend.
    """

    grid: VarianceGrid
    prior: VariancePrior | None
    rank: float
    dispersion: float
    phi_from_trend: bool


@dataclass(frozen=True)
class OneGene:
    """The fit of one gene.

    Attributes
    ----------
    cells
        The cells with their design.
    model, result, parts
        As in the run over all genes; `parts` only for Gaussian responses.
    offset
        (n_obs,) log size factors including the composition factors, or the offset of a Gaussian response.
    tests
        Function that returns the tests of the contrasts.
    """

    cells: CellGroup
    model: GeneModel
    result: AllFits
    parts: GaussianParts | None
    offset: FloatArray
    tests: Callable[[], tuple[ContrastTable, ...]]


class _StoredRun(MemoryStore):
    """Store of one gene that takes the results of stages over all genes from an earlier run."""

    def __init__(
        self, column: Matrix, plan: Plan, task: Task, by_level: Mapping[str, float], stored: StoredGene | None
    ) -> None:
        super().__init__(column, [plan], task)
        self._by_level, self._stored = by_level, stored

    def factors(self, i: int, chunk: int) -> SampleFactors | None:
        if not self._task.normalise:
            return None
        design = self._plans[i].cells.design
        levels = design.random[finest(design.random)].levels
        missing = [level for level in levels if level not in self._by_level]
        if missing:
            raise InputError(
                f"the stored log_sample_factors have none for {missing[0]!r}, which has cells: the results are "
                "damaged, or the data were changed; run sc_glmm.tl.test again"
            )
        return factors_of_levels(design, self.layout(i), np.array([self._by_level[level] for level in levels]))

    def prior(self, i: int) -> tuple[VariancePrior | None, FloatArray] | None:
        return None if self._stored is None else (self._stored.prior, np.array([self._stored.rank]))

    def get(self, stage: str, i: int, chunk: int, compute: Callable[[], T]) -> T:
        if stage != "plan":
            return super().get(stage, i, chunk, compute)
        plan: Any = None if self._stored is None else self._plan(self._stored, self._results["model", i, 0])
        return plan  # type: ignore[no-any-return]

    def _plan(self, stored: StoredGene, model: Any) -> ProfilePlan:
        found, wanted = stored.grid.theta.shape[1], len(model.structure.arrow.theta_fac)
        if found != wanted:
            raise InputError(
                f"the stored grid has {found} covariance parameters, but the model has {wanted}: the results are "
                "damaged; run sc_glmm.tl.test again"
            )
        columns = [block.Z.shape[1] for block in model.structure.blocks]
        if any(not (0 <= b < len(columns) and 0 <= column < columns[b]) for b, column in stored.grid.place):
            raise InputError(
                f"the stored grid has variances at {stored.grid.place}, which the model does not have: the results are "
                "damaged; run sc_glmm.tl.test again"
            )
        exposure = np.sum(model.nodes.ec * model.nodes.weight)
        return ProfilePlan(
            grid=stored.grid,
            abundance=np.log(self._compressed[0].total / exposure),
            log_dispersion=np.log([stored.dispersion]) if model.family.has_dispersion else np.zeros(1),
            phi_from_trend=np.array([stored.phi_from_trend]),
            usable=np.ones(1, dtype=bool),
        )


def fit_one(
    column: Matrix,
    gene: str,
    cells: CellGroup,
    contrasts: Sequence[Contrast],
    options: RunOptions,
    family: Family,
    *,
    test: HypothesisTest,
    log_sample_factors: Mapping[str, float],
    stored: StoredGene | None,
) -> OneGene:
    """Fit one gene as in the earlier run.

    Parameters
    ----------
    column
        (n_cells, 1) counts of the gene in all cells of the object.
    gene
        Name of the gene.
    cells, contrasts
        The cells of the fit, and the tested contrasts.
    options, family, test
        Options, family and test of the run.
    log_sample_factors
        Level of the finest grouping factor -> log composition factor; may be empty.
    stored
        Stored quantities for a moderated test; None for other tests.
    """
    wide = test.profiles(family) and tests_slopes(cells.design, [contrast.L for contrast in contrasts])
    cells = replace(cells, wide=wide)
    plan = Plan(cells, tuple(contrasts), tuple(contrast_df(contrasts, cells.design)), options.method == "reml")
    task = Task(options, family, test, normalise=bool(log_sample_factors))
    store = _StoredRun(column, plan, task, log_sample_factors, stored)
    conductor = Conductor([plan], task, column, pd.Index([gene]), store)
    fitted, model = conductor.fitted(0, 0), conductor.model(0, 0)
    compressed: Compressed = store.cells(0, 0)
    offset = cell_offsets(cells, compressed, model) if family.counts else cells.offset
    return OneGene(cells, model, fitted.result, fitted.parts, offset, lambda: conductor.tables(0)[0].contrasts)
