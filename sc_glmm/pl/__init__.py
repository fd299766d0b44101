"""Figures: an AnnData with results, or a frame of them, in; matplotlib Axes out."""

from ._caterpillar import caterpillar
from ._counts import counts
from ._dispersion import dispersion
from ._forest import forest
from ._heatmap import heatmap
from ._ma import ma
from ._p_values import p_values, qq
from ._samples import samples
from ._volcano import volcano

__all__ = [
    "caterpillar",
    "counts",
    "dispersion",
    "forest",
    "heatmap",
    "ma",
    "p_values",
    "qq",
    "samples",
    "volcano",
]
