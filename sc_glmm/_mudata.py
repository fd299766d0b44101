"""One modality of a MuData as an AnnData, with the columns of all modalities beside its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ._errors import InputError


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
    if modality not in data.mod:
        given = "no modality was named" if modality is None else f"there is no modality {modality!r}"
        raise InputError(f"{given}; the MuData has {list(data.mod)}: name the one with the counts, modality='rna'")
    if copy:
        raise InputError("copy=True does not go with a MuData: copy it before, with mdata.copy()")
    inside = data.mod[modality]
    above = [name for name in data.obs.columns if name not in inside.obs.columns]
    if not above:
        return inside, None
    return inside, pd.concat([inside.obs, data.obs.loc[inside.obs_names, above]], axis=1)
