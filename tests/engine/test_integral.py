"""Check quadrature with theta and phi held against the objective, and its information against numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from sc_glmm._engine import entry
from sc_glmm._engine.arrow.layout import Block, build_arrow
from sc_glmm._engine.fit import gauss_hermite
from sc_glmm._engine.laplace.gradient import curvature_at_mode
from sc_glmm._engine.laplace.integral import integrate
from sc_glmm._engine.laplace.mode import predict, set_theta
from sc_glmm._engine.laplace.records import Gene, Likelihood, Nodes, new_work
from sc_glmm._families.registry import FAMILIES

N_GROUPS, THETA, LOG_PHI = 20, 0.9, -0.7


@njit(error_model="numpy")
def run(code, ar, nd, ge, phi, gh, psi, v, grad, info):
    wk = new_work(ar, psi.shape[0], gh.shape[1])
    set_theta(ar, psi, ar.p, wk)
    predict(ar, wk.J, v, wk.eta)
    curvature_at_mode(code, ar, nd, ge, phi, ar.p, v, wk)
    value, ok = integrate(code, ar, nd, ge, phi, gh, v, wk, grad)
    info[:] = wk.info
    return value, ok


class Gene1:
    """A sparse gene: groups of equal size, most of them with few counts."""

    def __init__(self, family, rows_each):
        rng = np.random.default_rng(3)
        n = N_GROUPS * rows_each
        self.family = FAMILIES[family]
        X = np.column_stack([np.ones(n), rng.normal(size=n)])
        codes = np.repeat(np.arange(N_GROUPS), rows_each)
        self.arrow, _ = build_arrow(X, (Block(codes, N_GROUPS, np.ones((n, 1)), (1,)),), np.ones(n))
        y = rng.poisson(0.8 / rows_each * np.exp(THETA * rng.normal(size=N_GROUPS)[codes])).astype(float)
        self.nodes = Nodes(np.arange(n + 1, dtype=np.int64), np.ones(n), np.ones(n))
        tail = np.array([(y > j).sum() for j in range(64)], dtype=float)
        self.gene = Gene(y, y, tail, np.zeros(0), np.zeros(0))
        self.phi = np.exp(LOG_PHI) if self.family.has_dispersion else 1.0

    def psi(self, beta):
        return np.r_[beta, THETA, [LOG_PHI] if self.family.has_dispersion else []]

    def objective(self, beta, n_agq):
        psi, v = self.psi(beta), np.zeros(self.arrow.q + self.arrow.p)
        grad, like = np.zeros(len(psi)), Likelihood(self.family.code, self.family.has_dispersion, False)
        value, ok = entry.evaluate(like, self.arrow, self.nodes, self.gene, gauss_hermite(n_agq), psi, v, grad)
        assert ok
        return -value, -grad[: self.arrow.p], v

    def integral(self, beta, n_agq):
        _, _, v = self.objective(beta, n_agq)
        grad, info = np.zeros(self.arrow.p), np.zeros((self.arrow.p, self.arrow.p))
        at = (self.phi, gauss_hermite(n_agq), self.psi(beta), v, grad, info)
        value, ok = run(self.family.code, self.arrow, self.nodes, self.gene, *at)
        assert ok
        return value, grad, info


@pytest.mark.parametrize("family", ["nb", "poisson"])
@pytest.mark.parametrize("rows_each", [1, 3])
def test_value_gradient_and_information(family, rows_each):
    gene, beta, step = Gene1(family, rows_each), np.array([-1.5, 0.4]), 1e-4
    # the objective also has the term of the dispersion, which does not depend on beta
    value, grad, _ = gene.objective(beta, 7)
    other, _, _ = gene.objective(beta + 0.3, 7)
    found = gene.integral(beta, 7)
    assert found[0] - gene.integral(beta + 0.3, 7)[0] == pytest.approx(value - other, abs=1e-9)
    assert found[1] == pytest.approx(grad, abs=1e-8)
    # with many nodes the sums are integrals
    many = 35
    for j in range(2):
        move = step * np.eye(2)[j]
        slope = (gene.objective(beta - move, many)[1] - gene.objective(beta + move, many)[1]) / (2 * step)
        assert gene.integral(beta, many)[2][j] == pytest.approx(slope, rel=1e-5, abs=1e-5)
    # with seven nodes, the information is accurate enough for a Newton step
    assert found[2] == pytest.approx(gene.integral(beta, many)[2], rel=0.02)
