"""Tools: the main job, and one gene of it."""

from ._refit import refit
from ._test import test

__all__ = ["refit", "test"]
