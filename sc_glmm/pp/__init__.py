"""Prepare data: size factors, gene filters, hidden factors, sums by sample, and counts of cell types."""

from ._abundance import abundance
from ._filter_genes import filter_genes
from ._latent_factors import latent_factors
from ._pseudobulk import pseudobulk
from ._size_factors import size_factors

__all__ = ["abundance", "filter_genes", "latent_factors", "pseudobulk", "size_factors"]
