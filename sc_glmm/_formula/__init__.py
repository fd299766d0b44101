"""Formulas in lme4's syntax: the bars and the algebra of terms are ours, coding the terms is formulaic's."""

from __future__ import annotations

from .parse import parse_formula
from .records import Atom, MixedFormula, Name, RandomTerm, Term, term_label, term_text

__all__ = ["Atom", "MixedFormula", "Name", "RandomTerm", "Term", "parse_formula", "term_label", "term_text"]
