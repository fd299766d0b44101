"""Cells compressed without loss into a few numbers per gene and design row. Arrays only, no names."""

from sc_glmm._compress.counts import CountStats, compress_counts
from sc_glmm._compress.gaussian import GaussianStats, compress_gaussian
from sc_glmm._compress.nodes import NodeTable, chebyshev_nodes, poisson_nodes
from sc_glmm._compress.rows import DesignRows, StackedRows, stack_rows, unique_rows

__all__ = [
    "CountStats",
    "DesignRows",
    "GaussianStats",
    "NodeTable",
    "StackedRows",
    "chebyshev_nodes",
    "compress_counts",
    "compress_gaussian",
    "poisson_nodes",
    "stack_rows",
    "unique_rows",
]
