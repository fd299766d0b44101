"""Check profiles over a grid of variances against a search over beta with the engine's objective."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize

from sc_glmm._engine.genes import GeneStats, build_structure
from sc_glmm._engine.grid_profiles import profile_genes
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
