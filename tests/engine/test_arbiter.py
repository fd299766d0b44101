"""Fit random models to random data: the result is an optimum that the arbiter cannot improve, or a package error."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings

from sc_glmm._errors import ScGlmmError
from sc_glmm._families.registry import FAMILIES
from tests import oracle, oracle_fit
from tests.frame_fit import fit_frame
from tests.oracle import Family, Method
from tests.reference.grammar import COUNTS, FIXED, RANDOM, Problem, arbiter, make_data, separated

# Largest gain of the arbiter, with log phi in the range of the package.
LOCAL_GAIN = 1e-6
LOG_PHI = FAMILIES["nb"].log_dispersion_bounds


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    data = make_data(
        seed=draw(st.integers(0, 10_000)),
        n_groups=draw(st.integers(2, 7)),
        per_group=draw(st.integers(2, 9)),
        n_f=draw(st.integers(2, 3)),
        counts=draw(st.sampled_from(COUNTS)),
        x_kind=draw(st.sampled_from(("cell", "group", "binary", "far"))),
    )
    fixed, random = draw(st.sampled_from(FIXED)), draw(st.sampled_from(RANDOM))
    offset = draw(st.booleans())
    family: Family = draw(st.sampled_from(("poisson", "nb")))
    method: Method = draw(st.sampled_from(("ml", "reml")))
    scalar = random in ("(1 | g)", "(0 + x | g)", "(1 | g:k)")
    n_agq = draw(st.sampled_from((1, 7))) if scalar and method == "ml" else 1
    if not offset:
        data = data.assign(o=0.0)
    formula = f"y ~ {fixed} + {'offset(o) + ' if offset else ''}{random}"
    return Problem(formula, data, fixed, random, family, method, n_agq)


def check(problem: Problem) -> str:
    """Fit and compare with the arbiter; return the outcome as a word."""
    try:
        fit = fit_frame(
            problem.formula, problem.data, family=problem.family, method=problem.method, n_agq=problem.n_agq
        )
    except ScGlmmError as error:
        assert str(error)
        return type(error).__name__
    assert np.isfinite(fit.loglik)
    assert np.isfinite(fit.beta).all()
    if separated(problem):
        # the likelihood increases without limit (ML), or the integral over beta has no mode (REML): there is no optimum
        return "separated"
    if not fit.converged:
        assert ", not converged" in repr(fit.model)
        return "not converged"
    model, psi = arbiter(problem, fit)
    ours = oracle.objective(model, psi, problem.method, problem.n_agq)
    assert fit.loglik == pytest.approx(ours, abs=1e-6 + 1e-10 * abs(ours))
    best = oracle_fit.fit(
        model, problem.method, problem.n_agq, start=[psi], log_phi_range=LOG_PHI, beta_range=1e3, maxiter=40
    )
    assert best.value <= ours + LOCAL_GAIN, f"the arbiter gains {best.value - ours:.3g}: {best.psi} from {psi}"
    return "singular" if fit.singular else "ok"


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(problems())
def test_no_optimiser_improves_the_fit(problem: Problem) -> None:
    """Check that the outcome is a fit or a package error; fits with a note about convergence are allowed, see below."""
    event(check(problem))


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("method", ["ml", "reml"])
def test_ordinary_problems_converge(random: str, method: Method) -> None:
    """Check eight groups of eight with usual values: every fit converges to the best optimum of the arbiter."""
    cases: tuple[tuple[int, Family], ...] = ((1, "poisson"), (2, "nb"), (3, "gaussian"))
    for seed, family in cases:
        data = make_data(seed, 8, 8, 2, "usual", "cell")
        if family == "gaussian":
            data["y"] = np.log1p(data["y"]) + 0.3 * np.random.default_rng(seed).normal(size=len(data))
        problem = Problem(f"y ~ x + f + offset(o) + {random}", data, "x + f", random, family, method, 1)
        fit = fit_frame(problem.formula, data, family=family, method=method)
        assert fit.converged
        model, psi = arbiter(problem, fit)
        bounds = FAMILIES[family].log_dispersion_bounds
        best = oracle_fit.fit(model, method, log_phi_range=bounds, start=[psi, oracle_fit.starts(model, method)[0]])
        assert best.value <= fit.loglik + LOCAL_GAIN
