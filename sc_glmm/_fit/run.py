"""From planned groups of cells to tables, stage by stage; no AnnData.

1. :func:`.plan.plan_groups`: designs, contrasts, size factors of the cells.
2. :func:`.compress.compress_groups`: statistics on the rows of the designs. A sum over cells, gene by gene.
3. :func:`normalise`: factors of the samples for their composition, from the counts of **all genes**.
4. :func:`fit_range`: the fits. Gene by gene.
5. :func:`.profiles.plan_profiles`: trend of the dispersions and grid of the variances, from the fits of **all genes**.
6. :func:`.profiles.profile_all`: the profiles. Gene by gene.
7. :func:`finish`: the prior of the variances, tests, adjusted p-values, tables, from **all genes**.

What is done gene by gene gives the same numbers for a range of genes as for all of them, so that the stages can be
spread over processes, each reading what the ones before have written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._compress.matrix import Matrix
from .._compress.source import Source
from .._display import logger, warn_notes
from .._engine.fit import GeneStats
from .._families.registry import Family
from .._results import GeneTests
from .bootstrap import bootstrap_p_values
from .compress import Compressed, Layout, compress_groups
from .dispersion import Dispersion
from .gaussian import finish_gaussian
from .genes import GeneModel, fit_all, leave_out, prepare_genes, rescale
from .grid import refit_outside_grid
from .lrt import likelihood_ratios
from .moderated import MIN_GENES, Moderation, has_quasi, moderate
from .plan import Plan
from .profiles import GeneProfiles, ProfilePlan, plan_profiles, profile_all
from .ranges import RangeFit
from .sizes import NOTABLE_SHIFT, SampleFactors, sample_factors, sample_totals
from .stored import grid_arrays, prior_arrays
from .tests import gene_table, is_moderated, needs_every_node, test_contrasts
from .totals import gene_totals

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Largest over median eigenvalue of the residual covariance above which genes are called correlated.
NOTABLE_EIGEN_RATIO = 3.0
# Tests that need profiles, but no other gene.
EACH_ALONE = ("hk", "satterthwaite")


@dataclass(frozen=True)
class Task:
    """What is done with every group.

    Attributes
    ----------
    family, n_agq, min_counts
        How genes are fitted, as :func:`sc_glmm.tl.test` takes them.
    test
        Name of the test.
    dispersion
        Whether the moderated tests hold a gene's own dispersion or one drawn to the trend over abundance.
    normalise
        Whether size factors are to be corrected for the composition of the samples.
    selected
        ``(n_genes,)`` genes that are tested; None for all. Size factors come from all genes either way.
    bootstrap
        ``(n_boot, seed)`` for ``test="bootstrap"``.
    """

    family: Family
    test: str
    n_agq: int = 1
    min_counts: int = 0
    dispersion: Dispersion = "ml"
    normalise: bool = True
    selected: BoolArray | None = None
    bootstrap: tuple[int, int] | None = None


def run_groups(
    matrix: Matrix | Source,
    plans: Sequence[Plan],
    task: Task,
    genes: pd.Index,
    *,
    n_jobs: int = 1,
    memory_limit: int | None = None,
    progress: bool | None = False,
) -> tuple[list[GeneTests], list[str]]:
    """Run all stages in this process; gives the tables of each group, and notes (which have been told).

    Parameters
    ----------
    matrix
        ``(n_obs, n_genes)`` response, in memory or read chunk by chunk.
    plans
        The groups, with places in `matrix`.
    task
        What to do.
    genes
        Names of the genes.
    n_jobs, memory_limit, progress
        As for :func:`sc_glmm.tl.test`.
    """
    compressed = compress_groups(
        matrix,
        [plan.cells for plan in plans],
        task.family,
        n_jobs=n_jobs,
        memory_limit=memory_limit,
        progress=progress,
    )
    tests, notes = [], []
    for plan, cells in zip(plans, compressed, strict=True):
        model, factors = normalise(model_of(plan, cells, cells.stats, task), task)
        fitted = fit_range(matrix, plan, cells, model, task, n_jobs=n_jobs, progress=progress)
        contrasts = [c.L for c in plan.contrasts]
        profile_plan = made = None
        if is_moderated(task.test, task.family):
            profile_plan = plan_profiles(
                model, fitted.result, fitted.totals, contrasts, model.stats.pick, task.dispersion
            )
        if profile_plan is not None:
            made = profile_all(
                model,
                fitted.result,
                profile_plan,
                contrasts,
                every_node=needs_every_node(task.test),
                n_jobs=n_jobs,
                progress=progress,
            )
        bootstrap = None
        if task.bootstrap is not None and task.selected is not None:
            (n_boot, seed), places = task.bootstrap, np.flatnonzero(task.selected)
            bootstrap = partial(
                bootstrap_p_values, plan.cells, cells, model, genes=places, n_boot=n_boot, seed=seed, n_jobs=n_jobs
            )
        table, told = finish(plan, cells, model, task, genes, factors, fitted, profile_plan, made, bootstrap)
        tests.append(table)
        notes += told
    return tests, notes


def model_of(plan: Plan, layout: Layout, stats: GeneStats, task: Task) -> GeneModel:
    """The model of a group, with the statistics of all genes or a range of them."""
    return prepare_genes(
        plan.cells.design, layout.rows, layout.nodes, stats, task.family, reml=plan.reml, n_agq=task.n_agq
    )


def normalise(model: GeneModel, task: Task, bulk: FloatArray | None = None) -> tuple[GeneModel, SampleFactors | None]:
    """Correct library sizes for the composition of the samples, where size factors were left to us.

    Parameters
    ----------
    model
        The model, with the statistics of all genes or a range of them.
    task
        Says whether to.
    bulk
        ``(n_levels, n_genes)`` counts of the samples in **all** genes (:func:`.sizes.sample_totals`); by default those
        of `model`.
    """
    if not task.normalise:
        return model, None
    factors = sample_factors(model, sample_totals(model) if bulk is None else bulk)
    return rescale(model, factors.log_factor), factors


def fit_range(
    matrix: Matrix | Source,
    plan: Plan,
    cells: Compressed,
    model: GeneModel,
    task: Task,
    *,
    first_gene: int = 0,
    n_jobs: int = 1,
    progress: bool | None = False,
) -> RangeFit:
    """Fit the genes of `cells`, the columns of `matrix` from `first_gene` on.

    `model` is what :func:`normalise` made of them; `matrix` is read only for genes with steep slopes in a covariate.
    """
    desc = plan.cells.name or "genes"
    selected = None if task.selected is None else task.selected[first_gene : first_gene + len(model.stats)]
    left_out = leave_out(model, task.min_counts, selected)
    result = fit_all(model, n_jobs=n_jobs, progress=progress, desc=desc, left_out=left_out)
    if cells.grid is not None:
        result = refit_outside_grid(matrix, plan.cells, cells, model, result, n_jobs, first_gene)
    ratios = None
    if task.test == "lrt":
        ratios = np.column_stack([likelihood_ratios(model, result, c.L, n_jobs=n_jobs) for c in plan.contrasts])
    parts = None
    if not task.family.counts:
        result, parts = finish_gaussian(model, result, n_jobs=n_jobs)
    return RangeFit(result, gene_totals(cells), ratios, parts)


def finish(
    plan: Plan,
    layout: Layout,
    model: GeneModel,
    task: Task,
    genes: pd.Index,
    factors: SampleFactors | None,
    fitted: RangeFit,
    profile_plan: ProfilePlan | None,
    made: GeneProfiles | None,
    bootstrap: Callable[[FloatArray], FloatArray] | None = None,
) -> tuple[GeneTests, list[str]]:
    """Prior, tests and tables of one group from the fits and profiles of all genes; tells its notes and returns them.

    `model` is that of :func:`normalise`, with whatever statistics: they are not looked at.
    """
    moderation, used = None, task.test
    notes: list[str] = []
    if is_moderated(task.test, task.family):
        if profile_plan is not None and made is not None:
            moderation = moderate(model, fitted.result, profile_plan, made)
        used, notes = _used_test(model, moderation, task.test)
    warn_notes(f"{plan.cells.name}: {note}" if plan.cells.name else note for note in notes)
    told = {
        "sample_factor_shift": 0.0 if factors is None else factors.shift,
        "log_sample_factors": {} if factors is None else factors.by_level,
        "test": used,
    }
    where = f"{plan.cells.name}: " if plan.cells.name else ""
    _tell_composition(factors, genes, where)
    _tell_correlation(moderation if used == task.test else None, where)
    result, totals = fitted.result, fitted.totals
    contrasts = test_contrasts(
        model, result, totals, plan.contrasts, plan.dfs, genes, used, moderation, fitted.ratios, bootstrap, fitted.parts
    )
    tests = GeneTests(
        group=plan.cells.name,
        genes=gene_table(model, totals, result, genes, moderation),
        contrasts=contrasts,
        recipe=_recipe_of(plan, layout, model, moderation, told),
        notes=plan.cells.design.notes,
        arrays={} if moderation is None else prior_arrays(moderation),
        grid={} if moderation is None else grid_arrays(moderation.grid),
    )
    return tests, notes


def _used_test(model: GeneModel, moderation: Moderation | None, test: str) -> tuple[str, list[str]]:
    """The test that is used, which is another one if there are too few genes."""
    if moderation is not None and (moderation.prior is not None or test in EACH_ALONE):
        return test, []
    instead = "hk" if moderation is not None and has_quasi(model) else "t"
    note = (
        f"test={test!r} learns how samples vary from at least {MIN_GENES} genes, and fewer can be "
        f"fitted: test={instead!r}, which looks at each gene alone, is used instead"
    )
    return instead, [note]


def _tell_composition(factors: SampleFactors | None, genes: pd.Index, where: str) -> None:
    if factors is not None and factors.shift > NOTABLE_SHIFT:
        named = ", ".join(str(genes[g]) for g in factors.dominant[:5])
        logger.info(
            "%scomposition shifts the size factors of a sample by up to %.2f (natural log)%s",
            where,
            factors.shift,
            f"; genes above 5 % of a sample's counts: {named}" if named else "",
        )


def _tell_correlation(moderation: Moderation | None, where: str) -> None:
    if moderation is not None and moderation.eigen_ratio > NOTABLE_EIGEN_RATIO:
        logger.info(
            "%sresiduals between samples are correlated over genes (largest over median eigenvalue %.1f): counts of "
            "hits vary more from data set to data set than for independent genes",
            where,
            moderation.eigen_ratio,
        )


def _recipe_of(
    plan: Plan, layout: Layout, model: GeneModel, moderation: Moderation | None, told: dict[str, Any]
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
        "contrast_rows": {contrast.name: contrast.L.tolist() for contrast in plan.contrasts},
        "base_levels": {name: factor.base for name, factor in design.fixed.factors.items()},
        "groups": {g.name: len(g.levels) for g in model.groupings},
        "df": dict(zip([c.name for c in plan.contrasts], plan.dfs, strict=True)),
        "design_rank": len(design.fixed.names),
        "dropped_terms": list(plan.dropped),
        "contrasts_not_tested": [f"{asked}: {reason}" for asked, reason in plan.not_tested.items()],
        **told,
    }
    if moderation is not None:
        recipe |= {
            "variances_on_grid": list(moderation.grid.names),
            "elasticities": moderation.grid.elasticity,
            "eigen_ratio": moderation.eigen_ratio,
            "n_genes_by_quadrature": int(np.sum(moderation.n_agq[moderation.profiles.ok] > 1)),
        }
    return recipe
