"""Compute what the figures show from tables of results, without matplotlib."""
