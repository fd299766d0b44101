"""Test a likelihood ratio by parametric bootstrap, for variances at the boundary and for few groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .._arrays import FloatArray
from .._display.arguments import check_count
from .._errors import InputError
from .._parallel.blas import one_blas_thread
from .checks import random_generator
from .fitted import MixedFit, check_fit
from .lrt import compare
from .predict import draw


@dataclass(frozen=True, eq=False)
class BootstrapTest:
    """A likelihood ratio and its simulated distribution.

    Attributes
    ----------
    statistic
        Observed likelihood ratio.
    df
        Difference of the numbers of parameters.
    p_value
        ``(1 + number of simulated ratios at least as large) / (1 + nsim)``.
    p_chisq
        P-value from the chi-squared distribution.
    reference
        (nsim,) simulated ratios; NaN if a refit failed. Failed refits are ignored.
    """

    statistic: float
    df: int
    p_value: float
    p_chisq: float
    reference: FloatArray

    def __str__(self) -> str:
        used = int(np.isfinite(self.reference).sum())
        return (
            f"Bootstrap test; {used} simulations\n"
            f"LRT = {self.statistic:.4f}, df = {self.df}: p = {self.p_chisq:.4g} (chi-square), "
            f"p = {self.p_value:.4g} (bootstrap)"
        )

    __repr__ = __str__


def bootstrap_lrt(
    small: MixedFit, large: MixedFit, *, nsim: int = 1000, seed: int | np.random.Generator | None = None
) -> BootstrapTest:
    """Compare two nested models by simulating from the smaller one, as pbkrtest's ``PBmodcomp`` does.

    Parameters
    ----------
    small, large
        Nested models of the same data. REML fits are refitted by ML.
    nsim
        Number of simulated data sets; both models are fitted to each.
    seed
        Seed or generator of the random numbers.

    Returns
    -------
    The likelihood ratio with its simulated distribution and p-values.

    Raises
    ------
    InputError
        If the models are not nested fits of the same data.
    """
    for model in (small, large):
        check_fit(model, "bootstrap_lrt")
    check_count("nsim", nsim, 1, "use 1000 simulations for a precise p-value")
    if small.n_par >= large.n_par:
        raise InputError(
            f"the first model must be the smaller one, but it has {small.n_par} parameters and the second has "
            f"{large.n_par}"
        )
    null, full = (fit.refit_ml() for fit in (small, large))
    observed = float(compare((null, full)).table["Chisq"].iloc[1])
    rng = random_generator(seed)
    reference = np.full(nsim, np.nan)
    for i in range(nsim):
        y = draw(null, rng)
        try:
            with one_blas_thread():
                ratio = 2.0 * (full.refit(y).loglik() - null.refit(y).loglik())
        except InputError:  # a simulated response that cannot be fitted (all zero) is not counted
            continue
        reference[i] = max(ratio, 0.0)
    used = reference[np.isfinite(reference)]
    df = full.n_par - null.n_par
    # ratios that differ by rounding errors are ties
    p = (1.0 + float(np.sum(used >= observed - 1e-8))) / (1.0 + len(used))
    return BootstrapTest(observed, df, p, float(stats.chi2.sf(observed, df)), reference)
