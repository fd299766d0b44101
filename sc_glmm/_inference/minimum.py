"""Test effects against a minimum effect, or in one direction.

Every such test uses F(b), the confidence that the coefficient exceeds the value b. The usual two-sided p-value is
``2 min(F(0), 1 - F(0))``. With a minimum effect tau, as in McCarthy and Smyth (TREAT, 2009):

- two-sided, against ``abs(beta) <= tau``: ``(1 - F(tau)) + (1 - F(-tau))`` for positive estimates, ``F(-tau) + F(tau)``
  for negative ones, the smaller of the two;
- greater, against ``beta <= tau``: ``1 - F(tau)``;
- less, against ``beta >= -tau``: ``F(-tau)``;
- abs-less (equivalence), against ``abs(beta) >= tau``: two one-sided tests, ``max(F(tau), 1 - F(-tau))``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .._arrays import FloatArray

# Returns (n_genes,) F(b) and 1 - F(b). Both are computed directly, so that small values of either keep their precision.
Confidence = Callable[[float], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class Alternative:
    """Alternative hypothesis of a test.

    Attributes
    ----------
    kind
        ``"two-sided"``, ``"greater"``, ``"less"`` or ``"abs-less"``.
    minimum
        The smallest effect of interest, natural log.
    """

    kind: str = "two-sided"
    minimum: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether the test is for any difference from zero."""
        return self.kind == "two-sided" and self.minimum == 0.0

    @property
    def words(self) -> str:
        """The alternative in words, such as `` for |log2 fold change| > 0.5``; empty for any difference."""
        if self.plain:
            return ""
        size = f"{self.minimum / np.log(2.0):.4g}"
        minus = f"-{size}" if self.minimum > 0.0 else size
        sides = {"greater": f"log2 fold change > {size}", "less": f"log2 fold change < {minus}"}
        both = f"|log2 fold change| {'<' if self.kind == 'abs-less' else '>'} {size}"
        return f" for {sides.get(self.kind, both)}"

    def p_value(self, confidence: Confidence) -> FloatArray:
        """Compute ``(n_genes,)`` p-values."""
        above, not_above = confidence(self.minimum)
        above_minus, below_minus = confidence(-self.minimum)
        if self.kind == "greater":
            return not_above
        if self.kind == "less":
            return above_minus
        if self.kind == "abs-less":
            return np.maximum(above, below_minus)
        return np.minimum(np.minimum(not_above + below_minus, above_minus + above), 1.0)


ANY_DIFFERENCE = Alternative()


def t_confidence(coef: FloatArray, se: FloatArray, df: float | FloatArray) -> Confidence:
    """Build F(b) of a t statistic (of a normal statistic, if the degrees of freedom are infinite)."""

    def confidence(b: float) -> tuple[FloatArray, FloatArray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            t = (coef - b) / se
        return np.asarray(stats.t.cdf(t, df)), np.asarray(stats.t.sf(t, df))

    return confidence
