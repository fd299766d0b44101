"""The doors from a fit to what can be done with it; each opens a file of its own, loaded when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pandas as pd

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .emmeans import Means
    from .fitted import MixedFit
    from .influence import Influence
    from .summary import Summary
    from .table import Table


class Doors:
    """Methods that every fitted model has; the functions behind them say what the options are."""

    @property
    def _fit(self) -> MixedFit:
        return cast("MixedFit", self)

    def summary(self, **options: Any) -> Summary:
        """The summary in R's order, as text and as HTML; see :func:`~sc_glmm.models.summary.summarise`."""
        from .summary import summarise

        return summarise(self._fit, **options)

    def predict(self, newdata: pd.DataFrame | None = None, **options: Any) -> pd.Series:
        """Predictions; see :func:`~sc_glmm.models.predict.predict`."""
        from .predict import predict

        return predict(self._fit, newdata, **options)

    def simulate(self, nsim: int = 1, **options: Any) -> pd.DataFrame:
        """New responses from the fitted model; see :func:`~sc_glmm.models.simulate.simulate`."""
        from .simulate import simulate

        return simulate(self._fit, nsim, **options)

    def confint(self, **options: Any) -> pd.DataFrame:
        """Confidence intervals; see :func:`~sc_glmm.models.confint.confint`."""
        from .confint import confint

        return confint(self._fit, **options)

    def update(self, formula: str | None = None, **changes: Any) -> Any:
        """Fit again with a changed formula, data or options.

        In the formula dots stand for what was there: ``"~ . - Days"``.
        """
        from .update import update

        return update(self._fit, formula, **changes)

    def contrast(self, contrasts: Any = None, **options: Any) -> pd.DataFrame:
        """Tests of contrasts of the fixed effects; see :func:`~sc_glmm.models.wald.contrast`."""
        from .wald import contrast

        return contrast(self._fit, contrasts, **options)

    def emmeans(self, specs: str | list[str], **options: Any) -> Means:
        """Estimated marginal means; see :func:`~sc_glmm.models.emmeans`."""
        from .emmeans import emmeans

        return emmeans(self._fit, specs, **options)

    def anova(self, *others: MixedFit, **options: Any) -> Table:
        """Tests of terms, or of this model against others; see :func:`~sc_glmm.models.anova`."""
        from .anova import anova

        return anova(self._fit, *others, **options)

    def drop1(self, **options: Any) -> Table:
        """Each term that can go, by likelihood ratio; see :func:`~sc_glmm.models.lrt.drop1`."""
        from .lrt import drop1

        return drop1(self._fit, **options)

    def influence(self, group: str | None = None) -> Influence:
        """What each group of observations does to the estimates; see :func:`~sc_glmm.models.influence`."""
        from .influence import influence

        return influence(self._fit, group)

    def quantile_residuals(self, **options: Any) -> NDArray[np.float64]:
        """Standard normal if the model is right; see :func:`~sc_glmm.models.quantile_residuals`."""
        from .diagnostics import quantile_residuals

        return quantile_residuals(self._fit, **options)

    def tidy(self, **options: Any) -> pd.DataFrame:
        """One row per parameter; see :func:`~sc_glmm.models.tidy.tidy`."""
        from .tidy import tidy

        return tidy(self._fit, **options)

    def glance(self) -> pd.DataFrame:
        """The model in one row; see :func:`~sc_glmm.models.tidy.glance`."""
        from .tidy import glance

        return glance(self._fit)

    def augment(self) -> pd.DataFrame:
        """The data used with fitted values and residuals; see :func:`~sc_glmm.models.tidy.augment`."""
        from .tidy import augment

        return augment(self._fit)
