"""Results as tidy frames."""

from ._fit_info import fit_info
from ._results import results

__all__ = ["fit_info", "results"]
