"""Power of a study, planned from a pilot run or from assumptions."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray
from .._inference.power import Comparison, Genes, comparison, p_values_of_effects, power_at, thresholds
from ._pilot import FEWEST_GENES, MOST_GENES, Pilot, pilots_of
from ._power_arguments import check_arguments, costs_of, designs_of, numbers
from ._power_simulation import simulated_p_values

if TYPE_CHECKING:
    from anndata import AnnData

# Genes with fewer expected counts in the smaller arm are simulated, if they matter.
_FEW_COUNTS = 20.0
# They matter if so large a share of the tested genes has few counts and would be found with this probability.
_SHARE_FEW, _POWER_FEW = 0.05, 0.05
# Genes that assumptions stand for.
_N_ASSUMED = 10_000
_ALL = "all groups"


@dataclass(frozen=True)
class PowerResult:
    """Expected power, as :func:`sc_glmm.power` finds it.

    Attributes
    ----------
    overall
        One row per design (and group): ``n_samples``, ``cells_per_sample``, ``log_fc``, ``power`` (mean over the tested
        genes), ``n_tested`` genes, ``discoveries`` (expected number of true ones), ``p_threshold`` (median of the
        p-value below which genes are discoveries; 0 if mostly none is), ``method``, and ``cost`` if costs were given.
        With several groups the first column is the group, and rows of ``"all groups"`` add them up.
    genes
        One row per gene and design: ``variable``, ``mean`` (counts per cell), ``tested`` (whether enough counts are
        expected) and ``power``.
    settings
        What was asked for.
    """

    overall: pd.DataFrame
    genes: pd.DataFrame
    settings: Mapping[str, Any]

    @property
    def best(self) -> pd.DataFrame:
        """The row of `overall` with the largest power for each fold change: the best split, where there is a budget."""
        rows = self.overall
        if "group" in rows:
            rows = rows[rows["group"] == _ALL]
        return rows.loc[rows.groupby("log_fc")["power"].idxmax()].reset_index(drop=True)

    def __repr__(self) -> str:
        return f"PowerResult at FDR {100 * self.settings['fdr']:g} %\n{self.overall.to_string(index=False)}"


def power(
    data: AnnData | pd.DataFrame | str | os.PathLike[str],
    *,
    n_samples: int | Sequence[int] | None = None,
    cells_per_sample: int | Sequence[int] | None = None,
    log_fc: float | Sequence[float] = 1.0,
    fdr: float = 0.05,
    frac_de: float = 0.1,
    n_tests: int | None = None,
    design: Literal["unpaired", "paired"] | None = None,
    contrast: str | None = None,
    group: str | None = None,
    key: str = "glmm",
    method: Literal["auto", "analytic", "simulation"] = "auto",
    budget: float | None = None,
    cost_per_sample: float | None = None,
    cost_per_cell: float | None = None,
    seed: int = 0,
) -> PowerResult:
    r"""Expected power of the default test, to plan numbers of samples and cells.

    In a sample with :math:`n_s` cells, the log rate of a gene with mean :math:`\mu` and dispersion :math:`\phi` is
    known with variance

    .. math::
        v + 1 \Big/ \sum_{i=1}^{n_s} \frac{\mu_i}{1 + \phi \mu_i},

    where v is the variance between samples. The first part is overcome by more samples only. The p-values of the
    default test follow from the estimates of the samples and from a prior over v that is learnt from all genes; their
    distribution is computed for every gene, with v drawn from its prior. The threshold on p-values is that of Benjamini
    and Hochberg in studies where a share `frac_de` of the genes differs.

    Parameters
    ----------
    data
        A pilot: an AnnData (or MuData) after :func:`sc_glmm.tl.test` with the default test, or the path of a file with
        such results. Abundances, dispersions, the prior of the variances, the relative sizes of samples, the spread of
        size factors and, with `groupby`, the shares of cell types are those of the pilot. Or assumptions: a frame with
        one row per gene, or kind of genes, and the columns ``mean`` (counts per cell), ``dispersion`` and ``sd``
        (standard deviation between samples, natural log); for pairs also ``donor_sd``, that between donors. The log
        size factors of their cells have a standard deviation of 0.45.
    n_samples
        Numbers of samples in all, half of them in each arm; two for each pair of a paired design.
    cells_per_sample
        Mean numbers of cells of a sample; with groups those of all groups together.
    log_fc
        Absolute log2 fold changes of the genes that differ, up or down.
    fdr
        Level of the false discovery rate.
    frac_de
        Share of the genes that differ.
    n_tests
        Number of tests whose p-values are adjusted together; by default the genes of the pilot that will have enough
        counts, or 10,000 with assumptions.
    design
        ``"unpaired"``: two arms of samples. ``"paired"``: both arms in every donor. By default that of the pilot.
    contrast
        Contrast of the pilot that says how arms are compared; default: the first one.
    group
        Only this level of the pilot's `groupby`.
    key
        The pilot's `key_added`.
    method
        ``"analytic"``, ``"simulation"`` (counts of 800 genes are drawn and tested, for each design), or ``"auto"``:
        genes with fewer than 20 expected counts in the smaller arm are simulated where they matter.
    budget, cost_per_sample, cost_per_cell
        Instead of `cells_per_sample`: what may be spent in all. The cells of each number of samples are those that the
        budget leaves; ``PowerResult.best`` is the best split.
    seed
        Of the random draws.

    Returns
    -------
    PowerResult
        Overall and per gene.

    Raises
    ------
    InputError
        If the pilot has no prior of the variances, or an argument is not among the allowed values.

    Notes
    -----
    Genes are taken to vary between samples as in the pilot. A pilot of few samples knows its prior roughly, and so the
    power. Differences of a pilot are not used: state what fold change matters.

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> genes = pd.DataFrame({"mean": [0.2, 2.0], "dispersion": [0.5, 0.5], "sd": [0.25, 0.25]})
    >>> made = sc_glmm.power(genes, n_samples=[8, 16], cells_per_sample=200, log_fc=1)
    >>> made.overall[["n_samples", "power"]].round(1).to_dict("list")
    {'n_samples': [8, 16], 'power': [0.4, 0.8]}
    """
    check_arguments(fdr=fdr, frac_de=frac_de, n_tests=n_tests, design=design, method=method)
    effects = numbers("log_fc", log_fc, "positive numbers (log2)", lambda x: 0.0 < x < math.inf)
    pilots = pilots_of(data, key=key, contrast=contrast, group=group, design=design)
    costs = costs_of(budget, cost_per_sample, cost_per_cell)
    paired = pilots[0].paired
    designs = designs_of(n_samples, cells_per_sample, paired, costs)
    levels = _Levels(fdr, frac_de, n_tests, isinstance(data, pd.DataFrame))
    overall, per_gene = [], []
    for samples, cells in designs:
        for size in effects:
            found = [_planned(pilot, samples, cells, size, method, levels, seed) for pilot in pilots]
            rows = _found(pilots, found, levels, seed)
            known = {"n_samples": samples, "cells_per_sample": cells, "log_fc": size}
            cost = {} if costs is None else {"cost": samples * (costs[1] + cells * costs[2])}
            for pilot, (row, genes) in zip(pilots, rows, strict=True):
                named = {"group": pilot.group} if len(pilots) > 1 else {}
                overall.append({**named, **known, **row, **cost})
                per_gene.append(genes.assign(**named, **known))
            if len(pilots) > 1:
                overall.append({"group": _ALL, **known, **_together([row for row, _ in rows]), **cost})
    settings = {"fdr": fdr, "frac_de": frac_de, "design": "paired" if paired else "unpaired", "budget": budget}
    return PowerResult(pd.DataFrame(overall), pd.concat(per_gene, ignore_index=True), settings)


@dataclass(frozen=True)
class _Planned:
    """P-values of the genes of a group in one design.

    Attributes
    ----------
    places
        Genes of the pilot that stand for all.
    p, null
        ``(n_places, n)`` equally likely p-values if they differ, and if not (None: uniform).
    tested
        ``(n_genes,)`` whether a gene of the pilot has enough counts.
    method
        How they were found.
    """

    places: np.ndarray
    p: FloatArray
    null: FloatArray | None
    tested: BoolArray
    method: str


@dataclass(frozen=True)
class _Levels:
    """How p-values are adjusted.

    Attributes
    ----------
    fdr, share
        Level, and share of the genes that differ.
    n_tests
        As given.
    assumed
        Whether genes are assumptions, which stand for many.
    """

    fdr: float
    share: float
    n_tests: int | None
    assumed: bool

    def tests(self, tested: BoolArray) -> int:
        """Number of tests that are adjusted together."""
        if not tested.any():
            return 0
        return self.n_tests or (_N_ASSUMED if self.assumed else int(tested.sum()))

    def limits(self, planned: _Planned, seed: int) -> FloatArray:
        """Thresholds on p-values in several studies."""
        return thresholds(planned.p, self.fdr, self.share, self.tests(planned.tested), planned.null, seed=seed)


def _planned(
    pilot: Pilot, n_samples: int, cells: int, log_fc: float, method: str, levels: _Levels, seed: int
) -> _Planned:
    half = n_samples // 2
    arms = comparison(half if pilot.paired else n_samples - half, half, pilot.paired)
    n_cells = np.concatenate([_sizes(pilot.sizes, n) for n in (n_samples - half, half)]) * cells * pilot.share
    genes, effect = pilot.genes, math.log(2.0) * log_fc
    tested = genes.mean * n_cells.sum() >= pilot.min_counts
    places = np.flatnonzero(tested)
    places = places[np.argsort(genes.mean[places], kind="stable")]
    # a few kinds of genes stand for many
    places = np.repeat(places, -(-FEWEST_GENES // max(len(places), 1)))
    if len(places) > MOST_GENES:
        places = places[np.linspace(0, len(places) - 1, MOST_GENES).round().astype(np.int64)]
    if len(places) == 0:
        return _Planned(places, np.ones((0, 1)), None, tested, "none tested")
    some = genes[places]
    if method == "simulation":
        p, null = simulated_p_values(arms, some, effect, n_cells, seed)
        return _Planned(places, p, null, tested, "simulation")
    made = _Planned(places, p_values_of_effects(arms, some, effect, n_cells, seed), None, tested, "analytic")
    few = some.mean * min(n_cells[: n_samples - half].sum(), n_cells[n_samples - half :].sum()) < _FEW_COUNTS
    if method == "analytic" or few.mean() < _SHARE_FEW:
        return made
    if float(power_at(made.p[few], levels.limits(made, seed)).mean()) < _POWER_FEW:
        return made
    return _with_simulated(arms, some, effect, n_cells, seed, made, few)


def _sizes(relative: FloatArray, n: int) -> FloatArray:
    """Sizes of n samples like those of the pilot, relative to their mean."""
    if len(relative) == 1:
        return np.ones(n)
    made = np.quantile(relative, (np.arange(n) + 0.5) / n)
    return np.asarray(made / made.mean())


def _with_simulated(
    arms: Comparison, genes: Genes, effect: float, n_cells: FloatArray, seed: int, planned: _Planned, few: BoolArray
) -> _Planned:
    """The p-values of genes with few counts from a simulation of all genes."""
    drawn, nulls = simulated_p_values(arms, genes, effect, n_cells, seed)
    columns = np.arange(planned.p.shape[1]) % drawn.shape[1]
    uniform = np.broadcast_to((np.arange(1000) + 0.5) / 1000.0, (len(few), 1000))
    null = np.where(few[:, None], nulls[:, np.arange(1000) % nulls.shape[1]], uniform)
    return _Planned(planned.places, np.where(few[:, None], drawn[:, columns], planned.p), null, planned.tested, "both")


def _found(
    pilots: Sequence[Pilot], planned: Sequence[_Planned], levels: _Levels, seed: int
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Rows of each group: overall, and its genes."""
    out = []
    for pilot, made in zip(pilots, planned, strict=True):
        tests, power, limits = levels.tests(made.tested), np.zeros(len(made.tested)), np.zeros(1)
        if tests:
            limits = levels.limits(made, seed)
            power = np.where(made.tested, _interpolated(pilot, made, power_at(made.p, limits)), 0.0)
        mean = float(power[made.tested].mean()) if tests else 0.0
        row = {
            "power": mean,
            "n_tested": tests,
            "discoveries": levels.share * mean * tests,
            "p_threshold": float(np.median(limits)),
            "method": made.method,
        }
        genes = {"variable": pilot.names, "mean": pilot.genes.mean, "tested": made.tested, "power": power}
        out.append((row, pd.DataFrame(genes)))
    return out


def _interpolated(pilot: Pilot, planned: _Planned, power: FloatArray) -> FloatArray:
    """Power of every gene of the pilot, from those that stand for all."""
    n_genes = len(planned.tested)
    times = np.bincount(planned.places, minlength=n_genes)
    if (times[planned.tested] > 0).all():
        return np.asarray(np.bincount(planned.places, power, minlength=n_genes) / np.maximum(times, 1))
    smooth = pd.Series(power).rolling(9, center=True, min_periods=1).mean().to_numpy()
    log_mean = np.log(pilot.genes.mean)
    return np.asarray(np.interp(log_mean, log_mean[planned.places], smooth))


def _together(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All groups as one: means over genes, sums of discoveries."""
    tests = np.array([row["n_tested"] for row in rows], dtype=np.float64)
    power = float(np.average([row["power"] for row in rows], weights=tests)) if tests.any() else 0.0
    methods = {row["method"] for row in rows if row["n_tested"]}
    return {
        "power": power,
        "n_tested": int(tests.sum()),
        "discoveries": sum(row["discoveries"] for row in rows),
        "p_threshold": float(np.median([row["p_threshold"] for row in rows])),
        "method": methods.pop() if len(methods) == 1 else "both",
    }
