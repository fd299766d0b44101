"""Read results as tidy data frames."""

from ._describe import describe
from ._details import details
from ._fit_info import fit_info
from ._latent_factors import latent_factors
from ._results import results
from ._variance_fractions import variance_fractions

__all__ = ["describe", "details", "fit_info", "latent_factors", "results", "variance_fractions"]
