"""Refit the model of one gene of a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.columns import groups_of
from .._adata.contrasts import contrasts_of_group
from .._adata.mudata import modality_with
from .._adata.open import find_response, open_data
from .._adata.stored import StoredRun, read_run
from .._adata.tables import columns_of
from .._arrays import FloatArray, IntArray
from .._compress.size_factors import library_size
from .._compress.source import one_column
from .._design import Contrast, Design, build_design
from .._display.arguments import did_you_mean
from .._errors import InputError
from .._fit.compress import CellGroup
from .._fit.model import get_family
from .._fit.selection import column_with
from .._formula import parse_formula
from .._hypotheses.registry import get_test
from .._inference.prior import abundance_rank
from .._results import CONTRAST_COLUMNS, ContrastTable, sd_name
from .._run.job import find_sizes
from .._run.one_gene import OneGene, StoredGene, fit_one
from .._run.options import RunOptions
from .._run.stored import grid_of, prior_of

if TYPE_CHECKING:
    from anndata import AnnData

    from ..models import GlmmFit, LmmFit
    from ..models.gene import GeneFit


# Status of genes without a model -> reason.
_NO_MODEL = {
    "all_zero": "it has no counts in the cells used",
    "low_count": "it has fewer counts than min_counts",
    "not_selected": "it is not one of the tested genes= of the run",
    "error": "the fit did not give finite values",
}
# Columns that depend on all genes.
_OF_ALL_GENES = ("adj_p_value", "log_fc_shrunk", "lfsr", "s_value")
# If log likelihoods differ by more than this fraction, the data have changed since the run.
_TOLERANCE = 1e-6


def refit(
    adata: AnnData | str | os.PathLike[str], gene: str, *, key: str = "glmm", group: str | None = None
) -> LmmFit | GlmmFit:
    """Refit the model of one gene, with the same numbers as in the table of results.

    Parameters
    ----------
    adata
        After :func:`sc_glmm.tl.test`, with the same matrix and ``obs``; or a MuData that contains it. Or the path of an
        ``.h5ad`` file or a zarr store with results. From a file, only the columns of the model and the counts of this
        gene are read. A CSC matrix stores them together; any other matrix is read chunk by chunk. If the run computed
        its own size factors, the values are read once more for the library sizes.
    gene
        Name of the gene in ``var_names``.
    key
        `key_added` of the run; for a MuData, also with the modality: ``"rna:glmm"``.
    group
        Level of `groupby`, if the run had one.

    Returns
    -------
    LmmFit or GlmmFit
        The same object as from :func:`sc_glmm.lmer` or :func:`sc_glmm.glmer`, with ``summary()``, ``ranef()``,
        ``predict()`` and all other methods. Formula, likelihood (restricted or not) and size factors are those of the
        run. For counts, standard errors are conditional on the variances, as in the table. ``.test`` is a data frame
        with the tests of the gene, with one row per contrast and the columns of :func:`sc_glmm.get.results`.
        ``summary()`` prints these tests next to the fit. Moderated tests use the prior that the run stored. Adjusted
        p-values, shrunken effects and the tests ``"ql"``, ``"satterthwaite_moderated"`` and ``"bootstrap"`` are copied
        from the table. For a separated gene, the fit is the limit of infinite coefficients.

    Raises
    ------
    InputError
        If there is no such run, gene or group, if the gene could not be fitted, or if the data have changed since the
        run.

    Examples
    --------
    >>> import sc_glmm
    >>> adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=800, n_genes=60, seed=0)
    >>> sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"})
    >>> model = sc_glmm.tl.refit(adata, adata.var_names[0])
    >>> int(model.ngrps()["sample"])
    8
    """
    one, data, test, reference = _fit_again(adata, gene, key, group)
    from ..models.gene import model_of_gene

    result: Any = model_of_gene(one, data, test, reference)
    return result


def refit_in_limit(adata: AnnData | str | os.PathLike[str], gene: str, key: str, group: str | None) -> GeneFit:
    """Refit a gene as :func:`refit` does, and add the values that figures of a separated gene need."""
    from ..models.gene import as_gene_fit

    return as_gene_fit(refit(adata, gene, key=key, group=group))


def _fit_again(
    data_set: AnnData | str | os.PathLike[str], gene: str, key: str, group: str | None
) -> tuple[OneGene, pd.DataFrame, pd.DataFrame, Any]:
    """Fit the gene as in the run; return the fit, its columns of `obs`, its tests and the base levels of the run."""
    modality, key, obs = modality_with(data_set, key)
    run = read_run(modality, key, group)
    params, options = run.params, RunOptions.from_recipe(run.params)
    spec, parsed, groupby = get_family(options.family), parse_formula(options.formula), options.groupby
    on_disk = isinstance(data_set, str | os.PathLike)
    opened = open_data(data_set if on_disk else modality, key, obs, columns_of(options.formula, groupby))
    adata = opened.adata
    rows = _rows_of(adata, run, gene, key)
    response = find_response(opened, parsed, spec.counts)
    column = one_column(response.matrix, int(adata.var_names.get_indexer(pd.Index([gene]))[0]))
    if run.log_sizes is None:
        sizes = find_sizes(opened.adata, parsed, spec, None, None, lambda: library_size(response.matrix))
        log_sizes, used = sizes.log, sizes.used
        digest = str(params.get("matrix_digest", ""))
        if digest and sizes.digest != digest:
            raise _changed(key, f"the counts of some cells have changed (checksum {sizes.digest} instead of {digest})")
    else:
        log_sizes, used = run.log_sizes, np.ones(adata.n_obs, dtype=bool)
    mask = dict(groups_of(adata, groupby)[0])["" if group is None else str(group)]
    y = _dense(column)
    cells, data = _cells(adata.obs, np.flatnonzero(mask & used), y, log_sizes, params, parsed.response_name)
    _check_same(cells.design, y[cells.cells], rows, params, key)
    test = get_test(str(params["test"]))
    one = fit_one(
        column,
        gene,
        cells,
        _contrasts(run),
        options,
        spec,
        test=test,
        log_sample_factors=params.get("log_sample_factors") or {},
        stored=_stored(run, rows) if run.grid else None,
    )
    before, now = float(rows["loglik"].iloc[0]), float(one.result.fits.loglik[0])
    if not abs(before - now) <= _TOLERANCE * (1.0 + abs(before)):
        raise _changed(key, f"the log likelihood of {gene!r} is {now:.8g}, but was {before:.8g} in the run")
    # the tests of a separated gene do not come from a fit
    table = _from_table(rows)
    if not one.result.separations and not test.needs.all_genes:
        table = _with_tests(table, one.tests())
    return one, data, table, options.reference


def _rows_of(adata: AnnData, run: StoredRun, gene: str, key: str) -> pd.DataFrame:
    """Return the rows of the gene in the results, after checking that the object has the same size as in the run."""
    if gene not in adata.var_names:
        hint = did_you_mean(gene, adata.var_names)
        var: pd.DataFrame = adata.var  # type: ignore[assignment]
        column = column_with(var, gene)
        if column is not None:
            name = var.index[var[column].astype(object) == gene][0]
            hint = (
                f"; var[{column!r}] contains it, for the gene {name!r}: pass this name; figures also accept "
                f"gene_symbols={column!r}"
            )
        raise InputError(f"gene={gene!r} is not one of the {adata.n_vars} gene names{hint}")
    for name, now, unit in (("n_obs", adata.n_obs, "cells"), ("n_vars", adata.n_vars, "genes")):
        if int(run.params[name]) != now:
            raise _changed(key, f"there are {now} {unit}, but the run had {int(run.params[name])}")
    rows = run.frame[run.frame["variable"] == gene].reset_index(drop=True)
    if len(rows) == 0:
        raise _changed(key, f"the results do not contain the gene {gene!r}")
    status = str(rows["status"].iloc[0])
    if status in _NO_MODEL:
        raise InputError(f"{gene!r} has status {status!r} and therefore no model: {_NO_MODEL[status]}")
    return rows


def _dense(column: Any) -> FloatArray:
    """Convert a column of the matrix to a dense vector."""
    values = column.toarray() if hasattr(column, "toarray") else np.asarray(column)
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _cells(
    obs: Any,
    places: IntArray,
    y: FloatArray,
    log_sizes: FloatArray,
    params: Any,
    response: str | None,
) -> tuple[CellGroup, pd.DataFrame]:
    """Build the design of the cells of the run; also return its columns of `obs` together with the response."""
    fitted = str(params["formula_fitted"])
    inside = {name for term in parse_formula(fitted).fixed_terms for atom in term for name in atom.columns}
    # terms that are constant in a group were dropped, together with their base levels
    reference = {name: base for name, base in (params.get("given_reference") or {}).items() if name in inside}
    frame: pd.DataFrame = obs.iloc[places]
    # the run has already checked whether rows may be samples
    design = build_design(parse_formula(fitted), frame, reference=reference, check_replication=False)
    cells = places[design.rows_used]
    used = [*design.columns, *(name for term in design.random for name in term.term.group)]
    data = frame.loc[design.rows_used, list(dict.fromkeys(used))].copy()
    name = response or "y"
    while name in data.columns:
        name += "_"
    data[name] = y[cells]
    left = name if name.isidentifier() else f"`{name}`"
    design = build_design(
        parse_formula(f"{left} ~{parse_formula(fitted).right_side}"),
        data,
        reference=reference,
        check_replication=False,
        response=True,
    )
    offset = log_sizes[cells] + (design.offset if design.offset is not None else 0.0)
    return CellGroup("", cells, design, offset), data


def _check_same(design: Design, y: FloatArray, rows: pd.DataFrame, params: Any, key: str) -> None:
    """Raise an error if the data are not those of the run."""
    if design.n_obs != int(params["n_cells"]):
        raise _changed(key, f"{design.n_obs} cells can be used, but the run used {int(params['n_cells'])}")
    names = [str(name) for name in np.atleast_1d(params["columns"])]
    if list(design.fixed.names) != names:
        raise _changed(key, f"the fixed effects are {list(design.fixed.names)}, but were {names} in the run")
    before, now = float(rows["total"].iloc[0]), float(y.sum())
    if not abs(before - now) <= _TOLERANCE * (1.0 + np.abs(y).sum()):
        raise _changed(key, f"the values of this gene add up to {now:.8g}, but added up to {before:.8g} in the run")


def _changed(key: str, difference: str) -> InputError:
    return InputError(
        f"the data differ from those of the run under key={key!r}: {difference}. Use the object that was tested, or "
        "run sc_glmm.tl.test again"
    )


def _with_tests(table: pd.DataFrame, tests: tuple[ContrastTable, ...]) -> pd.DataFrame:
    """Make a table of the refitted tests; columns that depend on all genes are copied from the results."""
    out = pd.concat([contrast.table for contrast in tests])
    out.index = pd.Index([contrast.words for contrast in tests], name="contrast")
    for name in _OF_ALL_GENES:
        out[name] = table.loc[out.index, name]
    return out


def _from_table(rows: pd.DataFrame) -> pd.DataFrame:
    table = rows.set_index("contrast")[list(CONTRAST_COLUMNS)]
    table.index = table.index.astype(str)
    return table


def _contrasts(run: StoredRun) -> list[Contrast]:
    labels = {each.name: each.label for each in contrasts_of_group(run.params, run.frame["contrast"])}
    return [
        Contrast(name, np.atleast_2d(np.asarray(L, dtype=np.float64)), (), labels[name])
        for name, L in run.params["contrast_rows"].items()
    ]


def _stored(run: StoredRun, rows: pd.DataFrame) -> StoredGene:
    """Read the stored quantities of the gene for the moderated tests."""
    grid = grid_of(run.grid)
    first = run.frame[run.frame["contrast"] == rows["contrast"].iloc[0]]
    # the prior was estimated from the genes that have a posterior
    in_prior = np.isfinite(first[f"sd_{sd_name(grid.names[0])}_eb"].to_numpy(dtype=np.float64))
    place = int(np.flatnonzero((first["variable"] == rows["variable"].iloc[0]).to_numpy())[0])
    rank = np.nan
    if in_prior[place]:
        ranks = abundance_rank(first["total"].to_numpy(dtype=np.float64)[in_prior])
        rank = float(ranks[np.count_nonzero(in_prior[:place])])
    row = rows.iloc[0]
    phi = float(row.get("dispersion", np.nan))
    if get_family(str(run.params["family"])).has_dispersion and not 0.0 < phi < np.inf:
        raise InputError(f"the stored dispersion of {row['variable']!r} is {phi:g}; run sc_glmm.tl.test again")
    prior = prior_of(run.prior, grid) if run.prior else None
    return StoredGene(grid, prior, rank, phi, bool(row.get("phi_from_trend", False)))
