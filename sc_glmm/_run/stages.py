"""Define the stages of a run for one group of cells, which take and return named arrays.

1. :func:`.plan.plan_groups`: designs, contrasts and size factors of the cells.
2. :func:`.._fit.compress.compress_groups`: statistics on the rows of the designs. Sums over cells, gene by gene.
3. :func:`.._fit.sizes.sample_factors`: composition factors of the samples, from the counts of **all genes**.
4. :func:`fit_range`: fits. Gene by gene.
5. :func:`.._fit.profiles.plan_profiles`: trend of the dispersions and grid of the variances, from **all genes**.
6. :func:`.._fit.profiles.profile_all`: profiles. Gene by gene.
7. :func:`finish`: prior of the variances, tests, adjusted p-values and tables, from **all genes**.

Stages that work gene by gene give the same numbers for a range of genes as for all genes. :mod:`.conductor` runs the
stages. Ranges of genes may run in other processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray
from .._compress.lists import GeneLists
from .._engine import entry
from .._engine.genes import GeneStats
from .._families.registry import Family
from .._fit.centre import CellData
from .._fit.compress import Compressed, Layout
from .._fit.gaussian import finish_gaussian
from .._fit.gene_table import gene_table
from .._fit.genes import AllFits, GeneModel, fit_all, gene_status, leave_out, prepare_genes, rescale
from .._fit.lrt import likelihood_ratios
from .._fit.moderated import MIN_GENES, Moderation, has_quasi
from .._fit.pilot import pilot_facts
from .._fit.ranges import RangeFit
from .._fit.sizes import SampleFactors, reference_factors, sample_factors
from .._fit.totals import gene_totals
from .._fit.variance_forms import variance_forms
from .._hypotheses.records import Evidence, HypothesisTest
from .._hypotheses.registry import get_test
from .._hypotheses.table import contrast_tables
from .._inference.minimum import Alternative
from .._results import GeneTests
from .failures import failure_notes
from .options import RunOptions
from .plan import Plan
from .stored import grid_arrays, prior_arrays, variance_arrays


@dataclass(frozen=True)
class Task:
    """Settings that all groups share.

    Attributes
    ----------
    options
        The options of the run.
    family
        Distribution of the response.
    test
        The test.
    normalise
        Whether to correct size factors for the composition of the samples.
    selected
        (n_genes,) genes to test; None for all. Size factors always come from all genes.
    rows_are_samples
        Whether rows are samples, and genes are cell types. There may be few cell types.
    weight
        (n_genes,) weights in the false discovery rate, for neighbourhoods that overlap; None for equal weights.
    """

    options: RunOptions
    family: Family
    test: HypothesisTest
    normalise: bool = True
    selected: BoolArray | None = None
    rows_are_samples: bool = False
    weight: FloatArray | None = None

    @property
    def alternative(self) -> Alternative:
        """Direction and minimum effect of the test."""
        return Alternative(self.options.alternative, math.log(2.0) * self.options.min_log_fc)


def composition(plan: Plan, layout: Layout, task: Task, bulk: FloatArray) -> SampleFactors:
    """Compute composition factors of the samples from their counts `bulk` (n_levels, n_genes) in all genes."""
    design = plan.cells.design
    if task.rows_are_samples:
        return reference_factors(design, layout, bulk, plan.cells.offset)
    return sample_factors(design, layout, bulk)


def model_of(
    plan: Plan,
    layout: Layout,
    stats: GeneStats,
    task: Task,
    factors: SampleFactors | None = None,
    lists: GeneLists | None = None,
) -> GeneModel:
    """Prepare the model of a group for some genes; size factors are multiplied by the `factors` of the samples.

    `lists` reads the counts of single cells. It is needed if covariates differ between cells.
    """
    model = prepare_genes(
        plan.cells.design,
        layout.rows,
        layout.nodes,
        stats,
        task.family,
        reml=plan.reml,
        n_agq=task.options.n_agq,
        cells=None if layout.centred is None or lists is None else CellData(layout.centred, lists),
    )
    return model if factors is None else rescale(model, factors.log_factor)


def fit_range(
    plan: Plan,
    cells: Compressed,
    model: GeneModel,
    task: Task,
    factors: SampleFactors | None,
    *,
    first_gene: int = 0,
    n_jobs: int = 1,
    progress: bool | None = False,
) -> RangeFit:
    """Fit the genes of `cells`, a range that starts at `first_gene`; `model` is the result of :func:`model_of`."""
    desc = plan.cells.name or "genes"
    selected = None if task.selected is None else task.selected[first_gene : first_gene + len(model.stats)]
    left_out = leave_out(model, task.options.min_counts, selected)
    result = fit_all(model, n_jobs=n_jobs, progress=progress, desc=desc, left_out=left_out)
    ratios = None
    if task.test.needs.null_fits:
        ratios = np.column_stack([likelihood_ratios(model, result, c.L, n_jobs=n_jobs) for c in plan.contrasts])
    parts = None
    if not task.family.counts:
        result, parts = finish_gaussian(model, result, n_jobs=n_jobs)
    return RangeFit(result, gene_totals(cells, plan.cells.design), ratios, parts, factors)


def finish(
    plan: Plan,
    layout: Layout,
    model: GeneModel,
    task: Task,
    genes: pd.Index,
    fitted: RangeFit,
    moderation: Moderation | None,
    bootstrap: Callable[[FloatArray], FloatArray] | None = None,
) -> tuple[GeneTests, list[str]]:
    """Compute the tests and tables of one group from the fits and profiles of all genes; also return notes.

    The statistics of `model` are not used.
    """
    used, notes = _test_or_fallback(model, fitted.result, moderation, task)
    result, totals = fitted.result, fitted.totals
    words = gene_status(model, result)
    evidence = Evidence(model, result, totals, words, moderation, fitted.ratios, bootstrap, fitted.parts)
    contrasts = contrast_tables(used, evidence, plan.contrasts, plan.dfs, genes, task.alternative, task.weight)
    notes += failure_notes(used, contrasts, result.fits)
    table = gene_table(model, totals, result, genes, moderation)
    tests = GeneTests(
        group=plan.cells.name,
        genes=table.frame,
        contrasts=contrasts,
        recipe=_recipe_of(plan, layout, model, result, moderation, fitted.factors, used.name, genes),
        notes=plan.cells.design.notes,
        arrays={} if moderation is None else prior_arrays(moderation),
        grid={} if moderation is None else grid_arrays(moderation.grid),
        variances=variance_arrays(variance_forms(plan.cells.design), table),
    )
    return tests, notes


def _test_or_fallback(
    model: GeneModel, result: AllFits, moderation: Moderation | None, task: Task
) -> tuple[HypothesisTest, list[str]]:
    """Return the requested test, or another one with a note if too few genes were fitted."""
    test = task.test
    if not test.profiles(task.family):
        return test, []
    if moderation is not None and (moderation.prior is not None or not test.needs.prior):
        return test, []
    fallback = get_test("hk" if moderation is not None and has_quasi(model) else "t")
    n_fitted = int(np.isin(result.fits.status, (entry.OK, entry.NOT_CONVERGED)).sum())
    reason = f"only {n_fitted} could be fitted here"
    if n_fitted >= MIN_GENES:
        n_profiled = 0 if moderation is None else int(moderation.profiles.ok.sum())
        reason = (
            f"the likelihood over the range of the variances could be computed for only {n_profiled} of the {n_fitted} "
            "fitted genes; look for coefficients with very large standard errors (se_* columns of get.results)"
        )
    note = (
        f"test={test.name!r} needs at least {MIN_GENES} genes to estimate how samples vary, but {reason}. "
        f"test={fallback.name!r}, which uses each gene separately, is used instead"
    )
    return fallback, [note]


def _recipe_of(
    plan: Plan,
    layout: Layout,
    model: GeneModel,
    result: AllFits,
    moderation: Moderation | None,
    factors: SampleFactors | None,
    test: str,
    genes: pd.Index,
) -> dict[str, Any]:
    design = plan.cells.design
    recipe = {
        "n_cells": design.n_obs,
        "n_rows": len(layout.rows.X),
        "n_nodes": layout.n_nodes,
        "n_nodes_max": layout.n_nodes_max,
        "compression": layout.kind,
        "offset_range_max": layout.range_max,
        "node_error": layout.error,
        "formula_fitted": design.formula.source,
        "columns": list(design.fixed.names),
        "columns_dropped": list(design.fixed.aliased),
        "contrast_rows": {contrast.name: contrast.L.tolist() for contrast in plan.contrasts},
        "contrast_facts": {
            contrast.words: {
                "name": contrast.name,
                "meaning": contrast.meaning,
                "levels": contrast.levels,
                "asked": contrast.asked,
            }
            for contrast in plan.contrasts
        },
        "base_levels": {name: factor.base for name, factor in design.fixed.factors.items()},
        "groups": {g.name: len(g.levels) for g in model.groupings},
        "df": dict(zip([c.name for c in plan.contrasts], plan.dfs, strict=True)),
        "design_rank": len(design.fixed.names),
        "dropped_terms": list(plan.dropped),
        "contrasts_not_tested": [f"{contrast}: {reason}" for contrast, reason in plan.not_tested.items()],
        "sample_factor_shift": 0.0 if factors is None else factors.shift,
        "log_sample_factors": {} if factors is None else factors.by_level,
        "dominant_genes": [] if factors is None else [str(genes[g]) for g in factors.dominant],
        "test": test,
    }
    if layout.centred is not None:
        profiled = (result.on_cells, result.error) if moderation is None else (moderation.on_cells, moderation.error)
        recipe |= {
            "n_genes_on_cells": int(np.sum(result.on_cells | profiled[0])),
            "slope_error": float(np.maximum(result.error, profiled[1]).max(initial=0.0)),
        }
    if moderation is not None:
        recipe |= {
            "variances_on_grid": list(moderation.grid.names),
            "elasticities": moderation.grid.elasticity,
            "eigen_ratio": moderation.eigen_ratio,
            "n_genes_by_quadrature": int(np.sum(moderation.n_agq[moderation.profiles.ok] > 1)),
            "pilot": pilot_facts(model, result, plan.cells.offset, plan.contrasts, moderation.grid.place),
        }
    return recipe
