"""Fit a model again with a changed formula, such as ``update(fit, ". ~ . - x")``.

Terms are compared as sets of factors and not as text. `a b` and `ab` are therefore different terms, and so are a column
called `a:b` and the interaction of a and b.
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

# A single dot, inside or outside brackets; text in backticks is skipped.
_DOT = re.compile(r"`[^`]*`|(?<![\w.)\]])\.(?![\w.])")


def update(fit: MixedFit, formula: str | None = None, **changes: Any) -> Any:
    """Fit the model again with a changed formula, other data or other options.

    Parameters
    ----------
    fit
        The model.
    formula
        The new formula, in which a dot stands for the old left or right side: ``"~ . - Days"``,
        ``". ~ . + (1 | Lab)"``, ``"log(.) ~ ."``.
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
        raise InputError(f"update() has no option {', '.join(unknown)}; allowed are {', '.join(sorted(allowed))}")
    if "data" not in changes:
        _check_response(fit)
    data = changes.pop("data", fit.data)
    new = fit.formula if formula is None else new_formula(fit.prepared.design.formula, formula)
    options = {**fit.options, **changes}
    if "reference" not in changes and fit.options.get("reference"):
        # a factor that was dropped does not need a base level
        columns = _columns(new)
        options["reference"] = {name: level for name, level in fit.options["reference"].items() if name in columns}
    return make(new, data, **options)


def _check_response(fit: MixedFit) -> None:
    """Raise an error if a model with an expression as response was refitted to another response.

    The new response is then not in the data.
    """
    design = fit.prepared.design
    if design.formula.response_name is not None or design.response is None:
        return
    stored = design.response
    values = stored[:, 0] / np.maximum(stored.sum(axis=1), 1.0) if stored.ndim == 2 else stored
    if not np.allclose(values, fit.y, rtol=1e-10, atol=0.0):
        raise InputError(
            f"update() cannot be used, because this model was refitted to another response and its left side "
            f"{design.formula.response!r} is an expression: put the new response into a column, and fit a new model"
        )


def reduced(fit: MixedFit, removed: Iterable[Hashable], added: str | None = None) -> Any:
    """Fit the model without the terms with the keys `removed`, and with the term `added`; warnings are not repeated."""
    old = fit.prepared.design.formula
    removed = set(removed)
    terms = {key: text for key, text in keyed_terms(old).items() if key not in removed}
    if added == "1":
        terms, added = {**terms, term_key(()): "1"}, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        return update(fit, _written(old.response or "", {**terms, **({} if added is None else {"added": added})}))


def _columns(formula: str) -> set[str]:
    """Return the columns that the fixed effects of a formula use."""
    return {name for term in parse_formula(formula).fixed_terms for atom in term for name in atom.columns}


def term_key(term: Term | RandomTerm) -> Hashable:
    """Return a key of a term that is the same for any order of its factors (or effects and grouping columns)."""
    if isinstance(term, RandomTerm):
        return "random", frozenset(map(frozenset, term.terms)), frozenset(term.group)
    return "fixed", frozenset(term)


def keyed_terms(formula: MixedFormula) -> dict[Hashable, str]:
    """Return key -> text of each term of the right side, with the intercept first if there is one."""
    fixed = {term_key(term): term_text(term) for term in formula.fixed_terms}
    random = {term_key(term): term.label for term in formula.random}
    return {**fixed, **random, **{("offset", atom): f"offset({atom.as_expression})" for atom in formula.offset_atoms}}


def new_formula(old: MixedFormula, change: str) -> str:
    """Apply `change` to the old formula."""
    if not isinstance(change, str) or "~" not in change:
        raise InputError(f"update({change!r}): the formula must contain a '~', as in '~ . - Days'")
    left, _, right = change.partition("~")
    old_response = old.response or ""
    response = _DOT.sub(lambda dot: old_response if dot.group() == "." else dot.group(), left.strip()) or old_response
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
        present = [key for key in piece if key in terms]
        if not present:
            known = ", ".join(before.values())
            raise InputError(f"update({change!r}): there is no term {text!r} to remove; the terms are {known}")
        for key in present:
            del terms[key]
    return _written(response, terms)


def _written(response: str, terms: dict[Hashable, str]) -> str:
    """Write the formula; the intercept is written only if there are no other fixed effects."""
    intercept = term_key(())
    texts = [text for key, text in terms.items() if key != intercept]
    if intercept not in terms:
        texts = ["0", *texts]
    elif not any(isinstance(key, tuple) and key[0] == "fixed" for key in terms if key != intercept):
        texts = ["1", *texts]
    return f"{response} ~ {' + '.join(texts)}"


def split_terms(text: str) -> list[tuple[str, str]]:
    """Split a sum into signed terms, at plus and minus signs outside brackets and backticks."""
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
