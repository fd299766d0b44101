"""Split the variation of genes into fractions due to the terms of the model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._adata.mudata import results_in
from .._adata.stored import read_fit_info, read_variances
from .._arrays import FloatArray
from .._errors import InputError
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
    r"""Split the variation of every gene into fractions due to the terms of its model.

    For counts, the variances are those of the natural log of the expected count, and of one cell on that scale
    (Nakagawa and others 2017); for ``family="gaussian"``, those of the response. They are parts of

    .. math::
        V = \sum_t V_t + \sum_r V_r + V_\phi + V_\mathrm{Poisson}
        \qquad\text{or}\qquad V = \sum_t V_t + \sum_r V_r + \sigma^2.

    - A fixed term has the variance over the cells of its part of the linear predictor. If terms are correlated, the
      variances are scaled so that they add up to that of all fixed effects, as in ``calcVarPart`` of the R package
      variancePartition. Terms of the same variables, such as ``x`` and ``I(x ** 2)``, are one part. The part of an
      interaction excludes what its main effects can express, so base levels do not matter.
    - A random term has the mean over the cells of :math:`z^\top \Sigma z`; for ``(1 | sample)`` the variance between
      samples.
    - With the mean count per cell :math:`m` and the dispersion :math:`\phi`, one cell has :math:`\log(1 + 1/m + \phi)`.
      Of this, :math:`\log(1 + \phi)` is overdispersion, and the rest is Poisson noise. With ``method="trigamma"`` the
      log is replaced by :math:`\psi_1` of the inverse of its argument less one, with ``"delta"`` by that argument
      itself.

    Offsets and size factors are not part of the variation. Poisson noise depends on the sequencing depth: at 0.1 counts
    per cell, it is most of the variation of a gene. The other variances do not depend on it, so their ratios can be
    compared between data sets.

    The estimates are those of the run. Fractions of fixed effects are too large with few samples, because the estimated
    effects vary as well: a term of one column without an effect takes about 1 / S of the variance between S samples.
    variancePartition fits by maximum likelihood; use ``method="ml"`` in :func:`sc_glmm.tl.test` for the same numbers.

    Parameters
    ----------
    adata
        AnnData (or MuData) after :func:`sc_glmm.tl.test`; or the path of an ``.h5ad`` file or a zarr store with
        results.
    key
        `key_added` of the run; ``"rna:glmm"`` also names the modality of a MuData, if several have results.
    group
        Only this level of `groupby`.
    genes
        Only these genes.
    method
        Approximation of the variance of one count on the log scale.
    fractions
        Whether to divide by the sum. If False, the variances are returned (natural log, squared).

    Returns
    -------
    pandas.DataFrame
        One row per gene (and group), in the order of the genes: the column of `groupby` if there is one, ``variable``,
        one column per fixed part (``disease``), one per random term (``(1 | sample)``), and ``dispersion`` and
        ``poisson``, or ``residual``. If a model term has such a name, the column gets a number: ``dispersion_2``. Genes
        without a fit, and separated genes (their effect is infinite), are NaN. A term that was dropped in a group is
        NaN in its rows.

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
    if method not in METHODS:
        raise InputError(f"method={method!r}: allowed are {', '.join(map(repr, METHODS))}")
    if type(fractions).__name__ not in ("bool", "bool_"):
        raise InputError(f"fractions={fractions!r}: allowed are True and False")
    held, key = results_in(adata, key)
    info = read_fit_info(held, key)
    params = held.uns[key]["params"]
    groupby = params.get("cells_grouped_by")
    if group is not None and groupby is None:
        raise InputError(f"group={group!r}: the run under key={key!r} has no groups (it was run without groupby=)")
    parts, noise = [], []
    for name, arrays in read_variances(held, key).items():
        mine = info if groupby is None else info[info[groupby].astype(str) == name]
        variances, of_cells = _of_group(mine, arrays, str(params["family"]), method)
        noise += of_cells
        values = np.stack(list(variances.values()), axis=1)
        values[~np.isfinite(values).all(axis=1)] = np.nan
        if fractions:
            with np.errstate(invalid="ignore", divide="ignore"):
                values /= values.sum(axis=1, keepdims=True)
        frame = pd.DataFrame(values, columns=list(variances))
        frame.insert(0, "variable", mine["variable"].astype(str).to_numpy())
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
    """``(n_genes,)`` variances of each part, those of single cells last; and the names of the latter."""
    forms = forms_from_arrays(arrays)
    found: dict[str, FloatArray] = {}
    taken = {"variable"}

    def add(label: str, variance: FloatArray) -> str:
        name, count = label, 1
        while name in taken:
            count += 1
            name = f"{label}_{count}"
        taken.add(name)
        found[name] = variance
        return name

    _, fixed = forms.fixed.variances(_numbers(info, arrays["coef"]))
    for label, variance in zip(forms.fixed_labels, fixed.T, strict=True):
        add(label, variance)
    for i, (label, form) in enumerate(zip(forms.random_labels, forms.random, strict=True)):
        sd = _numbers(info, arrays[f"sd_{i}"])
        add(label, random_variance(form, _covariance(sd, _numbers(info, arrays.get(f"corr_{i}", [])))))
    if family == "gaussian":
        return found, [add("residual", _numbers(info, ["dispersion"])[:, 0])]
    has_dispersion = "dispersion" in info
    phi = _numbers(info, ["dispersion"])[:, 0] if has_dispersion else np.zeros(len(info))
    over, noise = distribution_variance(family, _numbers(info, ["mean"])[:, 0], phi, method)
    return found, [*([add("dispersion", over)] if has_dispersion else []), add("poisson", noise)]


def _covariance(sd: FloatArray, corr: FloatArray) -> FloatArray:
    """``(n, k, k)`` covariances of ``(n, k)`` deviations and the correlations below the diagonal, row by row."""
    n, k = sd.shape
    out = np.zeros((n, k, k))
    rows, columns = np.tril_indices(k, -1)
    # a variance of zero has no correlation, and no covariance
    out[:, rows, columns] = np.where(
        (sd[:, rows] == 0.0) | (sd[:, columns] == 0.0), 0.0, corr * sd[:, rows] * sd[:, columns]
    )
    out += np.swapaxes(out, 1, 2)
    out[:, range(k), range(k)] = sd**2
    return out


def _numbers(info: pd.DataFrame, columns: Any) -> FloatArray:
    names = [str(name) for name in np.atleast_1d(columns)]
    return info[names].to_numpy(dtype=np.float64)
