"""Preprocessing: what has to be known about an AnnData before models are fitted."""

from ._size_factors import size_factors

__all__ = ["size_factors"]
