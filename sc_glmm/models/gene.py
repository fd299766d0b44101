"""Convert the fit of one gene in a run to a fitted model with all methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray
from .._engine import entry
from .._engine.gaussian.evaluate import evaluate, new_work
from .._engine.gaussian.fit import LmmSolution
from .._engine.gaussian.problem import build_problem
from .._errors import InputError
from .._fit.gaussian import theta_of
from .._parallel.blas import one_blas_thread
from .._run.one_gene import OneGene
from .fitted import MixedFit
from .glmer import GlmmFit
from .limit import find_limit
from .lmer import LmmFit
from .prepare import Prepared, lay_out


@dataclass(frozen=True)
class GeneFit:
    """The model of a gene, with the values that figures of a separated gene need.

    Attributes
    ----------
    fit
        The model. For a separated gene, this is the limit of infinite coefficients: undetermined coefficients are zero,
        and cells with a mean of zero carry no information.
    offset
        (n_obs,) offset of every cell.
    zero
        (n_obs,) cells whose mean is zero in the limit.
    directions
        (p, m) directions in which the fixed effects are undetermined; m is 0 if the gene is not separated.
    """

    fit: MixedFit
    offset: FloatArray
    zero: BoolArray
    directions: FloatArray

    @property
    def separated(self) -> bool:
        """Whether some coefficient is infinite."""
        return self.directions.shape[1] > 0

    def undetermined(self, L: FloatArray) -> BoolArray:
        """Return an (n_rows,) mask of the rows of ``L beta`` that are infinite."""
        infinite: BoolArray = np.abs(L @ self.directions).max(axis=1, initial=0.0) > 1e-9
        return infinite


def as_gene_fit(fit: MixedFit) -> GeneFit:
    """Add the values of the limit to a fitted model, for figures of separated genes."""
    zero, directions = np.zeros(fit.nobs, dtype=bool), np.zeros((len(fit.beta), 0))
    if fit.limit is not None:
        zero, directions = fit.limit.ends < 0.0, fit.limit.directions / fit.limit.scale[:, None]
        directions = directions / np.linalg.norm(directions, axis=0)
    return GeneFit(fit, fit.prepared.offset, zero, directions)


def model_of_gene(one: OneGene, data: pd.DataFrame, test: pd.DataFrame, reference: Any) -> MixedFit:
    """Convert the fit of a gene to a fitted model.

    Parameters
    ----------
    one
        The gene and its fit; the design must have a response.
    data
        One row per cell, with the columns of the formula and the response.
    test
        The rows of the gene in the results.
    reference
        Column -> base level, for :meth:`~sc_glmm.models.fitted.MixedFit.update`.
    """
    design, family, fits = one.cells.design, one.model.family, one.result.fits
    y = design.response
    if y is None:
        raise InputError(f"the design of {design.formula.source!r} has no response")
    in_formula = np.zeros(design.n_obs) if design.offset is None else design.offset
    argument = one.offset - in_formula
    prepared = lay_out(design, argument if np.any(argument != 0.0) else None)
    options: dict[str, Any] = {
        "weights": None,
        "offset": prepared.offset_arg,
        "reference": reference or None,
        "na_action": "drop",
        "reml": one.model.reml,
    }
    if not family.counts:
        return _gaussian(one, prepared, data, y, test, options)
    options |= {"family": family.name, "n_agq": one.model.n_agq}
    separation, limit, notes = one.result.separations.get(0), None, design.notes
    if separation is not None:
        limit = find_limit(prepared, y, None, False, separation.columns)
    if limit is not None:
        notes = (*notes, limit.note(design.fixed.names, False))
    return GlmmFit(
        prepared=prepared,
        data=data,
        y=y,
        weights=None,
        family=family.name,
        beta=fits.beta[0],
        cov_beta=fits.vcov[0],
        Lambda=tuple(lam[0] for lam in fits.Lambda),
        modes=tuple(b[0] for b in fits.ranef),
        converged=int(fits.status[0]) == entry.OK,
        n_iter=int(fits.n_iter[0]),
        decrement=float(fits.decrement[0]),
        notes=notes,
        options=options,
        limit=limit,
        n_agq=one.model.n_agq,
        dispersion=float(np.exp(fits.log_dispersion[0])) if family.has_dispersion else np.nan,
        log_likelihood=float(fits.loglik[0]),
        cov_given_variances=fits.vcov[0],
        reml=one.model.reml,
        test=test,
    )


def _gaussian(
    one: OneGene, prepared: Prepared, data: pd.DataFrame, y: FloatArray, test: pd.DataFrame, options: dict[str, Any]
) -> MixedFit:
    """Evaluate the Gaussian model of the cells at the variances of the gene."""
    fits = one.result.fits
    with one_blas_thread():
        problem = build_problem(prepared.X, prepared.blocks, prepared.row_of, y - prepared.offset, None)
        sigma = float(np.exp(0.5 * fits.log_dispersion[0]))
        theta = theta_of(problem, [lam[0] for lam in fits.Lambda], sigma)
        point = evaluate(problem, theta, one.model.reml, new_work(problem))
    if point is None:
        raise InputError("this gene has no model, because its values are (nearly) constant")
    converged = int(fits.status[0]) == entry.OK
    solution = LmmSolution(theta, point, int(fits.n_iter[0]), float(fits.decrement[0]), converged)
    return LmmFit.build_fit(prepared, data, y, None, one.model.reml, options, problem, solution, test)
