"""Define the common interface of fitted mixed models: estimates, random effects and variances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._display.arguments import check_flag, is_number
from .._engine.arrow.layout import least_deviation, orthogonal_basis
from .._engine.gaussian.evaluate import conditional_blocks, new_work
from .._engine.gaussian.problem import LmmProblem
from .._errors import InputError
from .checks import accept_r_names
from .limit import Limit
from .prepare import Prepared, TermPlace


@dataclass(frozen=True, eq=False, repr=False)
class MixedFit(ABC):
    """A fitted mixed model, which is immutable and can be pickled.

    Attributes
    ----------
    prepared
        The design.
    data
        The data frame that was passed (not a copy).
    y
        (n_obs,) response on the rows used; for trials, the fraction of successes.
    weights
        (n_obs,) prior weights, or numbers of trials; None if all are one.
    family
        ``"gaussian"``, ``"poisson"``, ``"nb"`` or ``"binomial"``.
    beta
        (p,) fixed effects. For a separated model, they are those of its limit, with zeros for undetermined effects;
        :meth:`fixef` and :meth:`vcov` show which effects are infinite.
    cov_beta
        (p, p) covariance of the fixed effects.
    Lambda
        For each block, (k, k) lower triangular factor: the random effects of a level have covariance
        ``Lambda Lambda'``.
    modes
        For each block, (n_levels, k) conditional modes of the random effects.
    converged
        Whether the optimum was reached.
    n_iter
        Number of evaluations.
    decrement
        Newton decrement at the end.
    notes
        Notes and warnings of the fit.
    options
        Other arguments of the fit, for :meth:`update`.
    limit
        Limit of a separated model of counts or trials; None if all estimates are finite.
    reml
        Whether the restricted likelihood was maximised.
    test
        For a gene from :func:`sc_glmm.tl.refit`: its rows of the table of results, one per contrast.
    """

    prepared: Prepared = field(repr=False)
    data: pd.DataFrame = field(repr=False)
    y: FloatArray = field(repr=False)
    weights: FloatArray | None = field(repr=False)
    family: str
    beta: FloatArray
    cov_beta: FloatArray = field(repr=False)
    Lambda: tuple[FloatArray, ...] = field(repr=False)
    modes: tuple[FloatArray, ...] = field(repr=False)
    converged: bool
    n_iter: int
    decrement: float
    notes: tuple[str, ...] = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    limit: Limit | None = field(default=None, repr=False, kw_only=True)
    reml: bool = field(default=False, kw_only=True)
    test: pd.DataFrame | None = field(default=None, repr=False, kw_only=True)

    # --- methods that differ between the two types of model ------------------------------------------------------

    @property
    @abstractmethod
    def fitter(self) -> Callable[..., MixedFit]:
        """The function that fits this type of model to a formula and data."""

    @property
    @abstractmethod
    def sigma(self) -> float:
        """Residual standard deviation; one for counts and trials."""

    @property
    @abstractmethod
    def n_par(self) -> int:
        """Number of parameters, as R counts them."""

    @abstractmethod
    def loglik(self) -> float:
        """Return the log likelihood."""

    @abstractmethod
    def fitted(self) -> FloatArray:
        """Return the (n_obs,) conditional means."""

    @abstractmethod
    def residuals(self, type: str | None = None, *, scaled: bool = False) -> FloatArray:
        """Compute the (n_obs,) residuals."""

    @abstractmethod
    def conditional_cov(self) -> tuple[FloatArray, ...]:
        """Compute the covariance of the random effects given the data, as (n_levels, k, k) for each block."""

    @abstractmethod
    def refit(self, y: Any) -> MixedFit:
        """Fit the same model to another response."""

    @abstractmethod
    def _by_ml(self, options: Mapping[str, Any]) -> Self:
        """Fit the same model by maximum likelihood; `options` are those of the new fit."""

    # --- estimates ----------------------------------------------------------------------------------------------

    @property
    def formula(self) -> str:
        """The formula as it was written."""
        return self.prepared.design.formula.source

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fixed effects."""
        return self.prepared.design.fixed.names

    @property
    def nobs(self) -> int:
        """Number of observations used."""
        return len(self.y)

    @property
    def df_resid(self) -> int:
        """Observations minus parameters."""
        return self.nobs - self.n_par

    @property
    def theta(self) -> FloatArray:
        """Lower triangles of Lambda divided by sigma, column by column, in the order of lme4."""
        parts = [self.term_lambda(place) for place in self.prepared.places]
        return np.concatenate([lam.T[np.triu_indices(len(lam))] for lam in parts]) / self.sigma

    def term_lambda(self, place: TermPlace) -> FloatArray:
        """Return (k, k) Lambda of one term."""
        return self.Lambda[place.block][place.columns, place.columns]

    def term_names(self, place: TermPlace) -> tuple[str, ...]:
        """Return the names of the effects of one term."""
        return self.prepared.groupings[place.block].columns[place.columns]

    def fixef(self) -> pd.Series:
        """Get the fixed effects, for counts and trials on the natural log or logit scale.

        In a separated model, some are infinite. If columns were dropped from the design, some coefficients are sums of
        their own effect and that of a dropped column; ``summary()`` lists them.

        Returns
        -------
        One value per column of X.
        """
        return pd.Series(self.estimate(np.eye(len(self.beta))), index=list(self.names), name="estimate")

    def vcov(self) -> pd.DataFrame:
        """Get the covariance of the fixed effects; NaN if an estimate is infinite.

        Returns
        -------
        (p, p) data frame.
        """
        infinite = self.infinite(np.eye(len(self.beta))) != 0.0
        cov = np.where(infinite[:, None] | infinite, np.nan, self.cov_beta)
        return pd.DataFrame(cov, index=list(self.names), columns=list(self.names))

    def infinite(self, L: FloatArray) -> FloatArray:
        """Find the linear combinations of the fixed effects that are infinite.

        Parameters
        ----------
        L
            (k, p) weights of the fixed effects.

        Returns
        -------
        (k,) zero if ``L beta`` is finite, otherwise infinity with its sign; NaN if the sign is not known.
        """
        return np.zeros(len(L)) if self.limit is None else self.limit.at(L)

    def estimate(self, L: FloatArray) -> FloatArray:
        """Compute linear combinations of the fixed effects.

        Parameters
        ----------
        L
            (k, p) weights of the fixed effects.

        Returns
        -------
        (k,) ``L beta``, with infinite values for a separated model.
        """
        out: FloatArray = L @ self.beta + self.infinite(L)
        return out

    def ngrps(self) -> pd.Series:
        """Get the number of levels of each grouping factor.

        Returns
        -------
        One number per grouping factor.
        """
        groups = {self.prepared.groupings[p.block].name: None for p in self.prepared.places}
        sizes = {g.name: len(g.levels) for g in self.prepared.groupings}
        return pd.Series({name: sizes[name] for name in groups}, dtype="int64", name="levels")

    @accept_r_names
    def ranef(self, *, cond_var: bool = False) -> dict[str, pd.DataFrame]:
        """Get the conditional modes of the random effects.

        Parameters
        ----------
        cond_var
            Also return the conditional standard deviations, in columns ``sd(...)``. They measure the uncertainty of the
            random effects given all parameters, as in lme4.

        Returns
        -------
        One data frame (levels by effects) for each grouping factor.

        Raises
        ------
        InputError
            If `cond_var` is not True or False.
        """
        check_flag("cond_var", cond_var)
        covariances = self.conditional_cov() if cond_var else None
        out = {}
        for name, block in self._blocks_in_order():
            grouping = self.prepared.groupings[block]
            frame = pd.DataFrame(self.modes[block], index=pd.Index(grouping.levels), columns=list(grouping.columns))
            if covariances is not None:
                sd = np.sqrt(np.diagonal(covariances[block], axis1=1, axis2=2))
                deviations = pd.DataFrame(sd, index=frame.index, columns=[f"sd({c})" for c in grouping.columns])
                frame = pd.concat([frame, deviations], axis=1)
            out[name] = frame
        return out

    def coef(self) -> dict[str, pd.DataFrame]:
        """Get the coefficients of each level: fixed effect plus random effect.

        Returns
        -------
        One data frame (levels by coefficients) for each grouping factor.
        """
        out = {}
        for name, modes in self.ranef().items():
            fixed = {column: float(self.fixef().get(column, 0.0)) for column in (*self.names, *modes.columns)}
            frame = pd.DataFrame(fixed, index=modes.index)
            out[name] = frame.add(modes, fill_value=0.0)[list(fixed)]
        return out

    def is_singular(self, tol: float = 1e-4) -> bool:
        """Test whether a variance is zero or a correlation is one in absolute value.

        Parameters
        ----------
        tol
            Standard deviations below this fraction of the residual standard deviation count as zero. All combinations
            of the columns of a term are considered, each with unit root mean square over the data. (These standard
            deviations are the square roots of the eigenvalues of the relative covariance of orthonormal columns.) In
            contrast, lme4 tests the diagonal of theta, which changes with the unit and the zero of a covariate, and
            with the order of the columns.

        Returns
        -------
        Whether the fit is singular.

        Raises
        ------
        InputError
            If `tol` is not a number from 0 to 1.
        """
        if not is_number(tol) or not 0.0 <= tol < 1.0:
            raise InputError(f"tol={tol!r}: allowed are numbers from 0 to 1, such as 1e-4")
        weight = np.bincount(self.prepared.row_of, minlength=len(self.prepared.X)).astype(np.float64)
        smallest = [
            float(least_deviation(orthogonal_basis(block, weight), lam)) / self.sigma
            for block, lam in zip(self.prepared.blocks, self.Lambda, strict=True)
        ]
        return min(smallest) < tol

    def aic(self) -> float:
        """Compute Akaike's information criterion.

        Returns
        -------
        ``-2 log likelihood + 2 n_par``, with the likelihood that was maximised.
        """
        return -2.0 * self.loglik() + 2.0 * self.n_par

    def bic(self) -> float:
        """Compute the Bayesian information criterion.

        Returns
        -------
        ``-2 log likelihood + log(n_obs) n_par``, with the likelihood that was maximised.
        """
        return -2.0 * self.loglik() + float(np.log(self.nobs)) * self.n_par

    def remlcrit(self) -> float:
        """Get the REML criterion at convergence, for counts by the Laplace approximation.

        Returns
        -------
        ``-2 log restricted likelihood``.

        Raises
        ------
        InputError
            If the model was fitted by ML.
        """
        if not self.reml:
            raise InputError("this model was fitted by ML and has no REML criterion: fit it with reml=True")
        return -2.0 * self.loglik()

    def refit_ml(self) -> Self:
        """Fit the same model by maximum likelihood.

        Returns
        -------
        The ML fit; the model itself if it was fitted by ML.

        Raises
        ------
        InputError
            If the model cannot be fitted.
        """
        return self._by_ml({**self.options, "reml": False}) if self.reml else self

    def fixed_part(self) -> FloatArray:
        """Compute the linear predictor without random effects.

        Returns
        -------
        (n_obs,) linear predictor with the offset.
        """
        out: FloatArray = self.prepared.design.fixed.X @ self.beta + self.prepared.offset
        return out if self.limit is None else out + self.limit.ends

    def random_part(self, terms: Iterable[int] | None = None) -> FloatArray:
        """Sum the random effects of some terms.

        Parameters
        ----------
        terms
            Numbers of the terms in the formula. Default: all.

        Returns
        -------
        (n_obs,) sum of ``Z b``.
        """
        random = self.prepared.design.random
        out = np.zeros(self.nobs)
        for i in range(len(random)) if terms is None else terms:
            out += np.einsum("nk,nk->n", random[i].Z, self.term_modes(i)[random[i].codes])
        return out

    def term_modes(self, number: int) -> FloatArray:
        """Return the (n_levels, k) modes of one term of the formula."""
        place = next(place for place in self.prepared.places if place.term == number)
        return self.modes[place.block][:, place.columns]

    def linear_predictor(self) -> FloatArray:
        """Compute the conditional linear predictor, with the random effects.

        Returns
        -------
        (n_obs,) linear predictor with the offset.
        """
        return self.fixed_part() + self.random_part()

    def __repr__(self) -> str:
        state = "" if self.converged else ", not converged"
        state += "" if self.limit is None else ", separated"
        state += ", singular" if self.is_singular() else ""
        return f"<{type(self).__name__} {self.formula!r}: {self.family}, {self.nobs} observations{state}>"

    def _blocks_in_order(self) -> Iterator[tuple[str, int]]:
        """Yield name and block of each grouping factor once, in the order of the terms."""
        for block in dict.fromkeys(place.block for place in self.prepared.places):
            yield self.prepared.groupings[block].name, block

    def _conditional_cov(self, problem: LmmProblem, theta: FloatArray) -> tuple[FloatArray, ...]:
        """Compute :meth:`conditional_cov` of a Gaussian model with relative covariance parameters theta."""
        inverse = conditional_blocks(problem, theta, new_work(problem))
        of_block = {block: inverse[f] for f, block in enumerate(problem.scaling.order)}
        return tuple(lam @ of_block[block] @ lam.T for block, lam in enumerate(self.Lambda))

    # names that R and statsmodels use
    isSingular = is_singular
    REMLcrit = remlcrit
    refitML = refit_ml
    AIC = aic
    BIC = bic

    @property
    def params(self) -> pd.Series:
        """Fixed effects, by the name that statsmodels uses."""
        return self.fixef()

    @property
    def bse(self) -> pd.Series:
        """Standard errors of the fixed effects, by the name that statsmodels uses."""
        return pd.Series(np.sqrt(np.diagonal(self.vcov())), index=list(self.names), name="se")


def check_fit(fit: object, function: str) -> None:
    """Raise an error if the object is not a fitted model."""
    if not isinstance(fit, MixedFit):
        raise InputError(f"{function}() received {type(fit).__name__}, but needs a model from lmer or glmer")
