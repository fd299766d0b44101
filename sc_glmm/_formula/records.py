"""Records for the parts of a formula, with their positions in the source."""

from __future__ import annotations

import ast
import keyword
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .language import column_of_factor, dotted_name

Span = tuple[int, int]


@dataclass(frozen=True)
class Name:
    """A name in an expression.

    Attributes
    ----------
    name
        The name, without backticks.
    span
        Its position in the formula.
    called
        Whether it is the name of a function, such as ``log`` in ``log(x)`` or ``np.log`` in ``np.log(x)``.
    """

    name: str
    span: Span
    called: bool = False


@dataclass(frozen=True)
class Atom:
    """A factor of a term: a column or an expression. The position does not matter for equality.

    Attributes
    ----------
    text
        The name of the column, or the expression with Python's spacing.
    kind
        ``"column"`` or ``"python"``.
    span
        Its position in the formula.
    names
        The names that occur in it, in the order of the source.
    braces
        Whether it must be written in braces.
    tree
        The checked syntax tree of an expression; None for a column.
    """

    text: str
    kind: str
    span: Span = field(compare=False)
    names: tuple[Name, ...] = field(compare=False)
    braces: bool = field(default=False, compare=False)
    tree: ast.expr | None = field(default=None, compare=False, repr=False)

    @property
    def factor_column(self) -> str | None:
        """The column of ``C(column)``; None for anything else."""
        return column_of_factor(self.tree)

    @property
    def makes_factor(self) -> bool:
        """Whether this is a call of ``C``, which always gives a factor."""
        return isinstance(self.tree, ast.Call) and dotted_name(self.tree.func) == "C"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of columns in the atom, in the order of the source; a column may be called like a function."""
        return tuple(dict.fromkeys(name.name for name in self.names if not name.called))

    @property
    def as_expression(self) -> str:
        """The atom as text inside of a function or of braces, where words of Python need backticks."""
        plain = self.text.isidentifier() and not self.text.startswith("_") and not keyword.iskeyword(self.text)
        return self.text if self.kind == "python" or plain else f"`{self.text}`"

    def __str__(self) -> str:
        """Return the atom as text that can be parsed again."""
        if self.kind == "python":
            return f"{{{self.text}}}" if self.braces else self.text
        return self.text if is_word(self.text) else f"`{self.text}`"


Term = tuple[Atom, ...]


def is_word(text: str) -> bool:
    """Return whether a name can be written without backticks in a formula."""
    return bool(text) and all(c.isalnum() or c in "._" for c in text) and not text[0].isdigit() and text != "."


def term_text(term: Term) -> str:
    """Return the term as written in a formula."""
    return ":".join(str(atom) for atom in term) or "1"


def term_label(term: Term) -> str:
    """Return the label of a term without backticks: ``a:b`` for an interaction, ``1`` for the intercept."""
    return ":".join(atom.text for atom in term) or "1"


def unique_labels(terms: Iterable[Term]) -> dict[Term, str]:
    """Make a different label for each term: ``1`` for the intercept, ``a:b`` for an interaction.

    A column with the name ``a:b`` or ``1`` has backticks if this is also the label of another term.
    """
    terms = dict.fromkeys(terms)
    count = Counter(map(term_label, {(): None} | terms))  # "1" is the intercept even if there is none
    return {term: term_text(term) if count[term_label(term)] > 1 else term_label(term) for term in terms}


@dataclass(frozen=True)
class RandomTerm:
    """One random-effects term, after expansion of ``/`` and ``||``.

    Attributes
    ----------
    basis
        Left side of the bar for formulaic, with the intercept spelled out: ``"1"``, ``"1 + x"``, ``"0 + x"``.
    group
        Columns of the right side; more than one for an interaction such as ``a:b``.
    span
        Position in the source, with the parentheses.
    label
        The expanded term with normal spacing: ``"(1 | sample)"``.
    terms
        The terms of the left side; the empty term is the intercept.
    group_spans
        Position of each column of `group`.
    nested
        Whether the term comes from ``/``. The group of ``(1 | a/b)`` is called ``b:a``, as in lme4.
    """

    basis: str
    group: tuple[str, ...]
    span: Span
    label: str
    terms: tuple[Term, ...] = field(default=(), repr=False)
    group_spans: tuple[Span, ...] = field(default=(), repr=False)
    nested: bool = field(default=False, repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `group` in lme4's order: for ``a/b``, the finest first."""
        return self.group[::-1] if self.nested else self.group

    @property
    def group_text(self) -> str:
        """The grouping factor as written in a formula."""
        return ":".join(name if is_word(name) else f"`{name}`" for name in self.group)

    @property
    def group_name(self) -> str:
        """Name of the grouping factor: ``"sample"``; ``"a:b"`` for ``a:b``, and ``"b:a"`` for ``a/b``."""
        return ":".join(self.columns)


@dataclass(frozen=True)
class MixedFormula:
    """A parsed formula in lme4's syntax.

    Attributes
    ----------
    source
        The formula as given.
    response
        Text of the left side, None for a one-sided formula.
    response_span
        Its position in the source.
    fixed
        Right side for formulaic, with the intercept spelled out: ``"1 + disease"``.
    random
        The random-effects terms in the order of the source.
    offsets
        The expressions in ``offset(...)``; their sum is the offset.
    fixed_terms
        The fixed effects as terms; the empty term is the intercept.
    offset_atoms
        The offsets with their names and positions.
    response_atom
        The left side with its names and position.
    """

    source: str
    response: str | None
    response_span: Span | None
    fixed: str
    random: tuple[RandomTerm, ...]
    offsets: tuple[str, ...]
    fixed_terms: tuple[Term, ...] = field(default=(), repr=False)
    offset_atoms: tuple[Atom, ...] = field(default=(), repr=False)
    response_atom: Atom | None = field(default=None, repr=False)

    @property
    def right_side(self) -> str:
        """Everything after ``~``."""
        # a response in backticks may contain ~
        stop = 0 if self.response_span is None else self.response_span[1]
        return self.source[stop:].partition("~")[2]

    @property
    def labels(self) -> dict[Term, str]:
        """Labels of the fixed terms, see :func:`unique_labels`."""
        return unique_labels(self.fixed_terms)

    @property
    def response_name(self) -> str | None:
        """The name of the response, without backticks; None if the left side is missing or an expression."""
        atom = self.response_atom
        return atom.text if atom is not None and atom.kind == "column" else None

    @property
    def names(self) -> frozenset[str]:
        """All names of columns on the right side."""
        terms = [*self.fixed_terms, *(term for random in self.random for term in random.terms)]
        atoms = [*self.offset_atoms, *(atom for term in terms for atom in term)]
        inside = {name for atom in atoms for name in atom.columns}
        return frozenset(inside.union(*(random.group for random in self.random)))
