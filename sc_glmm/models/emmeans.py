"""Compute estimated marginal means and their pairwise contrasts."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from .._arrays import BoolArray, FloatArray
from .._design import FixedDesign, all_terms, confounding, depends_on_aliased, display_names
from .._display.arguments import check_choice, check_level
from .._errors import InputError
from .._formula import parse_formula
from .checks import accept_r_names
from .fitted import MixedFit, check_fit
from .scales import Scale, scale_of
from .table import Table
from .wald import METHODS, ddf_method, single_tests

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
        (n_means, p) linear combinations of the fixed effects for the means.
    notes
        Lines about the degrees of freedom, the scale, averaging, and the adjustment of p-values.
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


@accept_r_names
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
    """Compute estimated marginal means and their pairwise contrasts.

    Parameters
    ----------
    fit
        The model.
    specs
        Factor or factors to compare: a name, a list of names, or a formula as in R. ``"~ dose * sex"`` compares all
        combinations; ``"~ dose | sex"`` compares doses within each sex.
    at
        Values of columns: ``{"age": [40, 60]}``. If the column is in `specs`, these values are compared. Other numbers
        are set to their mean; numbers that are also a factor (``dose + C(dose)``) take each of their values. The means
        average over other factors, with equal weights for all levels.
    adjust
        Adjustment for the number of pairs: ``"tukey"``, ``"bonferroni"``, ``"holm"``, ``"sidak"`` or ``"none"``.
    ddf
        Method for the degrees of freedom, as in :meth:`~sc_glmm.models.LmmFit.contrast`.
    level
        Coverage of the intervals of the means.
    type
        ``"link"``: the scale of the linear predictor. ``"response"``: means on the scale of the response, with
        standard errors by the delta method, and contrasts as ratios (log, log2, log10) or odds ratios (logit). If the
        formula transforms the response (``log(y)``, ``log2(y + 1)``, ``sqrt(y)``), the means are transformed back.

    Returns
    -------
    The means and their contrasts. Offsets are set to zero, so means of counts are per unit of exposure.

    Raises
    ------
    InputError
        If `specs` or `at` contains a column that is not a fixed effect, or if an option has an invalid value.
    """
    check_fit(fit, "emmeans")
    names, within = _read_specs(specs, fit.prepared.design.columns)
    check_choice("adjust", adjust, ADJUST)
    check_choice("type", type, ("link", "response"))
    check_level("level", level)
    if at is not None and not isinstance(at, Mapping):
        raise InputError(f"at={at!r} must be a dictionary, such as {{'age': [40, 60]}}")
    method = ddf_method(fit, ddf)
    grid, varied = _grid(fit, names, dict(at or {}))
    fixed = fit.prepared.design.fixed
    rows = _grid_rows(fit, grid)
    cells = grid.groupby(names, sort=False, observed=True).indices
    combos = [key if isinstance(key, tuple) else (key,) for key in cells]
    full = np.array([rows[index].mean(axis=0) for index in cells.values()])
    L, hidden = _estimable_rows(fixed, full)
    scale = scale_of(fit.family, fit.prepared.design.formula.response_atom)
    back = scale if type == "response" else None
    tests = single_tests(fit, np.nan_to_num(L), method)
    tests[np.isnan(L).any(axis=1)] = np.nan
    levels = pd.DataFrame(combos, columns=names)
    means = pd.concat([levels, _means_frame(tests, level, back, type)], axis=1)
    labels = display_names([tuple(map(_text, combo)) for combo in combos], " ")
    groups = [tuple(combo[names.index(name)] for name in within) for combo in combos]
    pairs = [(i, j) for i, j in itertools.combinations(range(len(combos)), 2) if groups[i] == groups[j]]
    contrasts = _contrasts(fit, full, labels, groups, pairs, method, adjust, back)
    notes = [f"Degrees of freedom: {METHODS[method]}", *_scale_notes(fit, scale, type)]
    averaged = [name for name in varied if name not in names]
    if averaged:
        notes.append(f"Averaged over the levels of: {', '.join(averaged)}")
    if len(pairs) > 1 and adjust != "none":
        each = f" within each level of {', '.join(within)}" if within else ""
        n_pairs = len(pairs) // len(set(groups))
        notes.append(f"P-values are adjusted for {n_pairs} comparisons{each}: {adjust}")
    if hidden.any():
        used = [j for label, columns in all_terms(fixed).items() if label != "1" for j in columns if full[:, j].any()]
        compared = [j for j in used if {*names} & _variables(fit, j)] or used
        reason = confounding(fixed, np.any(hidden, axis=0), compared)
        notes.append(f"Means without a number cannot be estimated: {reason}")
    return Means(means, contrasts, L, tuple(notes))


def _estimable_rows(fixed: FixedDesign, full: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Convert rows to the columns of X, with NaN for rows that cannot be estimated.

    Also return which dropped columns each row is confounded with.
    """
    hidden = depends_on_aliased(fixed, full)
    L = full[:, list(fixed.keep)].copy()
    L[hidden.any(axis=1)] = np.nan
    return L, hidden


def _variables(fit: MixedFit, j: int) -> set[str]:
    """Return the columns of the data from which column j of the recipe is computed."""
    design = fit.prepared.design
    owner = next(label for label, columns in all_terms(design.fixed).items() if j in columns)
    term = next(term for term, label in design.formula.labels.items() if label == owner)
    return {name for atom in term for name in atom.columns}


def _read_specs(specs: Any, columns_of_data: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the columns to compare (including those after ``|``), and the columns after ``|``."""
    within: list[str] = []
    if (
        isinstance(specs, str)
        and specs not in columns_of_data
        and any(sign in specs for sign in ":*+|")
        and "~" not in specs
    ):
        specs = f"~ {specs}"
    if isinstance(specs, str) and "~" in specs:
        left, _, right = specs.partition("~")
        if left.strip() not in ("", "pairwise"):
            raise InputError(
                f"specs={specs!r}: the left side of '~' must be empty or 'pairwise', because all pairs are compared"
            )
        main, _, after = right.partition("|")
        parts = [parse_formula(f"~ 0 + {text}") for text in (main, after) if text.strip()]
        columns = [list(dict.fromkeys(a.text for term in part.fixed_terms for a in term)) for part in parts]
        names = [name for part in columns for name in part]
        within = columns[1] if len(columns) > 1 else []
    elif isinstance(specs, str):
        names = [specs]
    elif isinstance(specs, Sequence) and all(isinstance(name, str) for name in specs):
        names = list(specs)
    else:
        raise InputError(
            f"specs is {type(specs).__name__}; it must be the name of a factor, a list of names or a formula such as "
            "'~ dose'"
        )
    if not names:
        raise InputError("specs is empty: pass the factor or factors to compare")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise InputError(f"specs contains {twice[0]!r} twice: remove one")
    return names, within


def _scale_notes(fit: MixedFit, scale: Scale | None, type: str) -> list[str]:
    response = fit.prepared.design.formula.response
    if scale is None:
        unknown = " because its inverse is not known" if type == "response" else ""
        return [f"Means are on the scale of {response}{unknown}"]
    if not scale.name:
        return []
    if type == "link":
        return [f"Means are on the {scale.name} scale, not on the scale of the response"]
    notes = [f"Means and intervals are back-transformed from the {scale.name} scale; tests use the {scale.name} scale"]
    if scale.base is None:
        notes.append(f"Contrasts are differences on the {scale.name} scale")
    return notes


def _grid(fit: MixedFit, names: list[str], at: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """Return all combinations of reference values, and the columns that have more than one value."""
    design = fit.prepared.design
    atoms = [atom for term in design.formula.fixed_terms for atom in term]
    used = {name for atom in atoms for name in atom.columns if name in design.columns}
    also_factors = {atom.factor_column for atom in atoms}
    unknown = [name for name in (*names, *at) if name not in used]
    if unknown:
        columns = f"the columns are {', '.join(sorted(used))}" if used else "the model has only an intercept"
        raise InputError(f"{unknown[0]!r} is not a column of the fixed effects; {columns}")
    values: dict[str, list[Any]] = {}
    for name, column in design.columns.items():
        if name not in used:
            continue
        if name in at:
            value = at[name]
            values[name] = list(value) if isinstance(value, list | tuple | np.ndarray | pd.Series) else [value]
            if not values[name] or pd.isna(values[name]).any():
                raise InputError(f"at={{{name!r}: {value!r}}} must be a value or a list, without missing values")
            values[name] = list(dict.fromkeys(values[name]))
        elif column.kind == "factor":
            values[name] = list(column.categories)
        elif column.kind == "bool":
            values[name] = [False, True]
        elif name in also_factors:
            values[name] = np.unique(fit.data.loc[design.rows_used, name].to_numpy(dtype=np.float64)).tolist()
        elif name in names:
            raise InputError(f"{name!r} is numeric: pass the values to compare, as in at={{{name!r}: [1, 2]}}")
        else:
            values[name] = [design.means[name]]
    varied = [name for name, v in values.items() if len(v) > 1]
    grid = pd.DataFrame(list(itertools.product(*values.values())), columns=list(values))
    return grid, varied


def _grid_rows(fit: MixedFit, grid: pd.DataFrame) -> FloatArray:
    """Compute all columns of the recipe on the grid, including aliased columns."""
    design = fit.prepared.design
    frame = design.convert(grid, [atom for term in design.formula.fixed_terms for atom in term])
    return design.fixed.all_columns(frame)


def _means_frame(tests: pd.DataFrame, level: float, back: Scale | None, type: str) -> pd.DataFrame:
    estimate, se, df = (tests[c].to_numpy() for c in ("estimate", "se", "df"))
    quantile = np.where(np.isinf(df), stats.norm.ppf(0.5 + level / 2), stats.t.ppf(0.5 + level / 2, df))
    low, high = estimate - quantile * se, estimate + quantile * se
    if back is not None:
        se = se * back.slope(estimate)
        low, high, estimate = back.inverse(low), back.inverse(high), back.inverse(estimate)
    name = "response" if type == "response" else "emmean"
    return pd.DataFrame({name: estimate, "se": se, "df": df, "low": low, "high": high})


def _contrasts(
    fit: MixedFit,
    full: FloatArray,
    labels: Sequence[str],
    groups: list[tuple[Any, ...]],
    pairs: list[tuple[int, int]],
    method: str,
    adjust: str,
    back: Scale | None,
) -> pd.DataFrame:
    if not pairs:
        return pd.DataFrame(columns=["contrast", "estimate", "se", "df", "stat", "p_value"])
    D = _estimable_rows(fit.prepared.design.fixed, np.array([full[i] - full[j] for i, j in pairs]))[0]
    tests = single_tests(fit, np.nan_to_num(D), method)
    tests[np.isnan(D).any(axis=1)] = np.nan
    ratio = back is not None and back.base is not None
    sign = " / " if ratio else " - "
    tests.insert(0, "contrast", [f"{labels[i]}{sign}{labels[j]}" for i, j in pairs])
    for group in dict.fromkeys(groups):
        in_group = np.array([groups[i] == group for i, _ in pairs])
        tests.loc[in_group, "p_value"] = _adjusted(tests[in_group], groups.count(group), adjust)
    if back is not None and back.base is not None:
        tests["estimate"] = back.base ** tests["estimate"]
        tests["se"] = tests["estimate"] * np.log(back.base) * tests["se"]
        tests = tests.rename(columns={"estimate": back.ratio})
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
