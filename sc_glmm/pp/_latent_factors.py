"""Estimate hidden factors of the samples."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._adata.columns import groups_of
from .._adata.copy import copy_of
from .._adata.latent import GroupFactors, write_factors
from .._adata.open import find_response, open_data
from .._arrays import FloatArray
from .._compress.composition import pooled_factors
from .._compress.size_factors import pseudobulk
from .._design import finest
from .._display import logger
from .._errors import DesignError, InputError, ScGlmmWarning
from .._fit.cluster import library_sums
from .._fit.model import get_family
from .._formula import parse_formula
from .._inference.latent import MIN_GENES, estimate_factors
from .._parallel.blas import one_blas_thread
from .._parallel.resources import resolve_n_jobs
from .._run.job import find_sizes
from .._run.options import RunOptions
from .._run.plan import Plan, plan_groups

if TYPE_CHECKING:
    from anndata import AnnData


# With fewer samples, hidden factors cost more degrees of freedom than they gain.
MIN_SAMPLES = 12
# A factor with a higher correlation with a tested column cannot be separated from its effect.
MAX_R = 0.7


def latent_factors(
    adata: AnnData,
    formula: str,
    *,
    n_factors: int | Literal["auto"] = "auto",
    contrasts: Any = None,
    groupby: str | None = None,
    reference: Mapping[str, str] | None = None,
    size_factors: Any = None,
    n_jobs: int | None = None,
    key_added: str = "latent",
    copy: bool = False,
) -> AnnData | None:
    r"""Estimate hidden factors of the samples, such as an unrecorded batch, from all genes.

    Use it for observational studies with 12 samples or more, one cell type at a time. Then add the factors to the
    formula of :func:`sc_glmm.tl.test`: ``"counts ~ disease + latent_1 + (1|sample)"`` with ``contrasts="disease"``. Do
    not use it for stimulations and other perturbations that change many genes together. Such an effect is mistaken for
    a hidden factor and removed.

    Parameters
    ----------
    adata
        Annotated data with raw counts of all genes.
    formula
        Formula of the test without the factors: ``"counts ~ disease + (1|sample)"``. Samples are the levels of its
        finest grouping factor.
    n_factors
        Number of factors. ``"auto"``: the largest number of factors that two halves of the genes both find (canonical
        correlation of at least 0.7), and at most one factor per eight samples.
    contrasts
        Contrasts to be tested later, as in :func:`sc_glmm.tl.test`. The factors are aligned with these columns of the
        design only. Default: every fixed effect.
    groupby
        Column of ``obs``; each of its levels gets its own factors.
    reference, size_factors
        As in :func:`sc_glmm.tl.test`.
    n_jobs
        Number of threads; None for all CPUs available to this process.
    key_added
        Name of the factors and of their report.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    AnnData or None
        The copy, if `copy`. The results are

        ``.obs[f"{key_added}_1"]``, ...
            (n_obs,) factors: one value per sample, with mean 0 and variance 1 over samples, the strongest first.
            NaN for cells of groups without factors. No column if no factor was found.
        ``.uns[key_added]``
            The report; read it with :func:`sc_glmm.get.latent_factors`.

    Raises
    ------
    FormulaError
        If the formula cannot be parsed; the message marks the position.
    InputError, DesignError
        If the data are not counts, a column is missing, `n_factors` is too large for the samples, fewer than 50 genes
        have counts, or there are fewer than 12 samples and `n_factors` is ``"auto"``.

    Warns
    -----
    ScGlmmWarning
        If the number of factors reaches its limit, if there are fewer than 12 samples, or if a factor correlates with a
        tested column by more than 0.7, so that the two effects cannot be separated.

    Notes
    -----
    Log rates of the samples, :math:`\log((y + 1/2) / n)` with size factors n, are weighted by sample and rotated by the
    design. A singular value decomposition of the part that no covariate explains gives the factors and their loadings.
    The part along the tested columns is regressed on the loadings by a robust method that corrects for the noise of the
    loadings. This gives the part that the factors share with the tested columns [1]_. Genes with a median of five
    counts per sample or more are used.

    References
    ----------
    .. [1] Wang, Zhao, Hastie and Owen, Confounder adjustment in multiple hypothesis testing, Annals of Statistics
       2017, 45:1863.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=1200, n_genes=100, seed=0)
    >>> sc_glmm.pp.latent_factors(adata, "counts ~ disease + (1|sample)", n_factors=1)
    >>> adata.obs["latent_1"].groupby(adata.obs["sample"], observed=True).nunique().unique().tolist()
    [1]
    """
    if n_factors != "auto" and (isinstance(n_factors, bool) or not isinstance(n_factors, int | np.integer)):
        raise InputError(f"n_factors={n_factors!r}: allowed are 'auto' and whole numbers from 0")
    target = copy_of(adata) if copy else adata
    opened = open_data(target, key_added)
    parsed, family = parse_formula(formula), get_family("nb")
    if not parsed.random:
        raise InputError(
            f"the formula {formula!r} has no random effect; add the samples, as in 'counts ~ disease + (1|sample)'"
        )
    matrix = find_response(opened, parsed, True).matrix
    jobs = resolve_n_jobs(n_jobs)
    sizes = find_sizes(
        target, parsed, family, size_factors, None, lambda: library_sums(matrix, n_jobs=jobs, progress=False)
    )
    groups, _ = groups_of(target, groupby)
    options = RunOptions(formula, groupby=groupby, reference=reference, contrasts=contrasts, within="homogeneous")
    obs: pd.DataFrame = target.obs  # type: ignore[assignment]
    plans, skipped, _ = plan_groups(obs, groups, parsed, sizes, options)
    estimated, reasons = [], dict(skipped)
    for plan in plans:
        try:
            estimated.append(_of_group(matrix, plan, target.n_obs, n_factors, sizes.default, jobs))
        except DesignError as error:
            if groupby is None:
                raise
            reasons[plan.cells.name] = str(error)
    columns = write_factors(target, key_added, parsed, groupby, estimated)
    for name, reason in reasons.items():
        warnings.warn(f"no hidden factors for {groupby} {name!r}: {reason}", ScGlmmWarning, stacklevel=2)
    for group in estimated:
        for note in _notes(group, n_factors):
            warnings.warn(note, ScGlmmWarning, stacklevel=2)
    logger.info(_summary(estimated, columns, formula))
    return target if copy else None


def _of_group(
    matrix: Any, plan: Plan, n_obs: int, n_factors: int | Literal["auto"], default_sizes: bool, n_jobs: int
) -> GroupFactors:
    """Estimate the factors of one group of cells."""
    design = plan.cells.design
    samples = design.random[finest(design.random)]
    n_samples, codes = len(samples.levels), samples.codes
    if n_factors == "auto" and n_samples < MIN_SAMPLES:
        raise DesignError(
            f"{n_samples} samples are too few for hidden factors: with fewer than {MIN_SAMPLES}, the loss of degrees "
            "of freedom is larger than the gain. Set n_factors= to estimate them nevertheless"
        )
    n_cells = np.bincount(codes, minlength=n_samples)
    sums = np.zeros((n_samples, design.fixed.X.shape[1]))
    np.add.at(sums, codes, design.fixed.X)
    X = np.asarray(sums / n_cells[:, None], dtype=np.float64)
    L: FloatArray = np.vstack([contrast.L for contrast in plan.contrasts])
    nuisance, tested = X @ _null_space(L), X @ np.linalg.pinv(L)
    rank = int(np.linalg.matrix_rank(X / np.maximum(np.abs(X).max(axis=0), 1e-300)))
    maximum = n_samples - rank - 2
    if n_factors != "auto" and not 0 <= n_factors <= maximum:
        raise DesignError(
            f"n_factors={n_factors}: allowed are 0 to {max(maximum, 0)}, because there are {n_samples} samples and the "
            f"design has rank {rank}"
        )
    place = np.full(n_obs, -1, dtype=np.int64)
    place[plan.cells.cells] = codes
    bulk = pseudobulk(matrix, place, n_samples, n_jobs=n_jobs)
    n_genes = int((bulk.sum(axis=0) > 0).sum())
    if n_genes < MIN_GENES:
        raise DesignError(
            f"{n_genes} of {bulk.shape[1]} genes have counts, but hidden factors need at least {MIN_GENES}: with "
            "fewer, a factor cannot be distinguished from noise. Pass the counts of all genes"
        )
    sums_of_sizes = np.bincount(codes, weights=np.exp(plan.cells.offset), minlength=n_samples)
    size = np.asarray(sums_of_sizes * (pooled_factors(bulk) if default_sizes else 1.0), dtype=np.float64)
    with one_blas_thread():
        factors = estimate_factors(bulk, size, nuisance, tested, None if n_factors == "auto" else int(n_factors))
    levels = tuple(map(str, samples.levels))
    return GroupFactors(plan.cells.name, factors, plan.cells.cells, codes, levels, np.log(size))


def _null_space(L: FloatArray) -> FloatArray:
    """Compute an orthonormal basis (p, p - rank) of the null space of L."""
    _, size, right = np.linalg.svd(L, full_matrices=True)
    rank = int(np.sum(size > 1e-9 * size.max(initial=1e-300)))
    return right[rank:].T


def _notes(group: GroupFactors, n_factors: int | Literal["auto"]) -> list[str]:
    """Write warnings about the factors of a group."""
    factors, prefix = group.found, f"{group.group}: " if group.group else ""
    notes = []
    correlated = np.flatnonzero(factors.r_tested > MAX_R)
    if len(correlated):
        first = int(correlated[0])
        notes.append(
            f"{prefix}factor {first + 1} correlates with the tested columns (r = {factors.r_tested[first]:.2f}). "
            f"Above {MAX_R}, the two effects cannot be separated, and power is lost"
        )
    if len(group.samples) < MIN_SAMPLES:
        notes.append(
            f"{prefix}there are {len(group.samples)} samples, but hidden factors need at least {MIN_SAMPLES} to be of "
            "use: test without them"
        )
    if n_factors == "auto" and 0 < factors.n_factors == len(factors.agreement):
        notes.append(
            f"{prefix}{factors.n_factors} hidden factors are the maximum for {len(group.samples)} samples. There may "
            "be more, and results depend on their number: compare runs with n_factors= one lower and one higher"
        )
    return notes


def _summary(estimated: list[GroupFactors], columns: list[str], formula: str) -> str:
    counts = ", ".join(f"{g.group}: {g.found.n_factors}" if g.group else f"{g.found.n_factors}" for g in estimated)
    if not columns:
        return f"no hidden factor was found ({counts}): use the formula without factors"
    longer = " + ".join([formula, *columns])
    return (
        f"hidden factors ({counts}) were written to obs: {', '.join(columns)}. "
        f"Test with {longer!r}, and list the columns to test in contrasts="
    )
