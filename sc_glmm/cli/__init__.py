"""The command `sc-glmm`: test all genes from a shell, and run a demonstration without data."""

from .signals import ending_at_once

with ending_at_once():
    from .app import app

__all__ = ["app"]
