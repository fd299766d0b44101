"""The command `sc-glmm`: the main job from a shell, and a demonstration that needs no data."""

from .app import app

__all__ = ["app"]
