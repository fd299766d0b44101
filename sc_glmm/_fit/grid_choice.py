"""Choose the variances for the grid: those that affect the variance of some contrast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays import FloatArray, IntArray
from .._engine.arrow.layout import Block, centred_basis
from .._engine.genes import GeneFits, GeneStats, Structure
from .._engine.grid_profiles import profile_genes
from .genes import GeneModel

# Variances of the random effects (columns of Z with unit root mean square) at the nodes; the first stands for zero.
GRIDS = {
    1: np.array([1e-6, 1e-3, 3e-3, 8e-3, 0.02, 0.04, 0.07, 0.11, 0.17, 0.26, 0.4, 0.6, 1.0, 1.8, 4.0]),
    2: np.array([1e-6, 8e-3, 0.04, 0.14, 0.45, 1.8]),
    3: np.array([1e-6, 0.015, 0.07, 0.3, 1.5]),
}
# A variance matters if a relative change of it changes the variance of a contrast by this share of it.
MIN_ELASTICITY = 0.05
# Larger variances are not used for averages.
WINSOR = 4.0
_N_PROBES = 40
_LOG_STEP = 0.5


@dataclass(frozen=True)
class VarianceGrid:
    """A product grid over the variances that matter.

    Attributes
    ----------
    names
        Names of these variances: ``"sample"``; ``"sample: x"`` for one of several columns; ``"sample: direction 1"``
        where two or more columns stand beside an intercept or alone (:func:`_axes`).
    theta
        ``(n_grid, n_theta)`` covariance parameters at each node, largest variances first, as the engine takes them.
    variance
        ``(n_grid, n_chosen)`` variances at each node, for columns of unit root mean square. Within a term a column
        has the columns before it taken off (a covariate is centred): independent effects then mean the same wherever
        a covariate has its zero.
    shape
        Nodes of each variance.
    unit
        ``(n_chosen,)`` factor to the variance for columns that are centred so, but not scaled.
    elasticity
        Name of every variance -> largest elasticity of a contrast's variance in it.
    idle
        Per contrast: whether none of these variances matters for it.
    centre
        The node nearest to the population means.
    """

    names: tuple[str, ...]
    theta: FloatArray
    variance: FloatArray
    shape: tuple[int, ...]
    unit: FloatArray
    elasticity: dict[str, float]
    idle: tuple[bool, ...]
    centre: int


def choose_grid(
    model: GeneModel,
    fits: GeneFits,
    total: FloatArray,
    log_phi: FloatArray,
    contrasts: Sequence[FloatArray],
    pick: Callable[[IntArray], GeneStats],
) -> VarianceGrid:
    """Choose variances by elasticity at the population means, and build the grid.

    Those off the grid are fixed at their population means; one that matters is never profiled, because the maximum of
    its likelihood says too little in any one gene.

    Parameters
    ----------
    model
        The model; its statistics are not looked at.
    fits
        Fits of all genes.
    total, log_phi
        ``(n_genes,)`` sums of their counts, and the dispersions at which they are held.
    contrasts
        Contrast matrices.
    pick
        Gives the statistics of a few genes.
    """
    arrow, scaling = model.structure.arrow, model.structure.scaling
    diagonal = np.flatnonzero(arrow.theta_row == arrow.theta_col)
    weight = np.maximum(np.asarray(model.rows.n_cells, dtype=np.float64), 1e-3)
    axes = [_axes(model.structure.blocks[block], weight, fits.Lambda[block]) for block in scaling.order]
    names, means, units = [], [], []
    for t in diagonal:
        f, r = int(arrow.theta_fac[t]), int(arrow.theta_row[t])
        block = scaling.order[f]
        variance = np.sum((fits.Lambda[block].swapaxes(1, 2) @ axes[f].matrix[r]) ** 2, axis=1)
        good = np.isfinite(variance)
        means.append(float(np.minimum(variance[good], WINSOR).mean()) if good.any() else 0.1)
        columns = model.groupings[block].columns
        group = model.groupings[block].name
        own = columns[r] if axes[f].turned[r] == 0 else f"direction {axes[f].turned[r]}"
        names.append(group if len(columns) == 1 else f"{group}: {own}")
        units.append(1.0 if axes[f].turned[r] else float(axes[f].matrix[r, r]) ** -2)
    mean = np.maximum(np.array(means), 1e-3)
    turns = [scaling.basis[f] @ np.linalg.inv(one.matrix) for f, one in enumerate(axes)]
    by_row = _elasticities(model, fits, total, log_phi, contrasts, pick, _around(mean, model.structure, turns))
    elasticity = by_row.max(axis=0)
    order = np.argsort(-elasticity, kind="stable")
    chosen = [int(k) for k in order if elasticity[k] >= MIN_ELASTICITY][:3] or [int(order[0])]
    chosen.sort()
    nodes = GRIDS[len(chosen)][::-1]
    mesh = np.stack([m.ravel() for m in np.meshgrid(*[nodes] * len(chosen), indexing="ij")], axis=1)
    at = np.tile(mean, (len(mesh), 1))
    at[:, chosen] = mesh
    nearest = np.argmin(np.sum((np.log(mesh) - np.log(np.maximum(mean[chosen], nodes[-1]))) ** 2, axis=1))
    return VarianceGrid(
        names=tuple(names[k] for k in chosen),
        theta=_engine_theta(at, model.structure, turns),
        variance=mesh,
        shape=(len(nodes),) * len(chosen),
        unit=np.array([units[k] for k in chosen]),
        elasticity={name: float(e) for name, e in zip(names, elasticity, strict=True)},
        idle=_idle(by_row[:, chosen], contrasts),
        centre=int(nearest),
    )


@dataclass(frozen=True)
class _Axes:
    """Directions in which the effects of a block are taken to be independent.

    Attributes
    ----------
    matrix
        ``(k, k)`` takes the effects of the caller's columns to those along the axes, of unit root mean square.
    turned
        ``(k,)`` 0 for an axis that is a column with those before it taken off; else 1, 2, ... in its term.
    """

    matrix: FloatArray
    turned: IntArray


def _axes(block: Block, weight: FloatArray, Lambda: FloatArray) -> _Axes:
    """The centred columns; several beside an intercept are turned to the axes of their mean covariance over genes.

    The columns of a spline have no meaning one by one, and their effects are correlated in all genes. Taken to be
    independent, they make a joint test of them liberal.
    """
    matrix = centred_basis(block, weight)
    turned = np.zeros(len(matrix), dtype=np.int64)
    known = np.isfinite(Lambda).all(axis=(1, 2))
    scaled = matrix @ Lambda[known]
    size = np.sum(scaled**2, axis=(1, 2))
    scaled = scaled * np.sqrt(np.minimum(1.0, WINSOR / np.maximum(size, WINSOR)))[:, None, None]
    covariance = np.mean(scaled @ scaled.swapaxes(1, 2), axis=0) if len(scaled) else np.eye(len(matrix))
    first = 0
    for columns in block.terms:
        constant = int(np.ptp(block.Z[:, first]) == 0.0)
        own = slice(first + constant, first + columns)
        if columns - constant > 1:
            _, vectors = np.linalg.eigh(covariance[own, own])
            matrix[own] = vectors.T[::-1] @ matrix[own]
            turned[own] = 1 + np.arange(columns - constant)
        first += columns
    return _Axes(matrix, turned)


def _elasticities(
    model: GeneModel,
    fits: GeneFits,
    total: FloatArray,
    log_phi: FloatArray,
    contrasts: Sequence[FloatArray],
    pick: Callable[[IntArray], GeneStats],
    grid: FloatArray,
) -> FloatArray:
    """``(n_rows of all contrasts, n_variances)`` elasticities, median over genes of all abundances."""
    usable = np.flatnonzero((fits.status == 0) & np.isfinite(fits.beta).all(axis=1))
    n_variances = len(grid) - 1
    if len(usable) == 0 or n_variances == 1:
        return np.ones((sum(len(L) for L in contrasts), n_variances))
    ranked = usable[np.argsort(total[usable], kind="stable")]
    probes = ranked[np.unique(np.linspace(0, len(ranked) - 1, _N_PROBES).astype(np.int64))]
    rows = [row[None, :] for L in contrasts for row in L]
    profiles = profile_genes(
        model.structure,
        model.nodes,
        pick(probes),
        model.family,
        log_dispersion=log_phi[probes],
        beta=fits.beta[probes],
        grid=grid,
        contrasts=rows,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log(profiles.var[:, :, 1:] / profiles.var[:, :, :1]) / _LOG_STEP
    change = change[profiles.ok]
    return np.nanmedian(change, axis=0) if len(change) else np.ones((len(rows), n_variances))


def _around(mean: FloatArray, structure: Structure, turns: Sequence[FloatArray]) -> FloatArray:
    """``(1 + n_variances, n_theta)``: the engine's theta at `mean`, then with each variance a step larger."""
    at = np.tile(mean, (1 + len(mean), 1))
    at[1 + np.arange(len(mean)), np.arange(len(mean))] *= np.exp(_LOG_STEP)
    return _engine_theta(at, structure, turns)


def _engine_theta(variance: FloatArray, structure: Structure, turns: Sequence[FloatArray]) -> FloatArray:
    """``(n, n_theta)``: the engine's theta of independent effects along the axes.

    `variance` is ``(n, n_variances)`` in the order of theta's diagonal; `turns` are orthogonal within terms and take
    effects along the axes to those of the arrow's columns.
    """
    arrow = structure.arrow
    out = np.empty((len(variance), len(arrow.theta_fac)))
    owner = arrow.theta_fac[arrow.theta_row == arrow.theta_col]
    for f, turn in enumerate(turns):
        mine = arrow.theta_fac == f
        own = variance[:, owner == f]
        diagonal = not np.any(turn[~np.eye(len(turn), dtype=bool)])
        lam = (
            np.sqrt(own)[:, :, None] * np.eye(len(turn))
            if diagonal
            else np.linalg.cholesky((turn * own[:, None, :]) @ turn.T)
        )
        out[:, mine] = lam[:, arrow.theta_row[mine], arrow.theta_col[mine]]
    return out


def _idle(by_row: FloatArray, contrasts: Sequence[FloatArray]) -> tuple[bool, ...]:
    """Whether the chosen variances matter for no row of a contrast."""
    owner = np.repeat(np.arange(len(contrasts)), [len(L) for L in contrasts])
    return tuple(bool((by_row[owner == i] < MIN_ELASTICITY).all()) for i in range(len(contrasts)))
