"""Variation of genes within and between samples, against their abundance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..._arrays import BoolArray, FloatArray
from ..._display.arguments import suggest
from ..._errors import InputError
from ..._inference.prior import VariancePrior, abundance_rank
from ..._results import sd_name

# Genes on each side in the running median.
_REACH = 75
# Number of points at which a line is evaluated.
_N_LINE = 60


@dataclass(frozen=True)
class DispersionTrend:
    """Dispersions against the mean.

    Attributes
    ----------
    mean, dispersion
        ``(n_genes,)`` mean count per cell, and phi of ``mu + phi mu^2``.
    from_trend
        ``(n_genes,)`` genes with too few counts, which take their value from the trend.
    at, trend
        Running median over the other genes.
    """

    mean: FloatArray
    dispersion: FloatArray
    from_trend: BoolArray
    at: FloatArray
    trend: FloatArray


@dataclass(frozen=True)
class VarianceSpread:
    """Standard deviations of the random effects of one grouping factor (natural log), against the mean.

    Attributes
    ----------
    group
        Name of the grouping factor.
    mean
        ``(n_genes,)``.
    sd
        ``(n_genes,)`` posterior mean (root of that of the variance); without a prior, the REML estimate.
    surprising
        ``(n_genes,)`` varies more than genes of the same abundance.
    at, centre, limit
        Line of the prior: its mean standard deviation and its 95 % quantile; empty without a prior.
    """

    group: str
    mean: FloatArray
    sd: FloatArray
    surprising: BoolArray
    at: FloatArray
    centre: FloatArray
    limit: FloatArray


def dispersion_trend(info: pd.DataFrame) -> DispersionTrend:
    """Dispersions and their trend from ``get.fit_info``."""
    if "dispersion" not in info:
        raise InputError(
            "dispersion needs negative binomial fits, but these results come from the Poisson or Gaussian family and "
            "have no dispersion. Use what='sample' to draw the variances between samples."
        )
    mean, phi = info["mean"].to_numpy(float), info["dispersion"].to_numpy(float)
    fine = np.isfinite(phi) & (phi > 0) & (mean > 0)
    mean, phi = mean[fine], phi[fine]
    if not len(phi):
        raise InputError(f"none of the {len(info)} genes has a dispersion above zero and a mean above zero.")
    lent = info["phi_from_trend"].to_numpy(bool)[fine] if "phi_from_trend" in info else np.zeros(len(phi), dtype=bool)
    at, trend = running_median(np.log(mean[~lent]), np.log(phi[~lent]))
    return DispersionTrend(mean, phi, lent, np.exp(at), np.exp(trend))


def running_median(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Median of `y` over the 75 nearest on each side, at points along `x`; empty for fewer than ten points."""
    if len(x) < 10:
        return np.empty(0), np.empty(0)
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    places = np.unique(np.linspace(0, len(x) - 1, _N_LINE).astype(np.int64))
    reach = min(_REACH, len(x) // 4)
    return x[places], np.array([np.median(y[max(i - reach, 0) : i + reach + 1]) for i in places])


def variance_spread(
    info: pd.DataFrame, prior: Mapping[str, Any], names: list[str], group: str | None
) -> VarianceSpread:
    """Standard deviations of one factor.

    Parameters
    ----------
    info
        Result of ``get.fit_info``.
    prior
        Stored arrays of the prior; empty without a prior.
    names
        Names of the variances of the prior.
    group
        Grouping factor. Default: the first with a prior, or else the first.
    """
    places = {sd_name(name): k for k, name in enumerate(names) if f"sd_{sd_name(name)}_eb" in info}
    # Every moderated deviation stands beside the gene's own, so "sd_x_eb" alone is that of a factor called "x_eb".
    own = [str(c)[3:] for c in info if str(c).startswith("sd_")]
    moderated = {name for name in own if f"sd_{name}_eb" in info}
    known = [name for name in own if not any(name in (f"{m}_eb", f"{m}_eb_low", f"{m}_eb_high") for m in moderated)]
    if group is None:
        group = next(iter([*places, *known, ""]))
    column = f"sd_{group}_eb" if group in moderated or group in places else f"sd_{group}"
    if column not in info:
        hint = suggest(group, ["dispersion", *known])
        raise InputError(f"what={group!r} is not a variance in these results{hint}")
    mean, sd = info["mean"].to_numpy(float), info[column].to_numpy(float)
    fine = np.isfinite(sd) & (mean > 0)
    if not fine.any():
        raise InputError(f"none of the {len(info)} genes has a standard deviation for {group!r}.")
    # the flag is about the variances that have a prior
    flagged = "more_variable" in info and column.endswith("_eb")
    odd = info["more_variable"].to_numpy(bool)[fine] if flagged else np.zeros(int(fine.sum()), dtype=bool)
    at, centre, limit = np.empty(0), np.empty(0), np.empty(0)
    # The prior refers to columns of unit size: for an intercept, it is the variance itself.
    if prior and group in places and ": " not in names[places[group]]:
        at, centre, limit = prior_line(mean[fine], prior, places[group])
    return VarianceSpread(group, mean[fine], sd[fine], odd, at, centre, limit)


def prior_line(mean: FloatArray, prior: Mapping[str, Any], k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means, and mean and 95 % quantile of the prior's standard deviation, by abundance rank."""
    grid = np.asarray(prior["variance"], dtype=np.float64)
    values = list(dict.fromkeys(grid[:, k].tolist()))
    anchors = np.asarray(prior["anchors"], dtype=np.float64)
    marginal = np.asarray(prior[f"marginal_{k}"], dtype=np.float64)
    line = VariancePrior(anchors, (marginal,), (len(values),))
    rank = np.linspace(0.0, 1.0, _N_LINE)
    mass, nodes = line.at(rank), np.array(values)
    order = np.argsort(nodes)
    cumulated = np.cumsum(mass[:, order], axis=1)
    limit = nodes[order][np.argmax(cumulated >= 0.95, axis=1)]
    at = np.interp(rank, np.sort(abundance_rank(mean)), np.sort(mean))
    return at, mass @ np.sqrt(nodes), np.sqrt(limit)
