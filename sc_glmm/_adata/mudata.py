"""Access one modality of a MuData as an AnnData, together with the columns of the MuData."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .._errors import FormulaError, InputError
from .checks import check_run, has_results
from .store import Store


def is_mudata(data: Any) -> bool:
    """Check whether `data` has modalities, without importing mudata."""
    return isinstance(getattr(data, "mod", None), Mapping) and hasattr(data, "obsmap")


def modality_of(data: Any, modality: str | None, copy: bool) -> tuple[Any, pd.DataFrame | None]:
    """Return the AnnData of the modality, and its `obs` with the columns of the MuData (None if it has no others).

    Raises
    ------
    InputError
        If `modality` is missing, unknown, or given for another type of object; or if a MuData is to be copied.
    """
    if not is_mudata(data):
        if modality is not None:
            raise InputError(f"modality={modality!r} needs a MuData, but the data are a {type(data).__name__}: omit it")
        return data, None
    if modality is None or modality not in data.mod:
        given = "no modality was given" if modality is None else f"there is no modality {modality!r}"
        raise InputError(
            f"{given}; the MuData has {list(data.mod)}: choose the one with the counts, as in modality='rna'"
        )
    if copy:
        raise InputError("copy=True cannot be used with a MuData: copy it first, with mdata.copy()")
    return data.mod[modality], _columns_above(data, modality)


def results_in(data: Any, key: str) -> tuple[Any, str]:
    """Return the AnnData with the results under `key`, and their key in it.

    For a path, this is an AnnData with these results and without a matrix. For a MuData, it is the modality in
    ``"rna:glmm"``, or else the only modality with such results. Other objects are returned unchanged.

    Raises
    ------
    InputError
        If no modality has such results, or several have.
    """
    if isinstance(data, str | os.PathLike):
        return checked(Store(data).results(key), data, [key]), key
    if not is_mudata(data):
        if not hasattr(data, "uns"):
            raise InputError(
                f"results are read from an AnnData after sc_glmm.tl.test, or from the path of a file; this is a "
                f"{type(data).__name__}"
            )
        return data, key
    name, colon, inner = key.partition(":")
    if colon and name in data.mod:
        return data.mod[name], inner
    having = [name for name, inside in data.mod.items() if _has_results(inside.uns.get(key))]
    if len(having) != 1:
        found = f"several modalities have: {having}" if having else f"no modality of {list(data.mod)} has any"
        raise InputError(
            f"results under key={key!r} were requested from a MuData, but {found}; add the modality, as in "
            f"key='{(having or list(data.mod))[0]}:{key}'"
        )
    return data.mod[having[0]], key


def checked(adata: Any, path: str | os.PathLike[str], keys: Iterable[str]) -> Any:
    """Check the results under these keys, if there are any; an error message names the file."""
    for key in keys:
        if has_results(adata.uns.get(key)):
            try:
                check_run(adata.uns, adata.varm, key)
            except FormulaError as error:
                raise FormulaError(f"{path}: {error.message}", error.source, error.span) from error
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
    return adata


def modality_with(data: Any, key: str) -> tuple[Any, str, pd.DataFrame | None]:
    """Find results as :func:`results_in` does, and return the columns of cells as :func:`modality_of` does."""
    inside, inner = results_in(data, key)
    if not is_mudata(data):
        return inside, inner, None
    return inside, inner, _columns_above(data, next(name for name, mod in data.mod.items() if mod is inside))


def _has_results(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "params" in entry


def _columns_above(data: Any, modality: str) -> pd.DataFrame | None:
    """Return `obs` of a modality with the additional columns of the MuData; None if it has none."""
    inside = data.mod[modality]
    above = [name for name in data.obs.columns if name not in inside.obs.columns]
    if not above:
        return None
    return pd.concat([inside.obs, data.obs.loc[inside.obs_names, above]], axis=1)
