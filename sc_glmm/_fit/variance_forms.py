"""Summarise a design for splitting the variance of the linear predictor; the small arrays are stored with a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import FloatArray
from .._design import Design
from .._formula import Term
from .._inference.variance_parts import FixedForms, fixed_forms


@dataclass(frozen=True)
class VarianceForms:
    """Quadratic forms of all parts of a design except the intercept.

    Attributes
    ----------
    fixed_labels
        Parts of the fixed effects, in the order of the formula: ``"disease"``, ``"a:b"``. Terms of the same variables
        are one part: ``"x + I(x ** 2)"``.
    fixed
        Quadratic forms of these parts.
    random_labels
        Random terms, such as ``"(1 | sample)"``.
    random
        Per random term, the ``(k, k)`` mean of ``z z'`` over the observations.
    """

    fixed_labels: tuple[str, ...]
    fixed: FixedForms
    random_labels: tuple[str, ...]
    random: tuple[FloatArray, ...]


def variance_forms(design: Design) -> VarianceForms:
    """Compute the quadratic forms of a design, over its observations."""
    labels, columns, inside = _parts(design)
    order = sorted(range(len(labels)), key=lambda i: len(inside[i]))  # contained parts before those that contain them
    place = {i: j for j, i in enumerate(order)}
    ordered = fixed_forms(
        design.fixed.X, [columns[i] for i in order], [sorted(place[j] for j in inside[i]) for i in order]
    )
    forms = FixedForms(ordered.total, tuple(ordered.parts[place[i]] for i in range(len(labels))))
    random = tuple(term.Z.T @ term.Z / len(term.Z) for term in design.random)
    return VarianceForms(tuple(labels), forms, tuple(term.label for term in design.random), random)


def _parts(design: Design) -> tuple[list[str], list[list[int]], list[list[int]]]:
    """List labels and columns of the parts, and for each part those with a subset of its variables."""
    parts: dict[frozenset[str], list[Term]] = {}
    names = design.formula.labels
    for term in design.formula.fixed_terms:
        if term and design.fixed.terms.get(names[term]):
            parts.setdefault(_variables(term), []).append(term)
    labels = [" + ".join(names[term] for term in terms) for terms in parts.values()]
    columns = [[c for term in terms for c in design.fixed.terms[names[term]]] for terms in parts.values()]
    sets = list(parts)
    return labels, columns, [[j for j, other in enumerate(sets) if other < own] for own in sets]


def _variables(term: Term) -> frozenset[str]:
    return frozenset(name for atom in term for name in atom.columns)


def forms_as_arrays(forms: VarianceForms) -> dict[str, Any]:
    """Convert the forms to arrays and lists of text for storage; empty parts are left out."""
    parts = forms.fixed.parts
    out: dict[str, Any] = {"total": forms.fixed.total, "random_labels": list(forms.random_labels)}
    if parts:
        out |= {
            "fixed_labels": list(forms.fixed_labels),
            "fixed_rows": np.concatenate(parts),
            "fixed_sizes": np.array([len(rows) for rows in parts], dtype=np.int64),
        }
    return out | {f"random_{i}": form for i, form in enumerate(forms.random)}


def forms_from_arrays(arrays: Mapping[str, Any]) -> VarianceForms:
    """Rebuild the forms from the output of :func:`forms_as_arrays`."""
    total = np.asarray(arrays["total"], dtype=np.float64)
    labels = tuple(str(name) for name in np.atleast_1d(arrays.get("fixed_labels", [])))
    parts: tuple[FloatArray, ...] = ()
    if labels:
        ends = np.cumsum(np.asarray(arrays["fixed_sizes"], dtype=np.int64))[:-1]
        parts = tuple(np.split(np.asarray(arrays["fixed_rows"], dtype=np.float64), ends))
    random_labels = tuple(str(name) for name in np.atleast_1d(arrays["random_labels"]))
    random = tuple(np.asarray(arrays[f"random_{i}"], dtype=np.float64) for i in range(len(random_labels)))
    return VarianceForms(labels, FixedForms(total, parts), random_labels, random)
