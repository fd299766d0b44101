"""Return matrices and other quantities of a model under lme4's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from .._display.arguments import check_choice
from .fitted import MixedFit


def model_matrix(fit: MixedFit, part: Literal["fixed", "random"] = "fixed") -> Any:
    """Get the matrix X as a data frame, or the matrix Z of all terms as a sparse array.

    Parameters
    ----------
    fit
        The model.
    part
        ``"fixed"`` for X, ``"random"`` for Z.

    Returns
    -------
    (n_obs, p) data frame, or (n_obs, q) sparse array.

    Raises
    ------
    InputError
        If `part` has another value.
    """
    check_choice("part", part, ("fixed", "random"))
    return fixed_frame(fit) if part == "fixed" else random_matrix(fit)


def fixed_frame(fit: MixedFit) -> pd.DataFrame:
    """Return X as a data frame with the names of its columns and the index of the data."""
    design = fit.prepared.design
    return pd.DataFrame(design.fixed.X, index=fit.data.index[design.rows_used], columns=list(design.fixed.names))


def random_matrix(fit: MixedFit) -> sparse.csr_array:
    """Return (n_obs, q) Z, whose columns are sorted by term (in lme4's order) and by level."""
    design = fit.prepared.design
    parts = []
    for place in fit.prepared.places:
        term = design.random[place.term]
        n, k = term.Z.shape
        column = term.codes[:, None] * k + np.arange(k)
        indptr = np.arange(0, n * k + 1, k)
        parts.append(sparse.csr_array((term.Z.ravel(), column.ravel(), indptr), shape=(n, len(term.levels) * k)))
    return sparse.csr_array(sparse.hstack(parts, format="csr"))


def relative_lambda(fit: MixedFit) -> sparse.csr_array:
    """Return (q, q) Lambda relative to sigma, in the order of :func:`random_matrix`."""
    design = fit.prepared.design
    parts = [
        sparse.kron(sparse.eye_array(len(design.random[place.term].levels)), fit.term_lambda(place) / fit.sigma)
        for place in fit.prepared.places
    ]
    return sparse.csr_array(sparse.block_diag(parts, format="csr"))


def _modes(fit: MixedFit) -> Any:
    return np.concatenate([fit.modes[place.block][:, place.columns].ravel() for place in fit.prepared.places])


QUANTITIES: dict[str, Callable[[Any], Any]] = {
    "X": lambda fit: fit.prepared.design.fixed.X,
    "Z": random_matrix,
    "Zt": lambda fit: random_matrix(fit).T.tocsr(),
    "y": lambda fit: fit.y,
    "mu": lambda fit: fit.fitted(),
    "beta": lambda fit: fit.fixef().to_numpy(),
    "fixef": lambda fit: fit.fixef(),
    "theta": lambda fit: fit.theta,
    "Lambda": relative_lambda,
    "b": _modes,
    "sigma": lambda fit: fit.sigma,
    "offset": lambda fit: fit.prepared.offset,
    "weights": lambda fit: np.ones(fit.nobs) if fit.weights is None else fit.weights,
    "flist": lambda fit: [grouping.name for grouping in fit.prepared.groupings],
    "cnms": lambda fit: {place.name: fit.term_names(place) for place in fit.prepared.places},
    "n": lambda fit: fit.nobs,
    "p": lambda fit: len(fit.beta),
    "q": lambda fit: sum(block.size for block in fit.modes),
    "is_REML": lambda fit: bool(getattr(fit, "reml", False)),
}


def get_me(fit: MixedFit, name: str) -> Any:
    """Get a quantity of the model by its name in lme4.

    Parameters
    ----------
    fit
        The model.
    name
        ``"X"``, ``"Z"``, ``"Zt"``, ``"y"``, ``"mu"``, ``"beta"``, ``"fixef"``, ``"theta"``, ``"Lambda"``, ``"b"``,
        ``"sigma"``, ``"offset"``, ``"weights"``, ``"flist"``, ``"cnms"``, ``"n"``, ``"p"``, ``"q"``, ``"is_REML"``.

    Returns
    -------
    An array, a sparse array, a data frame, a number or names.

    Raises
    ------
    InputError
        If there is no such quantity.
    """
    check_choice("name", name, QUANTITIES)
    return QUANTITIES[name](fit)
