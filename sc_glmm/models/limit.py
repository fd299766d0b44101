"""Fit separated GLMMs, in which some coefficients are infinite, in the limit.

In the limit, the means of some observations are 0 (or, for trials, 1). These observations are predicted without error
and drop out of the likelihood. A combination of coefficients is finite if the remaining observations determine it, that
is, if it lies in the row space of their X. The sign of an infinite combination is known if it is the same for all ways
to the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from .._arrays import BoolArray, FloatArray
from .._engine.arrow.layout import Block
from .._errors import InputError
from .._inference.separation import separate
from .prepare import Prepared

# Columns are scaled to unit length before comparisons with this tolerance.
_TOL = 1e-8


@dataclass(frozen=True)
class Limit:
    """The limit of a separated model.

    Attributes
    ----------
    inside
        The design of the remaining observations and columns.
    remaining
        (n_obs,) whether an observation remains in the likelihood.
    columns
        Columns of X that remain.
    ends
        (n_obs,) linear predictor of observations that drop out (minus or plus infinity); zero for the others.
    scale
        (p,) lengths of the columns of X.
    directions
        (p, m) orthonormal basis of the undetermined directions (of the scaled coefficients).
    cone
        (k, m) inequalities of the ways to the limit, which are the v with ``cone v <= 0``.
    """

    inside: Prepared
    remaining: BoolArray
    columns: tuple[int, ...]
    ends: FloatArray
    scale: FloatArray
    directions: FloatArray
    cone: FloatArray

    def at(self, L: FloatArray) -> FloatArray:
        """Compute the (k,) values to add to ``L beta``: zero if it is finite, otherwise infinity with its sign.

        NaN if the sign is not known.
        """
        scaled = L / self.scale
        length = np.linalg.norm(scaled, axis=1, keepdims=True)
        along = scaled @ self.directions / np.where(length > 0.0, length, 1.0)
        out = np.zeros(len(L))
        far = np.flatnonzero(np.abs(along).max(axis=1, initial=0.0) > _TOL)
        if len(far):
            distinct, inverse = np.unique(np.round(along[far], 10), axis=0, return_inverse=True)
            out[far] = np.array([self._end(one) for one in distinct])[inverse.reshape(-1)]
        return out

    def note(self, names: Sequence[str], has_trials: bool) -> str:
        """Write the note for the user."""
        infinite = [name for name, end in zip(names, self.at(np.eye(len(names))), strict=True) if end != 0.0]
        n = int((~self.remaining).sum())
        values = "all successes or all failures" if has_trials else "all zero"
        return (
            f"separation: the fixed effects separate {n} of {len(self.remaining)} observations, which are {values}. "
            f"The estimates of {', '.join(infinite)} are therefore infinite; the other estimates are their limits. Use "
            "confint(method='profile') for one-sided intervals and drop1() for likelihood-ratio tests"
        )

    def _end(self, along: FloatArray) -> float:
        reach = [sign * self._furthest(sign * along) for sign in (-1.0, 1.0)]
        down, up = reach[0] < -_TOL, reach[1] > _TOL
        return np.nan if down == up else (np.inf if up else -np.inf)

    def _furthest(self, along: FloatArray) -> float:
        optimum = linprog(
            -along, A_ub=self.cone, b_ub=np.zeros(len(self.cone)), bounds=[(-1.0, 1.0)] * len(along), method="highs"
        )
        return 0.0 if optimum.x is None else float(along @ optimum.x)


def find_limit(
    prepared: Prepared,
    y: FloatArray,
    trials: FloatArray | None,
    has_trials: bool,
    columns: tuple[int, ...] | None = None,
) -> Limit | None:
    """Find separation in the fixed effects; None if all estimates are finite.

    Parameters
    ----------
    prepared
        The design.
    y, trials
        (n_obs,) counts; or fractions of successes, and numbers of trials (None if all are one).
    has_trials
        Whether the response is a fraction, which can be separated at both ends.
    columns
        Columns of X to fit in the limit. Default: chosen here.

    Raises
    ------
    InputError
        If no observation remains.
    """
    scale = np.linalg.norm(prepared.X, axis=0)
    distinct, base = np.unique(prepared.X, axis=0, return_inverse=True)
    base = base.reshape(-1)[prepared.row_of]
    weight = np.ones(len(y)) if trials is None else trials
    n_rows = len(distinct)
    has_success = np.bincount(base, y * weight, n_rows) > 0.5
    has_failure = np.bincount(base, (1.0 - y) * weight, n_rows) > 0.5 if has_trials else np.ones(n_rows, dtype=bool)
    scaled = distinct / scale
    # towards the limit, the predictor decreases for rows without a success, and increases for rows without a failure
    sign = np.where(has_success, -1.0, 1.0)
    separation = separate(sign[:, None] * scaled, has_success & has_failure)
    if separation is None:
        return None
    if not separation.rows.any():
        raise InputError(
            f"the fixed effects of {prepared.design.formula.source!r} predict every outcome, so every coefficient is "
            "infinite: use fewer covariates, or more data"
        )
    columns = separation.columns if columns is None else columns
    remaining = separation.rows[base]
    cone = (sign[:, None] * scaled)[~separation.rows] @ separation.directions
    return Limit(
        inside=_inside(prepared, remaining, columns),
        remaining=remaining,
        columns=columns,
        ends=np.where(remaining, 0.0, np.where(has_success[base], np.inf, -np.inf)),
        scale=scale,
        directions=separation.directions,
        cone=np.unique(np.round(cone, 12), axis=0),
    )


def _inside(prepared: Prepared, remaining: BoolArray, columns: tuple[int, ...]) -> Prepared:
    """Select the rows of the remaining observations, and some columns of X."""
    rows, row_of = np.unique(prepared.row_of[remaining], return_inverse=True)
    blocks = tuple(
        Block(np.ascontiguousarray(b.codes[rows]), b.n_levels, np.ascontiguousarray(b.Z[rows]), b.terms)
        for b in prepared.blocks
    )
    return replace(
        prepared,
        row_of=row_of.reshape(-1).astype(np.int64),
        X=np.ascontiguousarray(prepared.X[np.ix_(rows, np.array(columns, dtype=np.int64))]),
        blocks=blocks,
        offset=np.ascontiguousarray(prepared.offset[remaining]),
    )
