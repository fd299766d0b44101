"""The fractions of variance that a figure draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import InputError
from .frames import group_column, levels_of

if TYPE_CHECKING:
    from anndata import AnnData

NOISE = ("dispersion", "poisson", "residual")


def fractions_frame(data: AnnData | pd.DataFrame, key: str, group: str | None) -> pd.DataFrame:
    """The fractions of the genes of one group, with their names in ``variable``.

    Raises
    ------
    InputError
        If a frame is not one of fractions, or several groups are there and none is named.
    """
    if isinstance(data, pd.DataFrame):
        frame = data
        _check(frame)
    else:
        from ...get import variance_fractions

        frame = variance_fractions(data, key)
    column = group_column(frame)
    if column is None:
        if group is not None:
            raise InputError(f"group={group!r} was asked for, and the fractions have no groups. Leave group out.")
        return frame
    known = levels_of(frame[column])
    if group is None and len(known) == 1:
        group = known[0]
    if group not in known:
        raise InputError(f"variance_fractions draws one {column}: group={group!r} is not among {known}.")
    mine = frame[frame[column].astype(str) == group]
    # terms that this group does not have
    return mine.drop(
        columns=[c for c in parts_of(frame) if mine[c].isna().all() and not mine[parts_of(frame)].isna().all(axis=None)]
    )


def parts_of(frame: pd.DataFrame) -> list[str]:
    """Columns of fractions: those after ``variable``, with the noise of single cells last."""
    return [str(c) for c in frame.columns[list(frame.columns).index("variable") + 1 :]]


def _check(frame: pd.DataFrame) -> None:
    advice = "give the frame of sc_glmm.get.variance_fractions, or an AnnData after sc_glmm.tl.test"
    if "variable" not in frame:
        raise InputError(
            f"variance_fractions needs the column 'variable'; the frame has {list(frame.columns)}: {advice}."
        )
    numeric = all(pd.api.types.is_float_dtype(frame[part]) for part in parts_of(frame)) and len(parts_of(frame)) > 0
    sums = frame[parts_of(frame)].sum(axis=1, min_count=1).dropna().to_numpy(np.float64) if numeric else np.zeros(0)
    if not numeric or (len(sums) and not np.allclose(sums, 1.0, atol=1e-6)):
        raise InputError(f"the columns after 'variable' are not fractions that sum to one: {advice}.")
