"""The main job: one mixed model for every gene, and tests of its contrasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._anndata import check_object, cut_note, find_response, groups_of, obs_numbers, write_results
from .._compress.size_factors import library_size
from .._display import logger, warn_notes
from .._errors import DesignError, InputError
from .._families.registry import Family
from .._fit.bootstrap import bootstrap_p_values
from .._fit.compress import Compressed, compress_groups
from .._fit.genes import AllFits, GeneModel, fit_all, prepare_genes, rescale
from .._fit.grid import refit_outside_grid
from .._fit.model import get_family
from .._fit.moderated import MIN_GENES, Moderation, has_quasi, moderate, prior_arrays
from .._fit.plan import Choices, Plan, plan_group
from .._fit.sizes import NOTABLE_SHIFT, check_offset, check_size_factors, sample_factors
from .._fit.tests import MODERATED, check_test, default_test, gene_table, test_contrasts
from .._formula import MixedFormula, parse_formula
from .._parallel import resolve_n_jobs
from .._recipe import announce_compilation, make_recipe, summary_line
from .._results import GeneTests

if TYPE_CHECKING:
    from anndata import AnnData

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TestName = Literal[
    "eb_lr",
    "eb_wald",
    "hk",
    "ql",
    "satterthwaite",
    "satterthwaite_moderated",
    "t",
    "wald",
    "lrt",
    "bootstrap",
]
# Largest over median eigenvalue of the residual covariance above which genes are called correlated.
NOTABLE_EIGEN_RATIO = 3.0


def test(
    adata: AnnData,
    formula: str,
    *,
    family: Literal["nb", "poisson", "gaussian"] = "nb",
    size_factors: Any = None,
    offset: Any = None,
    reference: Mapping[str, str] | None = None,
    contrasts: Any = None,
    groupby: str | None = None,
    test: TestName | None = None,
    genes: Sequence[str] | None = None,
    n_boot: int = 999,
    seed: int = 0,
    within: Literal["heterogeneous", "homogeneous"] = "heterogeneous",
    min_counts: int = 0,
    method: Literal["reml", "ml"] = "reml",
    n_agq: int = 1,
    n_jobs: int | None = None,
    key_added: str = "glmm",
    copy: bool = False,
    progress: bool | None = None,
) -> AnnData | None:
    r"""Fit one mixed model to every gene and test its contrasts.

    For the counts y of a gene in cell i of sample s, with size factor :math:`e^{o_i}`,

    .. math::

        y_i \sim \mathrm{NB}(\mu_i, \phi), \quad \operatorname{Var} y_i = \mu_i + \phi \mu_i^2, \quad
        \log \mu_i = o_i + x_i^\top \beta + z_i^\top b_s, \quad b_s \sim N(0, \Sigma),

    estimated by restricted maximum likelihood in the Laplace approximation. A contrast between samples is tested
    against the variance between samples, never against the number of cells: by default with a prior for that variance
    that is learnt from all genes (``test="eb_lr"``).

    Parameters
    ----------
    adata
        Annotated data with raw counts, all genes.
    formula
        In lme4's syntax, such as ``"counts ~ disease + (1|sample)"``. The left side names a layer, else X is used.
        Nested, crossed and several terms, random slopes, interactions, splines and ``offset(...)`` are understood.
    family
        ``"nb"``, ``"poisson"``, or ``"gaussian"`` for a layer of log-normalised values.
    size_factors
        Linear, positive: a column of ``obs``, or one number per cell. Default: the sum of the counts of the cell over
        all genes of `adata`, times a robust factor of its sample for composition, scaled to mean 1.
    offset
        Natural logs that take the place of size factors: a column of ``obs``, or one number per cell. For Gaussian
        responses, what is subtracted from them.
    reference
        Base level of factors: ``{"disease": "ctl"}``.
    contrasts
        What to test: a term or column, a triple ``(factor, level, base)``, a list of these, or a dictionary from
        names to these or to arrays of weights. Default: every term but the intercept, jointly where it has several
        columns.
    groupby
        Column of ``obs``: each of its levels is fitted by itself.
    test
        ``"eb_lr"`` (default for counts): the modified root of the likelihood ratio, averaged over the gene's
        posterior of the variances. ``"eb_wald"``: the same with Wald's statistic. ``"hk"``: Hartung and Knapp, each
        gene alone. ``"ql"``: quasi-likelihood, moderated over genes. ``"t"`` (default for Gaussian): Wald with t or F
        and degrees of freedom between samples. ``"wald"`` and ``"lrt"``: normal and chi-square reference, for many
        samples only. ``"satterthwaite"`` and ``"satterthwaite_moderated"``: t with Satterthwaite's degrees of freedom.
        ``"bootstrap"``: parametric bootstrap of the likelihood ratio, for the named `genes`. See Notes.
    genes, n_boot, seed
        For ``test="bootstrap"``: which genes, how many simulated data sets each, and the seed.
    within
        What to do about tested effects within samples, such as that of a covariate of cells. ``"heterogeneous"``
        (default): they may differ between samples, so a missing ``(0 + x | sample)`` or, for a factor,
        ``(1 | sample:x)`` is added, and said. ``"homogeneous"``: the formula as it is; cells count as replicates then.
    min_counts
        Genes with fewer counts in all are not tested (status ``low_count``). Default 0: every gene is.
    method
        ``"reml"`` or ``"ml"``.
    n_agq
        Nodes of adaptive Gauss-Hermite quadrature, with ``method="ml"`` and one scalar random effect; 1 is Laplace.
    n_jobs
        Threads; None for the CPUs that this process may use. Results do not depend on it.
    key_added
        Name of the results.
    copy
        Return a copy with the results instead of writing to `adata`.
    progress
        Show a bar; None for a terminal or notebook only.

    Returns
    -------
    AnnData or None
        The copy, with `copy`. Written are

        ``.varm[key_added]``
            One row per gene: ``status``, ``message``, ``converged``, ``singular``, ``separated``, ``n_iter``, ``mean``
            (per cell), ``pct`` (of cells with a count), ``loglik``, ``dispersion`` (:math:`\phi`), ``sd_<group>``,
            and ``coef_<name>`` and ``se_<name>`` (natural log) of every fixed effect.
        ``.varm[f"{key_added}_{contrast}"]``
            Per contrast: ``coef, se`` (natural log), ``log_fc, log_fc_se, ci_low, ci_high`` (log2), ``stat, df,
            p_value, adj_p_value, status, p_hk``.
        ``.uns[key_added]``
            ``params`` (formula, family, levels, sizes, versions) and, for contrasts of two levels of a factor, the
            arrays that scanpy's ``rank_genes_groups`` functions read.
        ``.uns[f"{key_added}_results"]``
            With `groupby`: one long frame instead of the entries in ``.varm``.

    Raises
    ------
    FormulaError
        If the formula cannot be read; the message marks the spot.
    InputError, DesignError
        If the data are no counts, a column is missing, or a contrast cannot be tested; the message says what to do.

    Notes
    -----
    ``status`` is the first of these that applies: ``all_zero``; ``low_count``; ``error``; ``separated`` (counts are
    all zero where some combination of covariates says so); ``not_converged``; ``singular`` (a variance is zero: an
    answer, not a failure); ``ok``. For a separated gene the moderated tests give a penalised estimate, an interval
    with one finite end and a p-value; the others give NaN.

    The moderated tests hold the dispersion at its estimate (or, for genes with fewer than five cells of two or more
    counts, at the trend over abundance: ``phi_from_trend``), profile the likelihood over a grid of the variances on
    which the contrasts depend (found by elasticity), and estimate the distribution of these variances over genes of
    like abundance by nonparametric maximum likelihood. p-values are right on average over genes of an abundance:
    liberal for genes that are known to be variable (``more_variable``), conservative for those that do not vary
    between samples. ``p_hk`` beside them is right gene by gene, with less power. With 7 quadrature nodes instead of
    Laplace where the median sample has an information below 10 (``n_agq``). Fewer than 50 genes are too few for a
    prior: ``"hk"`` (or ``"t"``) is used then, and said.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    >>> sc_glmm.get.results(adata)[["variable", "log_fc", "p_value"]].shape
    (60, 3)
    """
    start = time.perf_counter()
    check_object(adata, key_added)
    spec, parsed, jobs = get_family(family), parse_formula(formula), resolve_n_jobs(n_jobs)
    if not parsed.random:
        raise InputError(
            f"the formula {formula!r} has no random effect: cells of one sample are not independent, so say which "
            "column names the samples, as in 'counts ~ disease + (1|sample)'"
        )
    check_test(test, spec)
    if (test == "bootstrap") != (genes is not None):
        raise InputError("test='bootstrap' and genes= go together: name the genes to be tested by many simulated fits")
    unknown = [gene for gene in genes or () if gene not in adata.var_names]
    if unknown:
        raise InputError(f"genes: {unknown[0]!r} is not among the gene names ({len(unknown)} such names)")
    adata = adata.copy() if copy else adata
    response = find_response(adata, parsed, spec.counts)
    sizes = _sizes(adata, response.matrix, parsed, spec, size_factors, offset)
    choices = Choices(reference, contrasts, method, n_agq, within)
    plans, skipped, notes = _plan_groups(adata, parsed, sizes, choices, groupby)
    notes = [*response.notes, *sizes.notes, *notes]
    warn_notes(notes)
    announce_compilation()
    compressed = compress_groups(response.matrix, [plan.cells for plan in plans], spec, n_jobs=jobs)
    tests = []
    for plan, cells in zip(plans, compressed, strict=True):
        model = prepare_genes(
            plan.cells.design, cells.rows, cells.nodes, cells.stats, spec, reml=plan.reml, n_agq=n_agq
        )
        model, shift = _normalise(model, cells, adata.var_names, sizes.default)
        result = fit_all(model, n_jobs=jobs, progress=progress, desc=plan.cells.name or "genes", min_counts=min_counts)
        if cells.grid is not None:
            result = refit_outside_grid(response.matrix, plan.cells, cells, model, result, jobs)
        moderation, used, told = _moderate(model, result, plan, test or default_test(spec), jobs, progress)
        warn_notes(f"{plan.cells.name}: {note}" if plan.cells.name else note for note in told)
        notes += told
        bootstrap = None
        if used == "bootstrap":
            named = [int(place) for place in adata.var_names.get_indexer(pd.Index(list(genes or ())))]
            bootstrap = partial(
                bootstrap_p_values, plan.cells, cells, model, genes=named, n_boot=n_boot, seed=seed, n_jobs=jobs
            )
        told_of = {**shift, "test": used}
        tests.append(_tables(plan, model, cells, result, adata.var_names, moderation, told_of, bootstrap))
    recipe = make_recipe(
        formula=formula,
        response=response.name,
        family=spec.name,
        method=method,
        n_agq=n_agq,
        groupby=groupby,
        size_factors=sizes.source,
        tests=tests,
        notes=notes,
    )
    details = _details(tests, skipped, groupby) if groupby is not None else None
    write_results(adata, key_added, tests, recipe, groupby=groupby, details=details)
    logger.info(summary_line(tests, time.perf_counter() - start, key_added, groupby))
    return adata if copy else None


# pytest collects functions by this name
test.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Sizes:
    """Natural log size factors of all cells, and which cells have any."""

    log: FloatArray
    used: BoolArray
    default: bool
    source: str
    notes: tuple[str, ...]


def _sizes(
    adata: AnnData, matrix: Any, formula: MixedFormula, family: Family, size_factors: Any, offset: Any
) -> _Sizes:
    """Size factors as given or by default; a cell without a count has no default and is left out."""
    if size_factors is not None and offset is not None:
        raise InputError(
            "size_factors and offset were both given; size_factors are linear, offset is their natural log: pass one"
        )
    everything = np.ones(adata.n_obs, dtype=bool)
    if not family.counts:
        if size_factors is not None:
            raise InputError("size_factors do not go with family='gaussian', whose response is not counts")
        if offset is None:
            return _Sizes(np.zeros(adata.n_obs), everything, False, "none", ())
        return _Sizes(
            check_offset(obs_numbers(adata, offset, "offset"), everything, False), everything, False, "offset", ()
        )
    if size_factors is not None:
        values = obs_numbers(adata, size_factors, "size_factors")
        source = size_factors if isinstance(size_factors, str) else "given"
        return _Sizes(check_size_factors(values, everything), everything, False, source, ())
    if offset is not None:
        values = obs_numbers(adata, offset, "offset")
        source = f"offset {offset}" if isinstance(offset, str) else "offset"
        return _Sizes(check_offset(values, everything, True), everything, False, source, ())
    if formula.offsets:
        return _Sizes(np.zeros(adata.n_obs), everything, False, "offset(...) in the formula", ())
    library = library_size(matrix)
    used = library > 0.0
    notes = [] if used.all() else [f"{int((~used).sum())} cells without a count were dropped"]
    if not used.any():
        raise InputError("no cell has a count; is this the right layer?")
    note = cut_note(adata, library)
    if note is not None:
        notes.append(note)
    log = np.log(np.where(used, library, 1.0) / library[used].mean())
    return _Sizes(np.where(used, log, 0.0), used, True, "library size x sample factor", tuple(notes))


def _plan_groups(
    adata: AnnData, formula: MixedFormula, sizes: _Sizes, choices: Choices, groupby: str | None
) -> tuple[list[Plan], dict[str, str], list[str]]:
    """A plan per group; a group that cannot be fitted is skipped with the reason, unless there is only one."""
    groups, notes = groups_of(adata, groupby)
    plans: list[Plan] = []
    skipped: dict[str, str] = {}
    for name, mask in groups:
        cells = np.flatnonzero(mask & sizes.used)
        try:
            frame: pd.DataFrame = adata.obs.iloc[cells]  # type: ignore[assignment]
            plan, more = plan_group(name, cells, frame, formula, sizes.log[cells], choices)
        except DesignError as error:
            if groupby is None:
                raise
            skipped[name] = str(error)
            notes.append(f"{groupby} {name!r} was skipped: {error}")
            continue
        plans.append(plan)
        notes += [f"{name}: {note}" if name else note for note in more]
    if not plans:
        raise DesignError(
            f"no level of {groupby!r} can be tested; the first says: {next(iter(skipped.values()), 'none')}"
        )
    return plans, skipped, notes


def _normalise(model: GeneModel, cells: Compressed, genes: pd.Index, default: bool) -> tuple[GeneModel, dict[str, Any]]:
    """Correct library sizes for the composition of the samples, where size factors were left to us."""
    if not default:
        return model, {"sample_factor_shift": 0.0}
    factors = sample_factors(model, cells)
    if factors.shift > NOTABLE_SHIFT:
        named = ", ".join(str(genes[g]) for g in factors.dominant[:5])
        logger.info(
            "composition shifts the size factors of a sample by up to %.2f (natural log)%s",
            factors.shift,
            f"; genes above 5 % of a sample's counts: {named}" if named else "",
        )
    return rescale(model, factors.log_factor), {"sample_factor_shift": factors.shift}


def _moderate(
    model: GeneModel, result: AllFits, plan: Plan, test: str, n_jobs: int, progress: bool | None
) -> tuple[Moderation | None, str, list[str]]:
    """What the moderated tests need; and the test that is used, which is another one if there are too few genes."""
    if test not in MODERATED:
        return None, test, []
    moderation = moderate(model, result, [c.L for c in plan.contrasts], n_jobs=n_jobs, progress=progress)
    if moderation is None or (moderation.prior is None and test != "hk"):
        instead = "hk" if moderation is not None and has_quasi(model) else "t"
        return (
            moderation,
            instead,
            [
                f"test={test!r} learns the variance between samples from at least {MIN_GENES} genes, and fewer can be "
                f"fitted: test={instead!r}, which looks at each gene alone, is used instead"
            ],
        )
    if moderation.eigen_ratio > NOTABLE_EIGEN_RATIO:
        logger.info(
            "residuals between samples are correlated over genes (largest over median eigenvalue %.1f): counts of "
            "hits vary more from data set to data set than for independent genes",
            moderation.eigen_ratio,
        )
    return moderation, test, []


def _tables(
    plan: Plan,
    model: GeneModel,
    cells: Compressed,
    result: AllFits,
    genes: pd.Index,
    moderation: Moderation | None,
    told: dict[str, Any],
    bootstrap: Callable[[FloatArray], FloatArray] | None,
) -> GeneTests:
    design = plan.cells.design
    recipe = {
        "n_cells": design.n_obs,
        "n_rows": len(cells.rows.X),
        "n_nodes": cells.n_nodes,
        "n_nodes_max": cells.n_nodes_max,
        "compression": cells.kind,
        "offset_range_max": cells.range_max,
        "node_error": cells.error,
        "columns": list(design.fixed.names),
        "base_levels": {name: factor.base for name, factor in design.fixed.factors.items()},
        "groups": {g.name: len(g.levels) for g in model.groupings},
        "df": dict(zip([c.name for c in plan.contrasts], plan.dfs, strict=True)),
        "design_rank": len(design.fixed.names),
        **told,
    }
    if moderation is not None:
        recipe |= {
            "variances_on_grid": list(moderation.grid.names),
            "elasticities": moderation.grid.elasticity,
            "eigen_ratio": moderation.eigen_ratio,
            "n_genes_by_quadrature": int(np.sum(moderation.n_agq[moderation.profiles.ok] > 1)),
        }
    return GeneTests(
        group=plan.cells.name,
        genes=gene_table(model, cells, result, genes, moderation),
        contrasts=test_contrasts(model, result, plan.contrasts, plan.dfs, genes, told["test"], moderation, bootstrap),
        recipe=recipe,
        notes=design.notes,
        arrays={} if moderation is None else prior_arrays(moderation),
    )


def _details(tests: list[GeneTests], skipped: dict[str, str], groupby: str) -> pd.DataFrame:
    """One row per group: cells, samples, genes by status, or why it was skipped."""
    rows = []
    for group in tests:
        counts = group.genes["status"].value_counts()
        rows.append(
            {
                groupby: group.group,
                "n_cells": group.recipe["n_cells"],
                **{f"n_{name}": n for name, n in group.recipe["groups"].items()},
                **{f"n_{word}": int(counts.get(word, 0)) for word in group.genes["status"].cat.categories},
                "skipped": "",
            }
        )
    rows += [{groupby: name, "n_cells": 0, "skipped": reason} for name, reason in skipped.items()]
    frame = pd.DataFrame(rows)
    numbers = frame.columns.difference([groupby, "skipped"])
    frame[numbers] = frame[numbers].fillna(0).astype(np.int64)
    frame.columns = [str(column).replace("/", "|") for column in frame.columns]
    frame.index = frame.index.astype(str)
    return frame
