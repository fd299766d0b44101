"""Code terms as columns of numbers with formulaic, and translate its errors."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray, IntArray
from .._display.arguments import list_some
from .._errors import DesignError, FormulaError, mark
from .._formula import Atom, MixedFormula, Term, term_text
from .evaluate import GUARD, State, evaluate, guard_levels

if TYPE_CHECKING:
    from formulaic import ModelSpec

# formulaic decides by names, so it receives the number of each atom, between two Unicode characters of private use.
_PRIVATE = re.compile("\ue000([0-9]+)\ue001")


@dataclass(frozen=True)
class Recipe:
    """The recipe to code terms for new rows.

    Attributes
    ----------
    spec
        formulaic's recipe. Its atoms are numbered, so no result depends on the names of columns.
    terms
        The terms.
    names
        Unique names of all columns for display: ``"Intercept"``, ``"disease[T.AD]"``. Ambiguous names have backticks.
    """

    spec: ModelSpec
    terms: tuple[Term, ...]
    names: tuple[str, ...]

    @property
    def columns(self) -> dict[Term, slice]:
        """Columns of each term, in formulaic's order (by degree)."""
        ours = dict(zip(_to_formulaic(self.terms), self.terms, strict=True))
        columns: dict[Term, slice] = {}
        start = 0
        for row in self.spec.structure or ():
            stop = start + len(row.columns)
            columns[ours[row.term]] = slice(start, stop)
            start = stop
        return columns

    def coding(self, atom: Atom) -> Any:
        """Return formulaic's levels and contrasts of a factor; None for numbers."""
        return self.spec.factor_contrasts.get(_factor(_numbers(self.terms)[atom]))

    @property
    def factors(self) -> frozenset[Atom]:
        """Atoms that are factors."""
        return frozenset(atom for atom in _atoms(self.terms) if self.coding(atom) is not None)


def code_terms(terms: tuple[Term, ...], frame: pd.DataFrame, formula: MixedFormula) -> tuple[FloatArray, Recipe]:
    """Code `terms` as columns for the rows of `frame`, and return the recipe for new rows.

    Returns
    -------
    matrix
        (n_obs, p), C-contiguous, finite.
    recipe
        Recipe for new rows.
    """
    from formulaic import Formula

    parsed = Formula(_to_formulaic(terms))
    state: State = {}

    def build() -> Any:
        values = _values(terms, frame, state)
        return parsed.get_model_matrix(frame, context=values, na_action="raise", output="numpy")

    _check_texts(terms, frame, formula)
    coded = _run(build, terms, frame, formula)
    spec = coded.model_spec
    spec.transform_state.update(state)  # formulaic only looks values up, so this state can hold ours
    recipe = Recipe(spec, terms, _unique_names(spec, terms))
    matrix = _as_matrix(coded, len(frame), recipe)
    check_finite(matrix, recipe, formula)
    if any(atom.kind == "python" for term in terms for atom in term):
        _check_rowwise(matrix, recipe, frame, formula)
    return _snap(matrix, recipe, frame), recipe


def code_again(recipe: Recipe, frame: pd.DataFrame, formula: MixedFormula) -> FloatArray:
    """Code terms for new rows by a stored recipe."""

    def build() -> Any:
        values = _values(recipe.terms, frame, recipe.spec.transform_state)
        return recipe.spec.get_model_matrix(frame, context=values)

    coded = _run(build, recipe.terms, frame, formula, spec=recipe.spec)
    matrix = _as_matrix(coded, len(frame), recipe)
    check_finite(matrix, recipe, formula)
    return _snap(matrix, recipe, frame)


def _atoms(terms: tuple[Term, ...]) -> list[Atom]:
    return list(dict.fromkeys(atom for term in terms for atom in term))


def _numbers(terms: tuple[Term, ...]) -> dict[Atom, int]:
    return {atom: i for i, atom in enumerate(_atoms(terms))}


def _private(number: int) -> str:
    return f"\ue000{number:06d}\ue001"  # formulaic sorts names


def _values(terms: tuple[Term, ...], frame: pd.DataFrame, state: State) -> dict[str, Any]:
    """Evaluate all atoms; formulaic looks up the values by their private names."""
    return {_private(number): _value(atom, frame, state) for atom, number in _numbers(terms).items()}


def _value(atom: Atom, frame: pd.DataFrame, state: State) -> Any:
    return guard_levels(evaluate(atom, frame, state) if atom.kind == "python" else frame[atom.text])


def _unique_names(spec: ModelSpec, terms: tuple[Term, ...]) -> tuple[str, ...]:
    """Name the columns for display; columns of the data get backticks if two names would be the same."""
    atoms = _atoms(terms)

    def shown(name: str, write: Callable[[Atom], str]) -> str:
        return _PRIVATE.sub(lambda found: write(atoms[int(found[1])]), name).replace(GUARD, "")

    private = list(spec.column_names)
    # below, "Intercept" is reserved even if there is no intercept
    names = [shown(name, lambda atom: atom.text) for name in private]
    for write in (str, lambda atom: f"`{atom.text}`" if atom.kind == "column" else atom.text):
        count = Counter([*names, *(["Intercept"] if "Intercept" not in private else [])])
        names = [
            shown(old, write) if count[new] > 1 and _PRIVATE.search(old) else new
            for old, new in zip(private, names, strict=True)
        ]
    unique: dict[str, None] = {}
    for name in names:  # levels such as "b]:g[T.c"
        number = 1
        while name in unique:
            number += 1
            name = f"{name} ({number})"
        unique[name] = None
    return tuple(unique)


def _check_texts(terms: tuple[Term, ...], frame: pd.DataFrame, formula: MixedFormula) -> None:
    """Raise an error if an expression has the same text as the name of a column."""
    for atom in _atoms(terms):
        if atom.kind == "python" and atom.text in frame.columns:
            raise DesignError(
                f"{atom.text!r} is an expression here, but also the name of a column of the formula: rename the "
                f"column\n{mark(formula.source, atom.span)}"
            )


def _check_rowwise(matrix: FloatArray, recipe: Recipe, frame: pd.DataFrame, formula: MixedFormula) -> None:
    """Raise an error for expressions whose value in a row depends on other rows.

    Such a column could not be computed for new data, and results would depend on the order of the cells.
    """
    n_rows = len(frame)
    subset = np.arange(n_rows)[:: -max(n_rows // 200, 2)]
    again = code_again(recipe, frame.iloc[subset].reset_index(drop=True), formula)
    scale = np.abs(matrix).max(axis=0, initial=0.0)
    differs = (np.abs(again - matrix[subset]) > 1e-8 * scale).any(axis=0)
    for term, columns in recipe.columns.items():
        if differs[columns].any():
            raise FormulaError(
                f"the value of {term_text(term)!r} in a row depends on other rows: use center(), scale(), "
                "poly() or a spline, which store the statistics of the data, or add the result to the data as a "
                "column",
                formula.source,
                term_span(term),
            )


def _factor(number: int) -> Any:
    """Convert the number of an atom to a factor of formulaic."""
    from formulaic.parser.types import Factor

    return Factor(_private(number), eval_method="lookup")


def _to_formulaic(terms: tuple[Term, ...]) -> list[Any]:
    from formulaic.parser.types import Factor
    from formulaic.parser.types import Term as FormulaicTerm

    numbers, one = _numbers(terms), Factor("1", eval_method="literal")
    return [FormulaicTerm([_factor(numbers[atom]) for atom in term] or [one]) for term in terms]


def _as_matrix(coded: Any, n_rows: int, recipe: Recipe) -> FloatArray:
    matrix = np.asarray(coded)
    if matrix.size == 0:
        return np.empty((n_rows, len(recipe.names)))
    if matrix.dtype.kind not in "biuf":
        raise DesignError(f"the formula gives values of type {matrix.dtype}, but numbers are needed")
    return np.ascontiguousarray(matrix, dtype=np.float64)


def _run(
    build: Any,
    terms: tuple[Term, ...],
    frame: pd.DataFrame,
    formula: MixedFormula,
    spec: ModelSpec | None = None,
) -> Any:
    """Evaluate the formula, and turn every exception into an error about the user's formula or data."""
    try:
        coded = _quietly(build)
        if np.shape(coded)[0] != len(frame):
            raise ValueError(f"it has {np.shape(coded)[0]} values for {len(frame)} rows")
        return coded
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        for atom in _atoms(terms):
            _explain(atom, terms, frame, formula, spec)
        raise DesignError(f"the design matrix cannot be built: {_plain_message(error)}") from error


def _quietly(build: Any) -> Any:
    from formulaic.errors import DataMismatchWarning

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", DataMismatchWarning)  # formulaic would set unknown levels to zero
        return build()


def _explain(
    atom: Atom, terms: tuple[Term, ...], frame: pd.DataFrame, formula: MixedFormula, spec: ModelSpec | None
) -> None:
    """Raise a specific error if `atom` alone causes the error."""
    from formulaic import Formula, ModelSpec
    from formulaic.parser.types import Term as FormulaicTerm

    name = _private(_numbers(terms)[atom])
    one = Formula([FormulaicTerm([_factor(_numbers(terms)[atom])])])
    state = {} if spec is None else {"encoder_state": spec.encoder_state}
    try:
        values = {name: _value(atom, frame, {} if spec is None else spec.transform_state)}
    except Exception as error:
        message = f"{atom.text!r} cannot be evaluated: {_plain_message(error)}{_levels(atom, frame)}"
        raise FormulaError(message, formula.source, atom.span) from error

    def build(na_action: str) -> Any:
        return ModelSpec.from_spec(one, na_action=na_action, output="numpy", **state).get_model_matrix(
            frame, context=values
        )

    try:
        coded = _quietly(lambda: build("ignore"))
        if np.shape(coded)[0] != len(frame):
            raise ValueError(f"it gives {np.shape(coded)[0]} values for {len(frame)} rows")
    except Exception as error:
        message = f"{atom.text!r} does not give a value for each row: {_plain_message(error)}{_levels(atom, frame)}"
        raise FormulaError(message, formula.source, atom.span) from error
    try:
        _quietly(lambda: build("raise"))
    except Exception as error:
        matrix = np.asarray(_quietly(lambda: build("ignore")), dtype=np.float64)
        bad = np.asarray(~np.isfinite(matrix).all(axis=1))
        raise DesignError(_not_finite(atom.text, bad, formula, atom.span)) from error


def _levels(atom: Atom, frame: pd.DataFrame) -> str:
    """List the levels of the factors in an expression, because it may contain an unknown level."""
    names = [name for name in atom.columns if name in frame.columns]
    factors = [name for name in names if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    return "".join(f"; levels of {name!r}: {list_some(frame[name].cat.categories, 20)}" for name in factors)


def check_finite(matrix: FloatArray, recipe: Recipe, formula: MixedFormula) -> None:
    """Raise an error for infinite or missing values, and name the term that produces them."""
    with np.errstate(all="ignore"):
        if np.isfinite(matrix.sum()):  # a quick test without a temporary array
            return
    bad = ~np.isfinite(matrix)
    if not bad.any():
        return
    for term, columns in recipe.columns.items():
        rows = np.asarray(bad[:, columns].any(axis=1))
        if rows.any():
            raise DesignError(_not_finite(term_text(term), rows, formula, term_span(term)))


def term_span(term: Term) -> tuple[int, int]:
    """Return the position of a term in the formula."""
    return min(atom.span[0] for atom in term), max(atom.span[1] for atom in term)


def _not_finite(text: str, bad: BoolArray, formula: MixedFormula, span: tuple[int, int]) -> str:
    return (
        f"{text!r} is infinite or not a number in {int(bad.sum())} of {bad.size} rows (the first is row "
        f"{int(bad.argmax())} of the rows used): change the expression or drop these rows\n{mark(formula.source, span)}"
    )


def _plain_message(error: Exception) -> str:
    """Return the error message without formulaic's wrapping."""
    from formulaic.errors import FormulaicError

    cause = error.__cause__ if isinstance(error, FormulaicError) and error.__cause__ is not None else error
    text = " ".join(str(cause).split()).replace("`", "").replace(GUARD, "")
    return text if isinstance(cause, ValueError | Warning) and text else f"{type(cause).__name__}: {text}"


def _snap(matrix: FloatArray, recipe: Recipe, frame: pd.DataFrame) -> FloatArray:
    """Make rows with equal inputs equal to the last bit.

    Vectorised functions may round differently at different positions of an array. Rows that differ only by rounding
    would then become different design rows. Columns of the data and their products do not need this.
    """
    for term, columns in recipe.columns.items():
        if all(atom.kind == "column" for atom in term) or columns.start == columns.stop:
            continue
        first, row_of = _equal_rows(frame, {name for atom in term for name in atom.columns})
        part = matrix[:, columns]
        snapped = part[first][row_of]
        # a value that depends on other rows, such as a running sum, may really differ between equal inputs
        if np.allclose(snapped, part, rtol=1e-12, atol=1e-12):
            matrix[:, columns] = snapped
    return matrix


def _equal_rows(frame: pd.DataFrame, names: set[str]) -> tuple[IntArray, IntArray]:
    """Find the distinct rows by the columns `names`, and the index of each row among them."""
    key = np.zeros(len(frame), dtype=np.int64)
    for name in frame.columns.intersection(list(names)):
        codes, levels = pd.factorize(frame[name])
        key = pd.factorize(key * len(levels) + codes)[0]
    first = np.flatnonzero(~pd.Series(key).duplicated().to_numpy())
    return first, key
