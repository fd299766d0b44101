"""Statistics of a range of genes out of those of all."""

from __future__ import annotations

import numpy as np

from .counts import CountStats
from .gaussian import GaussianStats


def take_genes(stats: CountStats | GaussianStats, start: int, stop: int) -> CountStats | GaussianStats:
    """Statistics of the genes ``start:stop`` alone, with or without a group axis; arrays may be views."""
    part = slice(start, stop)
    if isinstance(stats, GaussianStats):
        return GaussianStats(stats.sum_y[part], stats.sum_yy[..., part], stats.n_cells, stats.n_nonzero[..., part])
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
