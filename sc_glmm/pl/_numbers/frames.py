"""Select the one data frame that a plotting function draws."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._adata.contrasts import all_contrasts, contrasts_in_frame, find_contrasts
from ..._display.arguments import suggest
from ..._errors import InputError
from ..._inference.minimum import ANY_DIFFERENCE, Alternative
from .symbols import with_symbols

if TYPE_CHECKING:
    from anndata import AnnData

# Values of `status` for fits without problems; a variance of zero is a valid result.
WELL = ("ok", "singular")
# Characters in a line that fits the width of a column, and lines at most, for the meaning of a named contrast.
_LINE, _MOST_LINES = 44, 3


def results_frame(
    data: AnnData | pd.DataFrame,
    *,
    key: str,
    contrast: str | None = None,
    group: str | None = None,
    gene_symbols: str | None = None,
) -> pd.DataFrame:
    """Rows of one contrast and group, from an AnnData (through ``get.results``) or from such a data frame.

    With `gene_symbols`, genes are named by that column of ``var``.
    """
    if isinstance(data, pd.DataFrame):
        frame, known = data, contrasts_in_frame(data) if "contrast" in data else []
    else:
        # Imported here, so that a data frame can be drawn without loading anndata.
        from ..._adata.mudata import results_in
        from ...get import results

        held, held_key = results_in(data, key)
        frame = results(data, key=key, columns="all")
        known = all_contrasts(held.uns[held_key]["params"])
    kept = np.ones(len(frame), dtype=bool)
    if contrast is not None and "contrast" in frame:
        kept &= frame["contrast"].astype(str).isin(find_contrasts(known, contrast)).to_numpy()
    if group is not None:
        column = group_column(frame)
        if column is None:
            raise InputError(
                f"group={group!r} was given, but the results have no groups: their first column is "
                f"{frame.columns[0]!r}. Omit group=, or run sc_glmm.tl.test with groupby="
            )
        mine = (frame[column].astype(str) == _known_group(frame[column], group)).to_numpy()
        if not (kept & mine).any() and kept.any():
            raise InputError(
                f"the contrast {contrast!r} was not tested in group={group!r}; there are "
                f"{levels_of(frame.loc[mine, 'contrast'])}. sc_glmm.get.details has the reasons"
            )
        kept &= mine
    return with_symbols(frame[kept], data, key, gene_symbols)


def tested_effects(data: AnnData | pd.DataFrame, key: str) -> Alternative:
    """What the run in an AnnData compared fold changes with; a frame does not say, and stands for any difference."""
    if isinstance(data, pd.DataFrame):
        return ANY_DIFFERENCE
    from ..._adata.mudata import results_in
    from ..._adata.stored import read_alternative

    return read_alternative(*results_in(data, key))


def _known_group(column: pd.Series, group: object) -> str:
    known = levels_of(column)
    if str(group) not in known:
        raise InputError(f"the results have no group {str(group)!r}{suggest(group, known)}")
    return str(group)


def group_column(frame: pd.DataFrame) -> str | None:
    """The column of the groups of cells: the column before ``variable`` in ``get.results``."""
    first = str(frame.columns[0]) if len(frame.columns) else "variable"
    return None if first in ("variable", "contrast") or "variable" not in frame else first


def levels_of(column: pd.Series) -> list[str]:
    """Levels that occur, in the order of the categories, or else in the order of their first rows."""
    seen = list(dict.fromkeys(column.dropna().astype(str)))
    if isinstance(column.dtype, pd.CategoricalDtype):
        order = {str(level): i for i, level in enumerate(column.cat.categories)}
        seen.sort(key=lambda level: order[level])
    return seen


def require_columns(frame: pd.DataFrame, columns: Sequence[str], *, plot: str) -> None:
    """Raise an error if the data frame lacks columns that the plot needs."""
    missing = [c for c in columns if c not in frame]
    if missing:
        raise InputError(
            f"{plot} needs the columns {list(columns)}; the data frame lacks {missing} and has "
            f"{list(frame.columns)}. Pass the result of sc_glmm.get.results, or an AnnData after sc_glmm.tl.test."
        )


def require_one_row_a_gene(frame: pd.DataFrame, *, plot: str) -> None:
    """Raise an error for several contrasts or groups, which would draw every gene more than once."""
    if len(frame) == 0:
        raise InputError(f"{plot} received no rows; is the selection empty?")
    twice = frame["variable"].duplicated()
    if not twice.any():
        return
    gene = frame.loc[twice, "variable"].iloc[0]
    if "contrast" in frame and frame["contrast"].nunique() > 1:
        raise InputError(
            f"{plot} draws one contrast, but these results have {levels_of(frame['contrast'])}. Select one with "
            f"contrast={frame['contrast'].iloc[-1]!r} (in the command, --contrast)."
        )
    column = group_column(frame)
    if column is not None:
        raise InputError(
            f"{plot} draws one {column}, but these results have {levels_of(frame[column])}. Select one with "
            f"group={frame[column].iloc[0]!r} (in the command, --group)."
        )
    raise InputError(
        f"{plot} draws each gene once; {gene!r} has {int((frame['variable'] == gene).sum())} rows. "
        "Select the rows of one group, for example results[results['cell_type'] == 'B cells']."
    )


def split_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that distinguish the sets of tests: group and contrast, if there are several."""
    columns = [c for c in (group_column(frame), "contrast") if c is not None and c in frame]
    return [c for c in columns if frame[c].nunique() > 1]


def split_sets(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The sets of tests in a data frame, one per group and contrast, each with a title (empty if there is only one)."""
    columns = split_columns(frame)
    if not columns:
        return [("", frame)]
    sets = []
    for place in levels_of(frame[columns[0]]):
        part = frame[frame[columns[0]].astype(str) == place]
        if len(columns) == 1:
            sets.append((place, part))
        else:
            sets += [
                (f"{place}, {other}", part[part[columns[1]].astype(str) == other])
                for other in levels_of(part[columns[1]])
            ]
    return sets


def status_of(frame: pd.DataFrame) -> pd.Series:
    """Status of each row; ``ok`` if the column is missing, and for a variance of zero."""
    if "status" not in frame:
        return pd.Series("ok", index=frame.index)
    return frame["status"].astype(str).replace("singular", "ok")


def significant_rows(frame: pd.DataFrame, alpha: float) -> np.ndarray:
    """Whether the adjusted p-value is below `alpha`; False if it is missing."""
    return (frame["adj_p_value"].to_numpy(float) < alpha).astype(bool)


def one_contrast(frame: pd.DataFrame) -> str | None:
    """The label of the contrast, if the data frame has only one: ``"disease: AD vs ctl"``.

    A name that the user chose is followed by what it means, on lines of its own.
    """
    if "contrast" not in frame or frame["contrast"].nunique() != 1:
        return None
    label = str(frame["contrast"].iloc[0])
    meanings = list(dict.fromkeys(frame["meaning"].astype(str))) if "meaning" in frame else []
    if len(meanings) != 1 or meanings[0] == label:
        return label
    lines = textwrap.wrap(f"= {meanings[0]}", _LINE, max_lines=_MOST_LINES, placeholder=" ...")
    return "\n".join([label, *lines])


def effect_column(frame: pd.DataFrame, shrunken: bool, *, plot: str) -> str:
    """The column of the fold changes; shrunken ones exist after moderated tests only."""
    if not shrunken:
        return "log_fc"
    require_columns(frame, ["log_fc_shrunk"], plot=f"{plot} with shrunken=True")
    if not np.isfinite(frame["log_fc_shrunk"].to_numpy(float)).any():
        raise InputError(
            f"{plot} with shrunken=True: none of the {len(frame)} rows has a shrunken fold change. Only tests with a "
            "prior over genes compute them (the default for counts, from 50 genes on); otherwise omit shrunken=."
        )
    return "log_fc_shrunk"
