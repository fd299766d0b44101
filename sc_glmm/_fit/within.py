"""Effects within samples: given a variance between samples of their own, unless told otherwise.

A covariate that varies from cell to cell is estimated within samples, and its effect may differ between them. A model
with ``(1 | sample)`` alone takes cells for replicates of that effect: with a slope of standard deviation 0.1 over
samples of estimates with variance 0.004, three in ten true nulls are rejected at 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._design import Contrast, Design, ReTerm

FloatArray = NDArray[np.float64]

# Standard deviations that the mean of a covariate may be from zero.
_FAR = 0.3


def missing_terms(design: Design, contrasts: Sequence[Contrast]) -> tuple[list[str], list[str]]:
    """Random terms that tested effects within samples lack, and the names of effects for which none can be made.

    A number gets a slope, ``(0 + x | sample)``, a factor an intercept for each sample and level, ``(1 | sample:x)``;
    both for the finest grouping factor. A number that is far from zero is centred, ``(0 + center(x) | sample)``.
    """
    if not design.random:
        return [], []
    finest = max(design.random, key=lambda term: len(term.levels))
    group = ":".join(_quoted(name) for name in finest.term.group)
    tested = np.any([np.any(contrast.L != 0.0, axis=0) for contrast in contrasts], axis=0)
    terms: list[str] = []
    unclear: list[str] = []
    for j in np.flatnonzero(tested):
        if not _varies_within(design, int(j)):
            continue
        label = next(label for label, columns in design.fixed.terms.items() if j in columns)
        # a partner that is constant within samples needs no term: (0 + x | sample) holds disease:x as well as x
        names = [name for name in label.split(":") if _may_vary(design, name)]
        if any(_allows(term, names) for term in design.random):
            continue
        column = design.columns.get(label)
        if column is None:
            unclear.append(label)
        elif column.kind == "number":
            slope = f"center({_quoted(label)})" if _is_far(design.fixed.X[:, j]) else _quoted(label)
            terms.append(f"(0 + {slope} | {group})")
        else:
            terms.append(f"(1 | {group}:{_quoted(label)})")
    return list(dict.fromkeys(terms)), list(dict.fromkeys(unclear))


def far_slopes(design: Design, contrasts: Sequence[Contrast]) -> list[str]:
    """Tested numbers far from zero whose slopes are independent of the intercepts there, and only there."""
    tested = np.any([np.any(contrast.L != 0.0, axis=0) for contrast in contrasts], axis=0)
    found = []
    for j in np.flatnonzero(tested):
        x = design.fixed.X[:, j]
        label = next(label for label, columns in design.fixed.terms.items() if j in columns)
        column = design.columns.get(label)
        if column is None or column.kind != "number" or not _varies_within(design, int(j)) or not _is_far(x):
            continue
        slopes = [term for term in design.random if _allows(term, [label])]
        alone = [term for term in slopes if term.Z.shape[1] == 1 and np.array_equal(term.Z[:, 0], x)]
        beside = {term.group for term in design.random if () in term.term.terms}
        if slopes and len(alone) == len(slopes) and any(term.group in beside for term in alone):
            found.append(label)
    return found


def _is_far(x: FloatArray) -> bool:
    """Whether zero is no place among the data.

    Independent slopes of standard deviation t then make the intercepts at the mean m vary by m t at least: where they
    vary less than that, t is estimated too small. With m five standard deviations of x, eight samples and a true t of
    0.25, 13 % of 1,200 true nulls were rejected at 5 %; with x centred 5 %.
    """
    return bool(abs(x.mean()) > _FAR * x.std())


def _may_vary(design: Design, name: str) -> bool:
    """Whether a variable varies within samples, as far as its main effect tells; without one it may."""
    columns = design.fixed.terms.get(name, ())
    return not columns or any(_varies_within(design, j) for j in columns)


def _varies_within(design: Design, j: int) -> bool:
    """Whether column j of X varies within levels of every grouping factor."""
    x = design.fixed.X[:, j]
    for term in design.random:
        first = np.empty(len(term.levels), dtype=np.int64)
        first[term.codes[::-1]] = np.arange(len(x))[::-1]
        if np.allclose(x, x[first][term.codes], rtol=0.0, atol=1e-10 * max(np.abs(x).max(), 1e-300)):
            return False
    return True


def _allows(term: ReTerm, names: Sequence[str]) -> bool:
    """Whether a random term lets the effect of these variables differ between its levels."""
    in_basis = {name.name for basis in term.term.terms for atom in basis for name in atom.names}
    in_group = set(term.term.group)
    return all(any(name == known or known in name for known in in_basis | in_group) for name in names)


def _quoted(name: str) -> str:
    """A column's name as a formula needs it."""
    plain = name.replace("_", "a").replace(".", "a")
    return name if plain.isalnum() and not plain[0].isdigit() else f"`{name}`"
