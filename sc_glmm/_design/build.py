"""Build the design of a model from a formula and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray
from .._display.arguments import list_some
from .._errors import DesignError, mark
from .._formula import Atom, MixedFormula
from .coding import Recipe, code_again, code_terms
from .columns import Column, native, read_column
from .fixed import FixedDesign, build_fixed
from .names import Use, find_columns
from .random import ReTerm, build_random


@dataclass(frozen=True)
class Design:
    """The design of a model: everything except its family.

    Attributes
    ----------
    formula
        The formula.
    fixed
        The fixed effects.
    random
        The random-effects terms.
    offset
        (n_obs,) sum of the ``offset(...)`` terms, None if there are none.
    rows_used
        (n_input,) bool: which rows of the input are used. All other fields refer to these n_obs rows, in their order.
    notes
        Notes for the user: dropped rows, chosen base levels, dropped categories and columns.
    response
        (n_obs,) or, for ``cbind(a, b)``, (n_obs, 2): the left side; None if it was not requested.
    columns
        How each column of the data is converted, for new data.
    means
        Mean of each numeric column over the rows used.
    offset_specs
        formulaic's recipe for each ``offset(...)`` term, for new data.
    """

    formula: MixedFormula
    fixed: FixedDesign
    random: tuple[ReTerm, ...]
    offset: FloatArray | None
    rows_used: BoolArray
    notes: tuple[str, ...]
    response: FloatArray | None = None
    columns: dict[str, Column] = field(default_factory=dict, repr=False)
    means: dict[str, float] = field(default_factory=dict, repr=False)
    offset_recipes: tuple[Recipe, ...] = field(default=(), repr=False)

    @property
    def n_obs(self) -> int:
        """Number of rows used."""
        return int(self.fixed.X.shape[0])

    def at(self, data: pd.DataFrame) -> tuple[FloatArray, tuple[FloatArray, ...]]:
        """Build X and the Z of every term for new rows, coded as in the design.

        Parameters
        ----------
        data
            The columns of the fixed effects and of the left sides of the bars, without missing values. Grouping columns
            are not needed.

        Returns
        -------
        X
            (n_new, p).
        Z
            For each term, (n_new, k).
        """
        needed = [term.term.terms for term in self.random] + [self.formula.fixed_terms]
        frame = self.convert(data, [atom for terms in needed for term in terms for atom in term])
        return self.fixed.at(frame), tuple(term.at(frame, self.formula) for term in self.random)

    def offset_at(self, data: pd.DataFrame) -> FloatArray | None:
        """Compute the offset for new rows; None if the formula has none."""
        if not self.offset_recipes:
            return None
        frame = self.convert(data, list(self.formula.offset_atoms))
        parts = [code_again(recipe, frame, self.formula)[:, 0] for recipe in self.offset_recipes]
        return np.sum(parts, axis=0)

    def convert(self, data: pd.DataFrame, atoms: list[Atom]) -> pd.DataFrame:
        """Convert the columns in `atoms` as in the design.

        Raises
        ------
        DesignError
            If a column is missing, has missing values, or has levels that the model does not know.
        """
        names = dict.fromkeys(name for atom in atoms for name in atom.columns if name in self.columns)
        missing = [name for name in names if name not in data.columns]
        data = native(data, [name for name in names if name in data.columns])
        if missing:
            raise DesignError(
                f"the new data do not have {list_some(missing)}; the model needs the columns {list_some(names)}"
            )
        incomplete = [name for name in names if data[name].isna().any()]
        if incomplete:
            raise DesignError(f"the new data have missing values in {list_some(incomplete)}: fill or drop these rows")
        fresh = data[list(names)].reset_index(drop=True)
        return pd.DataFrame({name: self.columns[name].convert(fresh[name]) for name in names}, index=fresh.index)


def build_design(
    formula: MixedFormula,
    data: pd.DataFrame,
    *,
    reference: Mapping[str, object] | None = None,
    na_action: Literal["drop", "raise"] = "drop",
    check_replication: bool = True,
    response: bool = False,
) -> Design:
    """Build the design of `formula` for the rows of `data`.

    Parameters
    ----------
    formula
        From :func:`sc_glmm._formula.parse_formula`.
    data
        One row per observation, in any order and with any index.
    reference
        Column -> base level.
    na_action
        How to treat rows with a missing value in a column of the formula: ``"drop"`` them (with a note) or ``"raise"``
        an error.
    check_replication
        Whether to reject a grouping factor with one row for each level. Count models on data frames may have such an
        observation-level effect.
    response
        Whether the left side is an expression of columns of `data`. It is then evaluated, and its missing values are
        treated as those of other columns.

    Returns
    -------
    The design on the rows used.

    Raises
    ------
    FormulaError, DesignError
        If a column is missing or the model cannot be built; the message marks the position if there is one.
    """
    if na_action not in ("drop", "raise"):
        raise DesignError(f"na_action={na_action!r}: allowed are 'drop' and 'raise'")
    uses = find_columns(formula, data, response=response)
    data = native(data, list(uses))
    reference = dict(reference or {})
    _check_reference(reference, uses, data)
    rows_used, notes = _complete_rows(formula, data, uses, na_action)
    used = data.loc[rows_used, list(uses)] if not rows_used.all() else data[list(uses)]
    used = used.reset_index(drop=True)
    columns = {
        name: read_column(used[name], use, reference.get(name))
        for name, use in uses.items()
        if use.bare or use.categorical or use.computed
    }
    frame = pd.DataFrame({name: column.convert(used[name]) for name, column in columns.items()}, index=used.index)
    notes += [
        f"{column.name}: unused categories {list_some(column.unused)} were dropped"
        for name, column in columns.items()
        if column.unused
    ]
    fixed, more = build_fixed(formula, frame, columns)
    groups = {name: used[name] for name, use in uses.items() if use.group}
    random = build_random(formula, frame, groups, columns, check_replication=check_replication)
    offset, recipes = _offset(formula, frame)
    return Design(
        formula=formula,
        fixed=fixed,
        random=random,
        offset=offset,
        rows_used=rows_used,
        notes=(*notes, *more),
        response=_response(formula, frame) if response else None,
        columns=columns,
        means={name: float(frame[name].mean()) for name, column in columns.items() if column.kind == "number"},
        offset_recipes=recipes,
    )


def _check_reference(reference: Mapping[str, object], uses: dict[str, Use], data: pd.DataFrame) -> None:
    factors = [name for name, use in uses.items() if use.bare or use.categorical]
    for name in reference:
        if name not in factors:
            problem = "is a column, but not a factor of this formula" if name in data.columns else "is not a column"
            raise DesignError(f"reference= contains {name!r}, which {problem}; the factors are {list_some(factors)}")


def _complete_rows(
    formula: MixedFormula, data: pd.DataFrame, uses: dict[str, Use], na_action: str
) -> tuple[BoolArray, list[str]]:
    """Find the rows without missing values in the columns used, and note how many others are dropped."""
    missing = {name: data[name].isna().to_numpy(dtype=bool) for name in uses}
    n_missing = {name: int(mask.sum()) for name, mask in missing.items() if mask.any()}
    if not len(data):
        raise DesignError("the data have no rows: check how they were selected")
    rows_used = np.ones(len(data), dtype=bool)
    for mask in missing.values():
        rows_used &= ~mask
    if not n_missing:
        return rows_used, []
    n_dropped = int((~rows_used).sum())
    listed = ", ".join(f"{name}: {count}" for name, count in n_missing.items())
    worst = mark(formula.source, uses[max(n_missing, key=lambda name: n_missing[name])].span)
    if na_action == "raise":
        raise DesignError(f"{n_dropped} of {len(data)} rows have missing values ({listed}): fill or drop them\n{worst}")
    if not rows_used.any():
        raise DesignError(
            f"no row remains, because every row has a missing value ({listed}): fill the missing values, or remove the "
            f"column from the formula\n{worst}"
        )
    return rows_used, [f"{n_dropped} of {len(data)} rows were dropped because of missing values ({listed})"]


def _offset(formula: MixedFormula, frame: pd.DataFrame) -> tuple[FloatArray | None, tuple[Recipe, ...]]:
    if not formula.offset_atoms:
        return None, ()
    total = np.zeros(len(frame))
    recipes = []
    for atom in formula.offset_atoms:
        values, recipe = _one_column(atom, frame, formula, "an offset")
        total += values[:, 0]
        recipes.append(recipe)
    return total, tuple(recipes)


def _response(formula: MixedFormula, frame: pd.DataFrame) -> FloatArray:
    atom = formula.response_atom
    if atom is None:
        raise DesignError(f"the formula {formula.source!r} has no left side: write the response before '~'")
    if atom.text.startswith("cbind("):
        return code_terms(((atom,),), frame, formula)[0]
    return _one_column(atom, frame, formula, "the response")[0][:, 0]


def _one_column(atom: Atom, frame: pd.DataFrame, formula: MixedFormula, role: str) -> tuple[FloatArray, Recipe]:
    """Evaluate an expression that must give one number for each row."""
    values, recipe = code_terms(((atom,),), frame, formula)
    if values.shape[1] != 1 or recipe.factors:
        kind = "text or categories" if recipe.factors else f"{values.shape[1]} columns"
        raise DesignError(f"{role} must have one number per row, but gives {kind}\n{mark(formula.source, atom.span)}")
    return values, recipe
