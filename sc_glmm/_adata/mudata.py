"""One modality of a MuData as an AnnData, with the columns of all modalities beside its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from .._errors import InputError
from .store import Store


def is_mudata(data: Any) -> bool:
    """Whether `data` holds modalities; mudata itself is not needed to know."""
    return isinstance(getattr(data, "mod", None), Mapping) and hasattr(data, "obsmap")


def modality_of(data: Any, modality: str | None, copy: bool) -> tuple[Any, pd.DataFrame | None]:
    """The AnnData to work on, and its `obs` with the columns that only the MuData has; None if they are its own.

    Raises
    ------
    InputError
        If `modality` is missing, unknown, or given for what has none; or if a MuData is to be copied.
    """
    if not is_mudata(data):
        if modality is not None:
            raise InputError(
                f"modality={modality!r} goes with a MuData, and this is a {type(data).__name__}: leave it out"
            )
        return data, None
    if modality is None or modality not in data.mod:
        given = "no modality was named" if modality is None else f"there is no modality {modality!r}"
        raise InputError(f"{given}; the MuData has {list(data.mod)}: name the one with the counts, modality='rna'")
    if copy:
        raise InputError("copy=True does not go with a MuData: copy it before, with mdata.copy()")
    return data.mod[modality], _columns_above(data, modality)


def results_in(data: Any, key: str) -> tuple[Any, str]:
    """The AnnData that holds the results under `key`, and their key in it.

    Of a path it is one with these results and without a matrix, of a MuData the modality that ``"rna:glmm"`` names,
    else the only one that has such results. Anything else is returned as it is.

    Raises
    ------
    InputError
        If no modality has such results, or several have.
    """
    if isinstance(data, str | os.PathLike):
        return Store(data).results(key), key
    if not is_mudata(data):
        return data, key
    name, colon, inner = key.partition(":")
    if colon and name in data.mod:
        return data.mod[name], inner
    having = [name for name, inside in data.mod.items() if _has_results(inside.uns.get(key))]
    if len(having) != 1:
        found = f"several modalities have: {having}" if having else f"no modality has, of {list(data.mod)}"
        raise InputError(
            f"results under key={key!r} are looked for in a MuData, and {found}; name one with its modality, such as "
            f"key='{(having or list(data.mod))[0]}:{key}'"
        )
    return data.mod[having[0]], key


def modality_with(data: Any, key: str) -> tuple[Any, str, pd.DataFrame | None]:
    """As :func:`results_in`, and the columns of cells as :func:`modality_of` gives them."""
    inside, inner = results_in(data, key)
    if not is_mudata(data):
        return inside, inner, None
    return inside, inner, _columns_above(data, next(name for name, mod in data.mod.items() if mod is inside))


def _has_results(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "params" in entry


def _columns_above(data: Any, modality: str) -> pd.DataFrame | None:
    """`obs` of a modality with the columns that only the MuData has; None if there are none."""
    inside = data.mod[modality]
    above = [name for name in data.obs.columns if name not in inside.obs.columns]
    if not above:
        return None
    return pd.concat([inside.obs, data.obs.loc[inside.obs_names, above]], axis=1)
