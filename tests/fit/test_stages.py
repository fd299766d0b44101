"""Check that the stages give the same results on parts of the cells and ranges of genes as in one run."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

import sc_glmm
from sc_glmm._errors import InputError
from sc_glmm._families.registry import FAMILIES
from sc_glmm._fit.cluster import add_stats
from sc_glmm._fit.compress import plan_passes
from sc_glmm._fit.sizes import CellSizes, library_sizes, sample_factors, sample_totals
from sc_glmm._formula import parse_formula
from sc_glmm._hypotheses.registry import get_test
from sc_glmm._run.conductor import Conductor, Store
from sc_glmm._run.memory import MemoryStore
from sc_glmm._run.options import RunOptions
from sc_glmm._run.plan import plan_groups
from sc_glmm._run.stages import Task

FORMULA = "counts ~ disease + (1|sample)"


@pytest.fixture(scope="module")
def adata():
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=640, n_genes=140, seed=4)
    counts = adata.layers["counts"].toarray()
    counts[:, 3] = 0
    counts[(adata.obs["disease"] == adata.obs["disease"].iloc[0]).to_numpy(), 130] = 0
    counts[0, 131] = 900
    adata.layers["counts"] = type(adata.layers["counts"])(counts)
    adata.obs["depth"] = np.log(counts.sum(axis=1))
    adata.obs["half"] = np.where(np.arange(adata.n_obs) % 3 == 0, "a", "b")
    return adata


def planned(adata, formula=FORMULA, groupby=None, family="nb", **options):
    counts = adata.layers["counts"]
    if family == "gaussian":
        sizes = CellSizes(np.zeros(adata.n_obs), np.ones(adata.n_obs, dtype=bool), False, "none", ())
    else:
        sizes = library_sizes(np.asarray(counts.sum(axis=1)).ravel())
    groups = [("", np.ones(adata.n_obs, dtype=bool))]
    if groupby is not None:
        groups = [(level, (adata.obs[groupby] == level).to_numpy()) for level in sorted(set(adata.obs[groupby]))]
    options = RunOptions(formula, groupby=groupby, **options)
    return plan_groups(adata.obs, groups, parse_formula(formula), sizes, options)[0]


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
        result = None
        for first, last in ((0, 200), (200, 201), (201, 640)):
            part = each.add_up(counts[first:last], first_row=first)
            result = part if result is None else add_stats(result, part)
        for name, values in arrays_of(whole).items():
            np.testing.assert_allclose(getattr(result, name), values, rtol=1e-12, atol=1e-10, err_msg=name)
        assert [len(c.stats) for c in each.by_group(result)] == [adata.n_vars] * len(each.groups)
    assert sorted(place for each in passes for place in each.groups) == list(range(len(plans)))


def test_statistics_of_two_kinds_are_not_added(adata):
    counts = adata.layers["counts"]
    (nb,) = plan_passes([plan.cells for plan in planned(adata)], FAMILIES["nb"], adata.n_obs)
    (gauss,) = plan_passes([plan.cells for plan in planned(adata, family="gaussian")], FAMILIES["gaussian"], 640)
    with pytest.raises(InputError, match="cannot be added"):
        add_stats(nb.add_up(counts), gauss.add_up(counts))
    with pytest.raises(InputError, match="can be added"):
        add_stats(gauss.add_up(counts), gauss.add_up(counts, genes=slice(0, 3)))


class Ranges(Store):
    """A store whose chunks have only their own genes and the results of earlier stages."""

    def __init__(self, counts, plan, task, ranges):
        super().__init__(ranges)
        self.plan, self.asked = plan, []
        (once,) = plan_passes([plan.cells], task.family, counts.shape[0])
        self.parts = [once.by_group(once.add_up(counts, genes=slice(*genes)))[0] for genes in ranges]

    def layout(self, i):
        return self.parts[0]

    def cells(self, i, chunk):
        return self.parts[chunk]

    def stats(self, i, chunk):
        return self.parts[chunk].stats

    def factors(self, i, chunk):
        design = self.plan.cells.design
        bulk = [sample_totals(design, cells, cells.stats.A) for cells in self.parts]
        return sample_factors(design, self.parts[chunk], np.concatenate(bulk, axis=1))

    def get(self, stage, i, chunk, make):
        self.asked.append((stage, chunk))
        return super().get(stage, i, chunk, make)


@pytest.mark.parametrize("test", ["eb_lr", "lrt"])
def test_ranges_of_genes_give_the_tables_of_all_genes(adata, test):
    counts, task = adata.layers["counts"].tocsc(), Task(RunOptions(FORMULA), FAMILIES["nb"], get_test(test))
    plans = planned(adata)
    (whole,), _ = conducted(counts, plans, task, adata.var_names, MemoryStore(counts, plans, task))
    store = Ranges(counts, plans[0], task, [(0, 64), (64, 128), (128, 140)])
    (parted,), notes = conducted(counts, plans, task, adata.var_names, store)
    assert ("fit", 2) in store.asked
    assert notes == []
    pd.testing.assert_frame_equal(parted.genes, whole.genes, check_exact=True)
    for mine, theirs in zip(parted.contrasts, whole.contrasts, strict=True):
        pd.testing.assert_frame_equal(mine.table, theirs.table, rtol=1e-12)
    assert parted.recipe == whole.recipe
    assert {"all_zero", "separated"} <= set(whole.genes["status"])


def conducted(counts, plans, task, genes, store):
    return Conductor(plans, task, counts, genes, store).run()


def test_message_names_the_test_once(adata):
    plans, task = planned(adata), Task(RunOptions(FORMULA), FAMILIES["nb"], get_test("eb_lr"))
    counts = adata.layers["counts"][:, :20]
    tests, notes = conducted(counts, plans, task, adata.var_names[:20], MemoryStore(counts, plans, task))
    (note,) = notes
    assert "needs at least 50 genes to estimate how samples vary" in note
    assert tests[0].recipe["test"] == "hk"
