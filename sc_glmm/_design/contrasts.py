"""What is tested: contrasts of the fixed effects, with names and words that say which way is up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from .._errors import DesignError
from .build import Design
from .coding import FloatArray
from .names import list_some
from .words import (
    codes_every_level,
    column_words,
    combination_words,
    compared_levels,
    term_of,
    term_words,
    triple_words,
)

ESTIMABLE_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Contrast:
    """A linear hypothesis L beta = 0.

    Attributes
    ----------
    name
        Short name, valid as a key of AnnData.
    L
        (q, p) float64: one row for each degree of freedom of the hypothesis.
    columns
        Names of the columns of X that `L` uses.
    words
        The same in words: ``"disease: AD vs ctl"``.
    levels
        ``(factor, level, base)`` if it compares two levels of a factor, else None.
    """

    name: str
    L: FloatArray
    columns: tuple[str, ...]
    words: str
    levels: tuple[str, str, str] | None = None


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
            ``(factor, level, base)``: level against base, with all other factors at their base (or first) level and
            numbers at their mean.
        a list
            Several of these.
        a dictionary
            Name -> one of these, or an array of length p or (q, p), or a list of strings and triples that are
            tested jointly.
        an array or a list of numbers
            Weights of the p columns of X.

    Returns
    -------
    The contrasts, with different names.

    Raises
    ------
    DesignError
        If a name or level is unknown, or the contrast is zero or cannot be estimated; the message says why.
    """
    if contrasts is None:
        made = [_from_text(design, term) for term, columns in design.fixed.terms.items() if term != "1" and columns]
        if not made:
            raise DesignError(
                f"the formula {design.formula.source!r} has nothing but an intercept to test: add a term, or pass "
                f"contrasts (columns: {list_some(design.fixed.names)})"
            )
    elif isinstance(contrasts, Mapping) and contrasts:
        made = [replace(_from_any(design, value), name=_key(str(name))) for name, value in contrasts.items()]
    elif isinstance(contrasts, str | np.ndarray) or _is_triple(design, contrasts) or _is_numbers(contrasts):
        made = [_from_any(design, contrasts)]
    elif isinstance(contrasts, Sequence) and len(contrasts):
        made = [_from_any(design, value) for value in contrasts]
    else:
        raise DesignError(
            f"contrasts={contrasts!r} cannot be read: pass a term or column, a triple (factor, level, base), a list of "
            "these, or a dictionary from names to these or to arrays"
        )
    return _distinct(made)


def _from_any(design: Design, value: Any) -> Contrast:
    if isinstance(value, str):
        return _from_text(design, value)
    if _is_triple(design, value):
        return _from_triple(design, *value)
    if isinstance(value, list | tuple) and value and all(isinstance(part, str | tuple) for part in value):
        parts = [_from_any(design, part) for part in value]
        name = "_and_".join(part.name for part in parts)
        return _checked(design, name, np.vstack([part.L for part in parts]), "; ".join(part.words for part in parts))
    try:
        L = np.atleast_2d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        raise DesignError(f"the contrast {value!r} cannot be read: it is no name, triple or array of numbers") from None
    if L.ndim != 2 or L.shape[1] != len(design.fixed.names):
        raise DesignError(
            f"a contrast has shape {np.shape(value)}, but X has {len(design.fixed.names)} columns: "
            f"{list_some(design.fixed.names, 20)}"
        )
    return _checked(design, "contrast", L, combination_words(design, L))


def _from_text(design: Design, text: str) -> Contrast:
    fixed = design.fixed
    unit = np.eye(len(fixed.names))
    label = next((label for label in fixed.terms if _plain(label) == _plain(text)), None)
    if label is not None and fixed.terms[label]:
        L = unit[list(fixed.terms[label])]
        if codes_every_level(design, label):
            L = L[1:] - L[:1]  # without an intercept, its columns are means; what can be tested is their differences
        made = _checked(design, label, L, term_words(design, label))
        return replace(made, levels=compared_levels(design, label) if len(L) == 1 else None)
    if text in fixed.names:
        j = fixed.names.index(text)
        made = _checked(design, text, unit[[j]], column_words(design, j))
        return replace(made, levels=compared_levels(design, term_of(design, j), j))
    if text in fixed.aliased or label is not None:
        why = [note for note in design.notes if f"column {text!r}" in note]
        reason = why[0] if why else "all its columns were dropped from the design, because they depend on other terms"
        raise DesignError(f"the contrast {text!r} cannot be estimated: {reason}")
    raise DesignError(
        f"there is no term or column {text!r} to test; terms: {list_some(t for t in fixed.terms if t != '1')}; "
        f"columns: {list_some(fixed.names, 20)}"
    )


def _from_triple(design: Design, name: str, level: object, base: object) -> Contrast:
    asked = f"({name!r}, {level!r}, {base!r})"
    if name not in design.fixed.factors or name not in design.columns or design.columns[name].kind != "factor":
        what = "is no factor of the fixed part"
        if name in design.fixed.factors:
            what = "is computed in the formula or used as a number, too: make a column of it"
        raise DesignError(f"{asked}: {name!r} {what}; factors are {list_some(design.fixed.factors)}")
    column = design.columns[name]
    places = column.find([level, base])
    for place, value in zip(places, (level, base), strict=True):
        if place is None:
            raise DesignError(
                f"{asked}: {name!r} has no level {str(value)!r} in the rows used; "
                f"the levels are {list_some(column.categories, 20)}"
            )
    if places[0] == places[1]:
        raise DesignError(f"{asked} compares a level with itself")
    typical = _typical_values(design)
    two = {key: [value, value] for key, value in typical.items()}
    two[name] = [column.categories[place] for place in places if place is not None]
    rows = pd.DataFrame({key: pd.Series(values, dtype=object) for key, values in two.items()})
    frame = design.convert(rows, [atom for term in design.formula.fixed_terms for atom in term])
    both = design.fixed.all_columns(frame)
    words = triple_words(design, name, level, base, typical)
    L = _estimable(design, both[:1] - both[1:], words)
    made = _checked(design, f"{name}_{level}_vs_{base}", L, words)
    return replace(made, levels=(name, str(level), str(base)))


def _typical_values(design: Design) -> dict[str, object]:
    """Each column of the design: factors at their base (or first) level, numbers at their mean, booleans False."""
    values: dict[str, object] = {}
    for name, column in design.columns.items():
        factor = design.fixed.factors.get(name)
        if column.kind == "factor":
            place = column.find([factor.base])[0] if factor is not None and factor.base is not None else 0
            values[name] = column.categories[place or 0]
        elif column.kind == "bool":
            values[name] = False
        else:
            # a number that the formula also makes a factor must be one that occurs
            values[name] = design.means[name] if factor is None else float(factor.levels[0])
    return values


def _estimable(design: Design, full: FloatArray, words: str) -> FloatArray:
    """From all columns of the recipe to those in X; an error if the dropped ones say something else."""
    fixed = design.fixed
    aliased = [j for j in range(full.shape[1]) if j not in fixed.keep]
    kept = full[:, list(fixed.keep)]
    gap = np.abs(full[:, aliased] - kept @ fixed.alias_weights)
    bad = np.flatnonzero(gap.max(axis=0, initial=0.0) > ESTIMABLE_TOLERANCE * max(np.abs(full).max(), 1.0))
    if bad.size:
        raise DesignError(
            f"the contrast {words!r} cannot be estimated: it needs {list_some(fixed.aliased[i] for i in bad)}, which "
            "the data cannot tell from the other columns"
        )
    return kept


def _checked(design: Design, name: str, L: FloatArray, words: str) -> Contrast:
    if not np.isfinite(L).all():
        raise DesignError(f"the contrast {name!r} holds infinite or missing numbers")
    if not (L != 0.0).any(axis=1).all():
        columns = list_some(design.fixed.names, 20)
        raise DesignError(f"the contrast {name!r} is zero, so it compares nothing (columns: {columns})")
    if np.linalg.matrix_rank(L) < L.shape[0]:
        raise DesignError(f"the {L.shape[0]} rows of the contrast {name!r} depend on each other: leave the surplus out")
    used = tuple(design.fixed.names[j] for j in np.flatnonzero((L != 0.0).any(axis=0)))
    return Contrast(_key(name), np.ascontiguousarray(L, dtype=np.float64), used, words)


def _key(name: str) -> str:
    """A slash would make nested groups in a file."""
    return name.replace("/", "_") or "contrast"


def _distinct(contrasts: list[Contrast]) -> tuple[Contrast, ...]:
    """Number the names that come twice."""
    taken: set[str] = set()
    made = []
    for contrast in contrasts:
        name, count = contrast.name, 1
        while name in taken:
            count += 1
            name = f"{contrast.name}_{count}"
        taken.add(name)
        made.append(replace(contrast, name=name))
    return tuple(made)


def _is_triple(design: Design, value: Any) -> bool:
    """Whether a tuple is (factor, level, base) and not three names."""
    if not isinstance(value, tuple) or len(value) != 3 or not isinstance(value[0], str):
        return False
    names = {*design.fixed.terms, *design.fixed.names}
    return value[0] in design.fixed.factors or not all(isinstance(v, str) and v in names for v in value)


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(v, int | float | np.number) for v in value)
    )


def _plain(text: str) -> str:
    """Without white space and backticks, so that a term can be named as it was written."""
    return "".join(text.split()).replace("`", "")
