"""Figures: an AnnData with results, or a frame of them, in; matplotlib Axes out."""

from ._volcano import volcano

__all__ = ["volcano"]
