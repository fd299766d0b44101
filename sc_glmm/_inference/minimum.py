"""Effects beyond a minimum: p-values from the one function F(b) that a test has for every value b of the coefficient.

F(b) is the confidence that the coefficient exceeds b; today's two-sided p-value is ``2 min(F(0), 1 - F(0))``. With a
minimum tau, as McCarthy and Smyth (TREAT, 2009):

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

# (n_genes,) F(b) and 1 - F(b), each to its own relative precision
Confidence = Callable[[float], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class Alternative:
    """What a gene's coefficient is compared with.

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
        """Whether it is the test of any difference from zero."""
        return self.kind == "two-sided" and self.minimum == 0.0

    @property
    def words(self) -> str:
        """Which effects are looked for, such as `` for |log2 fold change| > 0.5``; empty for any difference."""
        if self.plain:
            return ""
        size = f"{self.minimum / np.log(2.0):.4g}"
        minus = f"-{size}" if self.minimum > 0.0 else size
        sides = {"greater": f"log2 fold change > {size}", "less": f"log2 fold change < {minus}"}
        both = f"|log2 fold change| {'<' if self.kind == 'abs-less' else '>'} {size}"
        return f" for {sides.get(self.kind, both)}"

    def p_value(self, confidence: Confidence) -> FloatArray:
        """``(n_genes,)`` p-values."""
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
    """F of a t (or, with infinite degrees of freedom, a normal) statistic."""

    def confidence(b: float) -> tuple[FloatArray, FloatArray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            t = (coef - b) / se
        return np.asarray(stats.t.cdf(t, df)), np.asarray(stats.t.sf(t, df))

    return confidence
