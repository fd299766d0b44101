"""Convert a fit to the arbiter's parameters, and fit the reference models (each once)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tests import oracle
from tests.frame_fit import FrameFit, fit_frame
from tests.oracle import Floats, Model
from tests.reference import build, load


@cache
def record(name: str) -> dict[str, Any]:
    return load.record(name)


@cache
def fitted(name: str) -> FrameFit:
    """Fit the model of a stored record with exactly the formula of R."""
    ref = record(name)
    return fit_frame(
        ref["formula"], load.frame(ref["data"]), family=ref["family"], method=ref["method"], n_agq=ref["n_agq"]
    )


def in_reference_order(fit: FrameFit, names: list[str]) -> list[int]:
    """Find the position of each of R's coefficients in our fit."""
    ours = [load.plain_name(n) for n in fit.names]
    return [ours.index(load.plain_name(n)) for n in names]


def psi_of(fit: FrameFit, ref: dict[str, Any]) -> Floats:
    """Convert our estimates to the arbiter's parameters, in the order of the stored record."""
    psi = list(fit.beta[in_reference_order(fit, ref["fixef"]["names"])]) if ref["method"] == "ml" else []
    for block in ref["re"]:
        corr = np.nan_to_num(fit.re_corr[block["group"]])  # the correlation is NaN if a variance is zero
        psi += build.theta_of(fit.re_sd[block["group"]], corr)
    if ref["log_dispersion"] is not None:
        psi.append(float(np.log(fit.dispersion)))
    return np.array(psi)


@cache
def model(name: str) -> tuple[Model, Floats]:
    """Build the arbiter's model with R's parameters."""
    return build.at_reference(record(name))


@cache
def value_at_reference(name: str) -> float:
    """Compute the arbiter's log likelihood at R's estimates."""
    m, psi = model(name)
    return oracle.objective(m, psi, record(name)["method"], record(name)["n_agq"])
