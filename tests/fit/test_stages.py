"""The stages of the main job on parts of the cells and ranges of the genes: the numbers of one run."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._errors import InputError
from sc_glmm._families.registry import FAMILIES
from sc_glmm._fit.cluster import add_stats
from sc_glmm._fit.compress import plan_passes
from sc_glmm._fit.plan import Choices, plan_groups
from sc_glmm._fit.profiles import plan_profiles, profile_all
from sc_glmm._fit.ranges import join_fits, join_profiles
from sc_glmm._fit.run import Task, finish, fit_range, model_of, normalise, run_groups
from sc_glmm._fit.sizes import CellSizes, library_sizes, sample_totals
from sc_glmm._formula import parse_formula

FORMULA = "counts ~ disease + (1|sample)"


@pytest.fixture(scope="module")
def adata():
    made = sc_glmm.datasets.simulate(n_samples=8, n_cells=640, n_genes=140, seed=4)
    counts = made.layers["counts"].toarray()
    counts[:, 3] = 0
    counts[(made.obs["disease"] == made.obs["disease"].iloc[0]).to_numpy(), 130] = 0
    counts[0, 131] = 900
    made.layers["counts"] = type(made.layers["counts"])(counts)
    made.obs["depth"] = np.log(counts.sum(axis=1))
    made.obs["half"] = np.where(np.arange(made.n_obs) % 3 == 0, "a", "b")
    return made


def planned(adata, formula=FORMULA, groupby=None, family="nb", **choices):
    counts = adata.layers["counts"]
    if family == "gaussian":
        sizes = CellSizes(np.zeros(adata.n_obs), np.ones(adata.n_obs, dtype=bool), False, "none", ())
    else:
        sizes = library_sizes(np.asarray(counts.sum(axis=1)).ravel())
    groups = [("", np.ones(adata.n_obs, dtype=bool))]
    if groupby is not None:
        groups = [(level, (adata.obs[groupby] == level).to_numpy()) for level in sorted(set(adata.obs[groupby]))]
    made = Choices(None, choices.get("contrasts"), "reml", 1, "heterogeneous")
    return plan_groups(adata.obs, groups, parse_formula(formula), sizes, made, groupby)[0]


def arrays_of(stats):
    return {field.name: getattr(stats, field.name) for field in fields(stats)}


@pytest.mark.parametrize(
    ("formula", "groupby", "family"),
    [
        (FORMULA, None, "nb"),
        (FORMULA, "half", "nb"),
        (FORMULA, "half", "poisson"),
        ("counts ~ disease + depth + (1|sample)", None, "nb"),
        (FORMULA, "half", "gaussian"),
    ],
)
def test_statistics_of_parts_of_the_cells_add_up(adata, formula, groupby, family):
    counts = adata.layers["counts"].tocsr()
    plans = planned(adata, formula, groupby, family)
    passes = plan_passes([plan.cells for plan in plans], FAMILIES[family], adata.n_obs)
    for each in passes:
        whole = each.add_up(counts)
        made = None
        for first, last in ((0, 200), (200, 201), (201, 640)):
            part = each.add_up(counts[first:last], first_row=first)
            made = part if made is None else add_stats(made, part)
        for name, values in arrays_of(whole).items():
            np.testing.assert_allclose(getattr(made, name), values, rtol=1e-12, atol=1e-10, err_msg=name)
        assert [len(c.stats) for c in each.by_group(made)] == [adata.n_vars] * len(each.groups)
    assert sorted(place for each in passes for place in each.groups) == list(range(len(plans)))


def test_statistics_of_two_kinds_are_not_added(adata):
    counts = adata.layers["counts"]
    (nb,) = plan_passes([plan.cells for plan in planned(adata)], FAMILIES["nb"], adata.n_obs)
    (gauss,) = plan_passes([plan.cells for plan in planned(adata, family="gaussian")], FAMILIES["gaussian"], 640)
    with pytest.raises(InputError, match="cannot be added"):
        add_stats(nb.add_up(counts), gauss.add_up(counts))
    with pytest.raises(InputError, match="can be added"):
        add_stats(gauss.add_up(counts), gauss.add_up(counts, genes=slice(0, 3)))


@pytest.mark.parametrize("test", ["eb_lr", "lrt"])
def test_ranges_of_genes_give_the_tables_of_all_genes(adata, test):
    """Every stage on ranges of genes, each knowing only what the stages before handed over."""
    counts, task = adata.layers["counts"].tocsc(), Task(FAMILIES["nb"], test)
    (plan,) = planned(adata)
    (whole,), _ = run_groups(counts, [plan], task, adata.var_names)
    (once,) = plan_passes([plan.cells], task.family, adata.n_obs)
    ranges = [slice(0, 64), slice(64, 128), slice(128, 140)]
    cells = [once.by_group(once.add_up(counts[:, part]))[0] for part in ranges]
    raw = [model_of(plan, each, each.stats, task) for each in cells]
    bulk = np.concatenate([sample_totals(model) for model in raw], axis=1)
    models = [normalise(model, task, bulk)[0] for model in raw]
    fits = [
        fit_range(counts[:, part], plan, each, model, task)
        for part, each, model in zip(ranges, cells, models, strict=True)
    ]
    fitted = join_fits(fits)
    empty, factors = normalise(model_of(plan, cells[0], cells[0].stats.take(0, 0), task), task, bulk)
    contrasts = [c.L for c in plan.contrasts]
    profile_plan = plan_profiles(empty, fitted.result, fitted.totals, contrasts, lambda genes: None)
    made = [
        profile_all(model, each.result, profile_plan.take(part.start, part.stop), contrasts)
        for part, each, model in zip(ranges, fits, models, strict=True)
    ]
    args = (adata.var_names, factors, fitted, profile_plan, join_profiles(made))
    parted, notes = finish(plan, cells[0], empty, task, *args)
    assert notes == []
    pd.testing.assert_frame_equal(parted.genes, whole.genes, check_exact=True)
    for mine, theirs in zip(parted.contrasts, whole.contrasts, strict=True):
        pd.testing.assert_frame_equal(mine.table, theirs.table, rtol=1e-12)
    assert parted.recipe == whole.recipe
    assert {"all_zero", "separated"} <= set(whole.genes["status"])


def test_the_test_that_is_used_is_said_once(adata):
    plans = planned(adata)
    small = replace(plans[0])
    with pytest.warns(sc_glmm.ScGlmmWarning, match="fewer can be"):
        tests, notes = run_groups(
            adata.layers["counts"][:, :20], [small], Task(FAMILIES["nb"], "eb_lr"), adata.var_names[:20]
        )
    assert len(notes) == 1
    assert tests[0].recipe["test"] == "hk"
