"""Fit one mixed model per gene and test its contrasts."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .._adata.copy import copy_of
from .._adata.latent import factor_notes
from .._adata.mudata import modality_of
from .._adata.open import check_free, hand_over, open_data
from .._adata.store import recover
from .._adata.tables import columns_of
from .._compress.source import Source
from .._display import logger, progress_of_run, warn_notes
from .._display.habits import explain_arguments
from .._errors import InputError
from .._fit.cluster import library_sums
from .._parallel.resources import resolve_memory, resolve_n_jobs
from .._run.conductor import Conductor
from .._run.job import plan_job, put_results, validate_request
from .._run.memory import MemoryStore
from .._run.options import RunOptions
from .._run.recipe import prepare_kernels
from .._run.samples import samples_line
from .._run.summary import as_lines, summary_line

if TYPE_CHECKING:
    from anndata import AnnData

# Arguments of other functions, and what to do instead.
_ADVICE = {
    "layer": "name the layer on the left of the formula, as in 'counts ~ disease + (1|sample)'",
    "use_raw": "adata.raw is not used: copy its counts into a layer, and name it on the left of the formula",
    "groups": "select comparisons with contrasts=",
    "corr_method": "p-values are adjusted by Benjamini and Hochberg",
    "design": "the model is the second argument, formula",
    "condition": "name the column in the formula, as in 'counts ~ disease + (1|sample)'",
    "sample_col": "name the samples in the formula, as in 'counts ~ disease + (1|sample)'",
    "REML": "write method='reml' or method='ml'",
    "ddf": "tests are chosen by test=, such as 'satterthwaite'",
    "alpha": "all p-values are stored; select with sc_glmm.get.results(adata, alpha=0.05)",
    "inplace": "copy=True returns a copy with the results",
    "n_genes": "all genes are stored; select with sc_glmm.get.results",
    "rankby_abs": "sort with sc_glmm.get.results(adata, sort='log_fc')",
    "pts": "the results have the percentage of cells with counts, pct",
    "min_pct": "write min_counts=, the number of counts a gene needs",
}
_RENAMED = {
    "nAGQ": "n_agq",
    "contrast": "contrasts",
    "group_by": "groupby",
    "n_cpus": "n_jobs",
    "n_threads": "n_jobs",
    "ncores": "n_jobs",
}


@explain_arguments(_RENAMED, _ADVICE)
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
    r"""Fit one mixed model per gene and test its contrasts.

    For the counts y of a gene in cell i of sample s, with size factor :math:`e^{o_i}`, the model is

    .. math::

        y_i \sim \mathrm{NB}(\mu_i, \phi), \quad \operatorname{Var} y_i = \mu_i + \phi \mu_i^2, \quad
        \log \mu_i = o_i + x_i^\top \beta + z_i^\top b_s, \quad b_s \sim N(0, \Sigma),

    estimated by restricted maximum likelihood with the Laplace approximation. A contrast between samples is tested
    against the variance between samples, never against the number of cells. By default, all genes together provide a
    prior for this variance (``test="eb_lr"``).

    Parameters
    ----------
    adata
        Annotated data with raw counts of all genes: in memory, backed or lazy, or the path of an ``.h5ad`` file or a
        zarr store. A matrix that is not in memory is read chunk by chunk.
    formula
        Formula in lme4's syntax, such as ``"counts ~ disease + (1|sample)"``. The left side is a layer; if there is no
        such layer, X is used. Nested and crossed random effects, random slopes, interactions, splines and
        ``offset(...)`` are supported. For a table of :func:`sc_glmm.pp.abundance`, whose rows are samples,
        ``"X ~ disease"`` is enough. The overdispersion between samples, ``(1 | sample)``, is added, and counts are
        Poisson given the sample.
    family
        ``"nb"``, ``"poisson"``, or ``"gaussian"`` for a layer of log-normalised values.
    size_factors
        Positive factors on the linear scale: a column of ``obs``, or one number per cell. Default: the total count of
        the cell over all genes of `adata`, times a robust composition factor of its sample, scaled to mean 1.
    offset
        Natural logs, used instead of size factors: a column of ``obs``, or one number per cell. For Gaussian responses,
        the offset is subtracted from the response.
    reference
        Base level of factors: ``{"disease": "ctl"}``.
    contrasts
        Contrasts to test. A contrast is a term or column; a level (``"AD"``, ``"AD vs ctl"``); a triple
        ``(factor, level, base)``; a difference of :func:`sc_glmm.cond`; or weights of the columns (an array, or a
        Series by name). Several contrasts are a list, or a dictionary whose keys become the names in all results; a
        list inside a dictionary is tested jointly. Default: every term except the intercept. A term with several
        columns is tested jointly, and each level of a factor with three or more levels is also compared with the base
        level. A list ``["disease", "severe", "mild"]`` (factor, level, base), as in DESeq2, is one contrast. A contrast
        that the data cannot estimate is an error, for example a disease in a formula with the donors as fixed effects.
        By default, such terms are left out with a warning, and it is an error only if no term remains.
    groupby
        Column of ``obs``; each of its levels is fitted separately. Terms that are constant within a level are dropped
        there, with a warning. Levels that cannot be tested are skipped. :func:`sc_glmm.get.details` lists both.
    test
        ``"eb_lr"`` (default for counts): modified root of the likelihood ratio, averaged over the posterior of the
        gene's variances. ``"eb_wald"``: the same with Wald's statistic. ``"hk"``: Hartung and Knapp, each gene
        separately. ``"ql"``: quasi-likelihood, moderated over genes. ``"t"``: Wald test with a t or F distribution and
        the degrees of freedom between samples. ``"wald"`` and ``"lrt"``: normal and chi-squared distribution, only for
        many samples. ``"satterthwaite"`` (default for Gaussian responses, same numbers as lmerTest) and
        ``"satterthwaite_moderated"``: t or F with Satterthwaite's degrees of freedom. ``"bootstrap"``: parametric
        bootstrap of the likelihood ratio, for a selection of `genes`. See Notes.
    min_log_fc
        Smallest effect of interest, in log2. P-values test for larger fold changes (as TREAT, or ``lfcThreshold`` of
        DESeq2) and agree with the confidence intervals. Default 0: any difference.
    alternative
        ``"two-sided"`` (default): \|log_fc\| > `min_log_fc`; ``"greater"``: log_fc > `min_log_fc`; ``"less"``: log_fc <
        -`min_log_fc`; ``"abs-less"``: \|log_fc\| < `min_log_fc` (equivalence, two one-sided tests). ``stat`` and the
        interval are always those of the fold change itself. Not available with ``"lrt"`` and ``"bootstrap"``, or for
        joint contrasts.
    genes
        Genes to test: a boolean column of ``var``, such as ``"highly_variable"``; a boolean array or Series; or a list
        of names. All other genes keep their rows, with status ``not_selected`` and NaN. Size factors are computed from
        all genes, so `adata` should contain them all. The prior and the dispersion trend are estimated from the tested
        genes, and p-values are adjusted over them. Default: all genes.
    n_boot, seed
        For ``test="bootstrap"``: number of simulated data sets per gene, and the seed.
    within
        Treatment of tested effects that vary within samples, such as the effect of a covariate of cells.
        ``"heterogeneous"`` (default): effects may differ between samples. If the formula has no random term for this,
        ``(0 + center(x) | sample)``, or ``(1 | sample:x)`` for a factor, is added with a warning. ``"homogeneous"``:
        the formula is not changed, and cells count as replicates.
    min_cells, min_samples
        Levels of `groupby` are skipped if they have fewer cells, or fewer samples in an arm of a tested factor. Samples
        are the levels of the finest grouping factor; for numeric covariates they are counted in total. Default 0: no
        minimum.
    min_counts
        Genes with fewer counts in total (within a level of `groupby`) are not tested (status ``low_count``). They
        cannot show a difference, and in small data they take most of the time. Default 10; 0 tests every gene.
    dispersion
        Dispersions that the moderated tests use: ``"ml"`` (default), the estimate of each gene; ``"shrunken"``,
        estimates shrunk towards a trend over abundance, according to their uncertainty. With about twenty cells per
        sample or fewer, the estimates of single genes are noisy and too low. Only for ``family="nb"``.
    adjust
        Set of tests over which p-values are adjusted (Benjamini and Hochberg): ``"group"``, the tested genes of each
        contrast and level of `groupby`; ``"global"``, the tested genes of each contrast in all levels together.
    method
        ``"reml"`` or ``"ml"``.
    n_agq
        Nodes of adaptive Gauss-Hermite quadrature, with ``method="ml"`` and one scalar random effect; 1 is the Laplace
        approximation.
    n_jobs
        Number of threads; None for all CPUs available to this process. Results do not depend on it.
    memory_limit
        Memory limit for the statistics of the genes: bytes, or text such as ``"4 GB"``. If they need more, they are
        computed in several passes over the matrix and kept in a temporary file. Default: half of the available memory
        if the matrix is not in memory, otherwise no limit. Results do not depend on it.
    key_added
        Name under which the results are stored.
    modality
        Modality of a MuData. Columns are taken from the ``obs`` of the modality, or else from the ``obs`` of the
        MuData. Results are written to the modality: ``sc_glmm.get.results(mdata["rna"])``.
    copy
        Return a copy with the results instead of writing to `adata`. For a path, the copy is an AnnData with the
        results, ``var`` and the columns of ``obs`` that the run used, but without a matrix; the file is not changed.
    progress
        Show a progress bar over all groups and stages. Default: a bar in terminals and notebooks; in log files, a line
        every half minute.

    Returns
    -------
    AnnData or None
        The copy, if `copy`. With a path, the results are written into the file without rewriting its matrices. If the
        process is killed meanwhile, neither the file nor the results are lost (see :func:`sc_glmm.recover`). The
        results are

        ``.varm[key_added]``
            One row per gene: ``status``, ``message``, ``converged``, ``singular``, ``separated``, ``n_iter``, ``mean``
            (per cell), ``pct`` (percentage of cells with a count), ``loglik``, ``dispersion`` (:math:`\phi`),
            ``sd_<group>``, and ``coef_<name>`` and ``se_<name>`` (natural log) of every fixed effect.
        ``.varm[f"{key_added}_{contrast}"]``
            Per contrast: ``coef, se`` (natural log), ``log_fc, log_fc_se, ci_low, ci_high`` (log2), ``stat, df,
            p_value, adj_p_value, status, p_hk``, and for ranking ``log_fc_shrunk`` (log2), ``lfsr, s_value``.
        ``.uns[key_added]``
            ``params`` (formula, family, levels, sizes, versions) and, for contrasts of two levels of a factor, the
            arrays that scanpy's ``rank_genes_groups`` functions read.
        ``.uns[f"{key_added}_results"]``
            With `groupby`: one long data frame instead of the entries in ``.varm``.

    Raises
    ------
    FormulaError
        If the formula cannot be parsed; the message marks the position.
    InputError, DesignError
        If the data are not counts, a column is missing, or a contrast cannot be tested; the message gives advice.

    Notes
    -----
    ``status`` is the first of these that applies: ``not_selected``; ``all_zero``; ``low_count``; ``error``;
    ``separated`` (all counts are zero for some combination of covariates); ``not_converged``; ``singular`` (a variance
    is zero, which is a valid result); ``ok``. For a separated gene, the moderated tests give a penalised estimate, an
    interval with one finite end and a p-value; the other tests give NaN.

    The moderated tests have three steps. First, the dispersion is fixed at its estimate, or at the trend over abundance
    for genes with fewer than five cells of two or more counts (``phi_from_trend``). Second, the likelihood is profiled
    over a grid of the variances on which the contrasts depend (found by elasticity). Third, the distribution of these
    variances over genes of similar abundance is estimated by nonparametric maximum likelihood. P-values are correct on
    average over genes of similar abundance. They are too small for genes that are known to be variable
    (``more_variable``), and conservative for genes that do not vary between samples. ``p_hk`` is correct for each
    single gene, with less power. If the median sample has an information below 10, quadrature with 7 nodes replaces the
    Laplace approximation (``n_agq``). Fewer than 50 genes are too few to estimate a prior; ``"hk"`` (or ``"t"``) is
    used instead, with a warning. Abundance tables have a prior with any number of types. It is lognormal, and its two
    parameters are averaged over their posterior given the other types.

    ``eigen_ratio`` in ``params`` measures the correlation of the genes. It is the ratio of the largest and the median
    eigenvalue of the covariance of their residuals between samples, and about 1 if genes are independent. The larger it
    is, the more the number of significant genes varies from one set of samples to another. The summary of a run
    contains it.

    Gaussian models are fitted from cross-products, at a cost that does not depend on the number of cells. The numbers
    of each gene are the same as from :func:`sc_glmm.lmer`. If the estimated variance between samples is zero, cells
    count as replicates, and Satterthwaite's degrees of freedom are those of the cells. With ``test="t"``, they remain
    those of the samples.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    >>> sc_glmm.get.results(adata)[["variable", "log_fc", "p_value"]].shape
    (60, 3)
    """
    if isinstance(adata, str) and "~" in adata and not isinstance(formula, str):
        raise InputError(f"the data come before the formula: sc_glmm.tl.test(adata, {adata!r})")
    options, start = RunOptions.from_arguments(locals()), time.perf_counter()
    data, obs_above = modality_of(adata, modality, copy)
    if not copy and isinstance(data, str | os.PathLike):
        recover(data)  # an interrupted write that cannot be recovered is an error before the work starts
    opened = open_data(data, key_added, obs_above, columns_of(formula, groupby, size_factors, offset))
    check_free(opened, data, key_added, groupby)
    jobs = resolve_n_jobs(n_jobs)
    request = validate_request(opened, options)
    prepare_kernels(request.test.profiles(request.family))
    adata = copy_of(opened.adata) if copy and opened.store is None else opened.adata
    matrix = request.response.matrix
    limit = resolve_memory(memory_limit, isinstance(matrix, Source))
    with progress_of_run(progress, reading=isinstance(matrix, Source)):
        library = partial(library_sums, matrix, n_jobs=jobs, progress=progress)
        job = plan_job(adata, request, library, opened.labels)
        warn_notes([*job.notes, *factor_notes(adata, request.formula, contrasts is not None)], stacklevel=4)
        store = MemoryStore(matrix, job.plans, job.task, n_jobs=jobs, memory_limit=limit, progress=progress)
        tests, notes = Conductor(job.plans, job.task, matrix, adata.var_names, store, jobs, progress).run()
    warn_notes(notes, stacklevel=4)
    tests = put_results(adata, key_added, job, tests, notes)
    if not copy:
        hand_over(opened, data, key_added)
    where = "adata" if copy or opened.store is None else "path"
    seconds, beyond = time.perf_counter() - start, job.task.alternative.words
    logger.info(summary_line(tests, seconds, key_added, groupby, where, beyond))
    if request.table is not None:
        logger.info(samples_line(request.table, str(tests[0].recipe["test"]), len(tests[0].genes)))
    logger.info(as_lines(adata.uns[key_added]["params"]["attention"]))
    return adata if copy else None


# pytest collects functions with this name
test.__test__ = False  # type: ignore[attr-defined]
