"""Check the Gaussian engine against dense algebra, numerical derivatives, and other forms of the same model."""

from __future__ import annotations

import numpy as np
import pytest

from sc_glmm._engine.arrow.layout import Block
from sc_glmm._engine.gaussian.evaluate import conditional_blocks, evaluate, new_work
from sc_glmm._engine.gaussian.fit import fit_lmm, minimise
from sc_glmm._engine.gaussian.problem import build_problem

N = 90
KINDS = ("one", "slope", "nested", "crossed", "nested and crossed", "border slopes", "three deep")


def design(kind):
    rng = np.random.default_rng(11)
    sample = np.r_[np.arange(12), rng.integers(0, 12, N - 12)].astype(np.int64)
    donor, site = sample // 3, sample // 6
    batch = np.r_[np.arange(5), rng.integers(0, 5, N - 5)].astype(np.int64)
    plate = np.r_[np.arange(4), rng.integers(0, 4, N - 4)].astype(np.int64)
    x, one = 3.0 * rng.normal(size=N), np.ones((N, 1))
    both = np.column_stack([np.ones(N), x])
    X = np.column_stack([np.ones(N), x, rng.normal(size=N) + 50.0])
    blocks = {
        "one": (Block(sample, 12, one, (1,)),),
        "slope": (Block(sample, 12, both, (2,)),),
        "nested": (Block(donor, 4, one, (1,)), Block(sample, 12, both, (1, 1))),
        "crossed": (Block(sample, 12, both, (2,)), Block(batch, 5, one, (1,))),
        "nested and crossed": (
            Block(sample, 12, both, (2,)),
            Block(donor, 4, both, (1, 1)),
            Block(batch, 5, both, (2,)),
            Block(plate, 4, one, (1,)),
        ),
        "border slopes": (Block(batch, 5, both, (2,)), Block(sample, 12, one, (1,)), Block(plate, 4, both, (2,))),
        "three deep": (Block(site, 2, both, (2,)), Block(donor, 4, one, (1,)), Block(sample, 12, both, (2,))),
    }[kind]
    y = 300.0 + X @ [1.0, 2.0, 0.1] + rng.normal(size=12)[sample] + rng.normal(size=5)[batch] * x + rng.normal(size=N)
    return X, blocks, y, rng.uniform(0.5, 2.0, N)


def lambdas(problem, theta):
    """Compute Lambda of each block from theta in the user's units."""
    out = [None] * len(problem.scaling.order)
    for f, block in enumerate(problem.scaling.order):
        k, mine = int(problem.arrow.fac_k[f]), problem.arrow.theta_fac == f
        lam = np.zeros((k, k))
        lam[problem.arrow.theta_row[mine], problem.arrow.theta_col[mine]] = theta[mine]
        out[block] = lam
    return out


def dense_Z(blocks, lams):
    parts = []
    for b, lam in zip(blocks, lams, strict=True):
        k = b.Z.shape[1]
        Z = np.zeros((N, b.n_levels * k))
        for i in range(N):
            Z[i, b.codes[i] * k : (b.codes[i] + 1) * k] = b.Z[i] @ lam
        parts.append(Z)
    return np.hstack(parts)


def dense_criterion(X, blocks, y, w, lams, reml):
    ZL = dense_Z(blocks, lams)
    V = np.diag(1.0 / w) + ZL @ ZL.T
    Vi = np.linalg.inv(V)
    XVX = X.T @ Vi @ X
    beta = np.linalg.solve(XVX, X.T @ Vi @ y)
    r2 = (y - X @ beta) @ Vi @ (y - X @ beta)
    m = N - X.shape[1] if reml else N
    value = np.linalg.slogdet(V)[1] + m * (1.0 + np.log(2.0 * np.pi * r2 / m))
    return value + (np.linalg.slogdet(XVX)[1] if reml else 0.0), beta, np.linalg.inv(XVX)


def problem_and_theta(kind):
    X, blocks, y, w = design(kind)
    problem = build_problem(X, blocks, np.arange(N), y, w)
    theta = 0.5 * np.random.default_rng(2).normal(size=problem.n_theta)
    return X, blocks, y, w, problem, theta


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_criterion_beta_and_covariance_are_those_of_dense_algebra(kind, reml):
    X, blocks, y, w, problem, theta = problem_and_theta(kind)
    point = evaluate(problem, problem.scale_theta(theta), reml, new_work(problem))
    value, beta, vcov = dense_criterion(X, blocks, y, w, lambdas(problem, theta), reml)
    assert 2.0 * point.value == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(point.beta, beta, rtol=1e-9)
    np.testing.assert_allclose(point.vcov, vcov, rtol=1e-7)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_value(kind, reml):
    *_, problem, theta = problem_and_theta(kind)
    work, start = new_work(problem), problem.scale_theta(theta)
    point = evaluate(problem, start, reml, work)

    def at(t, h):
        moved = start.copy()
        moved[t] += h
        return evaluate(problem, moved, reml, work)

    h = 1e-3
    for t in range(len(start)):
        near, far = (at(t, h), at(t, -h)), (at(t, 2 * h), at(t, -2 * h))
        slopes = [
            (8 * (f(near[0]) - f(near[1])) - (f(far[0]) - f(far[1]))) / (12 * h)
            for f in (lambda p: p.value, lambda p: p.r2)
        ]
        assert point.grad[t] == pytest.approx(slopes[0], abs=1e-6 * (1.0 + np.abs(point.grad).max()))
        assert point.grad_r2[t] == pytest.approx(slopes[1], abs=1e-6 * (1.0 + np.abs(point.grad_r2).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_conditional_blocks_are_those_of_the_dense_inverse(kind):
    _, blocks, _, w, problem, theta = problem_and_theta(kind)
    found = conditional_blocks(problem, problem.scale_theta(theta), new_work(problem))
    ZL = dense_Z(blocks, lambdas(problem, theta))
    inverse = np.linalg.inv(ZL.T @ (w[:, None] * ZL) + np.eye(ZL.shape[1]))
    first = np.cumsum([0, *(b.n_levels * b.Z.shape[1] for b in blocks)])
    for f, block in enumerate(problem.scaling.order):
        k = blocks[block].Z.shape[1]
        for lv in range(blocks[block].n_levels):
            own = slice(first[block] + lv * k, first[block] + (lv + 1) * k)
            np.testing.assert_allclose(found[f][lv], inverse[own, own], atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_modes_solve_the_dense_equations(kind):
    X, blocks, y, w, problem, theta = problem_and_theta(kind)
    lams = lambdas(problem, theta)
    point = evaluate(problem, problem.scale_theta(theta), True, new_work(problem))
    ZL = dense_Z(blocks, lams)
    J = np.hstack([ZL, X])
    P = np.diag(np.r_[np.ones(ZL.shape[1]), np.zeros(X.shape[1])])
    v = np.linalg.solve(J.T @ (w[:, None] * J) + P, J.T @ (w * y))
    first = np.cumsum([0, *(b.n_levels * b.Z.shape[1] for b in blocks)])
    for f, block in enumerate(problem.scaling.order):
        mine = point.v[problem.arrow.fac_u[f] : problem.arrow.fac_u[f + 1]]
        np.testing.assert_allclose(mine, v[first[block] : first[block + 1]], atol=1e-8)


def test_rows_for_several_observations_give_the_same_fit():
    X, blocks, y, _ = design("nested and crossed")
    row_of = np.repeat(np.arange(N), 3)
    rng = np.random.default_rng(4)
    many = y[row_of] + rng.normal(size=3 * N)
    few = build_problem(X, blocks, row_of, many, None)
    long = tuple(Block(b.codes[row_of], b.n_levels, b.Z[row_of], b.terms) for b in blocks)
    all_rows = build_problem(X[row_of], long, np.arange(3 * N), many, None)
    theta = np.full(few.n_theta, 0.3)
    a, b = (evaluate(p, p.scale_theta(theta), True, new_work(p)) for p in (few, all_rows))
    assert a.value == pytest.approx(b.value, abs=1e-9)
    np.testing.assert_allclose(a.beta, b.beta, rtol=1e-10)


def test_optimum_does_not_depend_on_the_start():
    *_, problem, _ = problem_and_theta("nested and crossed")
    one = fit_lmm(problem, reml=True)
    two = fit_lmm(problem, reml=True, start=np.abs(one.theta) * 0.2 + 0.05)
    assert one.converged and two.converged
    assert one.point.value == pytest.approx(two.point.value, abs=1e-9)
    assert np.abs(one.point.grad).max() < 1e-5


def test_large_mean_keeps_all_digits():
    X, blocks, y, w = design("slope")
    small, large = (build_problem(X, blocks, np.arange(N), y + shift, w) for shift in (0.0, 1e7))
    theta = np.full(small.n_theta, 0.4)
    a, b = (evaluate(p, theta, True, new_work(p)).value for p in (small, large))
    assert a == pytest.approx(b, abs=1e-6)


def test_minimise_finds_the_minimum_of_any_smooth_function():
    def objective(x, grad):
        grad[:] = [4 * x[0] * (x[0] ** 2 - x[1]) + 2 * (x[0] - 1), -2 * (x[0] ** 2 - x[1])]
        return (x[0] ** 2 - x[1]) ** 2 + (x[0] - 1) ** 2

    found = minimise(
        objective,
        np.array([-1.2, 1.0]),
        cap=np.ones(2),
        metric=np.full(2, 0.1),
        zero_ok=np.zeros(2, dtype=bool),
        snap_below=0.0,
    )
    assert found.converged
    np.testing.assert_allclose(found.psi, 1.0, atol=1e-6)


def test_no_summary_without_a_finite_value():
    found = minimise(
        lambda x, grad: None,
        np.zeros(1),
        cap=np.ones(1),
        metric=np.ones(1),
        zero_ok=np.zeros(1, dtype=bool),
        snap_below=0.0,
    )
    assert found is None


def test_a_covariate_far_from_zero_does_not_trap_the_variances_at_zero():
    """Check independent intercepts and slopes of a year: large variances cancel; a local optimum has zero variances."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 14).astype(np.int64)
    x = rng.normal(size=140) + 100.0
    y = 3.0 + x + 10.0 * rng.normal(size=10)[group] * (x - 100.0) + rng.normal(size=140)
    Z = np.column_stack([np.ones(140), x])
    problem = build_problem(Z, (Block(group, 10, Z, (1, 1)),), np.arange(140), y, None)
    far = fit_lmm(problem, reml=True, start=np.array([1000.0, 1000.0]))
    found = fit_lmm(problem, reml=True)
    assert found.converged
    assert found.point.value <= far.point.value + 1e-6


def test_correlated_slopes_do_not_depend_on_the_zero():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(12), 10).astype(np.int64)
    x = rng.normal(size=120)
    y = x + rng.normal(size=12)[group] + rng.normal(size=12)[group] * x + rng.normal(size=120)
    values = []
    for shift in (0.0, 1000.0):
        Z = np.column_stack([np.ones(120), x + shift])
        problem = build_problem(Z, (Block(group, 12, Z, (2,)),), np.arange(120), y, None)
        found = fit_lmm(problem, reml=False)
        assert found.converged
        values.append(found.point.value)
        # the map to the engine's columns and back
        theta = problem.unscale_theta(found.theta)
        np.testing.assert_allclose(problem.scale_theta(theta), found.theta, rtol=1e-9)
    assert values[0] == pytest.approx(values[1], abs=1e-7)
