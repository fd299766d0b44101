"""Build the contrast of a term, of two levels of a factor, or of conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._arrays import FloatArray
from .._display.arguments import list_some
from .._errors import DesignError
from .build import Design
from .cond import Condition, cond, condition_contrast
from .estimability import TermHypothesis, all_terms, confounding, depends_on_aliased, term_hypothesis
from .words import codes_every_level, column_words, combination_words, compared_levels, main_effect, term_words


@dataclass(frozen=True)
class Contrast:
    """A linear hypothesis L beta = 0.

    Attributes
    ----------
    name
        Short name, valid as a key of AnnData.
    L
        (q, p) float64, one row for each degree of freedom of the hypothesis.
    columns
        Names of the columns of X in `L`.
    words
        Label: ``"disease: AD vs ctl"``, or the user's name.
    levels
        ``(factor, level, base)`` if it compares two levels of a factor, otherwise None.
    meaning
        What it compares; differs from `words` if the user named it.
    asked
        Text by which the user asked for it; empty for others.
    """

    name: str
    L: FloatArray
    columns: tuple[str, ...]
    words: str
    levels: tuple[str, str, str] | None = None
    meaning: str = ""
    asked: str = ""


def default_contrasts(design: Design, each_level: bool) -> list[Contrast]:
    """Build a contrast for each term that can be tested; it is an error if no term can be tested as a whole."""
    labels = [label for label, columns in all_terms(design.fixed).items() if label != "1" and columns]
    untestable = untestable_terms(design)
    result = [of_term(design, label) for label in labels if label not in untestable]
    if untestable and not any(_hypothesis(design, label).whole for label in labels):
        partly = list_some(repr(label) for label in labels if label not in untestable)
        hint = "" if not result else f". To test the remaining part of {partly}, use contrasts="
        raise DesignError(f"{next(iter(untestable.values()))}{hint}")
    if each_level:
        return [one for joint in result for one in (joint, *_each_level(design, joint))]
    return result


def _each_level(design: Design, joint: Contrast) -> list[Contrast]:
    """Compare each level of a factor with its base, if the factor has three or more levels."""
    factor = main_effect(design, joint.name) if joint.name in design.fixed.terms else None
    if factor is None or factor.base is None or len(factor.levels) < 3 or not is_plain_factor(design, factor.name):
        return []
    result = []
    for level in factor.levels:
        if level != factor.base:
            try:
                result.append(_part_of(design, joint, of_levels(design, factor.name, level, factor.base)))
            except DesignError:  # the data cannot separate this level; the joint test remains
                continue
    return result


def _part_of(design: Design, joint: Contrast, one: Contrast) -> Contrast:
    """Compare two levels with numbers at zero, as the joint test does, and not at their mean."""
    if not one.L[:, (joint.L == 0.0).all(axis=0)].any():
        return one
    for j in design.fixed.terms[joint.name]:
        if compared_levels(design, joint.name, j) == one.levels:
            row = np.eye(len(design.fixed.names))[[j]]
            return replace(checked_contrast(design, one.name, row, column_words(design, j)), levels=one.levels)
    return one


def untestable_terms(design: Design) -> dict[str, str]:
    """Find the terms that the data cannot test: label -> reason."""
    if not design.fixed.aliased:
        return {}
    found = {}
    for label, columns in all_terms(design.fixed).items():
        if label != "1" and columns:
            try:
                of_term(design, label)
            except DesignError as error:
                found[label] = str(error)
    return found


def partial_terms(design: Design) -> dict[str, str]:
    """Find the terms of which the data can test only a part: label -> description of the part."""
    if not design.fixed.aliased:
        return {}
    terms = [label for label, columns in all_terms(design.fixed).items() if label != "1" and columns]
    parts = {label: _hypothesis(design, label) for label in terms}
    return {label: _part_words(part) for label, part in parts.items() if len(part.L) and not part.whole}


def _part_words(part: TermHypothesis) -> str:
    return f"{part.label}: {len(part.L)} of {part.n_rows} differences; the others are confounded with other terms"


def _hypothesis(design: Design, label: str) -> TermHypothesis:
    """Build the hypothesis that a term has no effect.

    All its columns are zero. If a factor has a column for every level, all these columns are equal.
    """
    fixed = design.fixed
    columns = list(all_terms(fixed)[label])
    full = np.eye(len(fixed.recipe.names))[columns]
    if codes_every_level(design, label):
        full = full[1:] - full[:1]  # the columns are means, and only their differences can be tested
    return term_hypothesis(fixed, label, full)


def of_term(design: Design, label: str) -> Contrast:
    """Build the joint test of the columns of a term, or of the part that the data can test."""
    part = _hypothesis(design, label)
    words = term_words(design, label)
    if not len(part.L):
        columns = all_terms(design.fixed)[label]
        hit = depends_on_aliased(design.fixed, np.eye(len(design.fixed.recipe.names))[list(columns)]).any(axis=0)
        if not np.any(hit):
            raise DesignError(
                f"the contrast {label!r} cannot be tested, because the term has fewer than two columns to compare"
            )
        reason = confounding(design.fixed, hit, columns)
        raise DesignError(f"the contrast {label!r} ({words}) cannot be estimated: {reason}")
    if part.whole:
        result = checked_contrast(design, label, part.L, words)
        return replace(result, levels=compared_levels(design, label) if len(part.L) == 1 else None)
    if len(part.L) == 1:
        note = combination_words(part.full, design.fixed.recipe.names)
    else:
        note = _part_words(part)
    return checked_contrast(design, label, part.L, note)


def of_levels(design: Design, name: str, level: object, base: object) -> Contrast:
    """Compare two levels of a factor, with other factors at their base and numbers at their mean."""
    triple = f"({name!r}, {level!r}, {base!r})"
    if name not in design.fixed.factors or name not in design.columns or design.columns[name].kind != "factor":
        problem = "is not a factor of the fixed effects"
        if name in design.fixed.factors:
            problem = "is computed in the formula or is also used as a number: store it as a column"
        raise DesignError(f"{triple}: {name!r} {problem}; the factors are {list_some(design.fixed.factors)}")
    column = design.columns[name]
    places = column.find([level, base])
    for place, value in zip(places, (level, base), strict=True):
        if place is None:
            raise DesignError(
                f"{triple}: {name!r} has no level {str(value)!r} in the rows used; "
                f"the levels are {list_some(column.categories, 20)}"
            )
    if places[0] == places[1]:
        raise DesignError(f"{triple} compares a level with itself: choose two different levels")
    return of_condition(design, cond(**{name: level}) - cond(**{name: base}))


def is_plain_factor(design: Design, name: str) -> bool:
    """Return whether a name is that of a column with a factor, not computed in the formula."""
    return name in design.columns and design.columns[name].kind == "factor"


def of_condition(design: Design, condition: Condition) -> Contrast:
    """Build the contrast of a weighted sum of conditions."""
    L, name, words, levels = condition_contrast(design, condition)
    return replace(checked_contrast(design, name, L, words), levels=levels)


def checked_contrast(design: Design, name: str, L: FloatArray, words: str) -> Contrast:
    """Build a contrast, after checking that its rows are finite, not zero and linearly independent."""
    if not np.isfinite(L).all():
        raise DesignError(f"the contrast {name!r} has infinite or missing numbers")
    if not (L != 0.0).any(axis=1).all():
        columns = list_some(design.fixed.names, 20)
        raise DesignError(f"the contrast {name!r} is zero, so it compares nothing (columns: {columns})")
    size = np.abs(L).max(axis=0)  # columns have different units
    if np.linalg.matrix_rank(L / np.where(size > 0.0, size, 1.0)) < L.shape[0]:
        raise DesignError(
            f"the {L.shape[0]} rows of the contrast {name!r} are linearly dependent: remove the redundant rows"
        )
    used = tuple(design.fixed.names[j] for j in np.flatnonzero((L != 0.0).any(axis=0)))
    return Contrast(contrast_key(name), np.ascontiguousarray(L, dtype=np.float64), used, words)


def contrast_key(name: str) -> str:
    """Return a name that can be a key in a file, where a slash would create nested groups."""
    return name.replace("/", "_") or "contrast"
