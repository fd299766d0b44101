"""Results as tidy frames."""

from ._results import results

__all__ = ["results"]
