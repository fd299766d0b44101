"""One model on a data frame: the same path as for many genes, with one response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._compress import chebyshev_nodes, compress_counts, poisson_nodes, unique_rows
from .._compress.gaussian import compress_gaussian
from .._design import Design, build_design
from .._engine import entry
from .._engine.fit import Nodes, build_structure, fit_genes, relative_theta
from .._errors import DesignError, InputError
from .._formula import parse_formula
from .._inference.separation import separate
from .gaussian import restore_units
from .model import check_method, count_stats, engine_nodes, gaussian_nodes, gaussian_stats, get_family, merge_terms


@dataclass(frozen=True)
class FrameFit:
    """A fitted mixed model.

    Attributes
    ----------
    names
        Names of the fixed effects.
    beta, se
        ``(p,)`` fixed effects and their standard errors given the variance parameters.
    vcov
        ``(p, p)`` covariance that `se` comes from.
    vcov_full
        ``(p, p)`` covariance that counts the uncertainty of the variance parameters (what lme4 and glmmTMB print for
        GLMMs); NaN where the Hessian is not positive definite.
    re_sd, re_corr
        Per grouping factor: standard deviations of its random effects ``(k,)`` and their correlations ``(k, k)``.
    ranef
        Per grouping factor a frame of the modes, levels x columns.
    theta
        Covariance parameters: lower triangles of Lambda term by term, column by column (absolute for counts, relative
        to the residual standard deviation for a Gaussian response, as in lme4).
    dispersion
        phi of the negative binomial (variance mu + phi mu^2; R's size is 1 / phi), residual variance of the Gaussian.
    loglik
        Maximised (restricted) log likelihood, with all constants.
    objective
        ``-2 loglik``: the deviance, or the REML criterion.
    converged, singular
        Whether the optimum was reached; whether it lies where some variance is zero.
    message
        What is to be said of the fit, empty if nothing.
    n_iter
        Evaluations of the objective.
    notes
        What the design had to say.
    """

    names: tuple[str, ...]
    beta: FloatArray
    se: FloatArray
    vcov: FloatArray
    vcov_full: FloatArray
    re_sd: dict[str, FloatArray]
    re_corr: dict[str, FloatArray]
    ranef: dict[str, pd.DataFrame]
    theta: FloatArray
    dispersion: float
    loglik: float
    objective: float
    converged: bool
    singular: bool
    message: str
    n_iter: int
    notes: tuple[str, ...]


def fit_frame(
    formula: str,
    data: pd.DataFrame,
    *,
    family: str = "nb",
    method: str = "ml",
    n_agq: int = 1,
    offset: Any = None,
) -> FrameFit:
    """Fit a mixed model to the rows of a data frame.

    Parameters
    ----------
    formula
        Two-sided, in lme4's syntax.
    data
        One row per observation.
    family
        ``"poisson"``, ``"nb"`` or ``"gaussian"``.
    method
        ``"ml"`` or ``"reml"``.
    n_agq
        Quadrature nodes for one scalar random effect; 1 is Laplace.
    offset
        ``(n_obs,)`` added to the linear predictor (natural log for counts), beside ``offset(...)`` in the formula.

    Raises
    ------
    InputError
        If the formula, the data or the combination of options cannot be used.
    """
    spec, parsed = get_family(family), parse_formula(formula)
    if parsed.response is None:
        raise InputError(f"the formula {formula!r} has no left side: write the response before '~'")
    if not parsed.random:
        raise InputError(
            f"the formula {formula!r} has no random effect such as (1 | sample): use a GLM from statsmodels"
        )
    design = build_design(parsed, data, check_replication=not spec.counts, response=True)
    reml = check_method(method, n_agq, design.random)
    y = _check_response(design, spec.counts, formula)
    shift = np.zeros(design.n_obs) if design.offset is None else design.offset.copy()
    if offset is not None:
        shift += np.asarray(offset, dtype=np.float64)[design.kept]
    rows = unique_rows(design.fixed.X, [t.Z for t in design.random], [t.codes for t in design.random])
    blocks, groupings = merge_terms(design.random, rows.Z, rows.codes)
    structure = build_structure(rows.X, blocks, rows.n_cells.astype(np.float64))
    nodes: Nodes
    if spec.counts:
        make = poisson_nodes if spec.name == "poisson" else chebyshev_nodes
        table = make(rows.row_of, rows.n_rows, shift)
        nodes, stats = engine_nodes(table), count_stats(compress_counts(y[:, None], table, shift))
    else:
        sums = compress_gaussian(y[:, None], rows, shift)
        nodes = gaussian_nodes(rows.n_cells.astype(np.float64))
        stats = gaussian_stats(sums, len(y), None)
    if spec.counts:
        _refuse_separation(rows.X, np.add.reduceat(stats.A[0], nodes.ptr[:-1]), design, formula)
    fits = fit_genes(structure, nodes, stats, spec, reml=reml, n_agq=n_agq, full=True)
    if not spec.counts:
        fits = restore_units(stats, fits, None, len(y) - len(design.fixed.names) if reml else len(y))
    status = int(fits.status[0])
    if status in (entry.FAILED, entry.EMPTY):
        why = "all counts are zero" if status == entry.EMPTY else "no start led to finite values"
        raise InputError(f"the model {formula!r} could not be fitted: {why}")
    dispersion = float(np.exp(fits.log_dispersion[0]))
    scale = 1.0 if spec.counts else np.sqrt(dispersion)
    lambdas = [lam[0] for lam in fits.Lambda]
    sds = [np.sqrt(np.sum(lam**2, axis=1)) for lam in lambdas]
    singular = bool(min(np.abs(np.diagonal(lam)).min(initial=np.inf) for lam in lambdas) / scale < 1e-4)
    vcov_full = fits.vcov if fits.vcov_full is None else fits.vcov_full
    return FrameFit(
        names=design.fixed.names,
        beta=fits.beta[0],
        se=np.sqrt(np.diagonal(fits.vcov[0])),
        vcov=fits.vcov[0],
        vcov_full=vcov_full[0],
        re_sd={g.name: sd for g, sd in zip(groupings, sds, strict=True)},
        re_corr={g.name: _correlation(lam) for g, lam in zip(groupings, lambdas, strict=True)},
        ranef={
            g.name: pd.DataFrame(b[0], index=pd.Index(g.levels), columns=list(g.columns))
            for g, b in zip(groupings, fits.ranef, strict=True)
        },
        theta=relative_theta(lambdas, [g.terms for g in groupings], scale),
        dispersion=dispersion if spec.has_dispersion else np.nan,
        loglik=float(fits.loglik[0]),
        objective=-2.0 * float(fits.loglik[0]),
        converged=status == entry.OK,
        singular=singular,
        message="" if status == entry.OK else f"Newton decrement {fits.decrement[0]:.2g} at the end",
        n_iter=int(fits.n_iter[0]),
        notes=design.notes,
    )


def _refuse_separation(X: FloatArray, totals: FloatArray, design: Design, formula: str) -> None:
    """Refuse counts that are all zero where the design says so: the likelihood has no maximum."""
    separation = separate(X, totals > 0.5) if (totals > 0.5).any() else None
    if separation is None:
        return
    names = [n for n, row in zip(design.fixed.names, np.eye(X.shape[1]), strict=True) if separation.touches(row[None])]
    raise DesignError(
        f"the counts of {formula!r} are all zero where some combination of {', '.join(names)} says so: their "
        "estimates are infinite. Drop the terms or merge the levels without counts"
    )


def _check_response(design: Design, counts: bool, formula: str) -> FloatArray:
    """The response as floats; counts are checked to be counts."""
    if design.response is None or design.response.ndim != 1:
        raise InputError(f"the left side of {formula!r} has several columns; give one")
    y = np.ascontiguousarray(design.response, dtype=np.float64)
    if not np.isfinite(y).all():
        raise InputError(f"the response of {formula!r} has values that are not finite; remove these rows")
    if counts:
        bad = np.flatnonzero((y < 0.0) | (y != np.round(y)))
        if len(bad):
            raise InputError(
                f"the response of {formula!r} is {y[bad[0]]:g} in row {bad[0]} ({len(bad)} such rows); counts must be "
                "whole numbers from 0 on: use raw counts, or family='gaussian'"
            )
    elif np.ptp(y) == 0.0:
        raise InputError(f"the response of {formula!r} is {y[0]:g} in every row: there is nothing to model")
    return y


def _correlation(lam: FloatArray) -> FloatArray:
    """Correlation matrix of ``lam lam'``; NaN for a variance of zero."""
    cov = lam @ lam.T
    sd = np.sqrt(np.diagonal(cov))
    with np.errstate(invalid="ignore", divide="ignore"):
        corr: FloatArray = cov / np.outer(sd, sd)
    return corr
