"""Read the contrasts that a user requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from .._arrays import FloatArray
from .._display.arguments import list_some
from .._errors import DesignError, FormulaError
from .._formula import parse_formula, term_label
from .build import Design
from .comparisons import (
    Contrast,
    checked_contrast,
    contrast_key,
    default_contrasts,
    is_plain_factor,
    of_condition,
    of_levels,
    of_term,
)
from .cond import Condition, parse_conditions
from .estimability import check_estimable, widen
from .words import column_words, combination_words, compared_levels, term_of

# a list or tuple is not among them, because it may contain several contrasts
_SINGLE_CONTRAST_TYPES = (str, np.ndarray, Condition, pd.Series, pd.DataFrame)


def build_contrasts(design: Design, contrasts: Any = None, *, each_level: bool = False) -> tuple[Contrast, ...]:
    """Build the contrasts to test.

    Parameters
    ----------
    design
        The design.
    contrasts
        None
            One contrast for each term except the intercept; the columns of a term are tested jointly. Terms that cannot
            be estimated are left out (:func:`untestable_terms` gives the reasons). It is an error if no term can be
            estimated as a whole.
        a string
            A term (``"disease"``), a column of X (``"disease[T.AD]"``), a level (``"AD"``, compared with its base), a
            comparison (``"AD vs ctl"``, ``"disease: AD vs ctl"``), or an expression of conditions
            (``"cond(disease='AD') - cond(disease='ctl')"``).
        a triple
            ``(factor, level, base)``: the level compared with the base, with all other factors at their base (or first)
            level and numbers at their mean.
        a sum of conditions
            ``cond(disease="AD", sex="M") - cond(disease="ctl", sex="M")``, see :func:`sc_glmm.cond`.
        a Series or DataFrame
            Weights by column name, such as a vector of ``formulaic_contrasts.FormulaicContrasts.cond``.
        a list
            Several of these.
        a dictionary
            Name -> one of these, or an array of length p or (q, p), or a list of strings, triples and conditions to
            test jointly.
        an array or a list of numbers
            Weights of the p columns of X.
    each_level
        Whether to add, after the joint test of a factor with three or more levels, the comparison of each level with
        the base. It has an effect only if `contrasts` is None.

    Returns
    -------
    The contrasts, with different names.

    Raises
    ------
    DesignError
        If a name or level is unknown, or if the contrast is zero or cannot be estimated; the message gives the reason.
    """
    if contrasts is None:
        result = default_contrasts(design, each_level)
        if not result:
            raise DesignError(
                f"the formula {design.formula.source!r} has only an intercept, so there is nothing to test: add a "
                f"term, or pass contrasts= (the columns are {list_some(design.fixed.names)})"
            )
    elif isinstance(contrasts, Mapping) and contrasts:
        result = [
            replace(one, name=contrast_key(str(name)), words=str(name), meaning=one.words)
            for name, one in ((name, _from_any(design, value)) for name, value in contrasts.items())
        ]
    elif isinstance(contrasts, _SINGLE_CONTRAST_TYPES) or _is_triple(design, contrasts) or _is_numbers(contrasts):
        result = [_from_any(design, contrasts)]
    elif is_comparison(design, contrasts):  # the form of DESeq2 and PyDESeq2
        result = [of_levels(design, *contrasts)]
    elif isinstance(contrasts, Sequence) and len(contrasts):
        result = [_from_any(design, value) for value in contrasts]
    else:
        raise DesignError(
            f"contrasts={contrasts!r} cannot be read: pass a term or column, a triple (factor, level, base), a "
            "difference of cond(...), a list of these, or a dictionary with names as keys and these or arrays as values"
        )
    return _distinct(result)


def _from_any(design: Design, value: Any) -> Contrast:
    if isinstance(value, str):
        return replace(_from_text(design, value), asked=value)
    if _is_triple(design, value):
        return of_levels(design, *value)
    if isinstance(value, Condition):
        return of_condition(design, value)
    if isinstance(value, pd.Series | pd.DataFrame):
        return _from_labelled(design, value)
    if isinstance(value, list | tuple) and value and all(isinstance(part, str | tuple | Condition) for part in value):
        parts = [_from_any(design, part) for part in value]
        name = "_and_".join(part.name for part in parts)
        return checked_contrast(
            design, name, np.vstack([part.L for part in parts]), "; ".join(part.words for part in parts)
        )
    try:
        L = np.atleast_2d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        raise DesignError(
            f"the contrast {value!r} cannot be read: pass a name, a triple (factor, level, base) or an array of numbers"
        ) from None
    names = design.fixed.recipe.names if np.shape(L)[-1] != len(design.fixed.names) else design.fixed.names
    if L.ndim != 2 or L.shape[1] != len(names):
        raise DesignError(
            f"a contrast has shape {np.shape(value)}, but X has {len(design.fixed.names)} columns: "
            f"{list_some(design.fixed.names, 20)}"
        )
    words = combination_words(L, names)
    full = L if len(names) > len(design.fixed.names) else widen(design.fixed, L)
    return checked_contrast(design, "contrast", check_estimable(design.fixed, full, words), words)


def _from_text(design: Design, text: str) -> Contrast:
    fixed = design.fixed
    label = text if text in fixed.terms else _label_of(design, text)
    if label is not None:
        return of_term(design, label)
    if text in fixed.recipe.names:
        place = list(fixed.recipe.names).index(text)
        L = check_estimable(fixed, np.eye(len(fixed.recipe.names))[[place]], text)
        if place not in fixed.keep:  # an alias of a single column, or of several
            return checked_contrast(design, text, L, text)
        j = fixed.keep.index(place)
        result = checked_contrast(design, text, L, column_words(design, j))
        return replace(result, levels=compared_levels(design, term_of(design, j), j))
    if re.match(r"[\s\d(.*/+-]*cond\(", text):
        return of_condition(design, parse_conditions(text))
    compared = _from_levels(design, text)
    if compared is not None:
        return compared
    raise DesignError(
        f"there is no term or column {text!r} to test; terms: {list_some(t for t in fixed.terms if t != '1')}; "
        f"columns: {list_some(fixed.names, 20)}; or name a level, or two as in 'AD vs ctl'"
    )


def _label_of(design: Design, text: str) -> str | None:
    """Find the label of the term that `text` means in a formula; None if there is none.

    If there is none, a single term with the same text, apart from white space and backticks, is accepted.
    """
    labels = design.formula.labels
    try:
        requested = [frozenset(term) for term in parse_formula(f"~ 0 + {text}").fixed_terms]
    except FormulaError:
        requested = []
    found = [label for term, label in labels.items() if requested == [frozenset(term)]]
    if not found:
        plain = _plain(text)
        found = [label for term, label in labels.items() if plain in map(_plain, map(term_label, permutations(term)))]
    return found[0] if len(found) == 1 else None


def _from_labelled(design: Design, value: pd.Series | pd.DataFrame) -> Contrast:
    """Read weights by column name, such as vectors of formulaic-contrasts; other columns have weight 0."""
    rows = value.to_frame().T if isinstance(value, pd.Series) else value
    names = list(design.fixed.recipe.names)
    unknown = [str(name) for name in rows.columns if name not in names and rows[name].astype(bool).any()]
    if unknown:
        raise DesignError(
            f"a contrast has weights for {list_some(unknown)}, but the columns of the design are {list_some(names, 20)}"
        )
    full = rows.reindex(columns=names, fill_value=0.0).to_numpy(dtype=np.float64)
    words = combination_words(full, names)
    L = check_estimable(design.fixed, full, words)
    j = _only_one(L)
    result = checked_contrast(design, "contrast", L, combination_words(L, design.fixed.names))
    if j is None:
        return result
    return replace(result, words=column_words(design, j), levels=compared_levels(design, term_of(design, j), j))


def _only_one(L: FloatArray) -> int | None:
    """Return the column if a single row selects one coefficient with weight 1, otherwise None."""
    used = np.flatnonzero(L)
    return int(used[0]) if len(L) == 1 and len(used) == 1 and L[0, used[0]] == 1.0 else None


def _from_levels(design: Design, text: str) -> Contrast | None:
    """Read ``disease: AD vs ctl``, ``AD vs ctl``, or ``AD`` (compared with its base); None for other texts."""
    match = re.fullmatch(r"(?:(?P<factor>.+?)\s*:\s+)?(?P<level>.+?)\s+vs\s+(?P<base>.+?)", text.strip())
    if match is not None and match["factor"] is not None:
        return of_levels(design, match["factor"], match["level"], match["base"])
    level, base = (match["level"], match["base"]) if match is not None else (text.strip(), None)
    wanted = [level] if base is None else [level, base]
    matches = [
        factor
        for name, factor in design.fixed.factors.items()
        if name in design.columns and None not in design.columns[name].find(list(wanted)) and (base or factor.base)
    ]
    if not matches:
        return None
    if len(matches) > 1:
        raise DesignError(
            f"the contrast {text!r} matches several factors: {list_some(factor.name for factor in matches)}; choose "
            f"one, as in {(matches[0].name, level, base or matches[0].base)!r}"
        )
    (factor,) = matches
    if base is None and level == factor.base:
        raise DesignError(
            f"the contrast {text!r} is the base level of {factor.name!r}. Compare another level with it: "
            f"{list_some(name for name in factor.levels if name != level)}; or use reference= to choose another base"
        )
    return of_levels(design, factor.name, level, base or factor.base)


def _distinct(contrasts: list[Contrast]) -> tuple[Contrast, ...]:
    """Make names unique by a number, and duplicate labels unique by the name."""
    taken: set[str] = set()
    result: list[Contrast] = []
    words = [contrast.words for contrast in contrasts]
    for contrast in contrasts:
        name, count = contrast.name, 1
        while name in taken:
            count += 1
            name = f"{contrast.name}_{count}"
        taken.add(name)
        label = contrast.words if words.count(contrast.words) == 1 else f"{contrast.words} [{name}]"
        result.append(replace(contrast, name=name, words=label, meaning=contrast.meaning or contrast.words))
    return tuple(result)


def _is_triple(design: Design, value: Any) -> bool:
    """Return whether a value is a tuple (factor, level, base), and not three names of terms or columns."""
    if not isinstance(value, tuple) or len(value) != 3 or not isinstance(value[0], str):
        return False
    names = {*design.fixed.terms, *design.fixed.names}
    return value[0] in design.fixed.factors or not all(isinstance(v, str) and v in names for v in value)


def is_comparison(design: Design, value: Any) -> bool:
    """Return whether a value is a list [factor, level, base], and not three names of terms or columns."""
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not isinstance(value[0], str)
        or value[0] not in design.fixed.factors
    ):
        return False
    name, *levels = value
    return (
        is_plain_factor(design, name)
        and all(isinstance(level, str | int | float | bool) for level in levels)
        and None not in design.columns[name].find(levels)
        and not any(level in design.fixed.terms or level in design.fixed.names for level in levels)
    )


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(v, int | float | np.number) for v in value)
    )


def _plain(text: str) -> str:
    """Remove white space and backticks, so that terms match as written."""
    return "".join(text.split()).replace("`", "")
