"""Read the counts of a few genes in one pass over the matrix, for the figures of single genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from .._compress.source import Source, read_chunks
from .._fit.model import get_family
from .._run.job import find_sizes
from .study import Study


def with_counts_of(study: Study, genes: Sequence[str]) -> AnnData | None:
    """Copy the results with the response of these genes and zeros for all others; None if there is no matrix.

    The copy also contains the size factors of the run, because the sums of its cells differ.
    """
    if study.matrix is None:
        return None
    var: pd.DataFrame = study.adata.var  # type: ignore[assignment]
    wanted = var.index.get_indexer(pd.Index(list(dict.fromkeys(genes))))
    response = _columns(study.matrix, np.sort(wanted[wanted >= 0]))[study.used]
    uns = {key: value for key, value in study.adata.uns.items() if key in (study.key, f"{study.key}_results")}
    entry = dict(uns[study.key])
    library, family = study.library, get_family(str(study.params["family"]))
    if library is not None and "log_sizes" not in entry:
        entry["log_sizes"] = find_sizes(study.opened.adata, study.formula, family, None, None, lambda: library).log
    if "log_sizes" in entry:
        entry["log_sizes"] = np.asarray(entry["log_sizes"], dtype=np.float64)[study.used]
    # the checksums are those of all cells
    kept = {name: value for name, value in entry["params"].items() if name != "checksums"}
    entry["params"] = {**kept, "n_obs": int(study.used.sum())}
    uns[study.key] = entry
    layer = study.formula.response_name
    places: dict[str, Any] = {"layers": {layer: response}} if layer in study.opened.layers else {"X": response}
    obs: pd.DataFrame = study.opened.adata.obs.loc[study.used]  # type: ignore[assignment]
    return AnnData(obs=obs, var=var, varm=dict(study.adata.varm), uns=uns, **places)


def _columns(matrix: Any, wanted: np.ndarray) -> sp.csc_matrix:
    """Copy a matrix with zeros in all columns except these."""
    n_obs, n_vars = matrix.shape
    part = _from_source(matrix, wanted) if isinstance(matrix, Source) else sp.csc_matrix(matrix[:, wanted])
    counts = np.zeros(n_vars, dtype=np.int64)
    counts[wanted] = np.diff(part.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csc_matrix((part.data, part.indices, indptr), shape=(n_obs, n_vars))


def _from_source(source: Source, wanted: np.ndarray) -> sp.csc_matrix:
    if source.form == "csc":
        columns = [sp.csc_matrix(tuple(source.read(j, j + 1)), shape=(source.shape[0], 1)) for j in wanted.tolist()]
        return sp.hstack(columns, format="csc") if columns else sp.csc_matrix((source.shape[0], 0))
    parts = []
    for chunk in read_chunks(source, source.spans()):
        shape = (chunk.last - chunk.first, source.shape[1])
        parts.append(sp.csr_matrix(tuple(chunk.stored), shape=shape)[:, wanted])
    return sp.vstack(parts, format="csc")
