"""Count cell types or neighbourhoods by sample, to test differences in abundance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._adata.abundance import N_CELLS, SIZES, AbundanceTable, mark_table
from .._adata.mudata import is_mudata
from .._display import logger, warn_notes
from .._display.arguments import suggest
from .._errors import InputError
from ._counted import Counted, of_table, of_types
from ._neighbourhoods import Weights, of_milo, of_neighbourhoods, with_weights

if TYPE_CHECKING:
    from anndata import AnnData


def abundance(
    adata: AnnData,
    sample: str = "sample",
    groupby: str | None = "cell_type",
    *,
    nhoods: str | None = None,
    reference: str | Sequence[str] = "robust",
    weights: Weights | None = "k-distance",
) -> AnnData:
    r"""Count the cells of each type, or of each neighbourhood, in each sample.

    Test the table with :func:`sc_glmm.tl.test`: ``tl.test(counts, "X ~ disease")``, or
    ``"X ~ disease + (1|donor)"`` for donors with several samples. For sample s with :math:`n_s` cells, of which
    :math:`y_{sk}` are of type k, the test fits

    .. math:: y_{sk} \sim \mathrm{Poisson}(\mu_{sk}), \quad
        \log \mu_{sk} = \log n_s + r_s + x_s^\top \beta_k + b_{sk}, \quad b_{sk} \sim N(0, \sigma_k^2),

    where :math:`\sigma_k^2` is the overdispersion of type k between samples, and the reference :math:`r_s` is the
    typical change of the types along the design. The tests are moderated over types, even if there are few.

    Parameters
    ----------
    adata
        Annotated data of cells, or a MuData with Milo's neighbourhoods from pertpy (modality ``"milo"``). With
        ``groupby=None``, an existing table of samples by types.
    sample
        Column of ``.obs`` with the sample of each cell. For a table, the column with the sample of each row; if there
        is no such column, the row names are the samples. For a MuData, the column that Milo used has priority.
    groupby
        Column of ``.obs`` with the cell types.
    nhoods
        Entry of ``.obsm`` with neighbourhoods (cells by neighbourhoods), such as Milo's ``"nhoods"``. Neighbourhoods
        are then counted instead of types.
    reference
        Reference for changes in abundance. ``"robust"`` (default): the change of most types. ``"total"``: all cells; if
        one type grows, the fractions of all others then decrease. Or the names of one or several types whose number is
        known not to change; these are not tested.
    weights
        Weights for neighbourhoods, which overlap (spatial false discovery rate). ``"k-distance"``: one over the
        distance of the index cell to its k-th neighbour. ``"graph-overlap"``: one over the number of cells that a
        neighbourhood shares with all others; also used if the distances are not available. None: equal weights.

    Returns
    -------
    AnnData
        (n_samples, n_types) with

        ``.X``, ``.layers["proportions"]``
            Number of cells; the same divided by the number of cells of the sample.
        ``.obs``
            The columns of `adata` that have one value within each sample, ``n_cells`` and ``size_factors`` (linear,
            mean 1). Columns with several values within a sample are left out and listed in the log.
        ``.var``
            ``n_cells``, ``n_samples`` (with a cell), and ``spatial_weight`` for neighbourhoods.
        ``.uns["abundance"]``
            Description of the table, from which :func:`sc_glmm.tl.test` knows that rows are samples.

    Raises
    ------
    InputError
        If a column or slot is missing, if there is only one sample or one type, or if a reference type does not exist.

    Notes
    -----
    Counts of cells do not contain absolute numbers. If all types except one double, the counts look the same as if
    this one type had halved, and no method can distinguish the two. A change is therefore always relative to a
    reference. ``"robust"`` assumes that fewer than half of the types change in one direction. With two types, it is no
    better than ``"total"``. With three or four types, the assumption is weak, and known reference types are better.

    The weights of the k-distance are those of Milo [1]_, and the weighted adjustment is that of cydar [2]_. The robust
    reference is Tukey's biweight location of the changes of all types.

    References
    ----------
    .. [1] Dann, Henderson, Teichmann, Morgan and Marioni, Differential abundance testing on single-cell data using
       k-nearest neighbor graphs, Nature Biotechnology 2022, 40:245.
    .. [2] Lun, Richard and Marioni, Testing for differential abundance in mass cytometry data, Nature Methods 2017,
       14:707.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=20, n_cell_types=4, seed=0)
    >>> counts = sc_glmm.pp.abundance(adata, sample="sample", groupby="cell_type")
    >>> counts.shape
    (8, 4)
    >>> sc_glmm.tl.test(counts, "X ~ disease", reference={"disease": "ctl"})
    >>> sc_glmm.get.results(counts)[["variable", "log_fc", "p_value"]].shape
    (4, 3)
    """
    from anndata import AnnData

    if weights not in ("k-distance", "graph-overlap", None):
        raise InputError(f"weights={weights!r}: allowed are 'k-distance', 'graph-overlap' and None")
    if is_mudata(adata):
        counted = of_milo(adata, sample, weights)
    elif nhoods is not None:
        counted = of_neighbourhoods(adata, sample, nhoods, weights)
    elif groupby is None:
        counted = with_weights(of_table(adata, sample), weights)
    else:
        counted = of_types(adata, sample, groupby)
    _check(counted)
    table, types = _with_reference(counted, reference)
    n_cells = counted.n_cells
    sizes = n_cells if not types else counted.counts[:, np.isin(counted.types, types)].sum(axis=1) + 0.5
    obs = counted.obs.drop(columns=[name for name in (N_CELLS, SIZES) if name in counted.obs])
    obs.index = pd.Index(counted.samples)
    obs[N_CELLS] = n_cells.astype(np.int64) if np.all(n_cells == np.round(n_cells)) else n_cells
    obs[SIZES] = sizes / sizes.mean()
    var = counted.var.copy()
    var.index = pd.Index(counted.types)
    var[N_CELLS] = counted.counts.sum(axis=0).astype(np.int64)
    var["n_samples"] = (counted.counts > 0.0).sum(axis=0)
    proportions = counted.counts / np.maximum(n_cells, 1.0)[:, None]
    result = AnnData(X=counted.counts, obs=obs, var=var, layers={"proportions": proportions})
    mark_table(result, table)
    warn_notes(counted.notes)
    if table.varying:
        logger.info("columns with several values within a sample were left out: %s", ", ".join(table.varying))
    return result


def _check(counted: Counted) -> None:
    content, sample = counted.table.what, counted.table.sample
    if len(counted.samples) < 2:
        raise InputError(
            f"there is only one sample ({counted.samples[0]!r} in the column {sample!r}), but abundance is compared "
            "between samples: pass a column with several samples as sample="
        )
    if len(counted.types) < 2:
        raise InputError(
            f"there is only one type ({counted.types[0]!r} in {content!r}), but abundance is relative to other types: "
            "pass a column with two or more types as groupby="
        )


def _with_reference(counted: Counted, reference: str | Sequence[str]) -> tuple[AbundanceTable, list[str]]:
    """Return the table with its reference, and the names of reference types."""
    if reference == "robust":
        return counted.table, []
    if reference == "total":
        return replace(counted.table, reference="total"), []
    if not isinstance(reference, str | Sequence):
        raise InputError(f"reference={reference!r}: allowed are 'robust', 'total', and names of types")
    types = [reference] if isinstance(reference, str) else [str(name) for name in reference]
    unknown = [name for name in types if name not in counted.types]
    if unknown or not types:
        hint = suggest("".join(unknown[:1]), counted.types, 12, also=("robust", "total"))
        raise InputError(f"reference={reference!r}: allowed are 'robust', 'total', and names of types{hint}")
    if len(counted.types) - len(set(types)) < 1:
        raise InputError(f"reference={reference!r} contains all types, so no type remains to be tested: remove one")
    return replace(counted.table, reference="types", reference_types=tuple(types)), types
