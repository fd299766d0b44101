"""Observed and fitted means of one gene for each sample, and the means that are compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student_t

from ..._arrays import BoolArray, FloatArray, IntArray
from ..._design import finest
from ..._display.arguments import suggest
from ..._errors import InputError
from ...models.emmeans import emmeans

if TYPE_CHECKING:
    from ..._design import ReTerm
    from ...models.fitted import MixedFit
    from ...models.gene import GeneFit


# Number of values of a numeric covariate at which the fitted mean is evaluated.
_N_LINE = 40
_LEVEL = 0.95


@dataclass(frozen=True)
class SampleMeans:
    """The samples of one gene.

    Attributes
    ----------
    by
        The column on the horizontal axis.
    levels
        Its levels if it is a factor; empty for a number.
    samples
        ``(n,)`` names. A sample with cells of several levels occurs once for each level.
    at
        ``(n,)`` position of the level, or mean of the covariate over the sample's cells.
    n_cells
        ``(n,)``.
    observed
        ``(n,)`` counts divided by size factors; for a Gaussian response, the mean.
    fixed, conditional
        ``(n,)`` the same according to the model, without and with the random effects.
    pair, pair_name
        ``(n,)`` code of the group that joins samples of different levels, such as the donor, or -1; its column.
    line_at, mean, low, high
        Fitted mean at each level (or along the covariate), averaged over other factors and with other numbers at their
        mean, with a 95 % interval given the variances. In a separated gene, means of zero have no interval, and
        undetermined means are NaN.
    log
        Whether the model is multiplicative.
    """

    by: str
    levels: tuple[str, ...]
    samples: tuple[str, ...]
    at: FloatArray
    n_cells: IntArray
    observed: FloatArray
    fixed: FloatArray
    conditional: FloatArray
    pair: IntArray
    pair_name: str
    line_at: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    log: bool


@dataclass(frozen=True)
class Intercepts:
    """Random effects of one grouping factor.

    Attributes
    ----------
    group, column
        The grouping factor, and which of its effects.
    names
        ``(n,)`` levels, smallest effect first.
    mode, sd
        ``(n,)`` conditional mode and standard deviation, natural log for counts.
    silent
        ``(n,)`` levels without information about their effect: those with a fitted mean of zero in a separated gene.
    level
        ``(n,)`` position in `levels` of the value of `by`, which is constant within each group; -1 without `by`.
    by, levels
        Factor that colours the groups, and its levels; empty without one.
    """

    group: str
    column: str
    names: tuple[str, ...]
    mode: FloatArray
    sd: FloatArray
    silent: BoolArray
    level: IntArray
    by: str
    levels: tuple[str, ...]


def sample_means(gene: GeneFit, *, by: str | None, sample: str | None) -> SampleMeans:
    """Observed and fitted means of the samples of one model.

    Parameters
    ----------
    gene
        A model of counts or of a Gaussian response.
    by
        Column on the horizontal axis. Default: the first factor of the fixed effects, or else the first number.
    sample
        Grouping factor of the samples. Default: the one with the most levels.
    """
    fit = gene.fit
    by = by or default_column(fit)
    term = grouping_term(fit, sample)
    values, levels = column_values(fit, by)
    arm = values if levels else np.zeros(len(values))
    pairs, unit = np.unique(np.column_stack([term.codes, arm]).astype(np.int64), axis=0, return_inverse=True)
    unit = np.asarray(unit).reshape(-1)
    n_cells = np.bincount(unit)
    log = fit.family != "gaussian"
    offset = gene.offset
    # Counts are compared per unit of size factor; the offset of a Gaussian response was subtracted.
    exposure = np.exp(offset) if log else np.ones(len(offset))
    total = np.bincount(unit, exposure)
    y = fit.y if log else fit.y - offset
    eta_fixed = fit.prepared.design.fixed.X @ fit.beta
    eta = fit.linear_predictor() - fit.prepared.offset
    to_mean = np.exp if log else np.asarray
    conditional = np.bincount(unit, np.where(gene.zero, 0.0, to_mean(eta) * exposure)) / total
    fixed = np.bincount(unit, np.where(gene.zero, 0.0, to_mean(eta_fixed) * exposure)) / total
    pair, pair_name = _pairs(fit, pairs, unit) if levels else (np.full(len(pairs), -1), "")
    line_at, mean, low, high = fitted_line(gene, by, values, levels)
    return SampleMeans(
        by=by,
        levels=levels,
        samples=tuple(term.levels[i] for i, _ in pairs),
        at=pairs[:, 1].astype(np.float64) if levels else np.bincount(unit, values) / n_cells,
        n_cells=n_cells,
        observed=np.bincount(unit, y) / total,
        fixed=fixed,
        conditional=conditional,
        pair=pair,
        pair_name=pair_name,
        line_at=line_at,
        mean=to_mean(mean),
        low=to_mean(low),
        high=to_mean(high),
        log=log,
    )


def fitted_line(
    gene: GeneFit, by: str, values: FloatArray, levels: tuple[str, ...]
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Positions, means and both ends of their intervals on the scale of the linear predictor."""
    fit = gene.fit
    if levels:
        at, result = np.arange(len(levels), dtype=np.float64), emmeans(fit, by)
    else:
        at = np.linspace(values.min(), values.max(), _N_LINE)
        result = emmeans(fit, by, at={by: list(at)})
    mean = result.L @ fit.beta
    se = np.sqrt(np.einsum("ij,jk,ik->i", result.L, fit.cov_beta, result.L))
    half = quantile(fit) * se
    if gene.separated:
        none = gene.undetermined(result.L)
        half[none], mean[none] = np.nan, np.nan
        empty = [bool(levels) and bool(gene.zero[values == place].all()) for place in at]
        mean[none & empty] = -np.inf
    return at, mean, mean - half, mean + half


def quantile(fit: MixedFit) -> float:
    """Quantile of t with the degrees of freedom of the gene's test, or of the normal distribution without a test."""
    test = getattr(fit, "test", None)
    df = test["df"].to_numpy(float) if test is not None and "df" in test else np.empty(0)
    df = df[np.isfinite(df)]
    probability = 0.5 + _LEVEL / 2
    return float(student_t.ppf(probability, df.min())) if len(df) else float(norm.ppf(probability))


def default_column(fit: MixedFit) -> str:
    """The first factor of the fixed effects, or else the first number."""
    design = fit.prepared.design
    if design.fixed.factors:
        return next(iter(design.fixed.factors))
    for term in design.formula.fixed_terms:
        for atom in term:
            for name in atom.columns:
                if name in design.columns:
                    return name
    raise InputError(
        f"the formula {fit.formula!r} has only an intercept as fixed effect, so there is nothing to compare."
    )


def grouping_term(fit: MixedFit, group: str | None) -> ReTerm:
    """The first random term of that grouping factor (default: the one with the most levels)."""
    terms = fit.prepared.design.random
    if group is None:
        return terms[finest(terms)]
    known = list(dict.fromkeys(term.group for term in terms))
    if group not in known:
        raise InputError(f"{group!r} is not a grouping factor of {fit.formula!r}{suggest(group, known)}")
    return next(term for term in terms if term.group == group)


def column_values(fit: MixedFit, name: str) -> tuple[FloatArray, tuple[str, ...]]:
    """``(n_obs,)`` values of a column of the fixed effects (positions of its levels), and its levels."""
    design = fit.prepared.design
    if name not in design.columns:
        raise InputError(
            f"by={name!r} is not a column of the fixed effects of {fit.formula!r}{suggest(name, design.columns)}"
        )
    column = design.columns[name]
    converted = column.convert(fit.data.loc[design.rows_used, name].reset_index(drop=True))
    if column.kind == "factor":
        codes = np.asarray(converted.cat.codes, dtype=np.float64)
        return codes, tuple(str(level) for level in column.categories)
    return np.asarray(converted, dtype=np.float64), ("False", "True") if column.kind == "bool" else ()


def _pairs(fit: MixedFit, pairs: IntArray, unit: IntArray) -> tuple[IntArray, str]:
    """Codes and name of the coarser grouping factor with samples in several levels; -1 if nothing joins the samples."""
    first = np.zeros(len(pairs), dtype=np.int64)
    first[unit[::-1]] = np.arange(len(unit))[::-1]
    for other in fit.prepared.design.random:
        codes = other.codes[first]
        one_each = pd.Series(other.codes).groupby(unit).nunique().max() == 1
        arms = pd.Series(pairs[:, 1]).groupby(codes).nunique()
        if one_each and (arms > 1).any() and len(arms) > 1:
            return codes, other.group
    return np.full(len(pairs), -1, dtype=np.int64), ""


def random_intercepts(gene: GeneFit, *, group: str | None, column: str | None, by: str | None) -> Intercepts:
    """Random effects of one grouping factor, smallest first.

    Parameters
    ----------
    gene
        The model.
    group
        Grouping factor. Default: the one with the most levels.
    column
        Which of its effects, such as a slope. Default: the first.
    by
        Factor of the fixed effects that colours the groups. Default: the first that is constant within each group.
    """
    fit = gene.fit
    term = grouping_term(fit, group)
    frame = fit.ranef(cond_var=True)[term.group]
    k = frame.shape[1] // 2  # the effects, then their standard deviations
    effects = [str(c) for c in frame.columns[:k]]
    column = effects[0] if column is None else column
    if column not in effects:
        raise InputError(f"column={column!r} is not a random effect of {term.group!r}{suggest(column, effects)}")
    values = frame.reindex(list(term.levels)).to_numpy(float)
    mode, sd = values[:, effects.index(column)], values[:, k + effects.index(column)]
    # Ties (such as levels without data) are in natural order.
    natural = sorted(range(len(term.levels)), key=lambda i: natural_key(term.levels[i]), reverse=True)
    order = np.array(natural)[np.argsort(mode[natural], kind="stable")]
    name, levels, level = _level_of(fit, term, by)
    return Intercepts(
        group=term.group,
        column=column,
        names=tuple(term.levels[i] for i in order),
        mode=mode[order],
        sd=sd[order],
        silent=np.bincount(term.codes, ~gene.zero, len(term.levels))[order] == 0,
        level=level[order],
        by=name,
        levels=levels,
    )


def _level_of(fit: MixedFit, term: ReTerm, by: str | None) -> tuple[str, tuple[str, ...], IntArray]:
    """The factor that colours the levels of `term`, its levels, and the level of each."""
    for name in [by] if by is not None else list(fit.prepared.design.fixed.factors):
        values, levels = column_values(fit, name)
        per_level = pd.Series(values).groupby(term.codes)
        if levels and per_level.nunique().max() == 1:
            return name, levels, np.asarray(per_level.first().reindex(range(len(term.levels))), dtype=np.int64)
        if by is not None:
            raise InputError(
                f"by={by!r} differs within the levels of {term.group!r}; choose a factor that is constant within them."
            )
    return "", (), np.full(len(term.levels), -1, dtype=np.int64)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that places S2 before S10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", str(name)) if part]
