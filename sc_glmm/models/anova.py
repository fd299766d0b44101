"""Test the terms of one model, or compare several models."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from .._arrays import FloatArray
from .._design import Design, all_terms, build_design, partial_terms, term_hypothesis, untestable_terms
from .._design.fixed import find_aliased
from .._display.arguments import check_flag
from .._errors import DesignError, InputError
from .._formula import Atom, parse_formula
from .checks import accept_r_names
from .fitted import MixedFit, check_fit
from .lmm import LmmModel
from .lrt import REFIT_NOTE, compare
from .table import Table
from .update import reduced, term_key
from .wald import METHODS, ddf_method, joint_test

TYPES = {"I": "I", "II": "II", "III": "III", "1": "I", "2": "II", "3": "III"}


@accept_r_names
def anova(
    fit: MixedFit,
    *others: MixedFit,
    type: Literal["I", "II", "III"] | int = "III",
    ddf: str | None = None,
    refit: bool = True,
) -> Table:
    """Test the terms of one model, or compare models by likelihood ratio.

    Parameters
    ----------
    fit
        The model.
    others
        Models to compare it with; they are sorted by their number of parameters.
    type
        For one model: ``"III"`` (each term given all others, with main effects averaged over the other factors),
        ``"II"`` (each term given all terms that do not contain it) or ``"I"`` (each term given the terms before it).
    ddf
        For one model: ``"satterthwaite"`` (default for linear models), ``"kenward-roger"``, ``"between-within"`` or
        ``"asymptotic"``.
    refit
        For several models: refit REML fits by ML first, with a note. ``False`` compares restricted likelihoods, which
        is an error if the fixed effects differ, because the likelihoods are then not comparable.

    Returns
    -------
    One row per term (F tests, or chi-squared tests for counts and trials), or one row per model.

    Raises
    ------
    InputError
        If an argument has an invalid value, if a hypothesis cannot be estimated, or if the models are not nested fits
        of the same data.
    """
    for model in (fit, *others):
        check_fit(model, "anova")
    check_flag("refit", refit)
    if others:
        return compare((fit, *others), refit=refit)
    kind = TYPES.get(str(type))
    if kind is None:
        raise InputError(f"type={type!r}: allowed are 'I', 'II' and 'III'")
    method = ddf_method(fit, ddf)
    rows = {}
    for label, L in term_hypotheses(fit, kind).items():
        test = joint_test(fit, L, method)
        if np.isinf(test.ddf):
            rows[label] = {"Chisq": test.stat * test.ndf, "Df": test.ndf, "Pr(>Chisq)": test.p_value}
            continue
        mean_square = test.stat * fit.sigma**2
        rows[label] = {
            "Sum Sq": mean_square * test.ndf,
            "Mean Sq": mean_square,
            "NumDF": test.ndf,
            "DenDF": test.ddf,
            "F value": test.stat,
            "Pr(>F)": test.p_value,
        }
    suffix = f" with {METHODS[method]} method" if isinstance(fit, LmmModel) and method != "asymptotic" else ""
    title = "Analysis of Variance Table" if suffix else "Analysis of Deviance Table (Wald chi-square tests)"
    infinite = [label for label, row in rows.items() if np.isnan(next(iter(row.values())))]
    notes = [f"{', '.join(infinite)}: infinite estimates have no Wald test; see drop1() for likelihood ratios"]
    reasons = {label: reason for label, reason in untestable_terms(fit.prepared.design).items() if label not in rows}
    partly = {} if kind == "I" else {k: v for k, v in partial_terms(fit.prepared.design).items() if k in rows}
    if not rows and reasons:
        raise DesignError(next(iter(reasons.values())))
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = table.reindex([label for label in fit.prepared.design.fixed.terms if label in rows or label in reasons])
    return Table(table, f"Type {kind} {title}{suffix}", (*notes[: len(infinite)], *reasons.values(), *partly.values()))


@accept_r_names
def drop1(fit: MixedFit, *, ddf: str | None = None) -> Table:
    """Test each fixed-effects term by dropping it, except terms that are part of another term.

    Parameters
    ----------
    fit
        The model.
    ddf
        For a linear model: degrees of freedom of F tests, which replace the likelihood-ratio tests. Default:
        likelihood-ratio tests of ML fits.

    Returns
    -------
    One row per dropped term.

    Raises
    ------
    InputError
        If a smaller model cannot be fitted.
    """
    check_fit(fit, "drop1")
    formula = fit.prepared.design.formula
    terms = [term for term in formula.fixed_terms if term and fit.prepared.design.fixed.terms[formula.labels[term]]]
    droppable = [term for term in terms if not any(set(term) < set(other) for other in terms)]
    title = f"Single term deletions\n\nModel:\n{fit.formula}"
    if ddf is not None:
        table = anova(fit, type="II", ddf=ddf)
        return Table(table.table.loc[[formula.labels[term] for term in droppable]], f"{title}\n{table.title}")
    base = fit.refit_ml()
    rows: dict[str, dict[str, float]] = {
        "<none>": {"npar": np.nan, "AIC": base.aic(), "LRT": np.nan, "Pr(Chi)": np.nan}
    }
    for term in droppable:
        small = reduced(base, [term_key(term)])
        lrt, df = max(2.0 * (base.loglik() - small.loglik()), 0.0), base.n_par - small.n_par
        p = float(stats.chi2.sf(lrt, df)) if df > 0 else np.nan
        rows[formula.labels[term]] = {"npar": df, "AIC": small.aic(), "LRT": lrt if df > 0 else np.nan, "Pr(Chi)": p}
    untestable = untestable_terms(fit.prepared.design)
    notes = (*((REFIT_NOTE,) if fit.reml else ()), *(reason for label, reason in untestable.items() if label in rows))
    return Table(pd.DataFrame.from_dict(rows, orient="index"), title, notes)


def term_hypotheses(fit: MixedFit, kind: str) -> dict[str, FloatArray]:
    """Build the (q, p) contrasts that are zero under the null hypothesis, for each term that can be tested."""
    design = fit.prepared.design
    terms = {label: list(columns) for label, columns in design.fixed.terms.items() if label != "1" and columns}
    above = {label: [other for other in terms if _contains(design, other, label)] for label in terms}
    p = len(design.fixed.names)
    if kind == "III":
        if not any(len(term) > 1 for term in design.formula.fixed_terms):
            parts = {label: term_hypothesis(design.fixed, label).L for label in terms}
            return {label: L for label, L in parts.items() if len(L)}
        return _type_three(fit, list(terms))
    out = {}
    for label, columns in terms.items():
        if kind == "II" and design.fixed.aliased:
            L = _given_all_others(design, label, above[label])
            if len(L):
                out[label] = L
            continue
        order = list(range(p))
        if kind == "II":
            last = [c for other in above[label] for c in terms[other]]
            order = [*(j for j in range(p) if j not in columns and j not in last), *columns, *last]
        R = np.asarray(np.linalg.qr(design.fixed.X[:, order], mode="r"))
        L = np.zeros((len(columns), p))
        L[:, order] = R[[order.index(c) for c in columns]]
        out[label] = L / np.abs(L).max(axis=1, keepdims=True)
    return out


def _given_all_others(design: Design, label: str, above: list[str]) -> FloatArray:
    """Build type II contrasts of a term if columns were dropped: the other terms are projected out.

    No row remains if the other terms explain the term completely.
    """
    fixed, columns = design.fixed, all_terms(design.fixed)
    X = np.empty((design.n_obs, len(fixed.keep) + len(fixed.aliased)))
    X[:, list(fixed.keep)] = fixed.X
    X[:, [j for j in range(X.shape[1]) if j not in fixed.keep]] = fixed.X @ fixed.alias_weights
    own, last = list(columns[label]), [c for other in above for c in columns[other]]
    order = [*(j for j in range(X.shape[1]) if j not in own and j not in last), *own, *last]
    independent = find_aliased(X[:, order])[0]
    Q = np.linalg.qr(X[:, [order[i] for i in independent]])[0]
    L: FloatArray = Q[:, [i for i, place in enumerate(independent) if order[place] in own]].T @ fixed.X
    if not len(L):
        return L
    L[np.abs(L) < 1e-10 * np.abs(L).max(axis=1, keepdims=True)] = 0.0
    return L / np.abs(L).max(axis=1, keepdims=True)


def _type_three(fit: MixedFit, labels: list[str]) -> dict[str, FloatArray]:
    """Build type III contrasts: the coefficients of the same model with sum-to-zero coding, as functions of beta."""
    design = fit.prepared.design
    terms = {term: ":".join(_sum_atom(design, a) for a in term) for term in design.formula.fixed_terms}
    frame = design.convert(
        fit.data.loc[design.rows_used], [atom for term in design.formula.fixed_terms for atom in term]
    )
    group = "group_of_rows"
    while group in frame.columns:
        group += "_"
    frame[group] = np.arange(len(frame)) % 2
    right = " + ".join([*("0" for _ in [1] if () not in terms), *(text or "1" for text in terms.values())])
    summed = build_design(parse_formula(f"~ {right} + (1 | {group})"), frame, check_replication=False).fixed
    if design.fixed.aliased or summed.X.shape[1] != len(design.fixed.names):
        dropped = f" (columns {', '.join(design.fixed.aliased)} were dropped)" if design.fixed.aliased else ""
        raise InputError(
            "type III needs data for every combination of the interacting factors, but some combinations are empty "
            f"or confounded{dropped}: use type='II', or test your own contrasts (.contrast)"
        )
    C = np.linalg.lstsq(summed.X, design.fixed.X, rcond=None)[0]
    C[np.abs(C) < 1e-12] = 0.0
    # the terms have the same order in both formulas
    columns = {
        design.formula.labels[old]: summed.terms[summed.source.labels[new]]
        for old, new in zip(terms, summed.source.fixed_terms, strict=True)
    }
    return {label: np.asarray(C[list(columns[label])], dtype=np.float64) for label in labels}


def _contains(design: Design, large: str, small: str) -> bool:
    """Return whether a term contains another one by SAS's rule: the same numeric variables, and more factors."""
    atoms = {label: set(term) for term, label in design.formula.labels.items()}
    factors = design.fixed.recipe.factors
    one, two = atoms[small], atoms[large]
    return one - factors == two - factors and (one & factors) < (two & factors)


def _sum_atom(design: Design, atom: Atom) -> str:
    factor = design.fixed.factors.get(atom.text)
    treated = atom.kind == "column" and factor is not None and factor.base is not None
    # inside a function, a name with a dot also needs backticks
    return f"C(`{atom.text}`, contr.sum)" if treated else str(atom)
