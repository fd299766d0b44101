"""Add up the results of all data sets of a scenario: rates with their Monte Carlo errors, one row per method."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from measures import LEVELS

# bounds on the type-I error, relative to the nominal level
TOLERANCE = {0.05: 0.10, 0.01: 0.15, 0.001: 0.30}
FDR_BOUNDS, COVERAGE_BOUNDS = (0.03, 0.06), (0.93, 0.97)


@dataclass
class Total:
    """Sums over data sets of the measures of one method in one scenario (or in one part of it)."""

    sets: int = 0
    null: dict[str, int] = field(default_factory=dict)
    strata: dict[str, dict[str, int]] = field(default_factory=dict)
    tail: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    hits: int = 0
    false: int = 0
    sets_with_hit: int = 0
    differential: int = 0
    found: int = 0
    at_true_fdr: list[float] = field(default_factory=list)
    at_true_fdr_se: list[float] = field(default_factory=list)
    rates: list[tuple[float, ...]] = field(default_factory=list)
    fdrs: list[float] = field(default_factory=list)
    coverage: dict[str, np.ndarray] = field(default_factory=dict)
    missing: int = 0
    ms: list[float] = field(default_factory=list)

    def add(self, values: dict) -> None:
        """Add one data set."""
        self.sets += 1
        _add(self.null, values["null"])
        for name, counts in values["strata"].items():
            _add(self.strata.setdefault(name, {}), counts)
        tail = np.array(values["tail"])
        length = max(len(tail), len(self.tail))
        self.tail = np.pad(self.tail, (0, length - len(self.tail))) + np.pad(tail, (0, length - len(tail)))
        hits = values["discoveries"]
        self.hits += hits["hits"]
        self.false += hits["false"]
        self.sets_with_hit += hits["hits"] > 0
        self.fdrs.append(hits["false"] / max(hits["hits"], 1))
        if "power" in values:
            self.differential += values["power"]["differential"]
            self.found += values["power"]["found"]
            self.at_true_fdr.append(values["power"]["at_true_fdr"])
            self.at_true_fdr_se.append(values["power"].get("at_true_fdr_se", np.nan))
        for name, counts in values.get("coverage", {}).items():
            self.coverage[name] = self.coverage.get(name, np.zeros(2)) + [counts["covered"], counts["n"]]
        n = max(values["null"]["n"], 1)
        self.rates.append(tuple(values["null"][f"{level:g}"] / n for level in LEVELS))
        self.missing += values["missing"]
        self.ms.append(values["ms_per_gene"])

    def rate(self, level: float) -> float:
        """Compute the share of null genes below the level."""
        return self.null[f"{level:g}"] / self.null["n"] if self.null.get("n") else np.nan

    def rate_se(self, level: float) -> float:
        """Compute the Monte Carlo error: binomial, or from the spread between data sets if this is larger."""
        p, n = self.rate(level), self.null.get("n", 0)
        binomial = np.sqrt(p * (1 - p) / n) if n else np.nan
        if self.sets < 4:
            return float(binomial)
        each = [rate[LEVELS.index(level)] for rate in self.rates]
        return float(max(binomial, np.std(each, ddof=1) / np.sqrt(self.sets)))

    @property
    def fdr(self) -> float:
        """Compute the share of false discoveries over all data sets."""
        return self.false / self.hits if self.hits else 0.0

    @property
    def fdr_se(self) -> float:
        return float(np.sqrt(self.fdr * (1 - self.fdr) / self.hits)) if self.hits else np.nan

    @property
    def power(self) -> float:
        return self.found / self.differential if self.differential else np.nan

    @property
    def power_at_true_fdr(self) -> float:
        return float(np.mean(self.at_true_fdr)) if self.at_true_fdr else np.nan

    @property
    def power_se(self) -> float:
        """Compute the standard error of the power at true FDR, from draws of genes."""
        return float(np.sqrt(np.sum(np.square(self.at_true_fdr_se))) / self.sets) if self.at_true_fdr else np.nan

    def covered(self, which: str = "") -> float:
        """Compute the share of intervals that contain the truth, for all, ``null`` or ``differential`` genes."""
        chosen = [self.coverage[which]] if which in self.coverage else list(self.coverage.values())
        covered, n = np.sum(chosen, axis=0) if chosen else (0.0, 0.0)
        return float(covered / n) if n else np.nan

    def calibrated(self) -> bool:
        """Check whether the type-I error is within the bounds at every level."""
        return all(abs(self.rate(level) / level - 1.0) <= share for level, share in TOLERANCE.items())


def _add(total: dict[str, int], counts: dict[str, int]) -> None:
    for key, value in counts.items():
        total[key] = total.get(key, 0) + value


def load(folder: Path) -> dict[str, list[dict]]:
    """Load the data sets of every scenario with results."""
    stored = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        if "sets" in content:  # other benchmarks also store results in this folder
            stored[content["scenario"]] = content["sets"]
    return stored


def totals(sets: Iterable[dict], keep: Callable[[dict], bool] = lambda _: True) -> dict[str, Total]:
    """Sum by method over the data sets in `keep`."""
    found: dict[str, Total] = {}
    for entry in sets:
        if keep(entry):
            for method, values in entry["methods"].items():
                found.setdefault(method, Total()).add(values)
    return found


def flat(stored: dict[str, list[dict]]) -> pd.DataFrame:
    """Build a table with one row per scenario and method."""
    rows = []
    for scenario, sets in stored.items():
        for method, total in totals(sets).items():
            row = {
                "scenario": scenario,
                "method": method,
                "data_sets": total.sets,
                "null_genes": total.null.get("n", 0),
            }
            for level in LEVELS:
                row[f"rate_{level:g}"] = total.rate(level)
                row[f"se_{level:g}"] = total.rate_se(level)
            row |= {"discoveries": total.hits, "fdr": total.fdr, "fdr_se": total.fdr_se, "power": total.power}
            row |= {"power_at_true_fdr": total.power_at_true_fdr, "power_se": total.power_se}
            row |= {"coverage_null": total.covered("null") if "null" in total.coverage else np.nan}
            row |= {"coverage_differential": total.covered("differential") if total.differential else np.nan}
            row |= {"missing": total.missing, "ms_per_gene": float(np.median(total.ms))}
            rows.append(row)
    return pd.DataFrame(rows)
