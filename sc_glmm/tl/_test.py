"""The main job: one mixed model for every gene, and tests of its contrasts."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .._adata.mudata import modality_of
from .._adata.open import check_free, hand_over, open_data
from .._adata.store import recover
from .._adata.tables import columns_of
from .._compress.source import Source
from .._display import logger, warn_notes
from .._fit.cluster import library_sums
from .._latent import factor_notes
from .._parallel.resources import resolve_memory, resolve_n_jobs
from .._run.conductor import Conductor
from .._run.job import plan_job, put_results, validate_request
from .._run.memory import MemoryStore
from .._run.options import RunOptions
from .._run.recipe import prepare_kernels, summary_line

if TYPE_CHECKING:
    from anndata import AnnData


def test(
    adata: AnnData | str | os.PathLike[str],
    formula: str,
    *,
    family: Literal["nb", "poisson", "gaussian"] = "nb",
    size_factors: Any = None,
    offset: Any = None,
    reference: Mapping[str, str] | None = None,
    contrasts: Any = None,
    groupby: str | None = None,
    test: str | None = None,
    min_log_fc: float = 0.0,
    alternative: Literal["two-sided", "greater", "less", "abs-less"] = "two-sided",
    genes: str | Sequence[str] | Sequence[bool] | None = None,
    n_boot: int = 999,
    seed: int = 0,
    within: Literal["heterogeneous", "homogeneous"] = "heterogeneous",
    min_cells: int = 0,
    min_samples: int = 0,
    min_counts: int = 10,
    dispersion: Literal["ml", "shrunken"] = "ml",
    adjust: Literal["group", "global"] = "group",
    method: Literal["reml", "ml"] = "reml",
    n_agq: int = 1,
    n_jobs: int | None = None,
    memory_limit: int | str | None = None,
    key_added: str = "glmm",
    modality: str | None = None,
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
        Annotated data with raw counts, all genes. In memory, backed, lazy, or the path of an ``.h5ad`` file or a zarr
        store: a matrix that is not in memory is read chunk by chunk, never as a whole.
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
        What to test: a term or column, a level (``"AD"``, ``"AD vs ctl"``), a triple ``(factor, level, base)``, a
        difference of :func:`sc_glmm.cond`, or weights of the columns (an array, or a Series by name); a list of these;
        or a dictionary from names to these, where a list within is tested jointly; the names are kept in all results.
        Default: every term but the intercept, jointly where it has several columns; each level of a factor with three
        or more is compared with the base as well. ``["disease", "severe", "mild"]`` (factor, level, base), as DESeq2
        has it, is one contrast. A contrast is tested only if the data can tell it from the
        other terms; by default, terms that they hide (a disease whose donors are in the formula as well) are left out
        with a warning, and it is an error if no term remains as a whole.
    groupby
        Column of ``obs``: each of its levels is fitted by itself. Terms that are constant in a level are dropped there,
        and a level that cannot be tested is skipped; :func:`sc_glmm.get.details` says what and why.
    test
        ``"eb_lr"`` (default for counts): the modified root of the likelihood ratio, averaged over the gene's
        posterior of the variances. ``"eb_wald"``: the same with Wald's statistic. ``"hk"``: Hartung and Knapp, each
        gene alone. ``"ql"``: quasi-likelihood, moderated over genes. ``"t"``: Wald with t or F and degrees of freedom
        between samples. ``"wald"`` and ``"lrt"``: normal and chi-square reference, for many samples only.
        ``"satterthwaite"`` (default for Gaussian, with the numbers of lmerTest) and ``"satterthwaite_moderated"``: t
        or F with Satterthwaite's degrees of freedom.
        ``"bootstrap"``: parametric bootstrap of the likelihood ratio, for the named `genes`. See Notes.
    min_log_fc
        The smallest effect of interest, in log2: p-values are for fold changes beyond it (TREAT; ``lfcThreshold`` of
        DESeq2), from the function that gives p-value and interval. Default 0: any difference.
    alternative
        ``"two-sided"`` (default): \|log_fc\| > `min_log_fc`; ``"greater"``: log_fc > `min_log_fc`; ``"less"``:
        log_fc < -`min_log_fc`; ``"abs-less"``: \|log_fc\| < `min_log_fc` (equivalence, two one-sided tests).
        ``stat`` and the interval stay those of the fold change itself. Not with ``"lrt"`` and ``"bootstrap"``, and not
        for joint contrasts.
    genes
        Genes that are tested: a column of ``var`` that holds True and False, such as ``"highly_variable"``; an array or
        Series of these; or a list of names. All others keep their rows, with status ``not_selected`` and NaN.
        Size factors come from all genes, so that `adata` should hold them all; what tests learn from genes (the prior,
        the trend of the dispersions), and what p-values are adjusted over, are the tested ones. Default: all.
    n_boot, seed
        For ``test="bootstrap"``: how many data sets are simulated for each of the `genes`, and the seed.
    within
        Random terms for tested effects that vary within samples, such as that of a covariate of cells.
        ``"heterogeneous"`` (default): effects may differ between samples, so a missing ``(0 + center(x) | sample)`` or,
        for a factor, ``(1 | sample:x)`` is added, with a warning. ``"homogeneous"``: the formula stays as it is, and
        cells count as replicates.
    min_cells, min_samples
        Levels of `groupby` with fewer cells, or with fewer samples in an arm of a tested factor (levels of the finest
        grouping factor; in all, for numbers), are skipped. Default 0: no minimum.
    min_counts
        Genes with fewer counts in all (of the level of `groupby`) are not tested (status ``low_count``): they cannot
        show a difference, and take most of the time where cells are few. Default 10; 0 tests every gene.
    dispersion
        Which dispersions the moderated tests hold: ``"ml"`` (default), a gene's own estimate; ``"shrunken"``, the
        estimates drawn to their trend over abundance, as far as they are uncertain. With twenty cells a sample or
        fewer, own estimates are noisy and low. With ``family="nb"``.
    adjust
        What p-values are adjusted over (Benjamini and Hochberg): ``"group"``, the tested genes of each contrast and
        level of `groupby`; ``"global"``, those of all levels together, for each contrast.
    method
        ``"reml"`` or ``"ml"``.
    n_agq
        Nodes of adaptive Gauss-Hermite quadrature, with ``method="ml"`` and one scalar random effect; 1 is Laplace.
    n_jobs
        Threads; None for the CPUs that this process may use. Results do not depend on it.
    memory_limit
        Bytes that the statistics of the genes may take, or words such as ``"4 GB"``. If they need more, they are made
        in several passes over the matrix and kept in a temporary file. Default: for a matrix that is not in memory half
        of the memory that is available, else no limit. Results do not depend on it.
    key_added
        Name of the results.
    modality
        With a MuData: which of its modalities. Columns are looked up in its ``obs``, then in that of the MuData, and
        the results are written to the modality: ``sc_glmm.get.results(mdata["rna"])``.
    copy
        Return a copy with the results instead of writing to `adata`. For a path: an AnnData with the results, ``var``
        and the columns of ``obs`` that the run looked at, and without a matrix; the file is not touched.
    progress
        Show a bar; None for a terminal or notebook only.

    Returns
    -------
    AnnData or None
        The copy, with `copy`. With a path the results are written into the file, whose matrices are not rewritten;
        a process that is killed meanwhile loses neither (see :func:`sc_glmm.recover`). Written are

        ``.varm[key_added]``
            One row per gene: ``status``, ``message``, ``converged``, ``singular``, ``separated``, ``n_iter``, ``mean``
            (per cell), ``pct`` (of cells with a count), ``loglik``, ``dispersion`` (:math:`\phi`), ``sd_<group>``,
            and ``coef_<name>`` and ``se_<name>`` (natural log) of every fixed effect.
        ``.varm[f"{key_added}_{contrast}"]``
            Per contrast: ``coef, se`` (natural log), ``log_fc, log_fc_se, ci_low, ci_high`` (log2), ``stat, df,
            p_value, adj_p_value, status, p_hk``, and for ranking ``log_fc_shrunk`` (log2), ``lfsr, s_value``.
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
        If the data are not counts, a column is missing, or a contrast cannot be tested; the message says what to do.

    Notes
    -----
    ``status`` is the first of these that applies: ``not_selected``; ``all_zero``; ``low_count``; ``error``;
    ``separated`` (counts are all zero where some combination of covariates says so); ``not_converged``; ``singular``
    (a variance is zero: an answer, not a failure); ``ok``. For a separated gene
    the moderated tests give a penalised estimate, an interval with one finite end and a p-value; the others give NaN.

    The moderated tests hold the dispersion at its estimate (or, for genes with fewer than five cells of two or more
    counts, at the trend over abundance: ``phi_from_trend``), profile the likelihood over a grid of the variances on
    which the contrasts depend (found by elasticity), and estimate the distribution of these variances over genes of
    like abundance by nonparametric maximum likelihood. p-values are right on average over genes of an abundance:
    liberal for genes that are known to be variable (``more_variable``), conservative for those that do not vary
    between samples. ``p_hk`` beside them is right gene by gene, with less power. With 7 quadrature nodes instead of
    Laplace where the median sample has an information below 10 (``n_agq``). Fewer than 50 genes are too few for a
    prior: ``"hk"`` (or ``"t"``) is used then, with a warning.

    How correlated the genes are is said in the last line of a run and kept as ``eigen_ratio`` in ``params``: the
    largest over the median eigenvalue of the covariance of their residuals between samples, about 1 if they are
    independent. The larger it is, the more the number of hits varies from one set of samples to another.

    Gaussian models are fitted from cross-products, so that their cost does not depend on the number of cells, and have
    the numbers of :func:`sc_glmm.lmer` for each gene. Satterthwaite's degrees of freedom of a gene with no variance
    between samples are those of its cells: cells are replicates then, which the variance of zero says; with
    ``test="t"`` they stay those of the samples.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    >>> sc_glmm.get.results(adata)[["variable", "log_fc", "p_value"]].shape
    (60, 3)
    """
    options, start = RunOptions.of(locals()), time.perf_counter()
    data, obs_above = modality_of(adata, modality, copy)
    if not copy and isinstance(data, str | os.PathLike):
        recover(data)  # what cannot be put in is said before the work
    opened = open_data(data, key_added, obs_above, columns_of(formula, groupby, size_factors, offset))
    check_free(opened, data, key_added, groupby)
    jobs = resolve_n_jobs(n_jobs)
    request = validate_request(opened, options)
    prepare_kernels(request.test.profiles(request.family))
    adata = opened.adata.copy() if copy and opened.store is None else opened.adata
    matrix = request.response.matrix
    limit = resolve_memory(memory_limit, isinstance(matrix, Source))
    job = plan_job(adata, request, lambda: library_sums(matrix, n_jobs=jobs, progress=progress))
    warn_notes([*job.notes, *factor_notes(adata, request.formula, contrasts is not None)])
    store = MemoryStore(matrix, job.plans, job.task, n_jobs=jobs, memory_limit=limit, progress=progress)
    tests, notes = Conductor(job.plans, job.task, matrix, adata.var_names, store, jobs, progress).run()
    tests = put_results(adata, key_added, job, tests, notes)
    if not copy:
        hand_over(opened, data, key_added)
    where = "adata" if copy or opened.store is None else "path"
    seconds, beyond = time.perf_counter() - start, job.task.alternative.words
    logger.info(summary_line(tests, seconds, key_added, groupby, where, options.min_counts, beyond))
    return adata if copy else None


# pytest collects functions by this name
test.__test__ = False  # type: ignore[attr-defined]
