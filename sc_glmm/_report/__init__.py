"""The report: one HTML page about a run, for readers who do not run Python."""

from .report import report

__all__ = ["report"]
