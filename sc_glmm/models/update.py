"""``update(fit, ". ~ . - x")``: a formula in which dots stand for what was there."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._errors import InputError
from .._formula import MixedFormula, parse_formula, term_text

if TYPE_CHECKING:
    from .fitted import MixedFit


def update(fit: MixedFit, formula: str | None = None, **changes: Any) -> Any:
    """Fit again.

    Parameters
    ----------
    fit
        The model.
    formula
        ``"~ . - Days"``, ``". ~ . + (1 | Lab)"``, ``"log(y) ~ ."`` or a whole formula.
    changes
        ``data=`` or any option of :func:`~sc_glmm.models.lmer` or :func:`~sc_glmm.models.glmer`.

    Returns
    -------
    A new fit.
    """
    from .glmer import glmer
    from .lmer import lmer

    make = lmer if fit.family == "gaussian" else glmer
    allowed = set(inspect.signature(make).parameters) - {"formula"}
    unknown = sorted(set(changes) - allowed)
    if unknown:
        raise InputError(f"update: {', '.join(unknown)} is no option; there are {', '.join(sorted(allowed))}")
    data = changes.pop("data", fit.data)
    new = fit.formula if formula is None else new_formula(fit.prepared.design.formula, formula)
    options = {**fit.options, **changes}
    if "reference" not in changes and fit.options.get("reference"):
        # a factor that is gone needs no base level
        there = _columns(new)
        options["reference"] = {name: level for name, level in fit.options["reference"].items() if name in there}
    return make(new, data, **options)


def _columns(formula: str) -> set[str]:
    """Columns that the fixed part of a formula uses."""
    return {name.name for term in parse_formula(formula).fixed_terms for atom in term for name in atom.names}


def new_formula(old: MixedFormula, change: str) -> str:
    """The formula that `change` makes of the old one."""
    left, _, right = change.partition("~")
    if "~" not in change:
        raise InputError(f"update({change!r}): a formula has a '~', such as '~ . - Days'")
    response = left.strip().replace(".", "", 1).strip() if left.strip() in ("", ".") else left.strip()
    terms: list[str] = []
    for sign, text in split_terms(right):
        pieces = formula_terms(old) if text == "." else [text]
        for piece in pieces:
            same = [own for own in terms if _plain(own) == _plain(piece)]
            if sign == "+" and not same:
                terms.append(piece)
            elif sign == "-" and same:
                # without a 1 the intercept would come back
                terms = [*("0" for own in same if own == "1"), *(own for own in terms if own not in same)]
            elif sign == "-":
                terms += _expanded(terms, piece, old, change)
    return f"{response or old.response} ~ {' + '.join(terms) if terms else '1'}"


def formula_terms(old: MixedFormula) -> list[str]:
    """The right side of a formula, term by term."""
    fixed = [term_text(term) for term in old.fixed_terms]
    if () not in old.fixed_terms:
        fixed = ["0", *fixed]
    return [*fixed, *(term.label for term in old.random), *(f"offset({text})" for text in old.offsets)]


def split_terms(text: str) -> list[tuple[str, str]]:
    """Signed pieces of a sum, cut at plus and minus outside of brackets."""
    pieces: list[tuple[str, str]] = []
    depth, sign, start = 0, "+", 0
    for i, char in enumerate(text):
        depth += char in "([{"
        depth -= char in ")]}"
        if char in "+-" and depth == 0:
            if text[start:i].strip():
                pieces.append((sign, text[start:i].strip()))
            sign, start = char, i + 1
    if text[start:].strip():
        pieces.append((sign, text[start:].strip()))
    return pieces


def _expanded(terms: list[str], piece: str, old: MixedFormula, change: str) -> list[str]:
    """Take out a product such as ``a * b`` by its expansion; what is not there is an error."""
    if "|" not in piece:
        inner = parse_formula(f"~ {piece} + (1 | g)").fixed_terms
        names = {_plain(term_text(term)) for term in inner if term}
        there = [own for own in terms if _plain(own) in names]
        if there:
            for own in there:
                terms.remove(own)
            return []
    known = ", ".join(formula_terms(old))
    raise InputError(f"update({change!r}): there is no term {piece!r} to take out; the terms are {known}")


def _plain(text: str) -> str:
    return "".join(text.split()).replace("`", "")


def without(fit: MixedFit, terms: Mapping[str, None] | list[str]) -> str:
    """The formula without some of its terms, named as :func:`formula_terms` does."""
    old = fit.prepared.design.formula
    gone = {_plain(term) for term in terms}
    kept = [term for term in formula_terms(old) if _plain(term) not in gone]
    if "1" in gone:
        kept = ["0", *kept]
    return f"{old.response} ~ {' + '.join(kept) if kept else '1'}"
