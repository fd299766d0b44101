"""Read the input of a report: the results of a run, its samples and its cells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.mudata import modality_with
from .._adata.open import Opened, find_response, open_data
from .._adata.stored import read_details, read_results, read_run
from .._adata.tables import columns_of
from .._arrays import BoolArray, FloatArray
from .._compress.matrix import Matrix
from .._compress.size_factors import library_size
from .._compress.source import Source
from .._errors import InputError
from .._fit.details import SEPARATOR, arms_of, samples_of
from .._fit.model import get_family
from .._formula import MixedFormula, parse_formula
from .._run.job import find_sizes
from .tables import MOST_CHOICES, Column

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Study:
    """A run with its data.

    Attributes
    ----------
    key
        Name of the results in `adata`.
    adata
        The results; the matrix may be missing.
    params
        Parameters of the run, as stored by :func:`sc_glmm.tl.test`.
    formula
        The formula of the run.
    results
        All columns, one row per gene, contrast and group.
    groupby, details
        Column of the groups of cells, and the table of details; None without groups.
    opened
        The data.
    matrix, no_matrix
        The response, or the reason why it is missing.
    obs
        Cells of the run, with the columns it used.
    library
        ``(n_obs,)`` sums of counts of all cells; None without counts.
    used
        ``(n_obs,)`` whether a cell is in `obs`.
    sample
        The grouping factor with the most levels.
    units, arms
        Grouping factors (the one with the most levels first) and factors of the fixed effects, one entry per cell of
        `obs`.
    """

    key: str
    adata: AnnData
    params: Mapping[str, Any]
    formula: MixedFormula
    results: pd.DataFrame
    groupby: str | None
    details: pd.DataFrame | None
    opened: Opened
    matrix: Matrix | Source | None
    no_matrix: str
    obs: pd.DataFrame
    library: FloatArray | None
    used: BoolArray
    sample: str
    units: Mapping[str, pd.Series]
    arms: Mapping[str, pd.Series]

    @property
    def contrasts(self) -> list[str]:
        """Labels of the contrasts."""
        return list(dict.fromkeys(self.results["contrast"].astype(str)))

    @property
    def groups(self) -> list[str | None]:
        """Groups of cells with results; without groups, a list with one None."""
        if self.groupby is None:
            return [None]
        return list(dict.fromkeys(self.results[self.groupby].astype(str)))

    @property
    def counts(self) -> bool:
        """Whether the response consists of counts."""
        return get_family(str(self.params["family"])).counts

    def run_params(self, group: str | None) -> Mapping[str, Any]:
        """Read the parameters of the run and of one group."""
        return read_run(self.adata, self.key, group).params


def study_of(data: AnnData | str | os.PathLike[str], key: str) -> Study:
    """Read the results under `key`, and the cells of the run.

    Raises
    ------
    InputError
        If there are no results under `key`, or the cells are not those of the run.
    """
    adata, inner, obs = modality_with(data, key)
    results = read_results(adata, inner)
    params = adata.uns[inner]["params"]
    formula = parse_formula(str(params["formula"]))
    groupby = params.get("cells_grouped_by")
    path = isinstance(data, str | os.PathLike)
    opened = open_data(data if path else adata, inner, obs, columns_of(str(params["formula"]), groupby))
    table: pd.DataFrame = opened.adata.obs  # type: ignore[assignment]
    if len(table) != int(params["n_obs"]):
        raise InputError(
            f"there are {len(table):,} cells, but the run under key={key!r} had {int(params['n_obs']):,}; use "
            "the object that was tested"
        )
    matrix, no_matrix = _response(opened, formula, str(params["family"]))
    family = get_family(str(params["family"]))
    library = library_size(matrix) if matrix is not None and family.counts else None
    names = [name for name in table.columns if str(name) in formula.names or name == groupby]
    used = table[names].notna().all(axis=1).to_numpy()
    if library is not None and "log_sizes" not in adata.uns[inner]:
        # with size factors of the user, the run also used cells without a count
        used = used & find_sizes(opened.adata, formula, family, None, None, lambda: library).used
    cells = table.loc[used, names]
    units = {name: _in_words(levels) for name, levels in samples_of(formula, cells).items()}
    return Study(
        key=inner,
        adata=adata,
        params=params,
        formula=formula,
        results=results,
        groupby=groupby,
        details=None if groupby is None else read_details(adata, inner),
        opened=opened,
        matrix=matrix,
        no_matrix=no_matrix,
        obs=cells,
        library=library,
        used=np.asarray(used, dtype=bool),
        sample=next(iter(units)),
        units=units,
        arms=arms_of(formula, cells),
    )


def _response(opened: Opened, formula: MixedFormula, family: str) -> tuple[Matrix | Source | None, str]:
    """Read the matrix of the response, or return None with the reason why it cannot be read."""
    try:
        return find_response(opened, formula, get_family(family).counts).matrix, ""
    except InputError as error:
        return None, str(error)


def _in_words(levels: pd.Series) -> pd.Series:
    """Write levels of nested factors in lme4's notation, ``a:b``."""
    names = [str(level).replace(SEPARATOR, ":") for level in levels.cat.categories]
    return pd.Series(pd.Categorical.from_codes(levels.cat.codes, categories=pd.Index(names)), index=levels.index)


def sample_columns(study: Study) -> list[Column]:
    """Build a table with one row per sample: levels of coarser factors, arms, cells, and median library size."""
    levels = study.units[study.sample]
    names = levels.cat.categories[np.unique(levels.cat.codes)]
    columns = [Column(study.sample, [str(name) for name in names])]
    for label, column in [*list(study.units.items())[1:], *study.arms.items()]:
        values = column.astype(str).groupby(levels, observed=True).agg(lambda each: ", ".join(sorted(set(each))))
        columns.append(Column(label, values.reindex(names).tolist(), choose=values.nunique() <= MOST_CHOICES))
    columns.append(Column("cells", levels.value_counts().reindex(names).tolist(), number=True))
    if study.library is not None:
        library = pd.Series(study.library[study.used], index=study.obs.index)
        median = library.groupby(levels, observed=True).median().reindex(names)
        columns.append(Column("median counts per cell", median.tolist(), number=True))
    return columns


def composition(study: Study) -> pd.DataFrame:
    """Compute the fraction of the cells of each sample (rows) in each group of cells; empty without groups."""
    if study.groupby is None:
        return pd.DataFrame()
    table = pd.crosstab(study.units[study.sample].astype(str), study.obs[study.groupby].astype(str))
    return table.div(table.sum(axis=1), axis=0)
