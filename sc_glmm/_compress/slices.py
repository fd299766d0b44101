"""Statistics of a range of genes, extracted from those of all genes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .counts import CountStats
from .gaussian import GaussianStats


def take_genes(stats: CountStats | GaussianStats, start: int, stop: int) -> CountStats | GaussianStats:
    """Return the statistics of the genes ``start:stop`` only, with or without a group axis; arrays may be views."""
    part = slice(start, stop)
    if isinstance(stats, GaussianStats):
        names = ("total", "total_low", "sum_yy", "sum_yy_low", "n_nonzero")
        return replace(stats, sum_y=stats.sum_y[part], **{name: getattr(stats, name)[..., part] for name in names})
    ptr = np.atleast_2d(stats.over_ptr)[:, start : stop + 1]
    lengths = ptr[:, -1] - ptr[:, 0]
    shifted = ptr - ptr[:, :1] + (np.cumsum(lengths) - lengths)[:, None]
    places = np.concatenate([np.arange(lo, hi) for lo, hi in zip(ptr[:, 0], ptr[:, -1], strict=True)])
    return CountStats(
        A=stats.A[part],
        tail=stats.tail[..., part, :],
        over_ptr=shifted.reshape(*stats.over_ptr.shape[:-1], stop - start + 1),
        over_value=stats.over_value[places],
        over_count=stats.over_count[places],
        const=stats.const[..., part],
        total=stats.total[..., part],
        n_nonzero=stats.n_nonzero[..., part],
    )
