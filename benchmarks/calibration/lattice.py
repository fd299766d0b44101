"""Enumerate the effect of discrete counts on tests of weak genes, for genes without variation between samples.

    python lattice.py

Two arms of half the samples each, Poisson counts, no difference, genes with 5 counts or more in all (as in the sparse
scenarios). Given the total T, the counts of one arm are binomial, so that a test at 5 % can reject with a few
probabilities only. Printed are the rates of the exact test, of the exact test with half of the probability of what was
observed (mid-p), and of the modified root r* of the default test, with its half counts for arms without any.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

MIN_TOTAL = 5
LEVEL = 0.05


def p_values(total: int) -> dict[str, np.ndarray]:
    """Compute two-sided p-values of all ``total + 1`` outcomes, by test."""
    first = np.arange(total + 1)
    law = stats.binom.pmf(first, total, 0.5)
    below = np.cumsum(law)
    above = np.cumsum(law[::-1])[::-1]
    exact, mid = (2.0 * np.minimum(below - share * law, above - share * law) for share in (0.0, 0.5))
    return {"exact": exact, "mid-p": mid, "r*": 2.0 * stats.norm.sf(np.abs(modified_root(first, total - first)))}


def modified_root(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute ``r + log(q / r) / r`` for the log ratio of two Poisson counts of equal exposure."""
    empty = (one == 0) | (other == 0)
    a, b = one + 0.5 * empty, other + 0.5 * empty
    log_ratio = np.log(b / a)
    mean = 0.5 * (a + b)
    r = np.sign(log_ratio) * np.sqrt(2.0 * (a * np.log(a / mean) + b * np.log(b / mean)))
    q = log_ratio * np.sqrt(a * b / (a + b))
    with np.errstate(divide="ignore", invalid="ignore"):
        star = r + np.log(q / r) / r
    return np.where(np.abs(r) < 0.1, r, star)


def rates(n_samples: int, counts: float) -> dict[str, float]:
    """Compute the share of null genes that each test rejects, over the distribution of the total."""
    totals = np.arange(MIN_TOTAL, int(3 * n_samples * counts + 30))
    weight = stats.poisson.pmf(totals, n_samples * counts)
    found: dict[str, float] = {}
    for total, w in zip(totals, weight / weight.sum(), strict=True):
        law = stats.binom.pmf(np.arange(total + 1), total, 0.5)
        for name, p in p_values(int(total)).items():
            found[name] = found.get(name, 0.0) + w * float(law[p < LEVEL].sum())
    return found


if __name__ == "__main__":
    rows = [
        {"samples": n, "counts a sample": counts, **{k: round(100 * v, 2) for k, v in rates(n, counts).items()}}
        for n in (6, 8, 12)
        for counts in (0.5, 1.0, 2.0, 5.0)
    ]
    print(pd.DataFrame(rows).to_string(index=False))
    print({name: round(float(p[1]), 4) for name, p in p_values(8).items()}, "for 1 and 7 counts")
