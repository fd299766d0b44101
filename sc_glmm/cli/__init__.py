"""The command `sc-glmm`: the main job from a shell, and a demonstration that needs no data."""

from .signals import ending_at_once

with ending_at_once():
    from .app import app

__all__ = ["app"]
