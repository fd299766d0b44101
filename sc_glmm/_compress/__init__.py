"""Lossless compression of cells into a few numbers per gene and design row. It uses arrays only, no names."""

from .check import centred_error, node_error
from .composition import pooled_factors
from .counts import CountStats, add_counts, compress_counts
from .gaussian import GaussianStats, add_sums, compress_gaussian
from .guards import count_problem
from .nodes import NodeTable, chebyshev_nodes, poisson_nodes
from .rows import DesignRows, StackedRows, stack_rows, unique_rows
from .size_factors import (
    SizeFactors,
    dominant_genes,
    library_size,
    pseudobulk,
    sample_size_factors,
    tmm_factors,
    total_size_factors,
)

__all__ = [
    "CountStats",
    "DesignRows",
    "GaussianStats",
    "NodeTable",
    "SizeFactors",
    "StackedRows",
    "add_counts",
    "add_sums",
    "centred_error",
    "chebyshev_nodes",
    "compress_counts",
    "compress_gaussian",
    "count_problem",
    "dominant_genes",
    "library_size",
    "node_error",
    "poisson_nodes",
    "pooled_factors",
    "pseudobulk",
    "sample_size_factors",
    "stack_rows",
    "tmm_factors",
    "total_size_factors",
    "unique_rows",
]
