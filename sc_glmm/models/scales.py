"""Compute links, variances, deviances and inverse transformations of fitted values.

The engine has its own kernels for the fit.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, xlogy

from .._arrays import FloatArray
from .._formula import Atom, dotted_name

Map = Callable[[FloatArray], FloatArray]


LINKS = {"gaussian": "identity", "poisson": "log", "nb": "log", "binomial": "logit"}


def inverse_link(family: str, eta: FloatArray) -> FloatArray:
    """Compute the mean from the linear predictor."""
    if family == "gaussian":
        return eta
    out: FloatArray = expit(eta) if family == "binomial" else np.exp(eta)
    return out


def slope_of_mean(family: str, mu: FloatArray) -> FloatArray:
    """Compute the derivative of the mean with respect to the linear predictor."""
    if family == "gaussian":
        return np.ones_like(mu)
    return mu * (1.0 - mu) if family == "binomial" else mu


def variance_of_mean(family: str, mu: FloatArray, dispersion: float) -> FloatArray:
    """Compute the variance of one observation (one trial)."""
    if family == "binomial":
        return mu * (1.0 - mu)
    return mu + dispersion * mu**2 if family == "nb" else mu


def weight_of_row(
    family: str, y: FloatArray, mu: FloatArray, weights: FloatArray | None, dispersion: float
) -> FloatArray:
    """Compute minus the second derivative of each log likelihood with respect to the linear predictor."""
    w = 1.0 if weights is None else weights
    if family == "nb":
        return w * mu * (1.0 + dispersion * y) / (1.0 + dispersion * mu) ** 2
    return w * variance_of_mean(family, mu, dispersion)


def deviance_parts(
    family: str, y: FloatArray, mu: FloatArray, weights: FloatArray | None, dispersion: float
) -> FloatArray:
    """Compute the deviance of each observation: twice the gain in log likelihood of a perfect fit."""
    w = 1.0 if weights is None else weights
    if family == "binomial":
        out = xlogy(y, y) - xlogy(y, mu) + xlogy(1.0 - y, 1.0 - y) - xlogy(1.0 - y, 1.0 - mu)
    elif family == "nb" and dispersion > 1e-12:
        out = xlogy(y, y) - xlogy(y, mu)
        out -= (y + 1.0 / dispersion) * (np.log1p(dispersion * y) - np.log1p(dispersion * mu))
    else:
        out = xlogy(y, y) - xlogy(y, mu) - (y - mu)
    parts: FloatArray = np.maximum(2.0 * w * out, 0.0)
    return parts


@dataclass(frozen=True)
class Scale:
    """Scale of the linear predictor.

    Attributes
    ----------
    name
        ``"log"``, ``"logit"``, ``"sqrt"``; empty for the response itself.
    inverse
        The response as a function of the predictor.
    slope
        Derivative of `inverse`.
    base
        A difference d on the scale is a ratio ``base ** d`` of responses; None if it is not a ratio.
    ratio
        Name of this ratio.
    shift
        Number added to the response before the transformation.
    """

    name: str
    inverse: Map
    slope: Map
    base: float | None = None
    ratio: str = ""
    shift: float = 0.0


def _power(base: float) -> tuple[Map, Map, float]:
    return (lambda x: base**x), (lambda x: base**x * np.log(base)), base


IDENTITY = Scale("", lambda x: x, np.ones_like)
_LOGIT = Scale("logit", expit, lambda x: expit(x) * expit(-x), np.e, "odds_ratio")
_LOG = Scale("log", np.exp, np.exp, np.e, "ratio")

# A square root is never negative, so the limits of its intervals are not negative either.
_TRANSFORMS = {
    "log": _LOG,
    "log2": Scale("log2", *_power(2.0), "ratio"),
    "log10": Scale("log10", *_power(10.0), "ratio"),
    "log1p": Scale("log1p", np.expm1, np.exp),
    "sqrt": Scale("sqrt", lambda x: np.maximum(x, 0.0) ** 2, lambda x: 2.0 * np.maximum(x, 0.0)),
    "cbrt": Scale("cbrt", lambda x: x**3, lambda x: 3.0 * x**2),
    "arcsinh": Scale("arcsinh", np.sinh, np.cosh),
    "exp": Scale("exp", np.log, lambda x: 1.0 / x),
    "expm1": Scale("expm1", np.log1p, lambda x: 1.0 / (1.0 + x)),
}
_LINKS = {"identity": IDENTITY, "log": _LOG, "logit": _LOGIT}


def scale_of(family: str, response: Atom | None) -> Scale | None:
    """Return the scale of a model; None if the response is an expression with an unknown inverse."""
    link = _LINKS[LINKS[family]]
    tree = response.tree if response is not None else None
    while isinstance(tree, ast.Call) and dotted_name(tree.func) == "I":
        tree = tree.args[0]
    if link is not IDENTITY or tree is None or isinstance(tree, ast.Name):
        return link
    if not isinstance(tree, ast.Call):
        return None
    function, inner = (dotted_name(tree.func) or "").removeprefix("np."), tree.args[0]
    if function == "Q":
        return IDENTITY
    plain = _TRANSFORMS.get(function)
    shift = _added_number(inner)
    if plain is None or not shift:
        return plain
    name = f"{plain.name}(y {'+' if shift > 0.0 else '-'} {abs(shift):g})"
    return Scale(name, lambda x: plain.inverse(x) - shift, plain.slope, shift=shift)


def _added_number(node: ast.expr) -> float:
    """Return the number that an expression adds: 1 for ``y + 1`` or ``1 + y``; 0 for other expressions."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        sign = 1.0 if isinstance(node.op, ast.Add) else -1.0
        if isinstance(node.right, ast.Constant) and isinstance(node.right.value, int | float):
            return sign * float(node.right.value)
        if sign > 0.0 and isinstance(node.left, ast.Constant) and isinstance(node.left.value, int | float):
            return float(node.left.value)
    return 0.0
