"""Compute size factors and store them in ``.obs``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.copy import copy_of
from .._compress.size_factors import SizeFactors, sample_size_factors, total_size_factors
from .._display.arguments import check_choice
from .._errors import InputError, ScGlmmWarning
from .._fit.sizes import NOTABLE_SHIFT
from ._read import read_counts, read_factor

if TYPE_CHECKING:
    from anndata import AnnData

N_LISTED_GENES = 5


def size_factors(
    adata: AnnData,
    *,
    sample_key: str | None = None,
    layer: str | None = None,
    key_added: str = "size_factors",
    method: Literal["total", "pooled", "tmm"] | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Compute size factors of the cells from raw counts.

    The size factor of a cell is proportional to its library size (``method="total"``) or, for cell i of sample s, to

        ``library size of i * factor of s``

    where the composition factors of the samples compare their summed counts without the genes that differ most. A few
    strongly expressed genes that respond to a condition then do not shift all other genes. Compute size factors before
    you filter genes.

    Parameters
    ----------
    adata
        Annotated data with raw counts of all genes.
    sample_key
        Column of ``.obs`` with the sample of each cell; cells without a sample keep their library size.
    layer
        Layer with the counts. Default: ``.X``.
    key_added
        Column of ``.obs`` for the result.
    method
        ``"pooled"``, the default with `sample_key`, pools weakly expressed genes and trims the ratios of genes and
        pools. It needs only a few hundred counts per sample. ``"tmm"`` is edgeR's trimmed mean of M values [1]_, for
        samples with many thousand counts. ``"total"``, the default without `sample_key`, is the library size.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    None, or the new AnnData with ``copy=True``. The column written is

    ``.obs[key_added]``
        Linear size factors with mean 1 over the cells with counts; 0 for cells without counts.

    Raises
    ------
    InputError
        If a column or layer does not exist, if the values are not counts, or if `method` is unknown or needs
        `sample_key`.

    Warns
    -----
    ScGlmmWarning
        If the composition of a sample differs strongly from that of the others.

    References
    ----------
    .. [1] Robinson and Oshlack, A scaling normalization method for differential expression analysis of RNA-seq data,
       Genome Biology 2010, 11:R25.
    """
    if method is None:
        method = "total" if sample_key is None else "pooled"
    check_choice("method", method, ("total", "pooled", "tmm"))
    matrix = read_counts(adata, layer, "Size factors need raw counts")
    if method == "total":
        factors = total_size_factors(matrix)
    else:
        codes, levels = _samples(adata, sample_key, method)
        factors = sample_size_factors(matrix, codes, len(levels), method=method)
        _warn_of_composition(factors, levels, [str(gene) for gene in adata.var_names])
    target = copy_of(adata) if copy else adata
    target.obs[key_added] = factors.values
    return target if copy else None


def _samples(adata: AnnData, sample_key: str | None, method: str) -> tuple[np.ndarray, list[str]]:
    if sample_key is None:
        raise InputError(
            f"method={method!r} compares samples, but sample_key= is missing: pass the column of obs with the samples."
        )
    return read_factor(adata, sample_key)


def _warn_of_composition(factors: SizeFactors, levels: list[str], genes: list[str]) -> None:
    if factors.log_shift <= NOTABLE_SHIFT:
        return
    worst = int(np.argmax(np.abs(np.log(factors.sample_factor))))
    message = (
        f"the samples differ in composition: the counts of most genes in {levels[worst]!r} are "
        f"{factors.sample_factor[worst]:.3g} times as high as expected from its library size. The size factors follow "
        "most genes."
    )
    if len(factors.dominant):
        largest = zip(factors.dominant[:N_LISTED_GENES], factors.dominant_share[:N_LISTED_GENES], strict=True)
        shares = ", ".join(f"{genes[gene]} ({share:.0%})" for gene, share in largest)
        message += f" Genes with more than 5 % of the counts of a sample: {shares}."
    warnings.warn(message, ScGlmmWarning, stacklevel=3)
