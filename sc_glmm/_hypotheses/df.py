"""Degrees of freedom between samples: what every test starts from."""

from __future__ import annotations

from collections.abc import Sequence

from .._design import Contrast, Design, residual_df
from .._errors import DesignError


def contrast_df(contrasts: Sequence[Contrast], design: Design) -> list[float]:
    """Degrees of freedom of each contrast, from samples; with fewer than two it cannot be tested."""
    out = []
    for contrast in contrasts:
        df = residual_df(contrast.L, design.fixed.X, design.random)
        if df < 2.0:
            groups = ", ".join(dict.fromkeys(term.group for term in design.random))
            what = "is confounded with the random effects" if df <= 0.0 else "has too few levels of the random effects"
            raise DesignError(
                f"the contrast {contrast.words!r} {what} ({groups}): {max(df, 0.0):g} degree{'s' * (df != 1.0)} of "
                "freedom left to compare levels with, and 2 are the least. A contrast between samples needs several "
                "samples on each side: add samples, drop fixed effects that tell them apart, or a grouping factor that "
                "coincides with it"
            )
        out.append(df)
    return out
