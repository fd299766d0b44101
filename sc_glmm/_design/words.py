"""Write labels of hypotheses: the levels that are compared, and the values of the other variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from .._arrays import FloatArray
from .._display.arguments import list_some
from .._formula import Term
from .build import Design
from .estimability import all_terms
from .fixed import Factor


def term_words(design: Design, label: str) -> str:
    """Write the label of the hypothesis that all columns of a term are zero."""
    columns = design.fixed.terms[label]
    if not columns:
        return label
    if len(columns) == 1 and len(all_terms(design.fixed)[label]) == 1:
        return column_words(design, columns[0])
    factor = main_effect(design, label)
    whole = codes_every_level(design, label)
    setting = "" if factor is None else interaction_setting(design, factor.name)
    if factor is not None and whole and len(columns) == 2:
        return f"{factor.name}: {factor.levels[1]} vs {factor.levels[0]}{setting}"
    if factor is not None and (whole or factor.base is not None and len(columns) == len(factor.levels) - 1):
        return f"{factor.name}: any difference between {list_some(factor.levels)}{setting}"
    return f"{label}: all {len(columns)} columns"


def column_words(design: Design, j: int) -> str:
    """Write the label of the hypothesis that one coefficient is zero."""
    name = design.fixed.names[j]
    label = term_of(design, j)
    factor = main_effect(design, label)
    if factor is not None:
        level = _coded_level(design, factor, label, j)
        return (
            f"{factor.name}: {level} vs {factor.base}{interaction_setting(design, factor.name)}"
            if level is not None
            else name
        )
    if label == "1":
        return "Intercept"
    if len(_term(design, label)) > 1:
        return f"{_interaction_words(design, label, name) or name} (interaction)"
    if name in design.columns:
        return f"{name}: per unit{interaction_setting(design, name)}"
    return name


def _coded_level(design: Design, factor: Factor, label: str, j: int) -> str | None:
    """Return the level that column j of the term compares with the base; None for other codings."""
    columns = all_terms(design.fixed)[label]
    levels = [level for level in factor.levels if level != factor.base]
    coded = factor.base is not None and len(columns) == len(levels)
    return levels[columns.index(design.fixed.keep[j])] if coded else None


def _interaction_words(design: Design, label: str, name: str) -> str | None:
    """Write the comparison of each factor of an interaction; None if the column has another coding."""
    pieces: list[dict[str, str]] = []
    for atom in _term(design, label):
        factor = main_effect(design, atom.text) if (atom,) in design.formula.fixed_terms else None
        factor = factor or design.fixed.factors.get(atom.text)
        if factor is None or factor.base is None:
            pieces.append({atom.text: f"per unit of {atom.text}"})
            continue
        coded = [level for level in factor.levels if level != factor.base]
        pieces.append({f"{atom.text}[T.{level}]": f"{factor.name}: {level} vs {factor.base}" for level in coded})
    for chosen in product(*pieces):
        if ":".join(chosen) == name:
            return ", ".join(words[piece] for words, piece in zip(pieces, chosen, strict=True))
    return None


def term_of(design: Design, j: int) -> str:
    """Return the label of the term to which column j of X belongs."""
    return next(label for label, columns in design.fixed.terms.items() if j in columns)


def compared_levels(design: Design, label: str, j: int | None = None) -> tuple[str, str, str] | None:
    """Return (factor, level, base) if a term, or its column j, compares two levels of a factor; otherwise None."""
    factor = main_effect(design, label)
    if factor is None or factor.base is None:
        return None
    if codes_every_level(design, label):
        return (factor.name, factor.levels[1], factor.levels[0]) if j is None else None
    level = _coded_level(design, factor, label, design.fixed.terms[label][0] if j is None else j)
    return None if level is None else (factor.name, level, factor.base)


def combination_words(L: FloatArray, names: Sequence[str]) -> str:
    """Write the label of any linear combination of coefficients."""
    rows = []
    for row in L:
        used = np.flatnonzero(row).tolist()
        parts = [f"{'-' if row[j] < 0 else '+'} {_times(abs(row[j]))}{names[j]}" for j in used]
        rows.append(" ".join(parts).removeprefix("+ "))
    return "; ".join(rows)


def main_effect(design: Design, label: str) -> Factor | None:
    """Return the factor if the term is its main effect; None for other terms."""
    term = _term(design, label)
    if len(term) != 1:
        return None
    atom = term[0]
    keys = [atom.text] if atom.kind == "column" else [atom.text, *atom.columns]
    factor = next((design.fixed.factors[key] for key in keys if key in design.fixed.factors), None)
    number = atom.text in design.columns and design.columns[atom.text].kind != "factor"
    return factor if not number and (atom.kind == "column" or atom.makes_factor) else None


def codes_every_level(design: Design, label: str) -> bool:
    """Return whether a term has a column for every level, as the first factor of a formula without an intercept."""
    factor = main_effect(design, label)
    return factor is not None and factor.base is not None and len(all_terms(design.fixed)[label]) == len(factor.levels)


def _term(design: Design, label: str) -> Term:
    return next(term for term, own in design.formula.labels.items() if own == label)


def interaction_setting(design: Design, name: str, typical: Mapping[str, object] | None = None) -> str:
    """Write the values of the variables that interact with `name`, as in `` (at sex = F, age = 0)``."""
    partners: dict[str, object] = {}
    for term in design.formula.fixed_terms:
        inside = {column for atom in term for column in atom.columns}
        if len(term) < 2 or name not in inside or not design.fixed.terms[design.formula.labels[term]]:
            continue
        for atom in term:
            if typical is None and atom.kind == "python" and not atom.makes_factor:
                if name not in atom.columns:
                    partners[atom.text] = 0
                continue
            for other in (column for column in atom.columns if column != name and column in design.columns):
                factor = design.fixed.factors.get(other)
                if typical is not None:
                    partners[other] = typical[other]
                elif factor is None and atom.kind == "column":
                    partners[other] = 0
                elif factor is not None and factor.base is not None:
                    partners[other] = factor.base
    listed = ", ".join(f"{key} = {value_words(value)}" for key, value in partners.items())
    return f" (at {listed})" if listed else ""


def value_words(value: object) -> str:
    """Write a level or number for a label."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _times(weight: float) -> str:
    return "" if weight == 1.0 else f"{weight:g} * "
