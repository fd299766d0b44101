"""Check genes across cell types: selection, order, missing tests, counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sc_glmm as sg
from sc_glmm.pl._numbers.frames import split_sets
from sc_glmm.pl._numbers.sets import alike, count_significant, fold_change_grid, gene_across_sets, leading_genes


@pytest.fixture
def frame():
    """Make three types and four genes; g3 is untested in T, and g4 is never significant."""
    table = {
        "B": {"g1": (2.0, 1e-6), "g2": (-1.0, 1e-3), "g3": (1.8, 1e-4), "g4": (0.1, 0.9)},
        "T": {"g1": (1.9, 1e-5), "g2": (-3.0, 1e-9), "g3": (np.nan, np.nan), "g4": (0.2, 0.5)},
        "NK": {"g1": (0.1, 0.4), "g2": (-0.2, 0.3), "g3": (0.3, 0.6), "g4": (np.inf, 0.01)},
    }
    rows = [
        (kind, gene, log_fc, log_fc - 0.5, log_fc + 0.5, p, 10 * p)
        for kind, genes in table.items()
        for gene, (log_fc, p) in genes.items()
    ]
    columns = ["cell_type", "variable", "log_fc", "ci_low", "ci_high", "p_value", "adj_p_value"]
    out = pd.DataFrame(rows, columns=columns).assign(status="ok", contrast="a vs b")
    out.loc[out["p_value"].isna(), "status"] = "low_count"
    return out


def test_the_best_of_each_type_come_first(frame):
    assert leading_genes(split_sets(frame), 10, 0.05) == ["g2", "g1", "g3"]
    assert leading_genes(split_sets(frame), 1, 0.05) == ["g2"]


def test_grid_of_named_genes(frame):
    grid = fold_change_grid(frame, "log_fc", genes=["g3", "g1"], n_genes=5, alpha=0.05)
    assert grid.genes == ("g3", "g1") and grid.sets == ("B", "T", "NK")
    np.testing.assert_array_equal(grid.values, [[1.8, np.nan, 0.3], [2.0, 1.9, 0.1]])
    np.testing.assert_array_equal(grid.significant, [[True, False, False], [True, True, False]])


def test_similar_genes_are_neighbours(rng):
    up, down = np.array([2.0, 2.0, 0.0]), np.array([0.0, -2.0, -2.0])
    values = np.stack([up, down, up, down, up, down]) + 0.1 * rng.standard_normal((6, 3))
    order = alike(values)
    assert sorted(order) == list(range(6))
    assert set(order[:3]) == {0, 2, 4}
    values[0, 1] = np.nan
    assert sorted(alike(values)) == list(range(6))


def test_invalid_grids(frame):
    with pytest.raises(sg.InputError, match="'g9'.*no results"):
        fold_change_grid(frame, "log_fc", genes=["g9"], n_genes=5, alpha=0.05)
    with pytest.raises(sg.InputError, match="no gene is significant at 1e-12 in any of the 3 sets"):
        fold_change_grid(frame, "log_fc", genes=None, n_genes=5, alpha=1e-12)
    with pytest.raises(sg.InputError, match="n_genes=0"):
        fold_change_grid(frame, "log_fc", genes=None, n_genes=0, alpha=0.05)
    with pytest.raises(sg.InputError, match="'g1' has several rows in B"):
        fold_change_grid(pd.concat([frame, frame]), "log_fc", genes=None, n_genes=5, alpha=0.05)


def test_one_gene_in_all_cell_types(frame):
    shape = gene_across_sets(frame, "g3", 0.05)
    assert shape.sets == ("B", "T", "NK")
    np.testing.assert_array_equal(shape.estimate, [1.8, np.nan, 0.3])
    np.testing.assert_allclose(shape.low, [1.3, np.nan, -0.2])
    assert list(shape.significant) == [True, False, False]
    assert shape.note == ("", "low count", "")
    # a type without a row for the gene was not tested either
    shape = gene_across_sets(frame.drop(index=frame.index[2]), "g3", 0.05)
    assert shape.note == ("not tested", "low count", "")
    with pytest.raises(sg.InputError, match="gene='G3' has no row"):
        gene_across_sets(frame, "G3", 0.05)


def test_counts(frame):
    table = count_significant(frame, 0.05)
    assert list(table["set"]) == ["B", "T", "NK"]
    assert list(table["up"]) == [2, 1, 0]
    assert list(table["down"]) == [1, 1, 0]
    assert list(table["tested"]) == [4, 3, 4]
    # a joint test has no direction
    joint = count_significant(frame.assign(log_fc=np.nan), 0.05)
    assert list(joint["either"]) == [3, 2, 0] and not joint[["up", "down"]].to_numpy().any()
