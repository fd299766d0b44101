"""Measure the quality of p-values at known truth, by numbers that can be added over data sets."""

from __future__ import annotations

import numpy as np

LEVELS = (0.05, 0.01, 0.001, 0.0001)
# Bins of -log10 p, fine enough for a QQ figure from counts alone.
BINS = np.arange(0.0, 8.05, 0.05)


def adjust(p: np.ndarray) -> np.ndarray:
    """Adjust by Benjamini and Hochberg; a gene without a p-value is not a discovery."""
    p = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(p, kind="stable")
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return q


def power_at_true_fdr(p: np.ndarray, null: np.ndarray, level: float = 0.05) -> float:
    """Compute the share of differential genes found at the largest threshold with a true FDR of at most `level`."""
    order = np.argsort(np.where(np.isnan(p), 1.0, p), kind="stable")
    false = np.cumsum(null[order])
    fine = np.flatnonzero(false <= level * np.arange(1, len(p) + 1))
    found = fine[-1] + 1 - false[fine[-1]] if len(fine) else 0
    return float(found / max((~null).sum(), 1))


def power_spread(p: np.ndarray, null: np.ndarray, n_draws: int = 100) -> float:
    """Compute the standard error of :func:`power_at_true_fdr` by drawing genes, and a threshold for each draw."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(p), len(p)) for _ in range(n_draws)]
    return float(np.std([power_at_true_fdr(p[i], null[i]) for i in draws], ddof=1))


def count_rejections(p: np.ndarray) -> dict[str, int]:
    """Count the p-values, and those below each level."""
    finite = p[~np.isnan(p)]
    return {"n": len(finite), **{f"{level:g}": int((finite < level).sum()) for level in LEVELS}}


def tail_counts(p: np.ndarray) -> list[int]:
    """Count the p-values with -log10 p in each of `BINS` (the last is open), without zeros at the end."""
    finite = np.maximum(p[~np.isnan(p)], 1e-300)
    where = np.minimum((-np.log10(finite) / 0.05).astype(int), len(BINS) - 1)
    return np.bincount(np.maximum(where, 0)).tolist()


def hypotheses(effect: np.ndarray, minimum: float, alternative: str) -> tuple[np.ndarray, np.ndarray]:
    """Find the genes for which the null hypothesis holds, and those of them at its edge, where the level is tested.

    `effect` and `minimum` are natural logs. Without a minimum both are the genes whose effect is zero.
    """
    side = {"greater": effect, "less": -effect}.get(alternative, np.abs(effect))
    edge = np.isclose(side, minimum, rtol=0.0, atol=1e-12)
    return edge | ((side > minimum) if alternative == "abs-less" else (side < minimum)), edge


def measure(
    p: np.ndarray,
    effect: np.ndarray,
    strata: np.ndarray,
    interval: np.ndarray | None = None,
    *,
    minimum: float = 0.0,
    alternative: str = "two-sided",
) -> dict[str, object]:
    """Compute all measures of one method on one data set; `strata` are labels of the genes.

    Type-I errors are counted for genes at the edge of the null hypothesis, false discoveries for all genes in it.
    """
    null, edge = hypotheses(effect, minimum, alternative)
    found: dict[str, object] = {
        "null": count_rejections(p[edge]),
        "strata": {str(s): count_rejections(p[edge & (strata == s)]) for s in np.unique(strata)},
        "tail": tail_counts(p[edge]),
        "missing": int(np.isnan(p).sum()),
    }
    hits = adjust(p) < 0.05
    found["discoveries"] = {"hits": int(hits.sum()), "false": int((hits & null).sum())}
    if not null.all():
        found["power"] = {
            "differential": int((~null).sum()),
            "found": int((hits & ~null).sum()),
            "at_true_fdr": power_at_true_fdr(p, null),
            "at_true_fdr_se": power_spread(p, null),
        }
    if interval is not None:
        covered = (interval[:, 0] <= effect) & (effect <= interval[:, 1])
        finite = ~np.isnan(interval).any(axis=1)
        found["coverage"] = {
            name: {"n": int((finite & which).sum()), "covered": int((covered & finite & which).sum())}
            for name, which in (("null", null), ("differential", ~null))
        }
    return found
