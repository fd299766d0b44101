"""The table of results."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd

from .._anndata import read_results
from .._errors import InputError
from .._mudata import results_in

if TYPE_CHECKING:
    from anndata import AnnData


def results(adata: AnnData | str | os.PathLike[str], key: str = "glmm", contrast: str | None = None) -> pd.DataFrame:
    """One row per gene and contrast, in the order of the genes, which are also the index.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        Its `key_added`; ``"rna:glmm"`` names the modality of a MuData as well, if several have results.
    contrast
        Only this contrast, in words (``"disease: AD vs ctl"``) or by its key (``"disease"``).

    Returns
    -------
    pandas.DataFrame
        ``variable``, ``contrast``
            Gene; what is compared with what. With `groupby`, its column comes first.
        ``coef``, ``se``
            Estimate and standard error, natural log.
        ``log_fc``, ``log_fc_se``, ``ci_low``, ``ci_high``
            The same in log2, with a 95 % interval for `log_fc`.
        ``stat``, ``df``, ``p_value``, ``adj_p_value``
            Statistic of the test (t, F or z, by the test), degrees of freedom between samples, two-sided p-value, and
            the p-value adjusted over the tested genes of the contrast (Benjamini and Hochberg).
        ``status``
            One word, see :func:`sc_glmm.tl.test`.
        ``p_hk``
            p-value of Hartung and Knapp's test, which looks at the gene alone; NaN where it is not defined.
        ``log_fc_shrunk``, ``lfsr``, ``s_value``
            For ranking: `log_fc` shrunk towards zero by a prior for effects that is learnt from all genes (a scale
            mixture of normals, as in ashr), on the gene's whole likelihood; the local false sign rate, which is the
            probability that its sign is wrong or the effect zero; and the s-value, the mean `lfsr` of the gene and all
            that are more certain: a list cut at 0.05 has 5 % wrong signs. After moderated tests with a prior, for
            contrasts of one row; else NaN.

        The facts of the gene follow, as :func:`sc_glmm.get.fit_info` lists them.

    Raises
    ------
    InputError
        If there are no results under `key`, or no such contrast.
    """
    held, key = results_in(adata, key)
    frame = read_results(held, key)
    if contrast is None:
        return frame
    words = list(frame["contrast"].cat.categories)
    params = held.uns[key]["params"]
    chosen = [contrast] if contrast in words else []
    if not chosen:
        named = list(zip(params["contrast_keys"], params["contrast_words"], strict=True))
        chosen = [str(told) for name, told in named if str(name) == contrast]
    if not chosen:
        keys = list(dict.fromkeys(str(name) for name in params["contrast_keys"]))
        raise InputError(f"there is no contrast {contrast!r} under key={key!r}; there are {words} (keys: {keys})")
    return frame[frame["contrast"].isin(chosen)]
