"""Results as tidy frames."""

from ._details import details
from ._fit_info import fit_info
from ._results import results

__all__ = ["details", "fit_info", "results"]
