"""Parse formulas in lme4's syntax."""

from __future__ import annotations

from .language import NUMPY, dotted_name, quoted_column
from .parse import parse_formula
from .records import Atom, MixedFormula, Name, RandomTerm, Term, is_word, term_label, term_text, unique_labels

__all__ = [
    "NUMPY",
    "Atom",
    "MixedFormula",
    "Name",
    "RandomTerm",
    "Term",
    "dotted_name",
    "is_word",
    "parse_formula",
    "quoted_column",
    "term_label",
    "term_text",
    "unique_labels",
]
