"""Fit all genes of a matrix: genes share one structure, blocks of genes go to threads, separated genes have a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray, IntArray, ObjectArray
from .._compress.recentre import CountLists
from .._design import Design
from .._display import progress_over
from .._engine import entry
from .._engine.arrow.layout import Block, least_deviation
from .._engine.fit import fit_genes
from .._engine.genes import GeneFits, GeneStats, Structure, build_structure
from .._engine.laplace.records import Nodes
from .._families.registry import Family
from .._inference.separation import Separation, find_deficient, separate
from .._parallel.blocks import run_blocks
from .centre import CellData, Centre
from .centred import fit_centred, fit_on_cells
from .model import Grouping, merge_terms
from .rows import ModelRows

# Number of genes of one task. It is fixed, so that results cannot depend on the number of threads.
BLOCK = 64
# The same if each cell is a row.
BLOCK_ON_CELLS = 4


@dataclass(frozen=True)
class GeneModel:
    """A design and the statistics of all genes on its rows.

    Attributes
    ----------
    design
        The design on cells.
    rows
        Its rows.
    groupings
        Its grouping factors, in the order of the blocks of `structure`.
    structure, nodes, stats
        Input of the engine.
    family, reml, n_agq
        Family, method and number of quadrature nodes.
    cells
        Cells of the rows, if covariates differ between cells; otherwise None. `nodes` and `stats` are then those around
        slopes of zero.
    """

    design: Design
    rows: ModelRows
    groupings: tuple[Grouping, ...]
    structure: Structure
    nodes: Nodes
    stats: GeneStats
    family: Family
    reml: bool
    n_agq: int
    cells: CellData | None = None

    def centre(self, kept: BoolArray | None = None, columns: IntArray | None = None) -> Centre | None:
        """Build the record that places the nodes of a gene, for some rows and columns of X; None without `cells`."""
        if self.cells is None:
            return None
        X = self.rows.X if columns is None else np.ascontiguousarray(self.rows.X[:, columns])
        rows = np.ones(len(X), dtype=bool) if kept is None else kept
        return Centre(self.cells.rows, X, self.structure.blocks, rows)

    def lists(self, genes: IntArray) -> CountLists | None:
        """Return the counts of `genes`, cell by cell; None without `cells`."""
        return None if self.cells is None else self.cells.lists.pick(genes)

    def row_totals(self) -> FloatArray:
        """Sum the response in each row, ``(n_genes, n_rows)``."""
        return node_sums(self.stats.A, self.nodes.ptr)


def node_sums(A: FloatArray, ptr: IntArray) -> FloatArray:
    """Sum ``A (n_genes, n_nodes)`` over the nodes of each row: ``(n_genes, n_rows)``."""
    return np.add.reduceat(A, ptr[:-1], axis=1) if len(ptr) > 1 else A


def prepare_genes(
    design: Design,
    rows: ModelRows,
    nodes: Nodes,
    stats: GeneStats,
    family: Family,
    *,
    reml: bool,
    n_agq: int,
    cells: CellData | None = None,
) -> GeneModel:
    """Prepare a design and the statistics of its genes for the engine."""
    blocks, groupings = merge_terms(design.random, rows.Z, rows.codes)
    structure = build_structure(rows.X, blocks, np.maximum(rows.n_cells.astype(np.float64), 1e-3))
    return GeneModel(design, rows, groupings, structure, nodes, stats, family, reml, n_agq, cells)


def rescale(model: GeneModel, log_factor: FloatArray) -> GeneModel:
    """Multiply the size factors of the cells of row d by ``exp(log_factor[d])``, exactly, after the pass over cells."""
    per_node = np.repeat(np.exp(log_factor), np.diff(model.nodes.ptr))
    # The sum is taken row by row: the last bits of a matrix product depend on the number of rows.
    const = model.stats.const + (model.row_totals() * log_factor).sum(axis=1)
    if model.family.one_node:
        nodes = Nodes(model.nodes.ptr, model.nodes.ec, model.nodes.weight * per_node)
    else:
        nodes = Nodes(model.nodes.ptr, model.nodes.ec * per_node, model.nodes.weight)
    cells = None if model.cells is None else model.cells.shifted(log_factor)
    return replace(model, nodes=nodes, stats=replace(model.stats, const=const), cells=cells)


@dataclass(frozen=True)
class AllFits:
    """Fits of all genes, including separated ones.

    Attributes
    ----------
    fits
        Estimates.
    separations
        Gene -> its separation. The estimates of such a gene are those of the limit. Contrasts that the separation does
        not affect follow from `beta` and `vcov` as usual.
    left_out
        ``(n_genes,)`` reason why a gene was not fitted (:func:`leave_out`).
    on_cells
        ``(n_genes,)`` whether a gene was fitted on its cells, because the nodes are not accurate enough for its slopes.
    error
        ``(n_genes,)`` estimated error of the log likelihood due to nodes around slopes; 0 for genes without such nodes.
    """

    fits: GeneFits
    separations: dict[int, Separation]
    left_out: IntArray
    on_cells: BoolArray
    error: FloatArray


# Reasons for leaving out a gene.
FITTED, LOW_COUNT, NOT_SELECTED = range(3)


def leave_out(model: GeneModel, min_counts: int, selected: BoolArray | None) -> IntArray:
    """Decide which genes to leave out: ``(n_genes,)``.

    The value is LOW_COUNT below `min_counts` counts, NOT_SELECTED outside of `selected`, and FITTED otherwise.
    """
    out = np.full(len(model.stats), FITTED, dtype=np.int64)
    if model.family.counts and min_counts > 0:
        total = model.stats.A.sum(axis=1)
        out[(total > 0.5) & (total < min_counts - 0.5)] = LOW_COUNT
    if selected is not None:
        out[~selected] = NOT_SELECTED
    return out


def fit_all(
    model: GeneModel,
    *,
    n_jobs: int = 1,
    progress: bool | None = False,
    desc: str = "fitting",
    left_out: IntArray | None = None,
) -> AllFits:
    """Fit every gene of `model` that is not left out; the results are identical for any `n_jobs`."""
    n_genes = len(model.stats)
    left_out = np.full(n_genes, FITTED, dtype=np.int64) if left_out is None else left_out
    separations = _find_separations(model, left_out != FITTED) if model.family.counts else {}
    # the likelihood of a separated gene has no maximum, so it is fitted in its limit
    idle = left_out != FITTED
    idle[list(separations)] = True
    shared = (model.structure, model.nodes, model.centre(), model.family, model.reml, model.n_agq)
    outside, errors = np.zeros(n_genes, dtype=bool), np.zeros(n_genes)
    ranges = [np.arange(start, min(start + BLOCK, n_genes)) for start in range(0, n_genes, BLOCK)]

    def results() -> Iterator[tuple[int, GeneFits]]:
        blocks = ((_without_counts(model.stats.pick(genes), idle[genes]), model.lists(genes)) for genes in ranges)
        done = run_blocks(_fit_block, shared, blocks, n_jobs)
        for genes, (fits, needs_cells, error) in zip(ranges, done, strict=True):
            outside[genes], errors[genes] = needs_cells, error
            yield len(fits.status), fits

    parts = list(progress_over(results(), n_genes, desc, progress))
    fits = join_genes(parts) if parts else _fit_block(*shared, model.stats, None)[0]
    _fit_on_cells(model, np.flatnonzero(outside), fits, n_jobs)
    _fit_in_limits(model, separations, fits, n_jobs)
    return AllFits(fits, separations, left_out, outside, errors)


def _without_counts(stats: GeneStats, genes: BoolArray) -> GeneStats:
    """Set the counts of `genes` to zero in a copy of their statistics, so that the engine does not fit them."""
    stats.A[genes] = 0.0
    stats.extra[genes, 1] = 0.0
    return stats


def _fit_block(
    structure: Structure,
    nodes: Nodes,
    centre: Centre | None,
    family: Family,
    reml: bool,
    n_agq: int,
    stats: GeneStats,
    lists: CountLists | None,
) -> tuple[GeneFits, BoolArray, FloatArray]:
    """Fit a block of genes; also return which genes must be fitted on their cells, and the errors of the nodes."""
    if centre is None or lists is None:
        fits = fit_genes(structure, nodes, stats, family, reml=reml, n_agq=n_agq)
        return fits, np.zeros(len(stats), dtype=bool), np.zeros(len(stats))
    return fit_centred(structure, centre, family, reml, n_agq, stats, lists)


def _fit_on_cells(model: GeneModel, genes: IntArray, fits: GeneFits, n_jobs: int) -> None:
    """Fit the genes for which nodes are not accurate enough on their cells, and write the result into `fits`."""
    if len(genes) == 0:
        return
    parts = np.array_split(genes, -(-len(genes) // BLOCK_ON_CELLS))
    blocks = ((model.stats.pick(part), model.lists(part)) for part in parts)
    shared = (model.structure, model.centre(), model.family, model.reml, model.n_agq)
    for part, fit in zip(parts, run_blocks(fit_on_cells, shared, blocks, n_jobs), strict=True):
        put_fits(fit, part, fits)


def join_genes(parts: Sequence[GeneFits]) -> GeneFits:
    """Join the fits of consecutive ranges of genes."""

    def joined(name: str) -> object:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], tuple):
            return tuple(np.concatenate(block) for block in zip(*values, strict=True))
        return None if values[0] is None else np.concatenate(values)

    return GeneFits(**{field.name: joined(field.name) for field in fields(GeneFits)})  # type: ignore[arg-type]


def _find_separations(model: GeneModel, left_out: BoolArray) -> dict[int, Separation]:
    """Find genes whose likelihood has no finite maximum, except all-zero genes and genes that are left out."""
    base = model.rows.base
    totals = np.zeros((len(model.stats), int(base.max(initial=-1)) + 1))
    np.add.at(totals.T, base, model.row_totals().T)
    positive = (totals > 0.5)[:, base]
    X = model.structure.arrow.XZ[:, -model.structure.n_beta :] if model.structure.n_beta else model.rows.X
    suspects = np.flatnonzero(find_deficient(X, positive) & positive.any(axis=1) & ~left_out)
    by_pattern: dict[bytes, Separation | None] = {}
    separations: dict[int, Separation] = {}
    for gene in suspects:
        key = positive[gene].tobytes()
        if key not in by_pattern:
            by_pattern[key] = separate(model.rows.X, positive[gene])
        separation = by_pattern[key]
        if separation is not None:
            separations[int(gene)] = separation
    return separations


def _fit_in_limits(model: GeneModel, separations: Mapping[int, Separation], fits: GeneFits, n_jobs: int) -> None:
    """Fit separated genes to the rows that remain in the likelihood, and write the result into `fits`.

    The rows that drop out have mean zero and count zero. If all rows of a sample drop out, its random effect is zero.
    Genes without the same rows have the same structure, and the engine fits them together.
    """
    alike: dict[tuple[bytes, tuple[int, ...]], list[int]] = {}
    for gene, separation in separations.items():
        alike.setdefault((separation.rows.tobytes(), separation.columns), []).append(gene)
    where: list[tuple[IntArray, IntArray]] = []

    def blocks() -> Iterator[tuple[object, ...]]:
        for genes in alike.values():
            separation = separations[genes[0]]
            structure, nodes, kept = _in_limit(model, separation)
            for start in range(0, len(genes), BLOCK):
                block = np.array(genes[start : start + BLOCK], dtype=np.int64)
                stats = model.stats.pick(block)
                columns = np.array(separation.columns, dtype=np.int64)
                where.append((block, columns))
                centre = model.centre(separation.rows, columns)
                if centre is None:
                    stats = replace(stats, A=np.ascontiguousarray(stats.A[:, kept]))
                yield structure, nodes, centre, stats, model.lists(block)

    shared = (model.family, model.reml, model.n_agq)
    for place, fit in enumerate(run_blocks(_fit_limit_block, shared, blocks(), n_jobs)):
        genes, columns = where[place]
        put_fits(fit, genes, fits, columns)


def _in_limit(model: GeneModel, separation: Separation) -> tuple[Structure, Nodes, BoolArray]:
    """Build structure and nodes without the rows that drop out; also return which nodes remain."""
    rows = separation.rows
    blocks = tuple(
        Block(np.ascontiguousarray(b.codes[rows]), b.n_levels, np.ascontiguousarray(b.Z[rows]), b.terms)
        for b in model.structure.blocks
    )
    n_cells = np.maximum(model.rows.n_cells[rows].astype(np.float64), 1e-3)
    X = np.ascontiguousarray(model.rows.X[np.ix_(rows, np.array(separation.columns))])
    size = np.diff(model.nodes.ptr)
    kept: BoolArray = np.repeat(rows, size)
    ptr = np.concatenate([[0], np.cumsum(size[rows])]).astype(np.int64)
    nodes = Nodes(ptr, np.ascontiguousarray(model.nodes.ec[kept]), np.ascontiguousarray(model.nodes.weight[kept]))
    return build_structure(X, blocks, n_cells), nodes, kept


def _fit_limit_block(
    family: Family,
    reml: bool,
    n_agq: int,
    structure: Structure,
    nodes: Nodes,
    centre: Centre | None,
    stats: GeneStats,
    lists: CountLists | None,
) -> GeneFits:
    return _fit_block(structure, nodes, centre, family, reml, n_agq, stats, lists)[0]


def put_fits(fit: GeneFits, genes: IntArray, fits: GeneFits, columns: IntArray | None = None) -> None:
    """Write the fits of `genes` into the fits of all genes; `columns` are the columns of X in `fit`, None for all."""
    columns = np.arange(fits.beta.shape[1]) if columns is None else columns
    fits.beta[genes] = 0.0
    fits.beta[np.ix_(genes, columns)] = fit.beta
    fits.vcov[genes] = 0.0
    fits.vcov[np.ix_(genes, columns, columns)] = fit.vcov
    for i in range(len(fit.Lambda)):
        fits.Lambda[i][genes] = fit.Lambda[i]
        fits.ranef[i][genes] = fit.ranef[i]
    for name in ("log_dispersion", "log_dispersion_se", "loglik", "n_iter", "decrement", "status"):
        getattr(fits, name)[genes] = getattr(fit, name)


# Statuses in the order of precedence: the first that applies is the status of a gene.
STATUS = ("not_selected", "all_zero", "low_count", "error", "separated", "not_converged", "singular", "ok")
# Genes with these statuses have results. Separated genes have results only for contrasts without an infinite part.
TRUSTED = ("ok", "singular")


def categorical_status(status: ObjectArray) -> pd.Categorical:
    """Convert statuses to a categorical with the categories :data:`STATUS`."""
    return pd.Categorical(status, categories=list(STATUS))


def singular_genes(model: GeneModel, fits: GeneFits, tol: float = 1e-4) -> BoolArray:
    """Find genes with a variance (or a direction of a covariance) of zero, relative to the residual scale."""
    scale = np.ones(len(fits.status)) if model.family.counts else np.exp(0.5 * fits.log_dispersion)
    scaling = model.structure.scaling
    bases = zip(scaling.order, scaling.basis, strict=True)
    smallest = np.min([least_deviation(basis, fits.Lambda[block]) for block, basis in bases], axis=0)
    with np.errstate(invalid="ignore"):
        flagged: BoolArray = smallest / scale < tol
    return flagged


def gene_status(model: GeneModel, result: AllFits) -> ObjectArray:
    """Determine the status of each gene, ``(n_genes,)`` values of :data:`STATUS`."""
    fits = result.fits
    separated = np.zeros(len(fits.status), dtype=bool)
    separated[list(result.separations)] = True
    conditions = (
        result.left_out == NOT_SELECTED,
        (fits.status == entry.EMPTY) & (result.left_out == FITTED),
        result.left_out == LOW_COUNT,
        fits.status == entry.FAILED,
        separated,
        fits.status == entry.NOT_CONVERGED,
        singular_genes(model, fits),
        np.ones(len(fits.status), dtype=bool),
    )
    return np.select(conditions, [np.array(word, dtype=object) for word in STATUS], default="ok")
