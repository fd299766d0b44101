"""``update(fit, ". ~ . - x")``: change a formula, in which dots stand for the old parts.

Terms are compared as sets of factors, never as text: `a b` and `ab`, or a column called `a:b` and the interaction of a
and b, are different terms.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

from .._errors import InputError, ScGlmmWarning
from .._formula import MixedFormula, RandomTerm, Term, parse_formula, term_text
from .fitted import MixedFit

# A single dot, inside or outside of brackets; text in backticks is skipped.
_DOT = re.compile(r"`[^`]*`|(?<![\w.)\]])\.(?![\w.])")


def update(fit: MixedFit, formula: str | None = None, **changes: Any) -> Any:
    """Fit again with a changed formula, data or options; dots in the formula stand for the old parts.

    Parameters
    ----------
    fit
        The model.
    formula
        ``"~ . - Days"``, ``". ~ . + (1 | Lab)"``, ``"log(.) ~ ."`` or a whole formula.
    changes
        ``data=`` or any option of :func:`~sc_glmm.lmer` or :func:`~sc_glmm.glmer`.

    Returns
    -------
    A new fit.

    Raises
    ------
    InputError
        If the formula or an option is invalid, or if the new model cannot be fitted.
    """
    make = fit.fitter
    allowed = set(inspect.signature(make).parameters) - {"formula"}
    unknown = sorted(set(changes) - allowed)
    if unknown:
        raise InputError(f"update: {', '.join(unknown)} is not an option; allowed are {', '.join(sorted(allowed))}")
    if "data" not in changes:
        _check_response(fit)
    data = changes.pop("data", fit.data)
    new = fit.formula if formula is None else new_formula(fit.prepared.design.formula, formula)
    options = {**fit.options, **changes}
    if "reference" not in changes and fit.options.get("reference"):
        # a factor that was dropped needs no base level
        there = _columns(new)
        options["reference"] = {name: level for name, level in fit.options["reference"].items() if name in there}
    return make(new, data, **options)


def _check_response(fit: MixedFit) -> None:
    """Raise an error if a refitted response is an expression, which the data cannot represent."""
    design = fit.prepared.design
    if design.formula.response_name is not None or design.response is None:
        return
    stored = design.response
    values = stored[:, 0] / np.maximum(stored.sum(axis=1), 1.0) if stored.ndim == 2 else stored
    if not np.allclose(values, fit.y, rtol=1e-10, atol=0.0):
        raise InputError(
            f"this model was refitted to another response, but its left side {design.formula.response!r} is an "
            "expression and cannot be replaced in the data: put the new response into a column, and fit a new model"
        )


def reduced(fit: MixedFit, gone: Iterable[Hashable], added: str | None = None) -> Any:
    """The model without the terms of these keys, and with `added` instead; notes are not repeated."""
    old = fit.prepared.design.formula
    gone = set(gone)
    terms = {key: text for key, text in keyed_terms(old).items() if key not in gone}
    if added == "1":
        terms, added = {**terms, term_key(()): "1"}, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        return update(fit, _written(old.response or "", {**terms, **({} if added is None else {"added": added})}))


def _columns(formula: str) -> set[str]:
    """Columns that the fixed part of a formula uses."""
    return {name for term in parse_formula(formula).fixed_terms for atom in term for name in atom.columns}


def term_key(term: Term | RandomTerm) -> Hashable:
    """Identity of a term: its factors in any order; for a random term, its effects and grouping columns."""
    if isinstance(term, RandomTerm):
        return "random", frozenset(map(frozenset, term.terms)), frozenset(term.group)
    return "fixed", frozenset(term)


def keyed_terms(formula: MixedFormula) -> dict[Hashable, str]:
    """Key and text of each term of the right side, the intercept first if there is one."""
    fixed = {term_key(term): term_text(term) for term in formula.fixed_terms}
    random = {term_key(term): term.label for term in formula.random}
    return {**fixed, **random, **{("offset", atom): f"offset({atom.as_expression})" for atom in formula.offset_atoms}}


def new_formula(old: MixedFormula, change: str) -> str:
    """The new formula after applying `change` to the old one."""
    if not isinstance(change, str) or "~" not in change:
        raise InputError(f"update({change!r}): must be a formula with a '~', such as '~ . - Days'")
    left, _, right = change.partition("~")
    own = old.response or ""
    response = _DOT.sub(lambda dot: own if dot.group() == "." else dot.group(), left.strip()) or own
    intercept = term_key(())
    terms: dict[Hashable, str] = {intercept: "1"}
    for sign, text in split_terms(right):
        if text in ("0", "1"):
            if (sign == "+") == (text == "1"):
                terms = {intercept: "1", **terms}
            else:
                terms.pop(intercept, None)
            continue
        before = keyed_terms(old)
        piece = before if text == "." else keyed_terms(parse_formula(f"~ 0 + {text}"))
        if sign == "+":
            if text == "." and intercept not in before:
                terms.pop(intercept, None)
            terms |= {key: written for key, written in piece.items() if key not in terms}
            continue
        there = [key for key in piece if key in terms]
        if not there:
            known = ", ".join(before.values())
            raise InputError(f"update({change!r}): there is no term {text!r} to remove; the terms are {known}")
        for key in there:
            del terms[key]
    return _written(response, terms)


def _written(response: str, terms: dict[Hashable, str]) -> str:
    """The formula as text; an intercept is written if the fixed effects would otherwise be empty."""
    intercept = term_key(())
    texts = [text for key, text in terms.items() if key != intercept]
    if intercept not in terms:
        texts = ["0", *texts]
    elif not any(isinstance(key, tuple) and key[0] == "fixed" for key in terms if key != intercept):
        texts = ["1", *texts]
    return f"{response} ~ {' + '.join(texts)}"


def split_terms(text: str) -> list[tuple[str, str]]:
    """Signed terms of a sum, split at plus and minus outside of brackets and backticks."""
    pieces: list[tuple[str, str]] = []
    depth, sign, start, quoted = 0, "+", 0, False
    for i, char in enumerate(text):
        quoted ^= char == "`"
        if quoted:
            continue
        depth += char in "([{"
        depth -= char in ")]}"
        if char in "+-" and depth == 0:
            if text[start:i].strip():
                pieces.append((sign, text[start:i].strip()))
            sign, start = char, i + 1
    if text[start:].strip():
        pieces.append((sign, text[start:].strip()))
    return pieces
