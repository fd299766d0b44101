"""Draw figures of results or fitted models with matplotlib."""

from ._abundance import abundance
from ._caterpillar import caterpillar
from ._counts import counts
from ._diagnostics import random_effect_qq, residual_histogram, residual_qq, residuals
from ._dispersion import dispersion
from ._forest import forest
from ._heatmap import heatmap
from ._influence import influence
from ._latent_factors import latent_factors
from ._ma import ma
from ._model_check import diagnostics
from ._p_values import p_values, qq
from ._power import power
from ._samples import samples
from ._variance_fractions import variance_fractions
from ._volcano import volcano

__all__ = [
    "abundance",
    "caterpillar",
    "counts",
    "diagnostics",
    "dispersion",
    "forest",
    "heatmap",
    "influence",
    "latent_factors",
    "ma",
    "p_values",
    "power",
    "qq",
    "random_effect_qq",
    "residual_histogram",
    "residual_qq",
    "residuals",
    "samples",
    "variance_fractions",
    "volcano",
]
