"""Compute the power of a planned study from a pilot run or from assumptions."""

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
from ._pilot import MAX_GENES, MIN_GENES, Pilot, pilots_of
from ._power_arguments import check_arguments, costs_of, designs_of, numbers
from ._power_simulation import simulated_p_values

if TYPE_CHECKING:
    from anndata import AnnData

# Genes with fewer expected counts in the smaller arm are simulated if they are frequent and would often be found.
_FEW_COUNTS = 20.0
# Smallest fraction of such genes among the tested genes, and their smallest mean power, for a simulation.
_MIN_FRACTION_FEW, _MIN_POWER_FEW = 0.05, 0.05
# Number of tests if `data` is a table of assumptions, whose rows represent many genes.
_N_TESTS_ASSUMED = 10_000
_ALL = "all groups"


@dataclass(frozen=True)
class PowerResult:
    """Expected power of each design, from :func:`sc_glmm.power`.

    Attributes
    ----------
    overall
        One row per design (and group): ``n_samples``, ``cells_per_sample``, ``log_fc``, ``power`` (mean over the tested
        genes), ``n_tested`` (number of tested genes), ``discoveries`` (expected number of true discoveries),
        ``p_threshold`` (median p-value below which genes are significant; 0 if most studies have no significant gene),
        ``method``, and ``cost`` if you passed costs. With several groups, the first column is ``group``, and rows with
        ``"all groups"`` combine them.
    genes
        One row per gene and design: ``variable``, ``mean`` (counts per cell), ``tested`` (whether enough counts are
        expected) and ``power``.
    settings
        The arguments ``fdr``, ``frac_de``, ``design`` and ``budget``.
    """

    overall: pd.DataFrame
    genes: pd.DataFrame
    settings: Mapping[str, Any]

    @property
    def best(self) -> pd.DataFrame:
        """The row of `overall` with the largest power for each fold change; with a budget, the best split."""
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
    r"""Compute the expected power of the default test, to plan the numbers of samples and cells.

    In a sample with :math:`n_s` cells, the log rate of a gene with mean :math:`\mu` and dispersion :math:`\phi` has the
    variance

    .. math::
        v + 1 \Big/ \sum_{i=1}^{n_s} \frac{\mu_i}{1 + \phi \mu_i},

    where v is the variance between samples. More cells reduce only the second part; more samples reduce the effect of
    both. The p-values of the default test depend on the estimates of the samples and on a prior of v from all genes.
    Their distribution is computed for every gene, with v drawn from its prior. Genes are significant according to the
    adjustment of Benjamini and Hochberg, in studies where the fraction `frac_de` of the genes differs.

    Parameters
    ----------
    data
        A pilot: an AnnData (or MuData) after :func:`sc_glmm.tl.test` with the default test, or the path of a file with
        such results. Abundances, dispersions, the prior of the variances, the relative sizes of samples, the spread of
        size factors and, with `groupby`, the fractions of the cell types are taken from the pilot. Or assumptions: a
        data frame with one row for each gene or type of gene, and the columns ``mean`` (counts per cell),
        ``dispersion`` and ``sd`` (standard deviation between samples, natural log); for pairs also ``donor_sd``
        (standard deviation between donors). With assumptions, the log size factors of the cells have a standard
        deviation of 0.45.
    n_samples
        Total numbers of samples. Half of them are in each arm; each pair of a paired design has two.
    cells_per_sample
        Mean numbers of cells per sample; with groups, over all groups together.
    log_fc
        Absolute log2 fold changes of the genes that differ, up or down.
    fdr
        Level of the false discovery rate.
    frac_de
        Fraction of the genes that differ.
    n_tests
        Number of tests whose p-values are adjusted together. Default: the number of genes of the pilot with enough
        expected counts, or 10,000 with assumptions.
    design
        ``"unpaired"``: two arms of samples; ``"paired"``: both arms in every donor. Default: the design of the pilot,
        or unpaired with assumptions.
    contrast
        Contrast of the pilot that defines the arms. Default: the first contrast with one row.
    group
        Level of the `groupby` of the pilot. Default: all levels.
    key
        `key_added` of the pilot.
    method
        ``"analytic"``; ``"simulation"``, which simulates and tests the counts of 800 genes for each design; or
        ``"auto"``, which simulates genes with fewer than 20 expected counts in the smaller arm if they are frequent
        and would often be found.
    budget, cost_per_sample, cost_per_cell
        Total costs, to be used instead of `cells_per_sample`. For each number of samples, the rest of the budget pays
        for cells; ``PowerResult.best`` is the best split.
    seed
        Seed of the random draws.

    Returns
    -------
    PowerResult
        Power of each design, and of each gene in each design.

    Raises
    ------
    InputError
        If the pilot has no prior of the variances, or an argument has a value that is not allowed.

    Notes
    -----
    Genes are assumed to vary between samples as in the pilot. With few samples, a pilot estimates this variation, and
    thus the power, only roughly. The fold changes that a pilot found are not used: choose the fold change of interest.

    Examples
    --------
    >>> import pandas as pd, sc_glmm
    >>> genes = pd.DataFrame({"mean": [0.2, 2.0], "dispersion": [0.5, 0.5], "sd": [0.25, 0.25]})
    >>> result = sc_glmm.power(genes, n_samples=[8, 16], cells_per_sample=200, log_fc=1)
    >>> result.overall[["n_samples", "power"]].round(1).to_dict("list")
    {'n_samples': [8, 16], 'power': [0.4, 0.8]}
    """
    check_arguments(fdr=fdr, frac_de=frac_de, n_tests=n_tests, design=design, method=method)
    effects = numbers("log_fc", log_fc, "positive numbers (log2)", lambda x: 0.0 < x < math.inf)
    pilots = pilots_of(data, key=key, contrast=contrast, group=group, design=design)
    costs = costs_of(budget, cost_per_sample, cost_per_cell)
    paired = pilots[0].paired
    designs = designs_of(n_samples, cells_per_sample, paired, costs)
    adjustment = _Adjustment(fdr, frac_de, n_tests, isinstance(data, pd.DataFrame))
    overall, per_gene = [], []
    for samples, cells in designs:
        for size in effects:
            expected = [_expected_p(pilot, samples, cells, size, method, adjustment, seed) for pilot in pilots]
            rows = _power_rows(pilots, expected, adjustment, seed)
            described = {"n_samples": samples, "cells_per_sample": cells, "log_fc": size}
            cost = {} if costs is None else {"cost": samples * (costs[1] + cells * costs[2])}
            for pilot, (row, genes) in zip(pilots, rows, strict=True):
                of_group = {"group": pilot.group} if len(pilots) > 1 else {}
                overall.append({**of_group, **described, **row, **cost})
                per_gene.append(genes.assign(**of_group, **described))
            if len(pilots) > 1:
                overall.append({"group": _ALL, **described, **_combined([row for row, _ in rows]), **cost})
    settings = {"fdr": fdr, "frac_de": frac_de, "design": "paired" if paired else "unpaired", "budget": budget}
    return PowerResult(pd.DataFrame(overall), pd.concat(per_gene, ignore_index=True), settings)


@dataclass(frozen=True)
class _ExpectedP:
    """Expected p-values of the genes of a group in one design.

    Attributes
    ----------
    places
        Genes of the pilot that represent all genes.
    p
        (n_places, n) equally likely p-values of genes that differ.
    null
        (n_places, n) equally likely p-values of genes that do not differ; None if they are uniform.
    tested
        (n_genes,) whether a gene of the pilot has enough counts.
    method
        Method that computed the p-values.
    """

    places: np.ndarray
    p: FloatArray
    null: FloatArray | None
    tested: BoolArray
    method: str


@dataclass(frozen=True)
class _Adjustment:
    """The adjustment of p-values for multiple testing.

    Attributes
    ----------
    fdr
        Level of the false discovery rate.
    frac_de
        Fraction of the genes that differ.
    n_tests
        Number of tests that the user passed, or None.
    assumed
        Whether genes are assumptions, which represent many genes.
    """

    fdr: float
    frac_de: float
    n_tests: int | None
    assumed: bool

    def count_tests(self, tested: BoolArray) -> int:
        """Return the number of tests that are adjusted together."""
        if not tested.any():
            return 0
        return self.n_tests or (_N_TESTS_ASSUMED if self.assumed else int(tested.sum()))

    def p_thresholds(self, expected: _ExpectedP, seed: int) -> FloatArray:
        """Simulate several studies, and return the threshold on p-values in each of them."""
        n_tests = self.count_tests(expected.tested)
        return thresholds(expected.p, self.fdr, self.frac_de, n_tests, expected.null, seed=seed)


def _expected_p(
    pilot: Pilot, n_samples: int, cells: int, log_fc: float, method: str, adjustment: _Adjustment, seed: int
) -> _ExpectedP:
    """Compute the expected p-values of the genes of a group in one design."""
    half = n_samples // 2
    arms = comparison(half if pilot.paired else n_samples - half, half, pilot.paired)
    n_cells = np.concatenate([_sizes(pilot.sizes, n) for n in (n_samples - half, half)]) * cells * pilot.share
    genes, effect = pilot.genes, math.log(2.0) * log_fc
    tested = genes.mean * n_cells.sum() >= pilot.min_counts
    places = np.flatnonzero(tested)
    places = places[np.argsort(genes.mean[places], kind="stable")]
    # if the table has only a few types of genes, each of them represents many genes
    places = np.repeat(places, -(-MIN_GENES // max(len(places), 1)))
    if len(places) > MAX_GENES:
        places = places[np.linspace(0, len(places) - 1, MAX_GENES).round().astype(np.int64)]
    if len(places) == 0:
        return _ExpectedP(places, np.ones((0, 1)), None, tested, "none tested")
    subset = genes[places]
    if method == "simulation":
        p, null = simulated_p_values(arms, subset, effect, n_cells, seed)
        return _ExpectedP(places, p, null, tested, "simulation")
    analytic = _ExpectedP(places, p_values_of_effects(arms, subset, effect, n_cells, seed), None, tested, "analytic")
    few = subset.mean * min(n_cells[: n_samples - half].sum(), n_cells[n_samples - half :].sum()) < _FEW_COUNTS
    if method == "analytic" or few.mean() < _MIN_FRACTION_FEW:
        return analytic
    if float(power_at(analytic.p[few], adjustment.p_thresholds(analytic, seed)).mean()) < _MIN_POWER_FEW:
        return analytic
    return _with_simulated(arms, subset, effect, n_cells, seed, analytic, few)


def _sizes(relative: FloatArray, n: int) -> FloatArray:
    """Return the sizes of n samples, distributed as in the pilot, relative to their mean."""
    if len(relative) == 1:
        return np.ones(n)
    sizes = np.quantile(relative, (np.arange(n) + 0.5) / n)
    return np.asarray(sizes / sizes.mean())


def _with_simulated(
    arms: Comparison, genes: Genes, effect: float, n_cells: FloatArray, seed: int, analytic: _ExpectedP, few: BoolArray
) -> _ExpectedP:
    """Replace the p-values of genes with few counts by those of a simulation of all genes."""
    drawn, nulls = simulated_p_values(arms, genes, effect, n_cells, seed)
    columns = np.arange(analytic.p.shape[1]) % drawn.shape[1]
    uniform = np.broadcast_to((np.arange(1000) + 0.5) / 1000.0, (len(few), 1000))
    null = np.where(few[:, None], nulls[:, np.arange(1000) % nulls.shape[1]], uniform)
    p = np.where(few[:, None], drawn[:, columns], analytic.p)
    return _ExpectedP(analytic.places, p, null, analytic.tested, "both")


def _power_rows(
    pilots: Sequence[Pilot], by_pilot: Sequence[_ExpectedP], adjustment: _Adjustment, seed: int
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Compute the row of the overall table, and the table of the genes, for each group."""
    out = []
    for pilot, expected in zip(pilots, by_pilot, strict=True):
        n_tests = adjustment.count_tests(expected.tested)
        power, p_thresholds = np.zeros(len(expected.tested)), np.zeros(1)
        if n_tests:
            p_thresholds = adjustment.p_thresholds(expected, seed)
            power = np.where(expected.tested, _interpolated(pilot, expected, power_at(expected.p, p_thresholds)), 0.0)
        mean = float(power[expected.tested].mean()) if n_tests else 0.0
        row = {
            "power": mean,
            "n_tested": n_tests,
            "discoveries": adjustment.frac_de * mean * n_tests,
            "p_threshold": float(np.median(p_thresholds)),
            "method": expected.method,
        }
        genes = {"variable": pilot.names, "mean": pilot.genes.mean, "tested": expected.tested, "power": power}
        out.append((row, pd.DataFrame(genes)))
    return out


def _interpolated(pilot: Pilot, expected: _ExpectedP, power: FloatArray) -> FloatArray:
    """Interpolate the power of every gene of the pilot from the genes that represent all."""
    n_genes = len(expected.tested)
    times = np.bincount(expected.places, minlength=n_genes)
    if (times[expected.tested] > 0).all():
        return np.asarray(np.bincount(expected.places, power, minlength=n_genes) / np.maximum(times, 1))
    smooth = pd.Series(power).rolling(9, center=True, min_periods=1).mean().to_numpy()
    log_mean = np.log(pilot.genes.mean)
    return np.asarray(np.interp(log_mean, log_mean[expected.places], smooth))


def _combined(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine all groups: means over genes, sums of discoveries."""
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
