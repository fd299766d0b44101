"""Define the command `sc-glmm`, which tests all genes from a shell."""

from .signals import ending_at_once

with ending_at_once():
    from .app import app

__all__ = ["app"]
