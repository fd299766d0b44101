"""Estimated marginal means on a grid of reference values, and their pairwise contrasts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .._design import FixedDesign, all_terms, confounding, display_names, unseen
from .._errors import InputError
from .._formula import term_label
from .means import LINKS, inverse_link, slope_of_mean
from .table import Table
from .wald import METHODS, ddf_method, single_tests

if TYPE_CHECKING:
    from .fitted import MixedFit

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ADJUST = ("tukey", "bonferroni", "holm", "sidak", "none")


@dataclass(frozen=True, eq=False)
class Means:
    """Marginal means and their pairwise contrasts.

    Attributes
    ----------
    means
        One row per combination of levels: the levels, ``emmean`` (or ``response``), ``se, df, low, high``.
    contrasts
        One row per pair: ``contrast, estimate`` (or ``ratio``), ``se, df, stat, p_value``.
    L
        ``(n_means, p)`` the linear combinations of the fixed effects behind the means.
    notes
        What the means are averaged over, and how p-values were adjusted.
    """

    means: pd.DataFrame
    contrasts: pd.DataFrame
    L: FloatArray
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{Table(self.means)}\n\n{Table(self.contrasts)}\n" + "\n".join(self.notes)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return Table(self.means)._repr_html_() + Table(self.contrasts, "", self.notes)._repr_html_()


def emmeans(
    fit: MixedFit,
    specs: str | Sequence[str],
    *,
    at: Mapping[str, Any] | None = None,
    adjust: Literal["tukey", "bonferroni", "holm", "sidak", "none"] = "tukey",
    ddf: str | None = None,
    level: float = 0.95,
    type: Literal["link", "response"] = "link",
) -> Means:
    """Estimated marginal means.

    Parameters
    ----------
    fit
        The model.
    specs
        Factor or factors whose levels are compared.
    at
        Column -> value or values of the grid, such as ``{"age": [40, 60]}``; columns in `specs` then are compared at
        these. Other numbers stand at their mean, and other factors are averaged over, all levels with equal weight.
    adjust
        For the number of pairs: ``"tukey"``, ``"bonferroni"``, ``"holm"``, ``"sidak"`` or ``"none"``.
    ddf
        As :func:`~sc_glmm.models.wald.contrast`.
    level
        Coverage of the intervals of the means.
    type
        ``"response"``: means on the scale of the response, contrasts as ratios (log link) or odds ratios (logit).

    Returns
    -------
    The means and their contrasts. Offsets count as zero: for counts, means are per unit of exposure.
    """
    names = [specs] if isinstance(specs, str) else list(specs)
    if adjust not in ADJUST:
        raise InputError(f"adjust={adjust!r}: allowed are {', '.join(map(repr, ADJUST))}")
    method = ddf_method(fit, ddf)
    grid, varied = _grid(fit, names, dict(at or {}))
    fixed = fit.prepared.design.fixed
    rows = _grid_rows(fit, grid)
    cells = grid.groupby(names, sort=False, observed=True).indices
    combos = [key if isinstance(key, tuple) else (key,) for key in cells]
    full = np.array([rows[index].mean(axis=0) for index in cells.values()])
    L, hidden = _seen(fixed, full)
    tests = single_tests(fit, np.nan_to_num(L), method)
    tests[np.isnan(L).any(axis=1)] = np.nan
    levels = pd.DataFrame(combos, columns=names)
    means = pd.concat([levels, _means_frame(fit, tests, level, type)], axis=1)
    labels = display_names([tuple(map(_text, combo)) for combo in combos], " ")
    pairs = list(itertools.combinations(range(len(combos)), 2))
    contrasts = _contrasts(fit, full, labels, pairs, method, adjust, type)
    notes = [f"Degrees of freedom: {METHODS[method]}"]
    averaged = [name for name in varied if name not in names]
    if averaged:
        notes.append(f"Averaged over the levels of: {', '.join(averaged)}")
    if len(pairs) > 1 and adjust != "none":
        notes.append(f"p-values adjusted for {len(pairs)} comparisons: {adjust}")
    if hidden.any():
        used = [j for label, columns in all_terms(fixed).items() if label != "1" for j in columns if full[:, j].any()]
        mine = [j for j in used if {*names} & _variables(fit, j)] or used
        notes.append(f"Means without a number cannot be estimated: {confounding(fixed, np.any(hidden, axis=0), mine)}")
    return Means(means, contrasts, L, tuple(notes))


def _seen(fixed: FixedDesign, full: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Rows over the columns of X, NaN where the data cannot tell their value; and what hides it."""
    hidden = unseen(fixed, full)
    L = full[:, list(fixed.keep)].copy()
    L[hidden.any(axis=1)] = np.nan
    return L, hidden


def _variables(fit: MixedFit, j: int) -> set[str]:
    """Columns of the data behind column j of the recipe."""
    design = fit.prepared.design
    owner = next(label for label, columns in all_terms(design.fixed).items() if j in columns)
    term = next(term for term in design.formula.fixed_terms if term_label(term) == owner)
    return {name.name for atom in term for name in atom.names}


def _grid(fit: MixedFit, names: list[str], at: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """All combinations of reference values, and the columns that take more than one."""
    design = fit.prepared.design
    used = {
        n.name for term in design.formula.fixed_terms for atom in term for n in atom.names if n.name in design.columns
    }
    unknown = [name for name in (*names, *at) if name not in used]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no column of the fixed part; columns are {', '.join(sorted(used))}")
    values: dict[str, list[Any]] = {}
    for name, column in design.columns.items():
        if name not in used:
            continue
        if name in at:
            given = at[name]
            values[name] = list(given) if isinstance(given, list | tuple | np.ndarray | pd.Series) else [given]
        elif column.kind == "factor":
            values[name] = list(column.categories)
        elif column.kind == "bool":
            values[name] = [False, True]
        elif name in names:
            raise InputError(f"{name!r} holds numbers: say at which values, as in at={{{name!r}: [1, 2]}}")
        else:
            values[name] = [design.means[name]]
    varied = [name for name, v in values.items() if len(v) > 1]
    grid = pd.DataFrame(list(itertools.product(*values.values())), columns=list(values))
    return grid, varied


def _grid_rows(fit: MixedFit, grid: pd.DataFrame) -> FloatArray:
    """All columns of the recipe on the grid, the aliased ones too."""
    design = fit.prepared.design
    frame = design.convert(grid, [atom for term in design.formula.fixed_terms for atom in term])
    return design.fixed.all_columns(frame)


def _means_frame(fit: MixedFit, tests: pd.DataFrame, level: float, type: str) -> pd.DataFrame:
    estimate, se, df = (tests[c].to_numpy() for c in ("estimate", "se", "df"))
    quantile = np.where(np.isinf(df), stats.norm.ppf(0.5 + level / 2), stats.t.ppf(0.5 + level / 2, df))
    low, high = estimate - quantile * se, estimate + quantile * se
    if type == "response":
        mu = inverse_link(fit.family, estimate)
        se = se * slope_of_mean(fit.family, mu)
        low, high, estimate = inverse_link(fit.family, low), inverse_link(fit.family, high), mu
    name = "response" if type == "response" else "emmean"
    return pd.DataFrame({name: estimate, "se": se, "df": df, "low": low, "high": high})


def _contrasts(
    fit: MixedFit,
    full: FloatArray,
    labels: Sequence[str],
    pairs: list[tuple[int, int]],
    method: str,
    adjust: str,
    type: str,
) -> pd.DataFrame:
    if not pairs:
        return pd.DataFrame(columns=["contrast", "estimate", "se", "df", "stat", "p_value"])
    D = _seen(fit.prepared.design.fixed, np.array([full[i] - full[j] for i, j in pairs]))[0]
    tests = single_tests(fit, np.nan_to_num(D), method)
    tests[np.isnan(D).any(axis=1)] = np.nan
    ratio = type == "response" and LINKS[fit.family] != "identity"
    sign = " / " if ratio else " - "
    tests.insert(0, "contrast", [f"{labels[i]}{sign}{labels[j]}" for i, j in pairs])
    tests["p_value"] = _adjusted(tests, len(labels), adjust)
    if ratio:
        tests["estimate"] = np.exp(tests["estimate"])
        tests["se"] = tests["estimate"] * tests["se"]
        tests = tests.rename(columns={"estimate": "ratio" if LINKS[fit.family] == "log" else "odds_ratio"})
    return tests


def _adjusted(tests: pd.DataFrame, n_means: int, adjust: str) -> FloatArray:
    p = tests["p_value"].to_numpy(copy=True)
    m = len(p)
    if adjust == "tukey" and n_means > 2:
        t, df = np.abs(tests["stat"].to_numpy()), tests["df"].to_numpy()
        return np.array(
            [float(stats.studentized_range.sf(x * np.sqrt(2.0), n_means, d)) for x, d in zip(t, df, strict=True)]
        )
    if adjust == "bonferroni":
        return np.minimum(p * m, 1.0)
    if adjust == "sidak":
        return 1.0 - (1.0 - p) ** m
    if adjust == "holm":
        order = np.argsort(p)
        scaled = np.maximum.accumulate(np.minimum(p[order] * (m - np.arange(m)), 1.0))
        out = np.empty(m)
        out[order] = scaled
        return out
    return p


def _text(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)
