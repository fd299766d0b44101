"""Read the genes for the planning of a study, from a pilot run or from a table of assumptions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.contrasts import contrasts_of_group, find_contrasts
from .._adata.mudata import results_in
from .._adata.stored import StoredRun, read_results, read_run
from .._arrays import FloatArray
from .._errors import InputError
from .._fit.grid_choice import GRIDS
from .._inference.power import Genes
from .._inference.prior import abundance_rank
from .._results import sd_name
from .._run.stored import grid_of, prior_of

if TYPE_CHECKING:
    from anndata import AnnData

# Power is computed for a subset of the genes. More genes take longer; with fewer, random draws become visible.
MAX_GENES, MIN_GENES = 400, 200
# Default standard deviation of the log size factors of cells, as in datasets.simulate.
_LOG_SIZE_SD = 0.45
# No grid of a run has a larger variance of an effect.
_LARGEST = 1e4
_REQUIRED_COLUMNS = ("mean", "dispersion", "sd")


@dataclass(frozen=True)
class Pilot:
    """Properties of one group of cells that the power depends on.

    Attributes
    ----------
    group
        Name of the group; empty without groups.
    names
        Names of the genes.
    genes
        Means, dispersions and variances of the genes.
    sizes
        Number of cells of each sample, relative to their mean; a single number if all samples have the same size.
    share
        Fraction of the cells of a sample that belong to this group.
    paired
        Whether arms are compared within pairs.
    min_counts
        Genes with fewer counts in total are not tested.
    """

    group: str
    names: pd.Index
    genes: Genes
    sizes: FloatArray
    share: float
    paired: bool
    min_counts: int


def pilots_of(
    data: AnnData | pd.DataFrame | str | os.PathLike[str],
    *,
    key: str,
    contrast: str | None,
    group: str | None,
    design: str | None,
) -> list[Pilot]:
    """Read the groups of a pilot run, or one group from a table of assumptions.

    Raises
    ------
    InputError
        If `data` does not contain what the computation of power needs.
    """
    if isinstance(data, pd.DataFrame):
        return _from_assumptions(data, group, design)
    adata, key = results_in(data, key)
    read_results(adata, key)
    params = adata.uns[key]["params"]
    groupby = params.get("cells_grouped_by")
    if groupby is None or group is not None:
        return [_from_run(read_run(adata, key, group), group or "", contrast, design, 0, None)]
    frame = read_results(adata, key)
    names = [str(level) for level in dict.fromkeys(frame[groupby].astype(str))]
    runs = {name: read_run(adata, key, name) for name in names}
    facts = {name: _facts(run) for name, run in runs.items()}
    n_samples = max(len(each["cells_per_sample"]) for each in facts.values())
    n_cells = float(params["n_obs"])
    return [_from_run(run, name, contrast, design, n_samples, n_cells) for name, run in runs.items()]


def _facts(run: StoredRun) -> Mapping[str, Any]:
    if str(run.params["family"]) == "gaussian":
        raise InputError("power() needs a run on counts, but this run has family='gaussian': test the counts instead")
    if "pilot" not in run.params or not run.prior:
        raise InputError(
            "power() needs the prior of the variances, which a moderated test estimates from at least 50 genes. This "
            f"run has test={run.params['test']!r} and no prior: run sc_glmm.tl.test with the default test on all genes "
            "of the pilot"
        )
    facts: Mapping[str, Any] = run.params["pilot"]
    return facts


def _from_run(
    run: StoredRun, group: str, contrast: str | None, design: str | None, n_samples: int, n_cells: float | None
) -> Pilot:
    facts = _facts(run)
    name = _contrast(run, facts, contrast)
    of_contrast = facts["contrasts"][name]
    if of_contrast["kind"] == "cells" or not of_contrast["simple"]:
        raise InputError(
            f"power() cannot be computed for the contrast {name!r}, because it compares cells within samples or has "
            "random slopes. It supports comparisons between samples ('~ disease + (1|sample)') and within pairs of "
            "samples ('~ stim + (1|donor) + (1|sample)')"
        )
    grid = grid_of(run.grid)
    frame = run.frame.drop_duplicates("variable").reset_index(drop=True)
    mean, total = (frame[column].to_numpy(dtype=np.float64) for column in ("mean", "total"))
    has_posterior = np.isfinite(frame[f"sd_{sd_name(grid.names[0])}_eb"].to_numpy(dtype=np.float64))
    order = np.argsort(total[has_posterior], kind="stable")
    used = mean > 0.0
    # genes that the pilot did not test get a rank by interpolation
    rank = np.interp(total[used], total[has_posterior][order], abundance_rank(total[has_posterior])[order])
    at_node = grid.variance @ (grid.unit * np.asarray(of_contrast["adds"], dtype=np.float64))
    if not (at_node < _LARGEST).all():
        raise InputError(
            f"the stored grid has a variance of {at_node.max():g}, but at most {_LARGEST:g} (natural log) is "
            "possible: the results are damaged; run sc_glmm.tl.test again"
        )
    variance, place = np.unique(np.round(at_node, 12), return_inverse=True)
    weight = np.zeros((int(used.sum()), len(variance)))
    np.add.at(weight.T, place.reshape(-1), prior_of(run.prior, grid).at(rank).T)
    phi = np.zeros(len(mean))
    if "dispersion" in frame:
        phi = frame["dispersion"].to_numpy(dtype=np.float64)
        usable = has_posterior & np.isfinite(phi) & used
        by_mean = np.argsort(mean[usable], kind="stable")
        smooth = pd.Series(phi[usable][by_mean]).rolling(51, center=True, min_periods=1).median().to_numpy()
        phi = np.where(usable, phi, np.interp(mean, mean[usable][by_mean], smooth))
    sizes = np.asarray(facts["cells_per_sample"], dtype=np.float64)
    share = 1.0
    if n_cells is not None:
        share = float(sizes.sum() / n_cells)
        sizes = np.append(sizes, np.zeros(max(n_samples - len(sizes), 0)))
    pair_variance = of_contrast["pair_variance"]
    genes = Genes(
        mean[used], phi[used], variance, weight, float(facts["log_size_sd"]),
        None if pair_variance is None else float(pair_variance),
    )  # fmt: skip
    paired = (of_contrast["kind"] == "paired") if design is None else design == "paired"
    names = pd.Index(frame["variable"].astype(str).to_numpy()[used])
    return Pilot(group, names, genes, np.sort(sizes / sizes.mean()), share, paired, int(run.params["min_counts"]))


def _contrast(run: StoredRun, facts: Mapping[str, Any], contrast: str | None) -> str:
    """Return the name of the contrast to plan; by default, the first one with a single row."""
    names = [str(name) for name in run.params["contrast_rows"]]
    single = [name for name in names if name in facts["contrasts"]]
    if contrast is None:
        if not single:
            raise InputError(
                "power() needs a contrast with one row, but all contrasts of the run are joint tests: run "
                "sc_glmm.tl.test with contrasts=, such as 'AD vs ctl'"
            )
        return single[0]
    known = contrasts_of_group(run.params, run.frame["contrast"])
    meant = find_contrasts(known, contrast)
    found = [each.name for each in known if each.label in meant and each.name in single]
    if len(found) != 1:
        raise InputError(f"contrast={contrast!r} must be one comparison; allowed are {', '.join(map(repr, single))}")
    return found[0]


def _from_assumptions(frame: pd.DataFrame, group: str | None, design: str | None) -> list[Pilot]:
    """Convert a table of assumptions to genes, whose standard deviations are known exactly."""
    missing = [name for name in _REQUIRED_COLUMNS if name not in frame]
    if missing or len(frame) == 0:
        problem = f"has no column {', '.join(map(repr, missing))}" if missing else "has no rows"
        raise InputError(
            f"the data frame of assumptions {problem}. It needs one row for each gene or type of gene, and the columns "
            "'mean' (counts per cell), 'dispersion' (phi of mu + phi mu^2) and 'sd' (between samples, natural log)"
        )
    for name in _REQUIRED_COLUMNS:
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
        bad = ~np.isfinite(values) | (values < 0.0) | ((values == 0.0) & (name == "mean"))
        if bad.any():
            allowed = "positive numbers" if name == "mean" else "numbers of at least 0"
            raise InputError(
                f"{name}={frame[name].iloc[int(np.argmax(bad))]!r} in the assumptions: allowed are {allowed}"
            )
    if group is not None:
        raise InputError(f"group={group!r} needs a pilot run, because assumptions describe a single group: omit it")
    variance = np.sort(np.append(GRIDS[1], 0.0))[1:]
    # weights of two neighbouring nodes, so that the mean variance of a gene is the assumed one
    assumed = np.clip(frame["sd"].to_numpy(dtype=np.float64) ** 2, variance[0], variance[-1])
    upper = np.clip(np.searchsorted(variance, assumed), 1, len(variance) - 1)
    part = (assumed - variance[upper - 1]) / (variance[upper] - variance[upper - 1])
    weight = np.zeros((len(frame), len(variance)))
    weight[np.arange(len(frame)), upper] = part
    weight[np.arange(len(frame)), upper - 1] += 1.0 - part
    names = frame["variable"] if "variable" in frame else frame.index
    between = None
    if "donor_sd" in frame:
        between = float(np.mean(pd.to_numeric(frame["donor_sd"], errors="coerce").to_numpy(dtype=np.float64) ** 2))
        if not np.isfinite(between):
            raise InputError(
                "donor_sd in the assumptions has missing values or text: allowed are numbers of at least 0"
            )
    mean, phi = (frame[name].to_numpy(dtype=np.float64) for name in ("mean", "dispersion"))
    genes = Genes(mean, phi, variance, weight, _LOG_SIZE_SD, between)
    return [Pilot("", pd.Index([str(n) for n in names]), genes, np.ones(1), 1.0, design == "paired", 10)]
