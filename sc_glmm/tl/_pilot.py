"""What a study is planned with: the genes of a pilot run, or of a table of assumptions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

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

# Genes that stand for all: more would only take longer, with fewer the draws would tell.
MOST_GENES, FEWEST_GENES = 400, 200
# Standard deviation of the log size factors of cells, where nothing is known; that of datasets.simulate.
_LOG_SIZE_SD = 0.45
_NEEDED = ("mean", "dispersion", "sd")


@dataclass(frozen=True)
class Pilot:
    """Genes of one group of cells.

    Attributes
    ----------
    group
        Name of the group; empty without groups.
    names
        Names of the genes.
    genes
        Means, dispersions, variances.
    sizes
        Cells of each sample of the pilot relative to their mean; one number if all are alike.
    share
        Share of the cells of a sample that are of this group.
    paired
        Whether arms are compared within pairs.
    min_counts
        Genes with fewer counts in all are not tested.
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
    """The groups of a run, or of a table of assumptions.

    Raises
    ------
    InputError
        If `data` says too little to plan with.
    """
    if isinstance(data, pd.DataFrame):
        return _assumed(data, group, design)
    held, key = results_in(data, key)
    read_results(held, key)
    params = held.uns[key]["params"]
    groupby = params.get("cells_grouped_by")
    if groupby is None or group is not None:
        return [_from_run(read_run(held, key, group), group or "", contrast, design, 0, None)]
    frame = read_results(held, key)
    names = [str(level) for level in dict.fromkeys(frame[groupby].astype(str))]
    runs = {name: read_run(held, key, name) for name in names}
    facts = {name: _facts(run) for name, run in runs.items()}
    n_samples = max(len(each["cells_per_sample"]) for each in facts.values())
    n_cells = float(params["n_obs"])
    return [_from_run(run, name, contrast, design, n_samples, n_cells) for name, run in runs.items()]


def _facts(run: StoredRun) -> Mapping[str, Any]:
    if str(run.params["family"]) == "gaussian":
        raise InputError("power() is about counts, and this run has family='gaussian': run sc_glmm.tl.test on counts")
    if "pilot" not in run.params or not run.prior:
        raise InputError(
            f"power() needs the variances that a moderated test learns from at least 50 genes, and this run has test="
            f"{run.params['test']!r} without them: run sc_glmm.tl.test with the default test on all genes of the pilot"
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
            f"the contrast {name!r} compares cells within samples, or its random effects are slopes; power() plans "
            "comparisons between samples and within pairs of samples, such as '~ disease + (1|sample)' and '~ stim + "
            "(1|donor) + (1|sample)'"
        )
    grid = grid_of(run.grid)
    frame = run.frame.drop_duplicates("variable").reset_index(drop=True)
    mean, total = (frame[column].to_numpy(dtype=np.float64) for column in ("mean", "total"))
    known = np.isfinite(frame[f"sd_{sd_name(grid.names[0])}_eb"].to_numpy(dtype=np.float64))
    order = np.argsort(total[known], kind="stable")
    used = mean > 0.0
    # genes that the pilot left out have their place among the others
    rank = np.interp(total[used], total[known][order], abundance_rank(total[known])[order])
    at_node = grid.variance @ (grid.unit * np.asarray(of_contrast["adds"], dtype=np.float64))
    variance, place = np.unique(np.round(at_node, 12), return_inverse=True)
    weight = np.zeros((int(used.sum()), len(variance)))
    np.add.at(weight.T, place.reshape(-1), prior_of(run.prior, grid).at(rank).T)
    phi = np.zeros(len(mean))
    if "dispersion" in frame:
        phi = frame["dispersion"].to_numpy(dtype=np.float64)
        fine = known & np.isfinite(phi) & used
        along = np.argsort(mean[fine], kind="stable")
        smooth = pd.Series(phi[fine][along]).rolling(51, center=True, min_periods=1).median().to_numpy()
        phi = np.where(fine, phi, np.interp(mean, mean[fine][along], smooth))
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


def _contrast(run: StoredRun, facts: Mapping[str, Any], asked: str | None) -> str:
    names = [str(name) for name in run.params["contrast_rows"]]
    words = dict(zip([str(w) for w in np.atleast_1d(run.params["contrast_words"])],
                     [str(k) for k in np.atleast_1d(run.params["contrast_keys"])], strict=True))  # fmt: skip
    single = [name for name in names if name in facts["contrasts"]]
    if asked is None:
        if not single:
            raise InputError("the run tested no contrast of one row; power() plans comparisons of two arms")
        return single[0]
    name = words.get(asked, asked)
    if name not in single:
        raise InputError(f"contrast={asked!r}: allowed are {', '.join(map(repr, single))}")
    return name


def _assumed(frame: pd.DataFrame, group: str | None, design: str | None) -> list[Pilot]:
    """Genes with known deviations."""
    missing = [name for name in _NEEDED if name not in frame]
    if missing or len(frame) == 0:
        raise InputError(
            "assumptions are a frame with one row per gene, or kind of genes, and columns 'mean' (counts per cell), "
            "'dispersion' (phi of mu + phi mu^2) and 'sd' (between samples, natural log); this one "
            + (f"lacks {', '.join(map(repr, missing))}" if missing else "has no rows")
        )
    for name in _NEEDED:
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
        bad = ~np.isfinite(values) | (values < 0.0) | ((values == 0.0) & (name == "mean"))
        if bad.any():
            allowed = "positive numbers" if name == "mean" else "numbers from 0 on"
            raise InputError(
                f"{name}={frame[name].iloc[int(np.argmax(bad))]!r} in the assumptions: allowed are {allowed}"
            )
    if group is not None:
        raise InputError(f"group={group!r} goes with a pilot run, and assumptions are one group: leave it out")
    variance = np.sort(np.append(GRIDS[1], 0.0))[1:]
    own = frame["sd"].to_numpy(dtype=np.float64) ** 2
    # between two nodes in proportion, so that the mean variance of a gene is its own
    own = np.clip(own, variance[0], variance[-1])
    upper = np.clip(np.searchsorted(variance, own), 1, len(variance) - 1)
    part = (own - variance[upper - 1]) / (variance[upper] - variance[upper - 1])
    weight = np.zeros((len(frame), len(variance)))
    weight[np.arange(len(frame)), upper] = part
    weight[np.arange(len(frame)), upper - 1] += 1.0 - part
    names = frame["variable"] if "variable" in frame else frame.index
    between = None
    if "donor_sd" in frame:
        between = float(np.mean(pd.to_numeric(frame["donor_sd"], errors="coerce").to_numpy(dtype=np.float64) ** 2))
        if not np.isfinite(between):
            raise InputError("donor_sd in the assumptions: allowed are numbers from 0 on")
    mean, phi = (frame[name].to_numpy(dtype=np.float64) for name in ("mean", "dispersion"))
    genes = Genes(mean, phi, variance, weight, _LOG_SIZE_SD, between)
    return [Pilot("", pd.Index([str(n) for n in names]), genes, np.ones(1), 1.0, design == "paired", 10)]
