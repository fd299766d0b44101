"""What is tested: contrasts of the fixed effects, with names and words that say which way is up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._errors import DesignError
from .._formula import term_label
from .build import Design
from .coding import FloatArray
from .columns import list_some
from .fixed import Factor

ESTIMABLE_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Contrast:
    """A linear hypothesis L beta = 0.

    Attributes
    ----------
    name
        Short name, valid as a key of AnnData.
    L
        (q, p): one row for each degree of freedom of the hypothesis.
    columns
        Names of the columns of X that `L` uses.
    words
        The same in words: ``"disease: AD vs ctl"``.
    """

    name: str
    L: FloatArray
    columns: tuple[str, ...]
    words: str


def build_contrasts(design: Design, contrasts: Any = None) -> tuple[Contrast, ...]:
    """Make the contrasts to be tested.

    Parameters
    ----------
    design
        The design.
    contrasts
        None
            One for each term but the intercept, jointly where a term has several columns.
        a string
            A term (``"disease"``) or a column of X (``"disease[T.AD]"``).
        a triple
            ``(factor, level, base)``: level against base, all other factors at their first (base) level and numbers
            at their mean.
        a list
            Several of these.
        a dictionary
            Name -> one of these, or an array of length p or (q, p), or a list of strings and triples tested jointly.

    Raises
    ------
    DesignError
        If a name or level is unknown, or the contrast is zero or cannot be estimated; the message says why.
    """
    if contrasts is None:
        made = [_from_text(design, term) for term, columns in design.fixed.terms.items() if term != "1" and columns]
        if not made:
            raise DesignError(
                f"the formula {design.formula.source!r} has nothing to test but an intercept; add a term, or pass "
                f"contrasts (columns: {list_some(design.fixed.names)})"
            )
    elif isinstance(contrasts, Mapping):
        if not contrasts:
            raise DesignError("contrasts is an empty dictionary: leave it out to test every term")
        made = [_named(_from_any(design, value), str(name)) for name, value in contrasts.items()]
    elif isinstance(contrasts, str) or _is_triple(design, contrasts):
        made = [_from_any(design, contrasts)]
    elif isinstance(contrasts, Sequence) and len(contrasts):
        made = [_from_any(design, value) for value in contrasts]
    else:
        raise DesignError(
            f"contrasts={contrasts!r} cannot be read: pass a term or column, a triple (factor, level, base), a list of "
            "these, or a dictionary from names to these or to arrays"
        )
    return _unique(made)


def _from_any(design: Design, value: Any) -> Contrast:
    if isinstance(value, str):
        return _from_text(design, value)
    if _is_triple(design, value):
        return _from_triple(design, *value)
    if isinstance(value, list | tuple) and value and all(isinstance(v, str | tuple) for v in value):
        parts = [_from_any(design, v) for v in value]
        rows = np.vstack([part.L for part in parts])
        words = "; ".join(part.words for part in parts)
        return _checked(design, "_and_".join(part.name for part in parts), rows, words)
    try:
        L = np.atleast_2d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        raise DesignError(f"the contrast {value!r} cannot be read: it is no name, triple or array") from None
    p = len(design.fixed.names)
    if L.ndim != 2 or L.shape[1] != p:
        raise DesignError(
            f"a contrast has shape {np.shape(value)}, but X has {p} columns: {list_some(design.fixed.names, 20)}"
        )
    return _checked(design, "custom", L, _combination(design, L))


def _from_text(design: Design, text: str) -> Contrast:
    fixed = design.fixed
    term = next((label for label in fixed.terms if _squeeze(label) == _squeeze(text)), None)
    if term is not None and fixed.terms[term]:
        columns = fixed.terms[term]
        return _checked(design, term, np.eye(len(fixed.names))[list(columns)], _term_words(design, term))
    if text in fixed.names:
        j = fixed.names.index(text)
        return _checked(design, text, np.eye(len(fixed.names))[[j]], _column_words(design, j))
    if text in fixed.aliased or term is not None:
        why = next((note for note in design.notes if repr(text) in note), "all its columns depend on other terms")
        raise DesignError(f"the contrast {text!r} cannot be estimated: {why}")
    raise DesignError(
        f"there is no term or column {text!r}; terms: {list_some(label for label in fixed.terms if label != '1')}; "
        f"columns: {list_some(fixed.names, 20)}"
    )


def _from_triple(design: Design, name: str, level: object, base: object) -> Contrast:
    factor = design.fixed.factors.get(name)
    if factor is None:
        raise DesignError(
            f"({name!r}, {level!r}, {base!r}): {name!r} is no factor of the fixed part; "
            f"factors are {list_some(design.fixed.factors) or 'not there at all'}"
        )
    for asked in (level, base):
        if str(asked) not in factor.levels:
            raise DesignError(
                f"({name!r}, {level!r}, {base!r}): {name!r} has no level {str(asked)!r} in the rows used; "
                f"the levels are {list_some(factor.levels, 20)}"
            )
    if str(level) == str(base):
        raise DesignError(f"({name!r}, {level!r}, {base!r}) compares a level with itself")
    column = design.columns[name]
    rows = _typical_rows(design, 2)
    by_text = {str(value): value for value in column.categories or _raw_levels(design, name)}
    rows[name] = pd.Series([by_text[str(level)], by_text[str(base)]], dtype=object).infer_objects()
    frame = design.convert(rows, [atom for term in design.formula.fixed_terms for atom in term])
    both = design.fixed.all_columns(frame)
    L = _estimable(design, both[:1] - both[1:], f"{name}: {level} vs {base}")
    return _checked(design, f"{name}_{level}_vs_{base}", L, f"{name}: {level} vs {base}")


def _raw_levels(design: Design, name: str) -> list[object]:
    """Levels of a column of numbers that the formula itself makes a factor, as ``C(batch)``."""
    for factor, state in design.fixed.spec.factor_contrasts.items():
        if any(variable == name for variable in factor.required_variables):
            return list(state.levels)
    return []


def _typical_rows(design: Design, n: int) -> pd.DataFrame:
    """`n` equal rows: factors at their base (or first) level, numbers at their mean, booleans False."""
    values: dict[str, list[object]] = {}
    for name, column in design.columns.items():
        factor = design.fixed.factors.get(name)
        if column.kind == "factor":
            base = factor.base if factor is not None and factor.base is not None else str(column.categories[0])
            value: object = next(level for level in column.categories if str(level) == base)
        elif factor is not None:
            value = _raw_levels(design, name)[0]
        else:
            value = False if column.kind == "bool" else design.means[name]
        values[name] = [value] * n
    return pd.DataFrame({name: pd.Series(v, dtype=object).infer_objects() for name, v in values.items()})


def _estimable(design: Design, full: FloatArray, words: str) -> FloatArray:
    """From all columns of the recipe to those in X; an error if the dropped ones say something else."""
    fixed = design.fixed
    aliased = [j for j in range(full.shape[1]) if j not in fixed.keep]
    kept = full[:, list(fixed.keep)]
    gap = full[:, aliased] - kept @ fixed.alias_weights
    if aliased and np.abs(gap).max() > ESTIMABLE_TOLERANCE * max(np.abs(full).max(), 1.0):
        blame = [fixed.aliased[i] for i in np.flatnonzero(np.abs(gap).max(axis=0) > ESTIMABLE_TOLERANCE)]
        raise DesignError(
            f"the contrast {words!r} cannot be estimated: it needs {list_some(blame)}, which the design cannot tell "
            "from its other columns"
        )
    return kept


def _checked(design: Design, name: str, L: FloatArray, words: str) -> Contrast:
    L = np.ascontiguousarray(L, dtype=np.float64)
    if not np.isfinite(L).all():
        raise DesignError(f"the contrast {name!r} holds infinite or missing numbers")
    if not (L != 0.0).any(axis=1).all():
        raise DesignError(
            f"the contrast {name!r} is zero: it compares nothing (columns: {list_some(design.fixed.names, 20)})"
        )
    if np.linalg.matrix_rank(L) < L.shape[0]:
        raise DesignError(f"the {L.shape[0]} rows of the contrast {name!r} depend on each other: leave the surplus out")
    used = tuple(design.fixed.names[j] for j in np.flatnonzero((L != 0.0).any(axis=0)))
    return Contrast(_key(name), L, used, words)


def _named(contrast: Contrast, name: str) -> Contrast:
    return Contrast(_key(name), contrast.L, contrast.columns, contrast.words)


def _key(name: str) -> str:
    """A slash would make nested groups in a file."""
    return name.replace("/", "_") or "contrast"


def _unique(contrasts: list[Contrast]) -> tuple[Contrast, ...]:
    seen: dict[str, int] = {}
    made = []
    for contrast in contrasts:
        seen[contrast.name] = seen.get(contrast.name, 0) + 1
        count = seen[contrast.name]
        made.append(contrast if count == 1 else _named(contrast, f"{contrast.name}_{count}"))
    return tuple(made)


def _is_triple(design: Design, value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) != 3 or not isinstance(value[0], str):
        return False
    known = {*design.fixed.terms, *design.fixed.names}
    return value[0] in design.fixed.factors or not all(isinstance(v, str) and v in known for v in value)


def _term_words(design: Design, term: str) -> str:
    fixed = design.fixed
    columns = fixed.terms[term]
    if len(columns) == 1:
        return _column_words(design, columns[0])
    factor = _factor_of_term(design, term)
    if factor is not None:
        return f"{factor.name}: any difference between {list_some(factor.levels)}"
    return f"{term}: all {len(columns)} columns jointly"


def _column_words(design: Design, j: int) -> str:
    fixed = design.fixed
    name = fixed.names[j]
    term = next(label for label, columns in fixed.terms.items() if j in columns)
    factor = _factor_of_term(design, term)
    if factor is not None and factor.base is not None and "[T." in name:
        return f"{factor.name}: {name[name.index('[T.') + 3 : -1]} vs {factor.base}"
    if ":" in term:
        return f"{name}: interaction"
    if name == term and factor is None and name in design.columns:
        return f"{name}: per unit"
    return name


def _factor_of_term(design: Design, term: str) -> Factor | None:
    """The factor if the term is a main effect of one."""
    for parsed in design.formula.fixed_terms:
        if len(parsed) == 1 and term_label(parsed) == term:
            names = [name.name for name in parsed[0].names if name.name in design.fixed.factors]
            return design.fixed.factors[names[0]] if names else None
    return None


def _combination(design: Design, L: FloatArray) -> str:
    rows = []
    for row in L:
        parts = [f"{value:+g} {name}" for value, name in zip(row, design.fixed.names, strict=True) if value]
        rows.append(" ".join(parts).removeprefix("+"))
    return "; ".join(rows)


def _squeeze(text: str) -> str:
    return "".join(text.split()).replace("`", "")
