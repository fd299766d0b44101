"""Check degrees of freedom against their definitions: n x n matrices and numerical derivatives, from the same fit."""

from __future__ import annotations

import numpy as np
import pytest

from sc_glmm._inference.ddf import combine_df, kenward_roger, satterthwaite
from sc_glmm.models import lmer
from sc_glmm.models.wald import joint_test
from tests.reference import load

MODELS = {
    "slope": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "independent": ("Reaction ~ Days + (Days || Subject)", "sleepstudy"),
    "crossed": ("angle ~ recipe + temp + (1 | replicate) + (1 | recipe:replicate)", "cake"),
}


@pytest.fixture(scope="module", params=MODELS)
def fit(request):
    formula, data = MODELS[request.param]
    frame = load.frame(data)
    return lmer(formula, frame[np.arange(len(frame)) % 5 != 0], weights=None)


def covariance_parts(fit):
    """Compute Sigma and its derivatives with respect to each (co)variance, as n x n matrices."""
    design = fit.prepared.design
    G, gamma = [], []
    for place in sorted(fit.prepared.places, key=lambda place: (place.block, place.columns.start)):
        term, cov = design.random[place.term], fit.term_lambda(place) @ fit.term_lambda(place).T
        same = term.codes[:, None] == term.codes[None, :]
        for c in range(term.Z.shape[1]):
            for r in range(c, term.Z.shape[1]):
                one = np.outer(term.Z[:, r], term.Z[:, c])
                G.append(same * (one if r == c else one + one.T))
                gamma.append(cov[r, c])
    G.append(np.eye(fit.nobs))
    gamma.append(fit.sigma**2)
    return G, gamma, sum(g * x for g, x in zip(G, gamma, strict=True))


def test_kenward_roger_by_its_definition(fit):
    G, _, Sigma = covariance_parts(fit)
    X, A = fit.prepared.design.fixed.X, np.linalg.inv(Sigma)
    phi = np.linalg.inv(X.T @ A @ X)
    P = [-X.T @ A @ g @ A @ X for g in G]
    Q = [[X.T @ A @ g @ A @ h @ A @ X for h in G] for g in G]
    m = len(G)
    information = np.array(
        [
            [
                np.trace(A @ G[i] @ A @ G[j]) - 2 * np.trace(phi @ Q[i][j]) + np.trace(phi @ P[i] @ phi @ P[j])
                for j in range(m)
            ]
            for i in range(m)
        ]
    )
    W = 2.0 * np.linalg.inv(information)
    inner = sum(W[i, j] * (Q[i][j] - P[i] @ phi @ P[j]) for i in range(m) for j in range(m))
    parts = fit.kenward_roger_parts
    np.testing.assert_allclose(parts.vcov, phi, rtol=1e-6)
    # the engine has other parameters, but the delta method gives the same result
    spread = np.einsum("iab,ij,jcd->abcd", phi @ np.array(P) @ phi, W, phi @ np.array(P) @ phi)
    direct = np.einsum("iab,ij,jcd->abcd", parts.change, parts.W, parts.change)
    np.testing.assert_allclose(direct, spread, rtol=1e-5, atol=1e-6 * np.abs(spread).max())
    np.testing.assert_allclose(parts.adjusted, phi + 2.0 * phi @ inner @ phi, rtol=1e-6)


def test_satterthwaite_by_numerical_derivatives(fit):
    """Check by (co)variances instead of theta and sigma, which the delta method does not depend on."""
    G, gamma, _ = covariance_parts(fit)
    X, y, p = fit.prepared.design.fixed.X, fit.y, len(fit.beta)
    gamma = np.array(gamma)

    def pieces(values):
        A = np.linalg.inv(sum(g * x for g, x in zip(G, values, strict=True)))
        return A, np.linalg.inv(X.T @ A @ X)

    def gradient(values):
        """Compute exact first derivatives of the REML criterion."""
        A, phi = pieces(values)
        R = A - A @ X @ phi @ X.T @ A
        Ry = R @ y
        return np.array([np.sum(R * g) - Ry @ g @ Ry for g in G])

    m = len(gamma)
    H, J = np.empty((m, m)), np.empty((m, p, p))
    for i in range(m):
        h = np.zeros(m)
        h[i] = 1e-4 * gamma[-1] if i == m - 1 else 1e-4 * max(abs(gamma[i]), 1e-2 * np.abs(gamma[:-1]).max())
        H[i] = (gradient(gamma + h) - gradient(gamma - h)) / (2 * h[i])
        J[i] = (pieces(gamma + h)[1] - pieces(gamma - h)[1]) / (2 * h[i])
    covariance = 2.0 * np.linalg.inv(0.5 * (H + H.T))
    phi = pieces(gamma)[1]
    df = satterthwaite(np.eye(p), fit.satterthwaite_parts)[0]
    for j in range(p):
        g = J[:, j, j]
        assert df[j] == pytest.approx(2.0 * phi[j, j] ** 2 / (g @ covariance @ g), rel=2e-4)


def test_balanced_split_plot_has_the_classical_degrees_of_freedom():
    """Check a design with recipes between 45 batches and temperatures within batches."""
    fit = lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", load.frame("cake"))
    for ddf in ("satterthwaite", "kenward-roger"):
        table = fit.anova(ddf=ddf).table
        np.testing.assert_allclose(table["DenDF"], [42.0, 210.0, 210.0], rtol=1e-5)


def test_kenward_roger_of_one_contrast_has_no_scale(fit):
    for row in np.eye(len(fit.beta)):
        assert kenward_roger(row[None, :], fit.kenward_roger_parts)[1] == pytest.approx(1.0, abs=1e-10)


def test_joint_test_of_one_row_is_the_squared_t(fit):
    L = np.eye(len(fit.beta))[[1]]
    for ddf in ("satterthwaite", "kr", "z"):
        single = fit.contrast({"one": L[0]}, ddf=ddf).iloc[0]
        joint = joint_test(fit, L, ddf)
        assert joint.stat == pytest.approx(single["stat"] ** 2, rel=1e-10)
        assert joint.p_value == pytest.approx(single["p_value"], rel=1e-8)


def test_joint_test_does_not_depend_on_the_rows_of_the_contrast():
    fit = lmer("angle ~ recipe + temp + (1 | recipe:replicate)", load.frame("cake")[13:])
    L = np.eye(4)[1:3]
    other = np.array([[1.0, 2.0], [-0.5, 1.0]]) @ L
    for ddf in ("satterthwaite", "kr"):
        one, two = joint_test(fit, L, ddf), joint_test(fit, other, ddf)
        assert one.stat == pytest.approx(two.stat, rel=1e-9)
        assert one.ddf == pytest.approx(two.ddf, rel=1e-6)


def test_combined_degrees_of_freedom():
    assert combine_df(np.array([8.0, 8.0])) == 8.0
    assert combine_df(np.array([1.5, 30.0])) == 2.0
    # E F = mean of df / (df - 2)
    E = 10 / 8 + 20 / 18
    assert combine_df(np.array([10.0, 20.0])) == pytest.approx(2 * E / (E - 2))
