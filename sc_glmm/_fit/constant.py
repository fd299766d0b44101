"""Remove terms from a formula that do not vary in one group of cells."""

from __future__ import annotations

import pandas as pd

from .._formula import Atom, MixedFormula, Term, parse_formula, term_text


def drop_constant(formula: MixedFormula, frame: pd.DataFrame) -> tuple[MixedFormula, tuple[str, ...]]:
    """Drop terms that are constant in `frame`; return the new formula and the dropped terms.

    A constant factor is removed from the interactions that contain it. Grouping factors with one level are dropped with
    their random terms. Rows with a missing value in any column of the formula are ignored.

    Parameters
    ----------
    formula
        The formula for all cells.
    frame
        ``obs`` of the cells of one group.

    Returns
    -------
    The formula for these cells, and the dropped terms, as the user would write them.
    """
    atoms = [atom for term in formula.fixed_terms for atom in term]
    atoms += [atom for random in formula.random for term in random.terms for atom in term]
    names = {name for atom in (*atoms, *formula.offset_atoms) for name in atom.columns}
    names |= {name for random in formula.random for name in random.group}
    used = frame[[name for name in frame.columns if name in names]].dropna()
    constant = {str(name) for name in used.columns if used[name].nunique() <= 1}
    columns = {str(name) for name in used.columns}

    def is_constant(atom: Atom) -> bool:
        own = {*atom.columns} & columns
        return bool(own) and own <= constant

    def varying(terms: tuple[Term, ...]) -> tuple[Term, ...]:
        return tuple(dict.fromkeys(tuple(atom for atom in term if not is_constant(atom)) for term in terms))

    fixed = varying(formula.fixed_terms)
    dropped = [formula.labels[term] for term in formula.fixed_terms if term not in fixed]
    random: list[str] = []
    for term in formula.random:
        basis = varying(term.terms)
        if set(term.group) <= constant or not basis or (basis == ((),) and () not in term.terms):
            dropped.append(term.label)
        elif basis != term.terms:
            dropped.append(term.label)
            random.append(f"({_basis(basis)} | {term.group_text})")
        else:
            random.append(term.label)
    if not dropped:
        return formula, ()
    left = "" if formula.response is None else f"{formula.response} "
    parts = ["1" if () in fixed else "0", *(term_text(term) for term in fixed if term), *random]
    parts += [f"offset({atom.as_expression})" for atom in formula.offset_atoms]
    # parsed again, so that error messages mark positions in the formula that is fitted
    return parse_formula(f"{left}~ {' + '.join(parts)}"), tuple(dropped)


def _basis(terms: tuple[Term, ...]) -> str:
    return " + ".join(["1" if () in terms else "0", *(term_text(part) for part in terms if part)])
