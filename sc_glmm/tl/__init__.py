"""Tools: the main job."""

from ._test import test

__all__ = ["test"]
