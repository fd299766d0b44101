"""Compute the degrees of freedom between samples."""

from __future__ import annotations

from collections.abc import Sequence

from .._design import Contrast, Design, residual_df
from .._errors import DesignError


def contrast_df(contrasts: Sequence[Contrast], design: Design) -> list[float]:
    """Compute the degrees of freedom of each contrast between samples.

    Raises
    ------
    DesignError
        If a contrast has fewer than two.
    """
    out = []
    for contrast in contrasts:
        df = residual_df(contrast.L, design.fixed.X, design.random)
        if df < 2.0:
            groups = ", ".join(dict.fromkeys(term.group for term in design.random))
            what = "is confounded with the random effects" if df <= 0.0 else "has too few levels of the random effects"
            raise DesignError(
                f"the contrast {contrast.words!r} {what} ({groups}): {max(df, 0.0):g} degree{'s' * (df != 1.0)} of "
                "freedom remain between levels, but at least 2 are needed. A contrast between samples needs several "
                "samples in each arm: add samples, drop fixed effects that distinguish them, or drop a grouping "
                "factor that coincides with it"
            )
        out.append(df)
    return out
