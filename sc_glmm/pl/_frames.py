"""From what a plotting function is given to the one frame that it draws."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import pandas as pd

from .._errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def results_frame(data: AnnData | pd.DataFrame, *, key: str, contrast: str | None) -> pd.DataFrame:
    """Rows of one contrast: from an AnnData through ``get.results``, or from a frame as that returns it."""
    if isinstance(data, pd.DataFrame):
        frame = data
    else:
        # Here, not above: a frame can be drawn without loading what reads an AnnData.
        from ..get import results

        frame = results(data, key=key)
    if contrast is not None and "contrast" in frame:
        known = list(dict.fromkeys(frame["contrast"].astype(str)))
        if contrast not in known:
            near = get_close_matches(contrast, known, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"contrast={contrast!r} is not among the results, which hold {known}.{hint}")
        frame = frame[frame["contrast"].astype(str) == contrast]
    return frame


def require_columns(frame: pd.DataFrame, columns: Sequence[str], *, plot: str) -> None:
    """Say which columns a plot needs and the frame lacks."""
    missing = [c for c in columns if c not in frame]
    if missing:
        raise InputError(
            f"{plot} needs the columns {list(columns)}; the frame lacks {missing} and has {list(frame.columns)}. "
            "Pass the frame of sc_glmm.get.results, or an AnnData after sc_glmm.tl.test."
        )


def require_one_row_a_gene(frame: pd.DataFrame, *, plot: str) -> None:
    """Refuse a frame of several contrasts or groups, which would draw every gene more than once."""
    if len(frame) == 0:
        raise InputError(f"{plot} was given no rows; is the selection empty?")
    twice = frame["variable"].duplicated()
    if not twice.any():
        return
    gene = frame.loc[twice, "variable"].iloc[0]
    if "contrast" in frame and frame["contrast"].nunique() > 1:
        raise InputError(
            f"{plot} draws one contrast; these results hold {list(dict.fromkeys(frame['contrast'].astype(str)))}. "
            "Choose one with contrast=."
        )
    raise InputError(
        f"{plot} draws each gene once; {gene!r} has {int((frame['variable'] == gene).sum())} rows. "
        "Select the rows of one group, for example results[results['cell_type'] == 'B cells']."
    )
