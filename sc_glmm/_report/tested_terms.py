"""Find the terms that each contrast of a run tests, from its weights; labels and names of contrasts do not matter."""

from __future__ import annotations

import numpy as np

from .._design import build_design
from .._formula import MixedFormula, Term, parse_formula
from .study import Study

# Smaller weights, relative to the largest of a contrast, are rounding errors.
_ROUNDING = 1e-9


def tested_terms(study: Study) -> list[frozenset[Term]]:
    """List the fixed terms with a weight in each contrast, in the order of the contrasts."""
    terms: dict[str, frozenset[Term]] = {}
    for group in study.groups:
        params = study.run_params(group)
        rows = {name: L for name, L in dict(params.get("contrast_rows") or {}).items() if name not in terms}
        if not rows:
            continue
        formula = parse_formula(str(params["formula_fitted"]))
        inside = _columns(formula)
        reference = {k: base for k, base in dict(params.get("given_reference") or {}).items() if k in inside}
        cells = study.obs
        if study.groupby is not None:
            cells = cells[cells[study.groupby].astype(str) == group]
        fixed = build_design(formula, cells, reference=reference, check_replication=False).fixed
        for name, L in rows.items():
            weights = np.abs(np.asarray(L, dtype=np.float64)).max(axis=0)
            used = set(np.flatnonzero(weights > _ROUNDING * weights.max(initial=0.0)).tolist())
            terms[name] = frozenset(term for term, label in formula.labels.items() if used & set(fixed.terms[label]))
    return [terms.get(str(key), frozenset()) for key in np.atleast_1d(study.params["contrast_keys"])]


def main_columns(terms: frozenset[Term]) -> set[str]:
    """Find the columns that all these terms contain, such as ``a`` for ``a`` and ``a:b``; without one, all columns."""
    columns = [{name for atom in term for name in atom.columns} for term in terms]
    return set.intersection(*columns) or set.union(*columns) if columns else set()


def _columns(formula: MixedFormula) -> set[str]:
    return {name for term in formula.fixed_terms for atom in term for name in atom.columns}
