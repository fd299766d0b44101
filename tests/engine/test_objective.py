"""Check the arrow, the Laplace objective and quadrature against dense algebra and numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from sc_glmm._engine import entry
from sc_glmm._engine.arrow.layout import Block, build_arrow
from sc_glmm._engine.fit import gauss_hermite
from sc_glmm._engine.laplace.records import Gene, Likelihood, Nodes
from sc_glmm._families.registry import FAMILIES

N_ROWS = 60


def structure(kind):
    """Make nested, crossed and combined designs with slopes: (X, blocks)."""
    rng = np.random.default_rng(3)
    sample = np.r_[np.arange(12), rng.integers(0, 12, N_ROWS - 12)].astype(np.int64)
    donor = sample // 3
    batch = np.r_[np.arange(4), rng.integers(0, 4, N_ROWS - 4)].astype(np.int64)
    x, ones = rng.normal(size=N_ROWS), np.ones(N_ROWS)
    X = np.column_stack([ones, rng.normal(size=N_ROWS) + 3, rng.integers(0, 2, N_ROWS)])
    blocks = {
        "one": [Block(sample, 12, ones[:, None], (1,))],
        "slope": [Block(sample, 12, np.column_stack([ones, x]), (2,))],
        "nested": [Block(donor, 4, ones[:, None], (1,)), Block(sample, 12, np.column_stack([ones, x]), (2,))],
        "crossed": [Block(sample, 12, ones[:, None], (1,)), Block(batch, 4, np.column_stack([x, ones]), (1, 1))],
        "all": [
            Block(donor, 4, ones[:, None], (1,)),
            Block(sample, 12, np.column_stack([ones, x]), (2,)),
            Block(batch, 4, np.column_stack([x, ones]), (1, 1)),
        ],
    }
    return X, blocks[kind]


class Problem:
    """One gene with two nodes per row, and its objective as a function of the parameters only."""

    def __init__(self, family, kind, reml, n_agq=1):
        rng = np.random.default_rng(5)
        self.family, self.reml = FAMILIES[family], reml
        self.X, self.blocks = structure(kind)
        self.arrow, self.scaling = build_arrow(self.X, self.blocks, np.ones(N_ROWS))
        n = 2 * N_ROWS
        self.ec, self.row = np.exp(rng.normal(size=n) * 0.5), np.repeat(np.arange(N_ROWS), 2)
        self.y = rng.poisson(3 * rng.gamma(2, 0.5, n)).astype(float)
        self.nodes = Nodes(np.arange(0, n + 1, 2).astype(np.int64), self.ec, np.ones(n))
        self.tail = np.array([(self.y > j).sum() for j in range(64)], dtype=float)
        self.gh = gauss_hermite(n_agq)
        self.p, self.q = self.arrow.p, self.arrow.q
        self.n_beta = 0 if reml else self.p
        self.n_theta = len(self.arrow.theta_fac)
        start = 0.3 * rng.normal(size=self.n_beta + self.n_theta + self.family.has_dispersion)
        if self.family.has_dispersion:
            start[-1] = -0.7
        self.start = start

    def __call__(self, psi):
        grad, v = np.zeros(len(psi)), np.zeros(self.q + self.p)
        gene = Gene(
            self.y,
            np.add.reduceat(self.y, self.nodes.ptr[:-1]),
            self.tail,
            np.zeros(0),
            np.zeros(0),
        )
        like = Likelihood(self.family.code, self.family.has_dispersion, self.reml)
        value, ok = entry.evaluate(like, self.arrow, self.nodes, gene, self.gh, np.ascontiguousarray(psi), v, grad)
        assert ok
        return value, grad, v

    def dense(self, psi, v):
        """Compute the objective from dense matrices at the engine's mode `v`, and the gradient of h there."""
        ar, theta = self.arrow, psi[self.n_beta : self.n_beta + self.n_theta]
        J = np.zeros((N_ROWS, self.q + self.p))
        for f in range(len(ar.fac_k)):
            k = ar.fac_k[f]
            lam = np.zeros((k, k))
            of_factor = ar.theta_fac == f
            lam[ar.theta_row[of_factor], ar.theta_col[of_factor]] = theta[of_factor]
            for d in range(N_ROWS):
                first = ar.fac_u[f] + ar.lev[d, f] * k
                J[d, first : first + k] = ar.XZ[d, ar.fac_z[f] : ar.fac_z[f] + k] @ lam
        J[:, self.q :] = ar.XZ[:, ar.kz :]
        phi = np.exp(psi[-1]) if self.family.has_dispersion else 1.0
        y, t = self.y, (J @ v)[self.row]
        if self.family.name == "poisson":
            mu = self.ec * np.exp(t)
            f, d1, w = y * t - mu, y - mu, mu
        else:
            x = phi * self.ec * np.exp(t)
            series = np.array([np.log1p(np.arange(int(n)) * phi).sum() for n in y])
            f = y * t - (y + 1 / phi) * np.log1p(x) + series
            d1, w = y - (y + 1 / phi) * x / (1 + x), (y + 1 / phi) * x / (1 + x) ** 2
        free = J if self.reml else J[:, : self.q]
        penalty = np.r_[np.ones(self.q), np.zeros(free.shape[1] - self.q)]
        W, D1 = np.bincount(self.row, w), np.bincount(self.row, d1)
        H = free.T @ (W[:, None] * free) + np.diag(penalty)
        h = f.sum() - 0.5 * v[: self.q] @ v[: self.q]
        value = -(h - 0.5 * np.linalg.slogdet(H)[1] + (0.5 * self.p * np.log(2 * np.pi) if self.reml else 0.0))
        return value, free.T @ D1 - penalty * v[: free.shape[1]]


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
@pytest.mark.parametrize("kind", ["one", "slope", "nested", "crossed", "all"])
@pytest.mark.parametrize("family", ["poisson", "nb"])
def test_laplace_is_that_of_dense_matrices(family, kind, reml):
    problem = Problem(family, kind, reml)
    value, _, v = problem(problem.start)
    expected, slope = problem.dense(problem.start, v)
    assert np.abs(slope).max() < 1e-5 * (1 + np.abs(problem.y).sum())  # v is the mode
    assert value == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("reml", [False, True], ids=["ml", "reml"])
@pytest.mark.parametrize("kind", ["one", "slope", "nested", "crossed", "all"])
@pytest.mark.parametrize("family", ["poisson", "nb"])
def test_gradient_is_the_derivative(family, kind, reml):
    problem = Problem(family, kind, reml)
    _, grad, _ = problem(problem.start)
    numerical = [
        (8 * (problem(problem.start + e)[0] - problem(problem.start - e)[0])
         - (problem(problem.start + 2 * e)[0] - problem(problem.start - 2 * e)[0])) / (12 * 1e-4)
        for e in 1e-4 * np.eye(len(problem.start))
    ]  # fmt: skip
    np.testing.assert_allclose(grad, numerical, rtol=1e-6, atol=1e-6 * (1 + np.abs(grad).max()))


@pytest.mark.parametrize("n_agq", [2, 7])
@pytest.mark.parametrize("family", ["poisson", "nb"])
def test_gradient_of_quadrature_counts_the_moving_nodes(family, n_agq):
    problem = Problem(family, "one", False, n_agq)
    _, grad, _ = problem(problem.start)
    numerical = [
        (problem(problem.start + e)[0] - problem(problem.start - e)[0]) / 2e-4
        for e in 1e-4 * np.eye(len(problem.start))
    ]
    np.testing.assert_allclose(grad, numerical, rtol=1e-5, atol=1e-5 * (1 + np.abs(grad).max()))


def test_quadrature_with_one_node_is_laplace_and_with_many_converges():
    values = {n: Problem("poisson", "one", False, n) for n in (1, 5, 9, 25, 41)}
    psi = values[1].start
    at = {n: problem(psi)[0] for n, problem in values.items()}
    assert at[25] == pytest.approx(at[41], abs=1e-10)
    assert abs(at[1] - at[41]) > abs(at[9] - at[41]) > 1e-9
    assert abs(at[5] - at[41]) > abs(at[9] - at[41])


def test_value_depends_on_the_parameters_only():
    problem = Problem("nb", "nested", False)
    first, grad, _ = problem(problem.start)
    problem(problem.start + 0.4)
    again, grad_again, _ = problem(problem.start)
    assert first == again
    np.testing.assert_array_equal(grad, grad_again)


def test_scaling_of_columns_changes_nothing():
    """Check that likelihood and estimates do not depend on the units of X and Z."""
    from sc_glmm._engine.fit import fit_genes
    from sc_glmm._engine.genes import GeneStats, build_structure

    X, blocks = structure("slope")
    rng = np.random.default_rng(8)
    y = rng.poisson(np.exp(0.5 + 0.4 * X[:, 2])).astype(float)
    nodes = Nodes(np.arange(N_ROWS + 1), np.ones(N_ROWS), np.ones(N_ROWS))
    tail = np.array([(y > j).sum() for j in range(64)], dtype=float)
    stats = GeneStats(
        y[None], tail[None], np.zeros(2, dtype=np.int64), np.zeros(0), np.zeros(0), np.zeros((1, 2)), np.zeros(1)
    )

    def fit(x_unit, z_unit, reml):
        scaled = [Block(b.codes, b.n_levels, b.Z * z_unit, b.terms) for b in blocks]
        result = build_structure(X * x_unit, scaled, np.ones(N_ROWS))
        return fit_genes(result, nodes, stats, FAMILIES["nb"], reml=reml, full=True)

    units, z_units = np.array([1.0, 1e3, 1e-2]), np.array([1.0, 50.0])
    for reml in (False, True):
        plain, scaled = fit(1.0, 1.0, reml), fit(units, z_units, reml)
        np.testing.assert_allclose(scaled.beta * units, plain.beta, rtol=1e-6)
        np.testing.assert_allclose(scaled.Lambda[0] * z_units[:, None], plain.Lambda[0], rtol=1e-4, atol=1e-6)
        change = np.log(units).sum() if reml else 0.0  # REML has a flat prior of beta, whose units changed
        assert scaled.loglik[0] + 0.0 == pytest.approx(plain.loglik[0] - change, abs=1e-8)
