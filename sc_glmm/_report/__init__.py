"""Write reports: one HTML page about a run, for readers who do not use Python."""

from .write import report

__all__ = ["report"]
