import numpy as np

from sc_glmm._compress import stack_rows, unique_rows


def make_design(rng, n_obs=300):
    sample = rng.integers(0, 12, n_obs)
    donor = sample // 2
    X = np.column_stack([np.ones(n_obs), sample % 2, rng.integers(0, 3, n_obs) - 1.0])
    Z = np.column_stack([np.ones(n_obs), X[:, 2]])
    return X, [np.ones((n_obs, 1)), Z], [donor, sample]


def test_rows_equal_the_rows_of_their_cells():
    X, Zs, codes = make_design(np.random.default_rng(0))
    rows = unique_rows(X, Zs, codes)
    np.testing.assert_array_equal(rows.X[rows.row_of], X)
    for ours, theirs in zip(rows.Z, Zs, strict=True):
        np.testing.assert_array_equal(ours[rows.row_of], theirs)
    for ours, theirs in zip(rows.codes, codes, strict=True):
        np.testing.assert_array_equal(ours[rows.row_of], theirs)
    np.testing.assert_array_equal(rows.n_cells, np.bincount(rows.row_of))
    assert rows.n_cells.sum() == len(X) and rows.n_cells.min() > 0


def test_rows_are_distinct_and_in_lexicographic_order():
    X, Zs, codes = make_design(np.random.default_rng(1))
    rows = unique_rows(X, Zs, codes)
    keys = [tuple(key) for key in np.column_stack([*rows.codes, *rows.Z, rows.X])]
    assert keys == sorted(set(keys))
    assert len(keys) == rows.n_rows == len({tuple(key) for key in np.column_stack([*codes, *Zs, X])})


def test_order_of_cells_does_not_matter():
    rng = np.random.default_rng(2)
    X, Zs, codes = make_design(rng)
    perm = rng.permutation(len(X))
    rows, permuted = unique_rows(X, Zs, codes), unique_rows(X[perm], [Z[perm] for Z in Zs], [c[perm] for c in codes])
    np.testing.assert_array_equal(permuted.X, rows.X)
    np.testing.assert_array_equal(permuted.row_of, rows.row_of[perm])


def test_covariate_that_varies_by_cell_makes_every_cell_a_row():
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(40), rng.normal(size=40)])
    assert unique_rows(X, [], [rng.integers(0, 4, 40)]).n_rows == 40


def test_no_random_terms_and_no_cells():
    assert unique_rows(np.ones((5, 1)), [], []).n_rows == 1
    empty = unique_rows(np.ones((0, 2)), [np.ones((0, 1))], [np.zeros(0, dtype=int)])
    assert empty.n_rows == 0 and empty.X.shape == (0, 2)


def test_stacked_groups_keep_their_rows_apart():
    rng = np.random.default_rng(4)
    X, Zs, codes = make_design(rng)
    group = rng.integers(-1, 3, len(X))
    parts = []
    for label in range(3):
        cells = np.flatnonzero(group == label)
        parts.append((cells, unique_rows(X[cells], [Z[cells] for Z in Zs], [c[cells] for c in codes])))
    stacked = stack_rows(parts, len(X))
    np.testing.assert_array_equal(stacked.group_of, group)
    assert (stacked.row_of[group < 0] == -1).all()
    for label, (cells, rows) in enumerate(parts):
        np.testing.assert_array_equal(stacked.row_of[cells] - stacked.first_row[label], rows.row_of)
    assert stacked.first_row[-1] == sum(rows.n_rows for _, rows in parts)
