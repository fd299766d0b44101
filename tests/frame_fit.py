"""Fit a model of a data frame through the public functions; results have the names of the references."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

import sc_glmm


@dataclass(frozen=True)
class FrameFit:
    """Results of :func:`sc_glmm.lmer` or :func:`sc_glmm.glmer` that the tests compare."""

    model: Any

    @property
    def names(self) -> tuple[str, ...]:
        return self.model.names

    @property
    def beta(self) -> np.ndarray:
        return self.model.beta

    @property
    def vcov(self) -> np.ndarray:
        """Covariance of beta given the variances."""
        return getattr(self.model, "cov_given_variances", self.model.cov_beta)

    @property
    def se(self) -> np.ndarray:
        return np.sqrt(np.diagonal(self.vcov))

    @property
    def vcov_full(self) -> np.ndarray:
        return self.model.cov_beta

    @cached_property
    def _covariances(self) -> dict[str, np.ndarray]:
        groupings = self.model.prepared.groupings
        return {g.name: lam @ lam.T for g, lam in zip(groupings, self.model.Lambda, strict=True)}

    @property
    def re_sd(self) -> dict[str, np.ndarray]:
        return {name: np.sqrt(np.diagonal(cov)) for name, cov in self._covariances.items()}

    @property
    def re_corr(self) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: cov / np.outer(*2 * [np.sqrt(np.diagonal(cov))]) for name, cov in self._covariances.items()}

    @property
    def ranef(self) -> dict[str, pd.DataFrame]:
        return self.model.ranef()

    @property
    def dispersion(self) -> float:
        """phi of the negative binomial, residual variance of the Gaussian."""
        return getattr(self.model, "dispersion", self.model.sigma**2)

    @property
    def loglik(self) -> float:
        """Maximised (restricted) log likelihood."""
        return -0.5 * self.model.remlcrit() if self.model.reml else self.model.loglik()

    @property
    def converged(self) -> bool:
        return self.model.converged

    @property
    def singular(self) -> bool:
        return self.model.is_singular()


def fit_frame(
    formula: str, data: pd.DataFrame, *, family: str = "nb", method: str = "ml", n_agq: int = 1, offset: Any = None
) -> FrameFit:
    """Fit without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
        if family == "gaussian":
            return FrameFit(sc_glmm.lmer(formula, data, reml=method == "reml", offset=offset))
        return FrameFit(sc_glmm.glmer(formula, data, family, reml=method == "reml", n_agq=n_agq, offset=offset))
