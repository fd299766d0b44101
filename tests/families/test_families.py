"""Check every family: derivatives against numerical ones, values against independent formulas, limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit
from scipy import stats
from scipy.special import gammaln

from sc_glmm._families import binomial, nb, poisson, table
from sc_glmm._families.logs import log1p
from sc_glmm._families.registry import FAMILIES

MODULES = {"poisson": poisson, "nb": nb, "binomial": binomial}
EC = np.exp(np.array([-1.3, 0.2, 0.9]))
WEIGHT = np.array([2.0, 5.0, 1.0])
A = np.array([3.0, 8.0, 0.0])


@pytest.fixture(autouse=True)
def python_kernels(monkeypatch):
    """Replace the kernels by Python functions, because Python cannot call compiled kernels without wrappers."""
    for module in [*MODULES.values(), table]:
        for name, thing in vars(module).items():
            if hasattr(thing, "py_func"):
                monkeypatch.setattr(module, name, thing.py_func)
    monkeypatch.setattr(nb, "log1p", math.log1p)


def value(family, eta, log_phi):
    return MODULES[family].value(eta, math.exp(log_phi), 0, 3, EC, WEIGHT, A, A.sum())


def full(family, eta, log_phi):
    out = np.zeros(nb.N_OUT)
    MODULES[family].full(eta, math.exp(log_phi), 0, 3, EC, WEIGHT, A, A.sum(), out)
    return out


def slope(function, at, h=1e-4):
    """Compute a fourth-order central difference."""
    near, far = function(at + h) - function(at - h), function(at + 2 * h) - function(at - 2 * h)
    return (8 * near - far) / (12 * h)


@pytest.mark.parametrize("family", MODULES)
@pytest.mark.parametrize("eta", [-4.0, -0.5, 1.7])
@pytest.mark.parametrize("log_phi", [-6.0, -1.0, 0.0, 2.5])
def test_derivatives_are_those_of_the_value(family, eta, log_phi):
    out = full(family, eta, log_phi)
    scale = 1e-7 * (1.0 + np.abs(out).max())
    assert out[0] == pytest.approx(value(family, eta, log_phi), rel=1e-13)
    for k in range(3):
        numerical = slope(lambda e, k=k: full(family, e, log_phi)[k], eta)
        assert out[k + 1] == pytest.approx(numerical, abs=scale)
    if FAMILIES[family].has_dispersion:
        for k in range(3):
            numerical = slope(lambda t, k=k: full(family, eta, t)[k], log_phi)
            assert out[4 + k] == pytest.approx(numerical, abs=scale)


@pytest.mark.parametrize("family", MODULES)
def test_newton_agrees_with_full(family):
    out = full(family, 0.4, -0.7)
    d1, d2 = MODULES[family].newton(0.4, math.exp(-0.7), 0, 3, EC, WEIGHT, A, A.sum())
    assert (d1, d2) == pytest.approx((out[1], out[2]), rel=1e-13)


def counts_table(y):
    tail = np.array([(y > j).sum() for j in range(64)], dtype=float)
    large, number = np.unique(y[y > 64], return_counts=True)
    return tail, large.astype(float), number.astype(float)


@pytest.mark.parametrize("phi", [1e-8, 1e-3, 0.5, 30.0, 900.0])
def test_nb_is_scipys_negative_binomial(phi):
    y = np.array([0, 1, 1, 2, 5, 63, 64, 65, 66, 120, 120, 2950])
    offset, eta = np.linspace(-1, 1, len(y)), 1.5
    mu = np.exp(offset + eta)
    tail, over_value, over_count = counts_table(y)
    rows = sum(
        nb.value(eta, phi, 0, 1, np.exp(offset[i : i + 1]), np.ones(1), y[i : i + 1].astype(float), float(y[i]))
        for i in range(len(y))
    )
    term, _ = nb.gene_term(phi, tail, over_value, over_count)
    const = np.sum(y * offset - gammaln(y + 1))
    # scipy's pmf loses digits for large 1 / phi; the sum over j is the same without differences of gamma functions
    exact = np.sum(
        [np.sum(np.log1p(np.arange(n) * phi)) for n in y]
        + y * np.log(mu)
        - (y + 1 / phi) * np.log1p(phi * mu)
        - gammaln(y + 1)
    )
    assert rows + term + const == pytest.approx(exact, rel=1e-12)
    if phi >= 0.5:
        r = 1 / phi
        assert rows + term + const == pytest.approx(stats.nbinom.logpmf(y, r, r / (r + mu)).sum(), rel=1e-9)


@pytest.mark.parametrize("phi", [1e-8, 1e-4, 0.3, 40.0])
def test_gene_term_of_nb_has_the_right_derivative(phi):
    tail, over_value, over_count = counts_table(np.array([1, 2, 3, 70, 500, 500, 2950]))

    def term(t):
        return nb.gene_term(math.exp(t), tail, over_value, over_count)[0]

    _, derivative = nb.gene_term(phi, tail, over_value, over_count)
    assert derivative == pytest.approx(slope(term, math.log(phi), 1e-3), rel=1e-6)


def test_nb_becomes_poisson():
    phi = 1e-8
    a, b = full("nb", 0.3, math.log(phi)), full("poisson", 0.3, 0.0)
    np.testing.assert_allclose(a[1:4], b[1:4], rtol=1e-6)


def test_binomial_is_scipys_binomial():
    n, y, offset, eta = np.array([2.0, 5.0, 9.0]), np.array([1.0, 5.0, 0.0]), np.array([-1.0, 0.0, 0.4]), 0.7
    row = binomial.value(eta, 1.0, 0, 3, np.exp(offset), n, y, y.sum())
    const = np.sum(gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1) + y * offset)
    share = 1.0 / (1.0 + np.exp(-(eta + offset)))
    assert row + const == pytest.approx(stats.binom.logpmf(y, n, share).sum(), rel=1e-12)


@pytest.mark.parametrize("family", ["nb", "poisson"])
@pytest.mark.parametrize("phi", [1e-6, 0.4, 20.0])
def test_derivatives_at_many_predictors(family, phi):
    eta = np.linspace(-6.0, 4.0, 9)
    found = [np.zeros(9) for _ in range(4)]
    MODULES[family].derivatives(9, np.exp(eta), phi, 0, 3, EC, WEIGHT, A, A.sum(), *found)
    for i, at in enumerate(eta):
        out = full(family, at, math.log(phi))
        assert [f[i] for f in found[:3]] == pytest.approx(out[1:4], rel=1e-12, abs=1e-12)
        numerical = slope(lambda e: full(family, e, math.log(phi))[3], at)
        assert found[3][i] == pytest.approx(numerical, abs=1e-7 * (1.0 + np.abs(out).max()))


@pytest.mark.parametrize("family", ["nb", "poisson"])
@pytest.mark.parametrize("phi", [1e-6, 0.4, 20.0])
def test_table_of_a_row(family, phi):
    """Check value and derivatives from the table, whose values at the knots are integrals of the derivative."""
    first, n = -5.0, 16
    knots = [np.zeros(n + 1) for _ in range(4)]
    at = np.exp(first + table.STEP * np.arange(n + 1))
    MODULES[family].derivatives(n + 1, at, phi, 0, 3, EC, WEIGHT, A, A.sum(), *knots)
    coef, value_here = np.zeros(8 * n), value(family, first, math.log(phi))
    for i in range(n):
        rise = table.integral(i, *knots)
        table.coefficients(i, rise, value_here, *knots[:3], coef, 8 * i)
        value_here += rise
    row = (0, n, coef, first + table.STEP * np.arange(n), A, A.sum())
    # from the left of the table to the end
    eta = np.linspace(first - 0.4, first + n * table.STEP, 101)
    for e in eta:
        exact = full(family, e, math.log(phi))
        scale = 1e-8 * (A.sum() + WEIGHT.sum() * min(1 / phi, math.exp(e)))
        near = table.parabola(e, phi, *row)
        if e >= first:
            assert near == pytest.approx(exact[:3], abs=100 * scale) and near[0] == pytest.approx(exact[0], abs=scale)
        assert near[:2] == pytest.approx((table.value(e, phi, *row), table.newton(e, phi, *row)[0]), abs=1e-9)
        assert near[2] == pytest.approx(table.newton(e, phi, *row)[1], abs=1e-9)
        ptr = np.array([0, n], dtype=np.int64)
        one = [np.zeros(1) for _ in range(3)]
        table.parabolas(np.array([e]), phi, ptr, *row[2:5], np.array([A.sum()]), *one)
        assert [o[0] for o in one] == pytest.approx(near, abs=1e-9)


@njit
def logarithms(x, out):
    for i in range(len(x)):
        out[i] = log1p(x[i])


def test_logarithm():
    x = np.concatenate([[0.0], 10.0 ** np.linspace(-300, 290, 5000), np.linspace(0.0, 4.0, 5001)])
    out = np.empty(len(x))
    logarithms(x, out)
    assert out[1:] == pytest.approx(np.log1p(x[1:]), rel=1e-15, abs=0.0)
    assert out[0] == 0.0
    logarithms(np.array([np.inf, np.nan]), out[:2])
    assert np.isnan(out[:2]).all()
