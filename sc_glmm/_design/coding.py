"""The bridge to formulaic: terms to columns of numbers, and formulaic's errors to ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._errors import DesignError, FormulaError, mark
from .._formula import Atom, MixedFormula, Term

if TYPE_CHECKING:
    from formulaic import ModelSpec

FloatArray = npt.NDArray[np.float64]


def code_terms(
    terms: tuple[Term, ...], frame: pd.DataFrame, formula: MixedFormula, context: Mapping[str, Any] | None = None
) -> tuple[FloatArray, ModelSpec]:
    """Columns of `terms` on the rows of `frame`, and the recipe to make them again.

    Returns
    -------
    matrix
        (n_obs, p), C-contiguous, finite.
    spec
        formulaic's recipe; its column names are those of `matrix`.
    """
    from formulaic import Formula

    parsed = Formula([_to_formulaic(term) for term in terms])

    def build() -> Any:
        return parsed.get_model_matrix(frame, context=dict(context or {}), na_action="raise", output="numpy")

    coded = _run(build, terms, frame, formula, context)
    spec = coded.model_spec
    matrix = _as_matrix(coded, len(frame), spec)
    check_finite(matrix, spec, terms, formula)
    return _snap(matrix, terms, frame), spec


def code_again(
    spec: ModelSpec,
    terms: tuple[Term, ...],
    frame: pd.DataFrame,
    formula: MixedFormula,
    context: Mapping[str, Any] | None = None,
) -> FloatArray:
    """Columns of the stored recipe on new rows."""
    coded = _run(
        lambda: spec.get_model_matrix(frame, context=dict(context or {})), terms, frame, formula, context, spec=spec
    )
    matrix = _as_matrix(coded, len(frame), spec)
    check_finite(matrix, spec, terms, formula)
    return _snap(matrix, terms, frame)


def factor_of(atom: Atom) -> Any:
    """The atom as formulaic's factor."""
    from formulaic.parser.types import Factor

    return Factor(atom.text, eval_method="lookup" if atom.kind == "column" else "python")


def _to_formulaic(term: Term) -> Any:
    from formulaic.parser.types import Factor
    from formulaic.parser.types import Term as FormulaicTerm

    return FormulaicTerm([factor_of(atom) for atom in term] or [Factor("1", eval_method="literal")])


def label_terms(spec: ModelSpec, terms: tuple[Term, ...]) -> list[Term]:
    """Our terms in formulaic's order (by degree), which is the order of the columns."""
    ours = {_to_formulaic(term): term for term in terms}
    return [ours[term] for term in spec.term_indices]


def _as_matrix(coded: Any, n_rows: int, spec: ModelSpec) -> FloatArray:
    matrix = np.asarray(coded)
    if matrix.size == 0:
        return np.empty((n_rows, len(spec.column_names)))
    if matrix.dtype.kind not in "biuf":
        raise DesignError(f"the formula gives values of type {matrix.dtype}, where numbers are needed")
    return np.ascontiguousarray(matrix, dtype=np.float64)


def _run(
    build: Any,
    terms: tuple[Term, ...],
    frame: pd.DataFrame,
    formula: MixedFormula,
    context: Mapping[str, Any] | None,
    spec: ModelSpec | None = None,
) -> Any:
    """Let formulaic evaluate the user's code; whatever goes wrong there is an error in the user's formula or data."""
    try:
        return _quietly(build)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        for atom in dict.fromkeys(atom for term in terms for atom in term):
            _explain(atom, frame, formula, context, spec)
        raise DesignError(f"the design matrix cannot be built: {_words(error)}") from error


def _quietly(build: Any) -> Any:
    from formulaic.errors import DataMismatchWarning

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", DataMismatchWarning)  # formulaic would set unknown levels to zero
        return build()


def _explain(
    atom: Atom, frame: pd.DataFrame, formula: MixedFormula, context: Mapping[str, Any] | None, spec: ModelSpec | None
) -> None:
    """Raise our error if `atom` alone is the culprit."""
    from formulaic import Formula, ModelSpec
    from formulaic.parser.types import Term as FormulaicTerm

    one = Formula([FormulaicTerm([factor_of(atom)])])
    state = {} if spec is None else {"transform_state": spec.transform_state, "encoder_state": spec.encoder_state}

    def build(na_action: str) -> Any:
        recipe = ModelSpec.from_spec(one, na_action=na_action, output="numpy", **state)
        return recipe.get_model_matrix(frame, context=dict(context or {}))

    try:
        _quietly(lambda: build("ignore"))
    except Exception as error:
        raise FormulaError(f"{atom.text!r} cannot be evaluated: {_words(error)}", formula.source, atom.span) from error
    try:
        _quietly(lambda: build("raise"))
    except Exception as error:
        matrix = np.asarray(_quietly(lambda: build("ignore")), dtype=np.float64)
        bad = ~np.isfinite(matrix).all(axis=1)
        raise DesignError(_not_finite(atom.text, bad, formula, atom.span)) from error


def check_finite(matrix: FloatArray, spec: ModelSpec, terms: tuple[Term, ...], formula: MixedFormula) -> None:
    """Refuse infinite or missing values, naming the term that makes them."""
    if np.isfinite(matrix.sum()):  # one pass without a temporary array; only a non-finite sum needs a closer look
        return
    bad = ~np.isfinite(matrix)
    if not bad.any():
        return
    start = 0
    for term, row in zip(label_terms(spec, terms), spec.structure or (), strict=True):
        stop = start + len(row.columns)
        rows = bad[:, start:stop].any(axis=1)
        if rows.any():
            span = (min(atom.span[0] for atom in term), max(atom.span[1] for atom in term))
            raise DesignError(_not_finite(":".join(map(str, term)), rows, formula, span))
        start = stop


def _not_finite(text: str, bad: npt.NDArray[np.bool_], formula: MixedFormula, span: tuple[int, int]) -> str:
    return (
        f"{text!r} is infinite or not a number in {int(bad.sum())} of {bad.size} rows (first: row {int(bad.argmax())} "
        f"of those used); change the expression or drop these rows\n{mark(formula.source, span)}"
    )


def _words(error: Exception) -> str:
    """The innermost message, without formulaic's wrapping and colours."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = " ".join(str(cause).split()) or type(cause).__name__
    return text if isinstance(cause, ValueError | Warning) else f"{type(cause).__name__}: {text}"


def _snap(matrix: FloatArray, terms: tuple[Term, ...], frame: pd.DataFrame) -> FloatArray:
    """Make rows with equal inputs equal to the last bit.

    Vectorised functions may round differently at different places of an array; rows that differ only so would be
    taken for different design rows.
    """
    used = {name.name for term in terms for atom in term if atom.kind == "python" for name in atom.names}
    columns = [frame[name] for name in frame.columns if name in used]
    if not columns or not matrix.size:
        return matrix
    rows = {name.name for term in terms for atom in term for name in atom.names}
    keys = np.zeros(len(frame), dtype=np.int64)
    for name in frame.columns:
        if name in rows:
            codes, uniques = pd.factorize(frame[name])
            keys = np.unique(keys * (len(uniques) + 1) + codes, return_inverse=True)[1].reshape(-1)
    _, first = np.unique(keys, return_index=True)
    snapped = matrix[first[keys]]
    # an expression may depend on the place of the row (a running sum); then equal inputs do differ
    return snapped if np.allclose(snapped, matrix, rtol=1e-12, atol=1e-12) else matrix
