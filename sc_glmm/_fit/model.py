"""Prepare a design for the engine: merge the terms of a grouping factor, and convert statistics of any family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays import FloatArray, IntArray
from .._compress import CountStats, GaussianStats, NodeTable, chebyshev_nodes, poisson_nodes
from .._design import ReTerm
from .._display.arguments import check_choice
from .._engine.arrow.layout import Block
from .._engine.genes import GeneStats
from .._engine.laplace.records import Nodes
from .._errors import DesignError, InputError
from .._families.nb import N_TAIL
from .._families.registry import FAMILIES, Family


@dataclass(frozen=True)
class Grouping:
    """One grouping factor with all its terms.

    Attributes
    ----------
    name
        Its name, such as ``"sample"``.
    levels
        Names of the levels.
    columns
        Names of the columns of its block, such as ``("Intercept", "x")``.
    terms
        Number of columns of each of its terms.
    """

    name: str
    levels: tuple[str, ...]
    columns: tuple[str, ...]
    terms: tuple[int, ...]


def get_family(name: str) -> Family:
    """Return the family of that name.

    Raises
    ------
    InputError
        If there is no such family, or if it does not support a count matrix.
    """
    allowed = [other for other, family in FAMILIES.items() if not family.trials]
    if name in FAMILIES and name not in allowed:
        raise InputError(f"family={name!r} needs the number of trials; a count matrix has none: use sc_glmm.glmer")
    check_choice("family", name, allowed)
    return FAMILIES[name]


def check_method(method: str, n_agq: int, random: Sequence[ReTerm]) -> bool:
    """Check `method` and `n_agq`, and return whether the method is REML.

    Raises
    ------
    InputError
        If a value is not allowed, or if the engine does not support the combination.
    """
    check_choice("method", method, ("reml", "ml"))
    if not isinstance(n_agq, int) or n_agq < 1 or n_agq > 101:
        raise InputError(f"n_agq={n_agq!r}: allowed are whole numbers from 1 (Laplace) to 101; odd numbers are best")
    if n_agq > 1:
        if len(random) != 1 or random[0].Z.shape[1] != 1:
            terms = " + ".join(term.label for term in random)
            raise InputError(
                f"n_agq={n_agq} needs exactly one random-effects term with one column, but the formula has {terms}; "
                "use n_agq=1 (Laplace), which supports all of them"
            )
        if method == "reml":
            raise InputError(
                f"n_agq={n_agq} with method='reml': quadrature integrates only over the random effects, but REML "
                "also over the fixed effects; use method='ml', or n_agq=1"
            )
    return method == "reml"


def merge_terms(
    random: Sequence[ReTerm], Z: Sequence[FloatArray], codes: Sequence[IntArray]
) -> tuple[tuple[Block, ...], tuple[Grouping, ...]]:
    """Build one block per grouping factor; `Z` and `codes` are those of the rows, term by term."""
    blocks: list[Block] = []
    groupings: list[Grouping] = []
    for name in dict.fromkeys(term.group for term in random):  # the design gives different factors different names
        terms = [i for i, term in enumerate(random) if term.group == name]
        first = random[terms[0]]
        sizes = tuple(Z[i].shape[1] for i in terms)
        columns = tuple(column for i in terms for column in random[i].names)
        block_z = np.ascontiguousarray(np.hstack([Z[i] for i in terms]))
        blocks.append(Block(np.ascontiguousarray(codes[terms[0]]), len(first.levels), block_z, sizes))
        groupings.append(Grouping(name, first.levels, columns, sizes))
    _refuse_equal(blocks, groupings)
    return tuple(blocks), tuple(groupings)


def _refuse_equal(blocks: Sequence[Block], groupings: Sequence[Grouping]) -> None:
    """Raise an error for two factors with the same groups of rows, because their variances cannot be separated."""
    names: dict[bytes, str] = {}
    for block, grouping in zip(blocks, groupings, strict=True):
        _, first, codes = np.unique(block.codes, return_index=True, return_inverse=True)
        key = np.argsort(np.argsort(first))[codes.reshape(-1)].tobytes()
        if key in names:
            raise DesignError(
                f"the grouping factors {names[key]!r} and {grouping.name!r} divide the data in the same way, so their "
                "variances cannot be separated; drop one of them"
            )
        names[key] = grouping.name


def count_nodes(family: Family) -> Callable[[IntArray, int, FloatArray], NodeTable]:
    """Return the function that builds the nodes of a family, from rows of cells and logs of size factors."""
    return poisson_nodes if family.one_node else chebyshev_nodes


def engine_nodes(table: NodeTable) -> Nodes:
    """Convert a node table to the format of the engine."""
    return Nodes(table.ptr, table.ec, table.weight)


def gaussian_nodes(n_cells: FloatArray) -> Nodes:
    """Build the nodes of a Gaussian response: one node per row, for all its cells."""
    n_rows = len(n_cells)
    return Nodes(np.arange(n_rows + 1, dtype=np.int64), np.ones(n_rows), n_cells.astype(np.float64))


def count_stats(stats: CountStats) -> GeneStats:
    """Convert statistics of counts to the format of the engine."""
    return GeneStats(
        A=stats.A,
        tail=stats.tail,
        over_ptr=stats.over_ptr,
        over_value=stats.over_value,
        over_count=stats.over_count,
        extra=np.zeros((len(stats.A), 4)),
        const=stats.const,
    )


def gaussian_stats(stats: GaussianStats, n_obs: int, ones: FloatArray | None) -> GeneStats:
    """Convert statistics of a Gaussian response to the format of the engine: centred and scaled.

    The scale is the power of two next to the standard deviation.

    Parameters
    ----------
    stats
        Sums over the rows of the design.
    n_obs
        Number of observations.
    ones
        ``(n_rows,)`` sums for a response that equals one; None if the response may not be centred, because no
        combination of the fixed effects is constant.
    """
    n_genes = len(stats.sum_y)
    mean = stats.total / max(n_obs, 1)
    centre = np.zeros(n_genes) if ones is None else mean
    squares = stats.squares_about(centre, n_obs)
    # equal values leave only rounding errors
    squares[squares <= n_obs * (8.0 * np.finfo(np.float64).eps * mean) ** 2] = 0.0
    size = np.sqrt(squares / max(n_obs, 1))
    unit = np.where(size > 0.0, np.ldexp(1.0, np.frexp(size)[1]), 1.0)
    sums = stats.sum_y if ones is None else stats.sum_y - centre[:, None] * ones
    return GeneStats(
        A=sums / unit[:, None],
        tail=np.zeros((n_genes, N_TAIL)),
        over_ptr=np.zeros(n_genes + 1, dtype=np.int64),
        over_value=np.zeros(0),
        over_count=np.zeros(0),
        extra=np.column_stack([np.full(n_genes, float(n_obs)), squares / unit**2, centre, unit]),
        const=np.zeros(n_genes),
    )
