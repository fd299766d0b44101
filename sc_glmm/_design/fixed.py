"""Build the fixed effects: the matrix X, its factors, and the columns that are dropped as linearly dependent."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy.linalg

from .._arrays import FloatArray
from .._display.arguments import list_some
from .._errors import DesignError, mark
from .._formula import Atom, MixedFormula, Term
from .coding import Recipe, code_again, code_terms
from .columns import Column
from .evaluate import level_text

# a column is dependent if less than this fraction of its length is orthogonal to earlier columns (as in R's lm)
ALIAS_TOLERANCE = 1e-7
MAX_BYTES = 8e9


@dataclass(frozen=True)
class Factor:
    """A categorical column of the fixed effects.

    Attributes
    ----------
    name
        The column.
    levels
        Its levels in the rows used, in order, as text.
    base
        The base level; None if the coding has none.
    chosen
        Source of the base level: ``"given"`` (by the user), ``"categorical"`` (order of the categories),
        ``"alphabetical"`` (text) or ``"sorted"`` (booleans and numbers).
    """

    name: str
    levels: tuple[str, ...]
    base: str | None
    chosen: str


@dataclass(frozen=True)
class FixedDesign:
    """The fixed effects on the rows used.

    Attributes
    ----------
    X
        (n_obs, p) float64, C-contiguous, full column rank.
    names
        Names of the p columns: ``"Intercept"``, ``"disease[T.AD]"``.
    terms
        Label of each term (``"1"`` for the intercept) -> its columns in `X`, in formula order.
    factors
        The categorical columns.
    recipe
        How to compute the columns again, including the aliased ones.
    aliased
        Names of the columns that were removed because they depend linearly on earlier ones.
    keep
        Columns of the recipe that are in `X`.
    alias_weights
        (p, n_aliased) aliased columns = `X` @ alias_weights.
    source
        The formula.
    """

    X: FloatArray
    names: tuple[str, ...]
    terms: dict[str, tuple[int, ...]]
    factors: dict[str, Factor]
    recipe: Recipe
    aliased: tuple[str, ...]
    keep: tuple[int, ...] = field(repr=False)
    alias_weights: FloatArray = field(repr=False)
    source: MixedFormula = field(repr=False)

    def at(self, frame: pd.DataFrame) -> FloatArray:
        """Compute `X` for new rows; the columns of `frame` are converted."""
        return np.ascontiguousarray(self.all_columns(frame)[:, self.keep])

    def all_columns(self, frame: pd.DataFrame) -> FloatArray:
        """Compute the columns of the recipe for new rows, including the aliased ones."""
        return code_again(self.recipe, frame, self.source)


def build_fixed(
    formula: MixedFormula, frame: pd.DataFrame, columns: dict[str, Column]
) -> tuple[FixedDesign, tuple[str, ...]]:
    """Code the fixed effects for the rows of `frame`, and return notes for the user.

    Raises
    ------
    FormulaError, DesignError
        If the fixed effects have no column, or a term cannot be coded.
    """
    if not formula.fixed_terms:
        spot = (formula.source.index("~"), len(formula.source))
        raise DesignError(f"the fixed effects have no column: add an intercept or a term\n{mark(formula.source, spot)}")
    check_levels(formula.fixed_terms, columns, len(frame), formula)
    full, recipe = code_terms(formula.fixed_terms, frame, formula)
    names = recipe.names
    keep, aliased, weights = find_aliased(full)
    if not keep:
        raise DesignError(
            "all columns of the fixed effects are zero in the rows used, so there is nothing to estimate: check the "
            "columns of the formula"
        )
    position = {column: i for i, column in enumerate(keep)}
    terms = {
        formula.labels[term]: tuple(position[j] for j in range(at.start, at.stop) if j in position)
        for term, at in recipe.columns.items()
    }
    factors = _factors(formula, recipe, columns)
    design = FixedDesign(
        X=np.ascontiguousarray(full[:, keep]),
        names=tuple(names[j] for j in keep),
        terms=terms,
        factors=factors,
        recipe=recipe,
        aliased=tuple(names[j] for j in aliased),
        keep=tuple(keep),
        alias_weights=weights,
        source=formula,
    )
    return design, (*base_notes(design).values(), *_alias_notes(design))


def check_levels(terms: tuple[Term, ...], columns: dict[str, Column], n_rows: int, formula: MixedFormula) -> None:
    """Raise an error for factors with a single level, or with so many levels that X needs too much memory."""
    for atom in dict.fromkeys(atom for term in terms for atom in term):
        for name in atom.names:
            column = None if name.called else columns.get(name.name)
            if column is not None and column.kind == "factor" and len(column.categories) < 2:
                raise DesignError(
                    f"{name.name!r} has only one level in the rows used ({list_some(column.categories)}), so nothing "
                    f"can be compared: drop it from the formula or use more data\n{mark(formula.source, name.span)}"
                )
            if column is not None and 8 * len(column.categories) * n_rows > MAX_BYTES:
                raise DesignError(
                    f"{name.name!r} has {len(column.categories)} levels in {n_rows} rows, which needs too much "
                    f"memory. Check whether numbers are stored as text, or the column contains names of cells\n"
                    f"{mark(formula.source, name.span)}"
                )


def find_aliased(X: FloatArray) -> tuple[list[int], list[int], FloatArray]:
    """Split the columns of `X` into independent ones and ones that depend on earlier ones.

    Returns
    -------
    keep, aliased
        Column numbers, ascending.
    weights
        (len(keep), len(aliased)) ``X[:, aliased] = X[:, keep] @ weights``.
    """
    n_columns = X.shape[1]
    length = np.linalg.norm(X, axis=0)
    scale = np.where(length > 0, length, 1.0)
    # the R of a QR decomposition has the same inner products as X, but few rows
    triangle = np.asarray(np.linalg.qr(X / scale, mode="r"))
    pivoted = scipy.linalg.qr(triangle, mode="r", pivoting=True)[0]
    diagonal = np.abs(np.diag(pivoted))
    if diagonal.size == n_columns and diagonal.min() > ALIAS_TOLERANCE * diagonal.max():
        return list(range(n_columns)), [], np.empty((n_columns, 0))
    # dependent columns: go from left to right to keep the earlier column, as in R
    keep: list[int] = []
    basis = np.empty((triangle.shape[0], 0))
    for j in range(n_columns):
        rest = triangle[:, j].copy()
        for _ in range(2):  # the second pass removes rounding errors
            rest -= basis @ (basis.T @ rest)
        own = np.linalg.norm(rest)
        if length[j] > 0 and own > ALIAS_TOLERANCE:
            keep.append(j)
            basis = np.column_stack([basis, rest / own])
    aliased = [j for j in range(n_columns) if j not in keep]
    weights = np.zeros((len(keep), len(aliased)))
    for i, j in enumerate(aliased):
        before = [column for column in keep if column < j]
        if before:
            explained = np.linalg.lstsq(triangle[:, before], triangle[:, j], rcond=None)[0]
            explained[np.abs(explained) < 1e-8] = 0.0
            weights[: len(before), i] = explained * scale[j] / scale[before]
    return keep, aliased, weights


def _factors(formula: MixedFormula, recipe: Recipe, columns: dict[str, Column]) -> dict[str, Factor]:
    """Find the factors of the fixed effects, in the order of the formula."""
    from formulaic.transforms.contrasts import TreatmentContrasts

    factors: dict[str, Factor] = {}
    for atom in dict.fromkeys(atom for term in formula.fixed_terms for atom in term):
        state = recipe.coding(atom)
        if state is None:
            continue
        levels = tuple(level_text(level) for level in state.levels)
        column = next((columns[name] for name in atom.columns if name in columns), None)
        if column is not None and column.kind == "factor" and not {*levels} <= {str(c) for c in column.categories}:
            column = None  # derived from other values, such as C(disease == "AD")
        name = column.name if column is not None else atom.text
        if name in factors:
            continue
        base, chosen = None, column.chosen if column is not None else "sorted"
        if isinstance(state.contrasts, TreatmentContrasts):
            coded = [
                level_text(level) for level in state.contrasts.get_coding_column_names(state.levels, reduced_rank=True)
            ]
            base = next(level for level in levels if level not in coded)
            first = str(column.categories[0]) if column is not None and column.categories else levels[0]
            if chosen == "given" and base != first:
                raise DesignError(
                    f"reference= sets the base level {first!r} of {name!r}, but the formula sets {base!r}: remove one\n"
                    f"{mark(formula.source, atom.span)}"
                )
            if base != first or _names_levels(atom):
                chosen = "given"
        factors[name] = Factor(name, levels, base, chosen)
    return factors


def _names_levels(atom: Atom) -> bool:
    """Return whether a call of C lists the levels."""
    return isinstance(atom.tree, ast.Call) and any(keyword.arg == "levels" for keyword in atom.tree.keywords)


def base_notes(design: FixedDesign) -> dict[str, str]:
    """Return a note for each factor whose base level was chosen alphabetically, by name of the factor."""
    factors = design.factors.items()
    return {name: _base_note(factor) for name, factor in factors if factor.chosen == "alphabetical" and factor.base}


def _base_note(factor: Factor) -> str:
    other = next(level for level in factor.levels if level != factor.base)
    return (
        f"{factor.name}: base level {factor.base!r} was chosen alphabetically from {list_some(factor.levels)}; "
        f"to choose another one, pass reference={{{factor.name!r}: {other!r}}} (or a pandas Categorical)"
    )


def _alias_notes(design: FixedDesign) -> list[str]:
    notes = []
    for j, name in enumerate(design.aliased):
        others = [design.names[i] for i in np.flatnonzero(design.alias_weights[:, j])]
        reason = "it is zero in all rows used"
        if others:
            reason = f"it is a linear combination of {list_some(others)}, so the data cannot separate their effects"
        notes.append(f"column {name!r} was dropped from the design: {reason}")
    return notes
