"""Check the outer optimiser alone and in the engine: boundaries, saddle points, the Poisson limit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from sc_glmm._engine import optimize as o
from sc_glmm._engine.digest import kernel_digest
from sc_glmm._engine.entry import KERNEL_DIGEST


@pytest.fixture
def python_kernels(monkeypatch):
    """Replace the kernels of the optimiser by Python functions, because Python cannot call compiled kernels."""
    for name, thing in (*vars(o).items(),):
        if hasattr(thing, "py_func"):
            monkeypatch.setattr(o, name, thing.py_func)
    return o


def minimise(opt_module, function, gradient, start, *, bounds=None, zero_ok=(), full=False, limit=3000):
    n = len(start)
    opt = opt_module.new_opt(n, 0)
    opt.psi[:] = start
    opt.B[:] = 0.1 * np.eye(n)
    opt.zero_ok[list(zero_ok)] = 1
    low, high = bounds or (0.0, 0.0)
    opt_module.begin(opt, low, high, 1e-3, bounds is not None, full)
    for _ in range(limit):
        opt.trial_grad[:] = gradient(opt.trial)
        opt_module.tell(opt, function(opt.trial), True, np.zeros(0), np.zeros(0))
        if opt.ctl[o.PHASE] == o.DONE:
            return opt
    raise AssertionError("the optimiser did not stop")


def test_finds_the_end_of_a_curved_valley(python_kernels):
    opt = minimise(python_kernels, rosen, rosen_der, np.array([-1.2, 1.0, 0.3]))
    np.testing.assert_allclose(opt.psi, 1.0, atol=1e-5)
    assert opt.val[o.DEC] < o.ACCEPTED
    assert opt.ctl[o.DEFINITE] == 1


def test_leaves_a_saddle(python_kernels):
    """Check that the search leaves the saddle point of (x^2 - 1)^2 + y^2 at zero, where the gradient is nearly zero."""

    def f(z):
        return (z[0] ** 2 - 1) ** 2 + z[1] ** 2

    def g(z):
        return np.array([4 * z[0] * (z[0] ** 2 - 1), 2 * z[1]])

    opt = minimise(python_kernels, f, g, np.array([1e-4, 0.0]))
    assert abs(opt.psi[0]) == pytest.approx(1.0, abs=1e-6)


def test_vanishing_parameter_becomes_zero_only_if_not_worse(python_kernels):
    def f(z):
        return (z[0] - 5e-4) ** 2 * 1e-3 + (z[1] - 5e-4) ** 2 * 1e4

    def g(z):
        return np.array([2e-3 * (z[0] - 5e-4), 2e4 * (z[1] - 5e-4)])

    opt = minimise(python_kernels, f, g, np.array([0.3, 0.2]), zero_ok=(0, 1))
    assert opt.psi[0] == 0.0
    assert opt.psi[1] == pytest.approx(5e-4, rel=1e-4)


def test_search_respects_the_bound_and_reaches_it_if_flat(python_kernels):
    def f(z):
        return z[0] ** 2 + np.exp(z[1])

    def g(z):
        return np.array([2 * z[0], np.exp(z[1])])

    opt = minimise(python_kernels, f, g, np.array([1.0, 1.0]), bounds=(-18.0, 7.0))
    assert opt.psi[1] == -18.0
    opt = minimise(python_kernels, lambda z: z[0] ** 2 - z[1], lambda z: np.array([2 * z[0], -1.0]), np.array([1.0,
    1.0]),
                   bounds=(-18.0, 7.0))  # fmt: skip
    assert opt.psi[1] == 7.0
    assert opt.val[o.DEC] < o.ACCEPTED


def test_final_hessian_is_the_hessian(python_kernels):
    C = np.array([[3.0, 1.0], [1.0, 2.0]])
    opt = minimise(python_kernels, lambda z: 0.5 * z @ C @ z, lambda z: C @ z, np.array([2.0, -1.0]), full=True)
    np.testing.assert_allclose(opt.H, C, rtol=1e-8)


def test_the_digest_of_the_kernels_is_up_to_date():
    assert kernel_digest() == KERNEL_DIGEST, "run: python -m sc_glmm._engine.digest"
