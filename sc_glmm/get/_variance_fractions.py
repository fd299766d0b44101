"""Split the variation of genes into fractions for the terms of the model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._adata.mudata import results_in
from .._adata.stored import read_fit_info, read_variances, without_groups
from .._arrays import FloatArray
from .._display.arguments import check_choice, check_flag
from .._fit.variance_forms import forms_from_arrays
from .._inference.variance_parts import METHODS, distribution_variance, random_variance
from .._results import stack
from ._results import known_names

if TYPE_CHECKING:
    from anndata import AnnData


def variance_fractions(
    adata: AnnData | str | os.PathLike[str],
    key: str = "glmm",
    *,
    group: str | None = None,
    genes: str | Sequence[str] | None = None,
    method: Literal["lognormal", "trigamma", "delta"] = "lognormal",
    fractions: bool = True,
) -> pd.DataFrame:
    r"""Split the variation of every gene into fractions for the terms of its model.

    For counts, the variances are on the scale of the natural log of the expected count, including the variance of one
    cell on this scale (Nakagawa and others 2017). For ``family="gaussian"``, they are on the scale of the response. The
    total variance is

    .. math::
        V = \sum_t V_t + \sum_r V_r + V_\phi + V_\mathrm{Poisson}
        \qquad\text{or}\qquad V = \sum_t V_t + \sum_r V_r + \sigma^2.

    - The variance of a fixed term is the variance over the cells of its part of the linear predictor. If terms are
      correlated, the variances are scaled so that their sum is the variance of all fixed effects together, as in
      ``calcVarPart`` of the R package variancePartition. Terms of the same variables, such as ``x`` and
      ``I(x ** 2)``, are one part. The part of an interaction is the part that its main effects do not explain, so base
      levels do not matter.
    - The variance of a random term is the mean over the cells of :math:`z^\top \Sigma z`; for ``(1 | sample)``, this is
      the variance between samples.
    - The variance of one cell is :math:`\log(1 + a)` with :math:`a = 1/m + \phi`, where :math:`m` is the mean count per
      cell and :math:`\phi` the dispersion. Of this, :math:`\log(1 + \phi)` is overdispersion, and the rest is Poisson
      noise. With ``method="trigamma"``, :math:`\log(1 + a)` is replaced by :math:`\psi_1(1 / a)`; with ``"delta"``, it
      is replaced by :math:`a`.

    Offsets and size factors are not part of the variation. Poisson noise depends on the sequencing depth: at 0.1 counts
    per cell, it is most of the variation of a gene. The other variances do not depend on the depth, so their ratios can
    be compared between data sets.

    The estimates are those of the run. With few samples, the fractions of fixed effects are too large, because the
    estimated effects also vary. A term of one column without an effect has about 1 / S of the variance between S
    samples. variancePartition fits by maximum likelihood; use ``method="ml"`` in :func:`sc_glmm.tl.test` for the same
    numbers.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        `key_added` of the run. If several modalities of a MuData have results, also with the modality: ``"rna:glmm"``.
    group
        Level of `groupby`. Default: all levels.
    genes
        Genes to return. Default: all genes.
    method
        Approximation of the variance of one count on the log scale.
    fractions
        Whether to divide by the sum. If False, variances are returned (natural log, squared).

    Returns
    -------
    pandas.DataFrame
        One row per gene (and group), in the order of the genes. Columns: the column of `groupby` if there is one,
        ``variable``, one column for each fixed part (``disease``), one for each random term (``(1 | sample)``), and
        ``dispersion`` and ``poisson``, or ``residual``. If a term of the model has one of the last names, the column
        gets a number: ``dispersion_2``. Genes without a fit have NaN, and so have separated genes, whose effect is
        infinite. A term that was dropped in a group has NaN in the rows of this group.

    Raises
    ------
    InputError
        If there are no results under `key`, if there is no such group or gene, or if an older version wrote the
        results.

    References
    ----------
    Nakagawa, Johnson and Schielzeth (2017), J. R. Soc. Interface 14:20170213. Hoffman and Schadt (2016), BMC
    Bioinformatics 17:483 (variancePartition).

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    >>> list(sc_glmm.get.variance_fractions(adata).columns)
    ['variable', 'disease', '(1 | sample)', 'dispersion', 'poisson']
    """
    check_choice("method", method, METHODS)
    check_flag("fractions", fractions)
    stored, key = results_in(adata, key)
    info = read_fit_info(stored, key)
    params = stored.uns[key]["params"]
    groupby = params.get("cells_grouped_by")
    if group is not None and groupby is None:
        raise without_groups(group, key)
    parts, noise = [], []
    for name, arrays in read_variances(stored, key).items():
        of_group = info if groupby is None else info[info[groupby].astype(str) == name]
        variances, of_cells = _of_group(of_group, arrays, str(params["family"]), method)
        noise += of_cells
        values = np.stack(list(variances.values()), axis=1)
        values[~np.isfinite(values).all(axis=1)] = np.nan
        if fractions:
            with np.errstate(invalid="ignore", divide="ignore"):
                values /= values.sum(axis=1, keepdims=True)
        frame = pd.DataFrame(values, columns=list(variances))
        frame.insert(0, "variable", of_group["variable"].astype(str).to_numpy())
        if groupby is not None:
            frame.insert(0, groupby, name)
        parts.append(frame)
    out = stack(parts)
    out = out[[c for c in out if c not in noise] + list(dict.fromkeys(noise))]
    if groupby is not None:
        out[groupby] = pd.Categorical(out[groupby], categories=list(dict.fromkeys(out[groupby])))
        if group is not None:
            known_names(group, out[groupby], "group")
            out = out[out[groupby].astype(str) == str(group)]
    if genes is not None:
        out = out[out["variable"].isin(known_names(genes, out["variable"], "gene"))]
    return out.set_axis(pd.Index([str(name) for name in out["variable"]]), axis=0)


def _of_group(
    info: pd.DataFrame, arrays: Mapping[str, Any], family: str, method: str
) -> tuple[dict[str, FloatArray], list[str]]:
    """Return (n_genes,) variances of each part, and the names of the parts of single cells, which come last."""
    forms = forms_from_arrays(arrays)
    variances: dict[str, FloatArray] = {}
    taken = {"variable"}

    def add(label: str, variance: FloatArray) -> str:
        name, count = label, 1
        while name in taken:
            count += 1
            name = f"{label}_{count}"
        taken.add(name)
        variances[name] = variance
        return name

    _, fixed = forms.fixed.variances(_numbers(info, arrays["coef"]))
    for label, variance in zip(forms.fixed_labels, fixed.T, strict=True):
        add(label, variance)
    for i, (label, form) in enumerate(zip(forms.random_labels, forms.random, strict=True)):
        sd = _numbers(info, arrays[f"sd_{i}"])
        add(label, random_variance(form, _covariance(sd, _numbers(info, arrays.get(f"corr_{i}", [])))))
    if family == "gaussian":
        return variances, [add("residual", _numbers(info, ["dispersion"])[:, 0])]
    has_dispersion = "dispersion" in info
    phi = _numbers(info, ["dispersion"])[:, 0] if has_dispersion else np.zeros(len(info))
    over, noise = distribution_variance(family, _numbers(info, ["mean"])[:, 0], phi, method)
    return variances, [*([add("dispersion", over)] if has_dispersion else []), add("poisson", noise)]


def _covariance(sd: FloatArray, corr: FloatArray) -> FloatArray:
    """Compute (n, k, k) covariances from (n, k) deviations and the correlations below the diagonal, row by row."""
    n, k = sd.shape
    out = np.zeros((n, k, k))
    rows, columns = np.tril_indices(k, -1)
    # the correlation with a variance of zero is NaN, but the covariance is zero
    out[:, rows, columns] = np.where(
        (sd[:, rows] == 0.0) | (sd[:, columns] == 0.0), 0.0, corr * sd[:, rows] * sd[:, columns]
    )
    out += np.swapaxes(out, 1, 2)
    out[:, range(k), range(k)] = sd**2
    return out


def _numbers(info: pd.DataFrame, columns: Any) -> FloatArray:
    names = [str(name) for name in np.atleast_1d(columns)]
    return info[names].to_numpy(dtype=np.float64)
