"""Define the designs of the benchmark, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from simulate import GeneLaw, Scenario

Table = Callable[[np.random.Generator], pd.DataFrame]
GRID = tuple((mean, variance) for mean in (0.05, 0.5, 5.0) for variance in (0.0, 0.05, 0.3))
# values within the range of blood data; medians as in power, but fewer genes of very low abundance
ROBUST = GeneLaw(mean=(0.4, 1.4), mean_range=(0.03, 20.0))
WITHIN = GeneLaw(mean=(0.4, 1.3), mean_range=(0.03, 20.0), variance=(0.03, 1.0), frac_invariant=0.3, effect=(0.3, 1.0))


def _two_groups(cells: Sequence[int] | int, second: Sequence[int] | int, n_covariates: int = 0) -> Table:
    """Make samples of groups a and b with these numbers of cells; ``z1``, ``z2``... are noise covariates."""

    def make(rng: np.random.Generator) -> pd.DataFrame:
        first_cells, second_cells = np.atleast_1d(cells), np.atleast_1d(second)
        frame = pd.DataFrame({"n_cells": np.concatenate([first_cells, second_cells])})
        frame["cond"] = np.repeat(["a", "b"], [len(first_cells), len(second_cells)])
        frame["sample"] = [f"s{i}" for i in range(len(frame))]
        for k in range(n_covariates):
            frame[f"z{k + 1}"] = rng.normal(size=len(frame))
        return frame

    return make


def _balanced(n_samples: int, n_cells: int = 100, n_covariates: int = 0) -> Table:
    half = n_samples // 2
    return _two_groups([n_cells] * half, [n_cells] * (n_samples - half), n_covariates)


def _paired(n_donors: int, n_cells: int | None) -> Table:
    """Make two samples per donor, one of each condition; with None, numbers of cells vary around 100."""

    def make(rng: np.random.Generator) -> pd.DataFrame:
        frame = pd.DataFrame({"donor": np.repeat([f"d{i}" for i in range(n_donors)], 2)})
        frame["cond"] = np.tile(["a", "b"], n_donors)
        frame["sample"] = frame["donor"] + frame["cond"]
        drawn = np.maximum(10, rng.negative_binomial(2, 2 / 102, len(frame)))
        frame["n_cells"] = drawn if n_cells is None else n_cells
        return frame

    return make


def _nested(n_donors: int, n_samples: int) -> Table:
    """Make donors of two conditions, with several samples each (biopsies, time points)."""

    def make(rng: np.random.Generator) -> pd.DataFrame:
        frame = pd.DataFrame({"donor": np.repeat([f"d{i}" for i in range(n_donors)], n_samples)})
        frame["cond"] = np.repeat(["a", "b"], n_donors // 2 * n_samples)
        frame["sample"] = frame["donor"] + "_" + pd.Series(np.tile(np.arange(n_samples), n_donors)).astype(str)
        frame["n_cells"] = 60
        return frame

    return make


def _batches(n_batches: int, n_samples: int) -> Table:
    """Make samples of both conditions in every batch."""

    def make(rng: np.random.Generator) -> pd.DataFrame:
        frame = pd.DataFrame({"batch": np.tile([f"b{i}" for i in range(n_batches)], n_samples // n_batches)})
        frame["cond"] = np.repeat(["a", "b"], n_samples // 2)
        frame["sample"] = [f"s{i}" for i in range(n_samples)]
        frame["n_cells"] = 100
        return frame

    return make


def _grid() -> list[Scenario]:
    return [
        Scenario(
            name=f"grid-S{n}-phi{phi:g}",
            family="grid",
            words=f"{n} samples of 100 cells, no gene differs; 3 means x 3 variances, dispersion {phi:g}",
            table=_balanced(n),
            law=GeneLaw(dispersion=(phi, 0.0), frac_de=0.0, grid=GRID),
            depth_sd=0.3,
        )
        for n in (6, 8, 12, 20)
        for phi in (0.5, 2.0)
    ]


def _power() -> list[Scenario]:
    noisy = GeneLaw(dispersion=(1.0, 0.7))
    rows: list[tuple[str, str, Table, GeneLaw]] = [
        (f"S{n}", f"{n} samples of 100 cells", _balanced(n), GeneLaw()) for n in (4, 5, 6, 8, 12, 20)
    ]
    rows += [
        ("unequal-S8", "8 samples of 12 to 300 cells", _two_groups([12, 35, 90, 260], [20, 60, 110, 300]), noisy),
        (
            "unequal-S12",
            "12 samples of 8 to 350 cells",
            _two_groups([8, 15, 40, 90, 180, 300], [10, 25, 50, 80, 150, 350]),
            noisy,
        ),
        ("confounded", "8 controls of 300 cells, 4 cases of 20", _two_groups([300] * 8, [20] * 4), noisy),
    ]
    result = [Scenario(f"power-{name}", "power", words, table, law) for name, words, table, law in rows]
    for name, words, cells in (("paired", "of 100 cells", 100), ("paired-unequal", "of 10 to 400 cells", None)):
        result.append(
            Scenario(
                name=f"power-{name}",
                family="power",
                words=f"8 donors x 2 conditions, samples {words}",
                table=_paired(8, cells),
                law=GeneLaw(**{**WITHIN.__dict__, "donor_variance": (0.15, 0.7)}),
                formula="counts ~ donor + cond + (1|sample)",
                fixed="1 + donor + cond",
                also={"donor random": "counts ~ cond + (1|donor) + (1|sample)"},
            )
        )
    return result


def _robust() -> list[Scenario]:
    eight = _balanced(8)
    result = [
        Scenario("robust-t4", "robust", "8 samples, their effects are t with 4 df", eight, ROBUST, effects="t4"),
        Scenario("robust-offset", "robust", "8 samples, size factors off by sd 0.1", eight, ROBUST, offset_sd=0.1),
        Scenario(
            "robust-correlated", "robust", "8 samples, genes share 5 programmes", eight, ROBUST, effects="factors"
        ),
        Scenario("robust-outlier", "robust", "8 samples, one of bad quality", eight, ROBUST, effects="outlier"),
        Scenario(
            "robust-zeros", "robust", "8 samples, up to half of the counts lost", eight, ROBUST, zero_inflation=0.5
        ),
        Scenario("robust-null-S4", "robust", "4 samples, no gene differs", _balanced(4), GeneLaw(frac_de=0.0)),
        Scenario("robust-null-S5", "robust", "5 samples, no gene differs", _balanced(5), GeneLaw(frac_de=0.0)),
    ]
    for n in (1, 3, 5):
        columns = " + ".join(f"z{k + 1}" for k in range(n))
        result.append(
            Scenario(
                name=f"robust-covariates{n}",
                family="robust",
                words=f"12 samples, {n} further covariates of samples",
                table=_balanced(12, n_covariates=n),
                law=GeneLaw(**{**ROBUST.__dict__, "covariate_sd": 0.1}),
                formula=f"counts ~ {columns} + cond + (1|sample)",
                fixed=f"1 + {columns} + cond",
            )
        )
    return result


def _sparse() -> list[Scenario]:
    return [
        Scenario(
            name=f"sparse-S{n}-{count:g}",
            family="sparse",
            words=f"{n} samples of 100 cells, {count:g} counts a sample, no gene differs",
            table=_balanced(n),
            law=GeneLaw(
                mean=(count / 100, 0.0),
                mean_range=(0.0, 1.0),
                frac_de=0.0,
                values=(0.0, 0.1, 0.5),
                dispersion=(0.5, 0.7),
            ),
        )
        for n in (8, 12)
        for count in (0.5, 1.0, 2.0, 5.0)
    ]


def _designs() -> list[Scenario]:
    nested = GeneLaw(**{**ROBUST.__dict__, "donor_variance": (0.05, 0.7), "variance": (0.03, 1.0)})
    batch = GeneLaw(**{**ROBUST.__dict__, "batch_variance": (0.05, 0.7)})
    slope = GeneLaw(**{**ROBUST.__dict__, "slope_variance": (0.01, 0.7), "effect": (0.1, 0.4)})
    fixed_batch = {"formula": "counts ~ batch + cond + (1|sample)", "fixed": "1 + batch + cond"}
    return [
        Scenario(
            "design-nested", "design", "8 donors of two conditions, 2 samples of 60 cells each", _nested(8, 2), nested,
            formula="counts ~ cond + (1|donor/sample)", unit="donor",
        ),
        Scenario(
            "design-batch", "design", "12 samples crossed with 3 batches, batch fixed", _batches(3, 12), batch,
            **fixed_batch,
        ),
        Scenario(
            "design-crossed", "design", "24 samples crossed with 6 batches, batch random", _batches(6, 24), batch,
            formula="counts ~ cond + (1|batch) + (1|sample)", fixed="1 + batch + cond",
        ),
        Scenario(
            "design-slope", "design", "8 samples, covariate of cells whose slope varies (sd 0.1)", _balanced(8), slope,
            formula="counts ~ x + (x||sample)", tested="x", pseudobulk=False,
        ),
    ]  # fmt: skip


def _minimum() -> list[Scenario]:
    """Make a third of the genes exactly at the minimum effect, a tenth beyond it, and the others at zero."""

    def law(minimum: float, **more: object) -> GeneLaw:
        edge = float(np.log(2.0) * minimum)
        return GeneLaw(**{"edge": edge, "frac_edge": 1 / 3, "effect": (edge + 0.4, edge + 1.4), **more})

    rows: list[tuple[str, str, Table, GeneLaw, dict]] = [
        (f"S{n}", f"{n} samples of 100 cells", _balanced(n), law(0.5), {"min_log_fc": 0.5}) for n in (6, 8, 12, 20)
    ]
    one = {"min_log_fc": 1.0}
    # equivalence: genes at zero should be found, those at the minimum and beyond should not
    rows += [
        ("S12-one", "12 samples of 100 cells", _balanced(12), law(1.0), one),
        ("S12-greater", "12 samples of 100 cells", _balanced(12), law(0.5),
         {"min_log_fc": 0.5, "alternative": "greater"}),
        ("S20-equal", "20 samples of 100 cells", _balanced(20), law(1.0), {**one, "alternative": "abs-less"}),
        ("unequal-S8", "8 samples of 12 to 300 cells", _two_groups([12, 35, 90, 260], [20, 60, 110, 300]),
         law(0.5, dispersion=(1.0, 0.7)), {"min_log_fc": 0.5}),
        ("paired", "8 donors x 2 conditions, samples of 100 cells", _paired(8, 100),
         law(0.5, donor_variance=(0.15, 0.7), variance=(0.03, 1.0), mean=(0.4, 1.3), mean_range=(0.03, 20.0)),
         {"min_log_fc": 0.5, "formula": "counts ~ cond + (1|donor) + (1|sample)"}),
    ]  # fmt: skip
    return [
        Scenario(f"minimum-{name}", "minimum", words, table, law, pseudobulk=False, **more)
        for name, words, table, law, more in rows
    ]


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in [*_grid(), *_power(), *_robust(), *_sparse(), *_designs(), *_minimum()]
}
