"""Check profiles over a grid of variances against a search over beta with the engine's objective."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize

from sc_glmm._engine.arrow.layout import Block
from sc_glmm._engine.genes import GeneStats, build_structure
from sc_glmm._engine.grid_profiles import profile_genes
from sc_glmm._engine.laplace.records import Nodes
from sc_glmm._families.registry import FAMILIES
from sc_glmm._fit.grid_choice import GRIDS
from tests.engine.test_objective import N_ROWS, Problem

LOG_PHI = -0.7
CONTRASTS = [np.array([[0.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])]
# close to each other: hypotheses are not fitted at nodes without posterior weight
SIZES = np.array([0.6, 0.4, 0.25])


def largest(problem, theta, basis):
    """Maximise the log likelihood over beta in the column space of `basis`, by BFGS with the exact gradient."""
    tail = [LOG_PHI] if problem.family.has_dispersion else []

    def minus(c):
        value, grad, _ = problem(np.r_[basis @ c, theta, tail])
        return value, basis.T @ grad[: problem.p]

    found = minimize(minus, np.zeros(basis.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-7})
    return -found.fun, basis @ found.x


@pytest.mark.parametrize("family", ["nb", "poisson"])
@pytest.mark.parametrize(
    ("kind", "n_agq"), [("one", 1), ("one", 7), ("slope", 1), ("nested", 1), ("crossed", 1), ("all", 1)]
)
def test_profiles_are_maxima_over_beta(family, kind, n_agq):
    problem = Problem(family, kind, reml=False, n_agq=n_agq)
    structure = build_structure(problem.X, problem.blocks, np.ones(N_ROWS))
    diagonal = structure.arrow.theta_row == structure.arrow.theta_col
    grid = SIZES[:, None] * np.where(diagonal, 1.0, 0.3)
    nothing = np.zeros(0)
    profiles = profile_genes(
        structure,
        problem.nodes,
        GeneStats(
            problem.y[None], problem.tail[None], np.zeros(2, np.int64), nothing, nothing, np.zeros((1, 4)), np.zeros(1)
        ),
        problem.family,
        log_dispersion=np.array([LOG_PHI if problem.family.has_dispersion else 0.0]),
        beta=np.zeros((1, problem.p)),
        grid=grid,
        contrasts=CONTRASTS,
        n_agq=n_agq,
    )
    assert profiles.ok.all()
    R = structure.scaling.R
    for node, theta in enumerate(grid):
        best, beta = largest(problem, theta, np.eye(problem.p))
        nulls = [largest(problem, theta, null_space(np.linalg.solve(R.T, L.T).T))[0] for L in CONTRASTS]
        delta = np.linalg.solve(R, beta)[1]
        se = np.sqrt(profiles.var[0, 0, node])
        assert profiles.ell[0, node] == pytest.approx(best, abs=1e-6)
        assert abs(profiles.delta[0, 0, node] - delta) < 1e-4 * se
        assert profiles.root[0, 0, node] == pytest.approx(np.sign(delta) * np.sqrt(2 * (best - nulls[0])), abs=1e-5)
        assert profiles.root[0, 1, node] == pytest.approx(2 * (best - nulls[1]), abs=1e-5)


@pytest.mark.parametrize("n_agq", [1, 7])
def test_predicted_starts_find_the_same_maxima(n_agq):
    """Compare searches along the grid, which start from predictions, with searches that start from the last node.

    The genes have from 0.3 to 300 counts per sample, and variances up to 2. One is nearly absent from the second group.
    """
    rng = np.random.default_rng(11)
    n_samples, cells = 16, 40
    group = np.arange(n_samples) % 2
    X = np.column_stack([np.ones(n_samples), group])
    mean = np.array([0.3, 0.3, 3.0, 3.0, 30.0, 30.0, 300.0, 300.0, 5.0]) / cells
    variance = np.array([0.05, 2.0, 0.0, 1.0, 0.1, 0.5, 0.02, 1.0, 0.2])
    log_size = np.sort(0.3 * rng.normal(size=(n_samples, cells)), axis=1)
    effect = np.sqrt(variance)[:, None] * rng.normal(size=(len(mean), n_samples))
    y = rng.poisson(mean[:, None, None] * np.exp(log_size + effect[:, :, None]) * rng.gamma(2.0, 0.5, log_size.shape))
    y[-1, group == 1] = 0
    y[:, 1, 0] += 1
    A = y.reshape(len(mean), -1).astype(float)
    n, nothing = len(mean), np.zeros(0)
    grid = np.sqrt(GRIDS[1][::-1])[:, None]

    def profiles(start_node):
        return profile_genes(
            build_structure(X, (Block(np.arange(n_samples), n_samples, np.ones((n_samples, 1)), (1,)),), np.ones(16)),
            Nodes(np.arange(0, A.shape[1] + 1, cells), np.exp(log_size.ravel()), np.ones(A.shape[1])),
            GeneStats(A, np.zeros((n, 64)), np.zeros(n + 1, np.int64), nothing, nothing, np.zeros((n, 4)), np.zeros(n)),
            FAMILIES["nb"],
            log_dispersion=np.full(n, np.log(0.5)),
            beta=np.column_stack([np.log(A.mean(axis=1)), np.zeros(n)]),
            grid=grid,
            contrasts=[np.array([[0.0, 1.0]])],
            n_agq=n_agq,
            start_node=start_node,
        )

    found, reference = profiles(8), profiles(None)
    assert found.ok.all() and reference.ok.all()
    restricted = reference.ell - 0.5 * reference.log_det
    relevant = restricted > restricted.max(axis=1, keepdims=True) - 14.0
    assert relevant.sum() > 60
    se = np.sqrt(reference.var[:, 0])
    assert np.abs(found.ell - reference.ell)[relevant].max() < 1e-5
    assert np.abs(found.log_det - reference.log_det)[relevant].max() < 3e-4
    assert (np.abs(found.delta - reference.delta)[:, 0] / se)[relevant].max() < 2e-4
    assert np.abs(found.root - reference.root)[:, 0][relevant].max() < 2e-4
    far = np.abs(reference.root[:, 0]) > 0.3
    assert np.abs(found.star - reference.star)[:, 0][relevant & far].max() < 1e-3
