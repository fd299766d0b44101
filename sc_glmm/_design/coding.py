"""Code terms as columns of numbers with formulaic, and translate its errors."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._arrays import FloatArray
from .._errors import DesignError, FormulaError, mark
from .._formula import Atom, MixedFormula, Term, term_text
from .evaluate import State, evaluate
from .names import list_some

if TYPE_CHECKING:
    from formulaic import ModelSpec


def code_terms(terms: tuple[Term, ...], frame: pd.DataFrame, formula: MixedFormula) -> tuple[FloatArray, ModelSpec]:
    """Code `terms` as columns for the rows of `frame`, and return the recipe for new rows.

    Returns
    -------
    matrix
        (n_obs, p), C-contiguous, finite.
    spec
        formulaic's recipe; its column names are those of `matrix`.
    """
    from formulaic import Formula

    parsed = Formula([_to_formulaic(term) for term in terms])
    state: State = {}

    def build() -> Any:
        values = _values(_atoms(terms), frame, state)
        return parsed.get_model_matrix(frame, context=values, na_action="raise", output="numpy")

    _check_texts(terms, frame, formula)
    coded = _run(build, terms, frame, formula)
    spec = coded.model_spec
    spec.transform_state.update(state)  # formulaic only looks values up, so this state can hold ours
    matrix = _as_matrix(coded, len(frame), spec)
    check_finite(matrix, spec, terms, formula)
    if any(atom.kind == "python" for term in terms for atom in term):
        _check_rowwise(matrix, spec, terms, frame, formula)
    return _snap(matrix, spec, terms, frame), spec


def code_again(spec: ModelSpec, terms: tuple[Term, ...], frame: pd.DataFrame, formula: MixedFormula) -> FloatArray:
    """Code `terms` for new rows by a stored recipe."""

    def build() -> Any:
        return spec.get_model_matrix(frame, context=_values(_atoms(terms), frame, spec.transform_state))

    coded = _run(build, terms, frame, formula, spec=spec)
    matrix = _as_matrix(coded, len(frame), spec)
    check_finite(matrix, spec, terms, formula)
    return _snap(matrix, spec, terms, frame)


def _atoms(terms: tuple[Term, ...]) -> list[Atom]:
    return list(dict.fromkeys(atom for term in terms for atom in term))


def _values(atoms: list[Atom], frame: pd.DataFrame, state: State) -> dict[str, Any]:
    """Evaluate the expressions in `atoms`; formulaic looks up the values by the text of the expression."""
    return {atom.text: evaluate(atom, frame, state) for atom in atoms if atom.kind == "python"}


def _check_texts(terms: tuple[Term, ...], frame: pd.DataFrame, formula: MixedFormula) -> None:
    """Raise an error if an expression has the same text as the name of a column."""
    for atom in _atoms(terms):
        if atom.kind == "python" and atom.text in frame.columns:
            raise DesignError(
                f"{atom.text!r} is an expression here, but also the name of a column of the formula: rename the "
                f"column\n{mark(formula.source, atom.span)}"
            )


def _check_rowwise(
    matrix: FloatArray, spec: ModelSpec, terms: tuple[Term, ...], frame: pd.DataFrame, formula: MixedFormula
) -> None:
    """Raise an error for expressions whose value in a row depends on other rows.

    Such a column could not be computed for new data, and results would depend on the order of the cells.
    """
    n_rows = len(frame)
    subset = np.arange(n_rows)[:: -max(n_rows // 200, 2)]
    again = code_again(spec, terms, frame.iloc[subset].reset_index(drop=True), formula)
    scale = np.abs(matrix).max(axis=0, initial=0.0)
    differs = (np.abs(again - matrix[subset]) > 1e-8 * scale).any(axis=0)
    for term, columns in term_columns(spec, terms).items():
        if differs[columns].any():
            raise FormulaError(
                f"the value of {term_text(term)!r} in a row depends on other rows: use center(), scale(), "
                "poly() or a spline, which store the statistics of the data, or add the result to the data as a "
                "column",
                formula.source,
                term_span(term),
            )


def factor_of(atom: Atom) -> Any:
    """Convert an atom to a factor of formulaic."""
    from formulaic.parser.types import Factor

    return Factor(atom.text, eval_method="lookup")


def _to_formulaic(term: Term) -> Any:
    from formulaic.parser.types import Factor
    from formulaic.parser.types import Term as FormulaicTerm

    return FormulaicTerm([factor_of(atom) for atom in term] or [Factor("1", eval_method="literal")])


def term_columns(spec: ModelSpec, terms: tuple[Term, ...]) -> dict[Term, slice]:
    """Return the columns of each term, in formulaic's order (by degree)."""
    ours = {_to_formulaic(term): term for term in terms}
    columns: dict[Term, slice] = {}
    start = 0
    for row in spec.structure or ():
        stop = start + len(row.columns)
        columns[ours[row.term]] = slice(start, stop)
        start = stop
    return columns


def _as_matrix(coded: Any, n_rows: int, spec: ModelSpec) -> FloatArray:
    matrix = np.asarray(coded)
    if matrix.size == 0:
        return np.empty((n_rows, len(spec.column_names)))
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
            _explain(atom, frame, formula, spec)
        raise DesignError(f"the design matrix cannot be built: {_plain_message(error)}") from error


def _quietly(build: Any) -> Any:
    from formulaic.errors import DataMismatchWarning

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", DataMismatchWarning)  # formulaic would set unknown levels to zero
        return build()


def _explain(atom: Atom, frame: pd.DataFrame, formula: MixedFormula, spec: ModelSpec | None) -> None:
    """Raise a specific error if `atom` alone causes the error."""
    from formulaic import Formula, ModelSpec
    from formulaic.parser.types import Term as FormulaicTerm

    one = Formula([FormulaicTerm([factor_of(atom)])])
    state = {} if spec is None else {"encoder_state": spec.encoder_state}
    try:
        values = _values([atom], frame, {} if spec is None else spec.transform_state)
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
    names = [name.name for name in atom.names if name.name in frame.columns]
    factors = [name for name in names if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    return "".join(f"; levels of {name!r}: {list_some(frame[name].cat.categories, 20)}" for name in factors)


def check_finite(matrix: FloatArray, spec: ModelSpec, terms: tuple[Term, ...], formula: MixedFormula) -> None:
    """Raise an error for infinite or missing values, and name the term that produces them."""
    with np.errstate(all="ignore"):
        if np.isfinite(matrix.sum()):  # a quick test without a temporary array
            return
    bad = ~np.isfinite(matrix)
    if not bad.any():
        return
    for term, columns in term_columns(spec, terms).items():
        rows = np.asarray(bad[:, columns].any(axis=1))
        if rows.any():
            raise DesignError(_not_finite(term_text(term), rows, formula, term_span(term)))


def term_span(term: Term) -> tuple[int, int]:
    """Return the position of a term in the formula."""
    return min(atom.span[0] for atom in term), max(atom.span[1] for atom in term)


def _not_finite(text: str, bad: npt.NDArray[np.bool_], formula: MixedFormula, span: tuple[int, int]) -> str:
    return (
        f"{text!r} is infinite or not a number in {int(bad.sum())} of {bad.size} rows (the first is row "
        f"{int(bad.argmax())} of the rows used): change the expression or drop these rows\n{mark(formula.source, span)}"
    )


def _plain_message(error: Exception) -> str:
    """Return the error message without formulaic's wrapping."""
    from formulaic.errors import FormulaicError

    cause = error.__cause__ if isinstance(error, FormulaicError) and error.__cause__ is not None else error
    text = " ".join(str(cause).split()).replace("`", "")
    return text if isinstance(cause, ValueError | Warning) and text else f"{type(cause).__name__}: {text}"


def _snap(matrix: FloatArray, spec: ModelSpec, terms: tuple[Term, ...], frame: pd.DataFrame) -> FloatArray:
    """Make rows with equal inputs equal to the last bit.

    Vectorised functions may round differently at different positions of an array. Rows that differ only by rounding
    would then become different design rows. Columns of the data and their products do not need this.
    """
    for term, columns in term_columns(spec, terms).items():
        if all(atom.kind == "column" for atom in term) or columns.start == columns.stop:
            continue
        first, row_of = _equal_rows(frame, {name.name for atom in term for name in atom.names})
        part = matrix[:, columns]
        snapped = part[first][row_of]
        # a value that depends on other rows, such as a running sum, may really differ between equal inputs
        if np.allclose(snapped, part, rtol=1e-12, atol=1e-12):
            matrix[:, columns] = snapped
    return matrix


def _equal_rows(frame: pd.DataFrame, names: set[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the distinct rows by the columns `names`, and the index of each row among them."""
    key = np.zeros(len(frame), dtype=np.int64)
    for name in frame.columns.intersection(list(names)):
        codes, levels = pd.factorize(frame[name])
        key = pd.factorize(key * len(levels) + codes)[0]
    first = np.flatnonzero(~pd.Series(key).duplicated().to_numpy())
    return first, key
