import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from sc_glmm import InputError
from sc_glmm._compress import (
    add_counts,
    chebyshev_nodes,
    compress_counts,
    passes,
    poisson_nodes,
    source,
    stack_rows,
    unique_rows,
)
from tests.compress.plain import FORMS, assert_same_stats, nb_from_cells, nb_from_stats, simulate


@pytest.fixture
def data(rng):
    return simulate(rng)


def compress(y, row_of, offset, n_rows=6, **kwargs):
    return compress_counts(y, chebyshev_nodes(row_of, n_rows, offset), offset, **kwargs)


def test_statistics_are_their_definitions(data):
    y, row_of, offset = data
    y[3, 2], y[5, 2], y[7, 2], y[9, 2] = 65, 64, 3000, 65
    table = chebyshev_nodes(row_of, 6, offset)
    stats = compress_counts(sp.csr_matrix(y), table, offset)
    spread = np.zeros((len(y), table.n_nodes))
    for i in range(len(y)):
        w = table.cell_weight[table.cell_ptr[i] : table.cell_ptr[i + 1]]
        spread[i, table.cell_first[i] : table.cell_first[i] + len(w)] = w
    np.testing.assert_allclose(stats.A, y.T @ spread, rtol=1e-12, atol=1e-10)
    np.testing.assert_array_equal(stats.tail, (y[:, :, None] > np.arange(64)).sum(axis=0))
    np.testing.assert_array_equal(stats.total, y.sum(axis=0))
    np.testing.assert_array_equal(stats.n_nonzero, (y > 0).sum(axis=0))
    np.testing.assert_array_equal(np.diff(stats.over_ptr), [0, 0, 2] + [0] * 9)
    np.testing.assert_array_equal(stats.over_value, [65, 3000])
    np.testing.assert_array_equal(stats.over_count, [2, 1])
    log_factorial = np.vectorize(lambda v: np.log(np.arange(1, int(v) + 1)).sum())(y)
    np.testing.assert_allclose(stats.const, (y * offset[:, None] - log_factorial).sum(axis=0), rtol=1e-12)
    assert stats.A.flags.c_contiguous and stats.tail.flags.c_contiguous
    assert stats.A.dtype == stats.tail.dtype == stats.const.dtype == stats.over_count.dtype == np.float64
    assert stats.over_ptr.dtype == stats.n_nonzero.dtype == np.int64


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_permuting_cells_changes_nothing(rng, data, form):
    y, row_of, offset = data
    perm = rng.permutation(len(y))
    assert_same_stats(
        compress(FORMS[form](y[perm]), row_of[perm], offset[perm]), compress(FORMS[form](y), row_of, offset)
    )


@pytest.mark.parametrize("form", FORMS)
def test_splitting_the_matrix_and_adding(rng, data, form):
    y, row_of, offset = data
    y[rng.integers(0, 400, 30), rng.integers(0, 12, 30)] = rng.choice([64, 65, 70, 2000], 30)
    table = chebyshev_nodes(row_of, 6, offset)
    part_of = rng.integers(0, 3, len(y))
    total = None
    for part in range(3):
        cells = np.flatnonzero(part_of == part)
        index = np.full(len(y), -1)
        index[cells] = np.arange(len(cells))
        stats = compress_counts(FORMS[form](y[cells]), table, offset, obs_index=index)
        total = stats if total is None else add_counts(total, stats)
    assert_same_stats(total, compress_counts(y, table, offset))


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_unused_cells_are_skipped(rng, data, form):
    y, row_of, offset = data
    used = rng.random(len(y)) < 0.7
    y[~used] = 99.5
    offset[~used] = np.nan
    ours = compress(FORMS[form](y), np.where(used, row_of, -1), offset)
    assert_same_stats(ours, compress(y[used], row_of[used], offset[used]))


@pytest.mark.parametrize("largest", [64, 65, 66, 400, 3000])
def test_large_counts_keep_the_likelihood(rng, largest):
    row_of, offset = rng.integers(0, 3, 800), rng.normal(0, 0.6, 800)
    y = np.floor(largest * rng.random(800) ** 4)
    y[0] = largest
    table = chebyshev_nodes(row_of, 3, offset)
    stats = compress_counts(sp.csc_matrix(y[:, None]), table, offset)
    eta = np.log(largest / 5) + np.array([-0.5, 0.0, 0.5])
    for phi in (1e-6, 0.4, 50.0):
        exact, size = nb_from_cells(y, offset, eta[row_of], phi)
        error = np.abs(nb_from_stats(stats, 0, table, eta, phi) - exact) / (size + np.abs(exact))
        np.testing.assert_array_less(error.astype(float), [1e-11, 1e-11, 1e-10, 1e-9, 1e-11])


@pytest.mark.parametrize("n_genes", [1, 63, 128, 1000, 20_011])
def test_ranges_cover_every_gene_once(rng, n_genes):
    columns = rng.permutation(25_000)[:n_genes]
    edges = passes.column_edges(columns)
    assert 2 <= len(edges) <= passes.MAX_RANGES + 1
    covered = np.concatenate([np.arange(*pair) for pair in itertools.pairwise(edges)])
    assert len(np.unique(covered)) == len(covered), "two blocks would write to the same gene"
    assert np.isin(columns, covered).all()


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_chunks_cover_every_line_once(monkeypatch, form):
    monkeypatch.setattr(source, "CHUNK_VALUES", 500)
    matrix = sp.random(2000, 15, density=0.2, format="csr", random_state=1)
    ours = source.as_source(FORMS[form](matrix.toarray()))
    spans = ours.spans()
    assert len(spans) > 5
    assert [first for first, _ in spans] == [0, *(last for _, last in spans[:-1])] and spans[-1][1] == ours.n_lines
    assert sum(ours.n_values(*span) for span in spans) == (30_000 if form == "dense" else matrix.nnz)
    wanted = np.zeros(ours.n_lines, dtype=bool)
    wanted[7] = True
    assert [first <= 7 < last for first, last in ours.spans(wanted)] == [True]


@pytest.mark.parametrize("form", FORMS)
def test_results_are_identical_for_any_number_of_threads(rng, monkeypatch, form):
    monkeypatch.setattr(passes, "GENES_PER_RANGE", 3)
    monkeypatch.setattr(source, "CHUNK_VALUES", 2000)
    y, row_of, offset = simulate(rng, n_obs=3000, n_rows=30)
    y[rng.integers(0, 3000, 50), rng.integers(0, 12, 50)] = rng.integers(60, 3000, 50)
    table = chebyshev_nodes(row_of, 30, offset)
    one, two, five = (compress_counts(FORMS[form](y), table, offset, n_jobs=n) for n in (1, 2, 5))
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
        np.testing.assert_array_equal(getattr(one, name), getattr(five, name), err_msg=name)


@pytest.mark.parametrize("mean", [0.02, 0.5, 20.0])
@pytest.mark.parametrize("nodes", [chebyshev_nodes, poisson_nodes])
def test_rows_give_the_bits_of_columns(rng, monkeypatch, mean, nodes):
    """Rows with many counts use a table of sums, columns never do; rows with few counts are searched anew."""
    monkeypatch.setattr(passes, "GENES_PER_RANGE", 8)
    monkeypatch.setattr(source, "CHUNK_VALUES", 9000)
    y, sample, offset = simulate(rng, n_obs=3000, n_genes=40, n_rows=12, mean=mean)
    y[rng.integers(0, 3000, 80), rng.integers(0, 40, 80)] = rng.choice([7, 8, 9, 63, 64, 65, 3000], 80)
    sample[rng.random(3000) < 0.1] = -1
    matrix = sp.csr_matrix(y)
    matrix.data[rng.integers(0, matrix.nnz, 20)] = 0  # zeros that are stored are not counts
    group = np.where(sample < 0, -1, sample % 3)
    genes = rng.permutation(40)[:30]
    unused = np.isin(matrix.indices, np.setdiff1d(np.arange(40), genes))
    matrix.data[unused] = rng.choice([np.nan, -1.5, np.inf], unused.sum())
    table = nodes(sample, 12, offset)
    ours, columns = (
        compress_counts(form, table, offset, genes=genes, group_of=group, n_jobs=2) for form in (matrix, matrix.tocsc())
    )
    for name in vars(ours):
        if nodes is chebyshev_nodes or name != "const":  # sums of offsets are added in the order of the cells
            np.testing.assert_array_equal(getattr(ours, name), getattr(columns, name), err_msg=name)
    np.testing.assert_allclose(ours.const, columns.const, rtol=1e-12)
    assert np.isfinite(ours.A).all() and ours.total.sum() > 0


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("nodes", [chebyshev_nodes, poisson_nodes])
def test_groups_in_one_pass(rng, form, nodes):
    y, sample, offset = simulate(rng, n_obs=900)
    y[rng.integers(0, 900, 20), rng.integers(0, 12, 20)] = rng.choice([65, 80, 1000], 20)
    group = rng.integers(-1, 3, 900)
    parts = []
    for label in range(3):
        cells = np.flatnonzero(group == label)
        parts.append((cells, unique_rows(np.ones((len(cells), 1)), [], [sample[cells]])))
    stacked = stack_rows(parts, 900)
    table = nodes(stacked.row_of, stacked.n_rows, offset)
    stats = compress_counts(FORMS[form](y), table, offset, group_of=stacked.group_of, n_groups=4)
    assert stats.tail.shape == (4, 12, 64) and stats.over_ptr.shape == (4, 13) and stats.total.shape == (4, 12)
    for label, (cells, rows) in enumerate(parts):
        alone = compress_counts(y[cells], nodes(rows.row_of, rows.n_rows, offset[cells]), offset[cells])
        ours = stats.group(label)
        first, last = table.ptr[stacked.first_row[label : label + 2]]
        np.testing.assert_allclose(ours.A[:, first:last], alone.A, rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(ours.const, alone.const, rtol=1e-12)
        for name in ("tail", "total", "n_nonzero"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(alone, name))
        for gene in range(12):
            entries = slice(ours.over_ptr[gene], ours.over_ptr[gene + 1])
            theirs = slice(alone.over_ptr[gene], alone.over_ptr[gene + 1])
            np.testing.assert_array_equal(ours.over_value[entries], alone.over_value[theirs])
            np.testing.assert_array_equal(ours.over_count[entries], alone.over_count[theirs])
    assert not stats.total[3].any() and not stats.tail[3].any()


def test_groups_can_be_added(rng, data):
    y, row_of, offset = data
    y[:3, 1] = [100, 200, 100]
    table = chebyshev_nodes(row_of, 6, offset)
    group_of = row_of // 3
    halves = [np.where(np.arange(400) % 2 == half, np.arange(400), -1) for half in range(2)]
    one, two = (compress_counts(y, table, offset, obs_index=index, group_of=group_of) for index in halves)
    assert_same_stats(add_counts(one, two), compress_counts(y, table, offset, group_of=group_of))


def test_nothing_to_compress(data):
    y, row_of, offset = data
    table = chebyshev_nodes(row_of, 6, offset)
    empty = compress_counts(sp.csr_matrix(y), table, offset, genes=slice(0, 0))
    assert empty.A.shape == (0, table.n_nodes) and empty.over_ptr.shape == (1,) and empty.tail.shape == (0, 64)
    zeros = compress_counts(sp.csc_matrix(y.shape), table, offset)
    assert not zeros.A.any() and not zeros.const.any() and not zeros.n_nonzero.any()
    stored_zeros = sp.csr_matrix(y)
    stored_zeros.data[::3] = 0
    assert_same_stats(
        compress_counts(stored_zeros, table, offset), compress_counts(stored_zeros.toarray(), table, offset)
    )


def test_statistics_that_do_not_belong_together_are_not_added(data):
    y, row_of, offset = data
    with pytest.raises(InputError, match="only those of one node table"):
        add_counts(compress(y, row_of, offset), compress(y[:, :5], row_of, offset))
