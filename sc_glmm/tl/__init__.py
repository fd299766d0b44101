"""Test all genes, and refit the model of one gene."""

from ._refit import refit
from ._test import test

__all__ = ["refit", "test"]
