"""Sets of terms, and the operators ``+ - : * / **`` on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .records import Atom, Term

MAX_TERMS = 5000
_Key = frozenset[tuple[str, str]]


class Terms:
    """An ordered set of terms; two terms are equal if they have the same factors in any order.

    The empty term is the intercept.
    """

    def __init__(self, terms: tuple[Term, ...] = ()) -> None:
        self._terms: dict[_Key, Term] = {}
        for term in terms:
            self._terms.setdefault(_key(term), term)

    def __iter__(self) -> Iterator[Term]:
        return iter(self._terms.values())

    def __len__(self) -> int:
        return len(self._terms)

    def add(self, other: Terms) -> None:
        """Add the terms of `other` in place (``+``)."""
        for key, term in other._terms.items():
            self._terms.setdefault(key, term)

    def remove(self, other: Terms) -> None:
        """Remove the terms of `other` in place (``-``)."""
        for key in other._terms:
            self._terms.pop(key, None)

    def interact(self, other: Terms) -> Terms:
        """Return the interactions of each term with each term of `other` (``a:b``)."""
        _check_size(len(self) * len(other))
        return Terms(tuple(_product(a, b) for a in self for b in other))

    def cross(self, other: Terms) -> Terms:
        """Return both sets and their interactions (``a*b``)."""
        return Terms((*self, *other, *self.interact(other)))

    def nest(self, other: Terms) -> Terms:
        """Return a, and b within every combination of a (``a/b``)."""
        common: Term = ()
        for term in self:
            common = _product(common, term)
        return Terms((*self, *Terms((common,)).interact(other)))

    def power(self, exponent: int) -> Terms:
        """Return all interactions of at most `exponent` factors (``(a + b)**2``)."""
        result = self
        for _ in range(exponent - 1):
            longer = result.interact(self)  # a:a is a, so no term is lost
            if list(longer._terms) == list(result._terms):
                break
            result = longer
        return result


OPERATIONS: dict[str, Callable[[Terms, Terms], Terms]] = {":": Terms.interact, "*": Terms.cross, "/": Terms.nest}


def atom_terms(atom: Atom) -> Terms:
    """Return a set of one term, which has one factor."""
    return Terms(((atom,),))


def _key(term: Term) -> _Key:
    return frozenset((atom.kind, atom.text) for atom in term)


def _product(a: Term, b: Term) -> Term:
    factors_of_a = _key(a)
    return (*a, *(atom for atom in b if (atom.kind, atom.text) not in factors_of_a))


def _check_size(n: int) -> None:
    if n > MAX_TERMS:
        raise OverflowError(f"this expands to more than {MAX_TERMS} terms")
