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

# Nodes of the variances of the random effects (for columns of Z whose root mean square is one), by the number of
# variances on the grid. The smallest node represents zero.
GRIDS = {
    1: np.array([1e-6, 1e-3, 3e-3, 8e-3, 0.02, 0.04, 0.07, 0.11, 0.17, 0.26, 0.4, 0.6, 1.0, 1.8, 4.0]),
    2: np.array([1e-6, 8e-3, 0.04, 0.14, 0.45, 1.8]),
    3: np.array([1e-6, 0.015, 0.07, 0.3, 1.5]),
}
# A variance matters if the variance of a contrast has at least this elasticity with respect to it.
MIN_ELASTICITY = 0.05
# In averages, larger variances are replaced by this one.
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
        for a term with two or more columns besides the intercept (:func:`_axes`).
    place
        Block and column of Z of each of them. A direction has the place of one of the columns that it turns.
    theta
        ``(n_grid, n_theta)`` covariance parameters of the engine at each node, largest variances first.
    variance
        ``(n_grid, n_chosen)`` variances at each node, for columns whose root mean square is one. Each column of a term
        is projected off the columns before it, so that a covariate is centred. The meaning of independent effects then
        does not depend on the zero of a covariate.
    shape
        Number of nodes of each variance.
    unit
        ``(n_chosen,)`` factor that converts a variance to columns that are centred but not scaled.
    elasticity
        Name of every variance -> largest elasticity of the variance of a contrast with respect to it.
    idle
        Per contrast, whether none of these variances matters for it.
    centre
        The node nearest to the population means.
    """

    names: tuple[str, ...]
    place: tuple[tuple[int, int], ...]
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

    The other variances are fixed at their population means. A variance that matters is integrated over, never
    maximised: the likelihood of a single gene has too little information on it.

    Parameters
    ----------
    model
        The model; its statistics are not used.
    fits
        Fits of all genes.
    total, log_phi
        ``(n_genes,)`` sums of the counts, and fixed log dispersions.
    contrasts
        Contrast matrices.
    pick
        Function that returns the statistics of a few genes.
    """
    arrow, scaling = model.structure.arrow, model.structure.scaling
    diagonal = np.flatnonzero(arrow.theta_row == arrow.theta_col)
    weight = np.maximum(np.asarray(model.rows.n_cells, dtype=np.float64), 1e-3)
    axes = [_axes(model.structure.blocks[block], weight, fits.Lambda[block]) for block in scaling.order]
    names, places, means, units = [], [], [], []
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
        places.append((block, r))
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
        place=tuple(places[k] for k in chosen),
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
    """Directions along which the effects of a block count as independent.

    Attributes
    ----------
    matrix
        ``(k, k)`` transforms the effects of the columns to effects along the axes, whose root mean square is one.
    turned
        ``(k,)`` 0 for an axis that is a column, projected off the columns before it; otherwise the number of the axis
        in its term: 1, 2, ...
    """

    matrix: FloatArray
    turned: IntArray


def _axes(block: Block, weight: FloatArray, Lambda: FloatArray) -> _Axes:
    """Choose the centred columns as axes; several columns besides an intercept are rotated.

    The rotation is to the principal axes of their mean covariance over genes. A single column of a spline has no
    meaning, and the effects of these columns are correlated in all genes. If they counted as independent, a joint test
    would be liberal.
    """
    matrix = centred_basis(block, weight)
    turned = np.zeros(len(matrix), dtype=np.int64)
    fitted = np.isfinite(Lambda).all(axis=(1, 2))
    scaled = matrix @ Lambda[fitted]
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
    """Compute the ``(n_rows of all contrasts, n_variances)`` elasticities, medians over genes of all abundances."""
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
    """Compute the engine's theta at `mean`, then with each variance one step larger: ``(1 + n_variances, n_theta)``."""
    at = np.tile(mean, (1 + len(mean), 1))
    at[1 + np.arange(len(mean)), np.arange(len(mean))] *= np.exp(_LOG_STEP)
    return _engine_theta(at, structure, turns)


def _engine_theta(variance: FloatArray, structure: Structure, turns: Sequence[FloatArray]) -> FloatArray:
    """Convert variances of independent effects along the axes to the engine's theta, ``(n, n_theta)``.

    `variance` is ``(n, n_variances)`` in the order of the diagonal of theta. `turns` are orthogonal within terms, and
    transform effects along the axes to effects of the columns of the arrow.
    """
    arrow = structure.arrow
    out = np.empty((len(variance), len(arrow.theta_fac)))
    owner = arrow.theta_fac[arrow.theta_row == arrow.theta_col]
    for f, turn in enumerate(turns):
        of_factor = arrow.theta_fac == f
        own = variance[:, owner == f]
        diagonal = not np.any(turn[~np.eye(len(turn), dtype=bool)])
        lam = (
            np.sqrt(own)[:, :, None] * np.eye(len(turn))
            if diagonal
            else np.linalg.cholesky((turn * own[:, None, :]) @ turn.T)
        )
        out[:, of_factor] = lam[:, arrow.theta_row[of_factor], arrow.theta_col[of_factor]]
    return out


def _idle(by_row: FloatArray, contrasts: Sequence[FloatArray]) -> tuple[bool, ...]:
    """Check for each contrast whether none of the chosen variances matters for any of its rows."""
    owner = np.repeat(np.arange(len(contrasts)), [len(L) for L in contrasts])
    return tuple(bool((by_row[owner == i] < MIN_ELASTICITY).all()) for i in range(len(contrasts)))
