"""Check nodes around slopes: the sums over cells, and their derivatives in the slopes."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from sc_glmm._compress import centred_error, compress_counts
from sc_glmm._compress.centred import base_rows, centred_rows
from sc_glmm._compress.lattice import lattice
from sc_glmm._compress.lists import BYTES_PER_COUNT, GeneLists, list_slabs
from sc_glmm._compress.recentre import recentre, recentre_collapsed
from sc_glmm._errors import InputError


def make_cells(rng, n_cells=(900, 700, 5), n_variables=2):
    """Make two samples with many cells and one with few; two arms, and covariates that are skewed and correlated."""
    sample = np.repeat(np.arange(len(n_cells)), n_cells)
    x = rng.normal(0, 1, (len(sample), n_variables))
    x[:, 0] = rng.gamma(1.5, 1.0, len(sample))
    x[:, 1:] += 0.5 * x[:, :1]
    columns = np.column_stack([np.ones(len(sample)), sample % 2, x * 40 + 1000, (sample % 2)[:, None] * x])
    return sample, columns, rng.normal(0, 0.6, len(sample))


def laid_out(rng, **options):
    sample, columns, offset = make_cells(rng)
    return centred_rows(base_rows([sample], columns), columns, offset, **options), columns, offset


def around(rows, slope, y=None):
    """Build the node table at these slopes of all base rows, with the counts of the cells in their own order."""
    cells, order = rows.cells, rows.table.order
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    y = np.zeros(len(order)) if y is None else y
    lists = GeneLists(sp.csr_matrix(y[:, None]), rank, np.arange(1), np.array([(y > 0).sum()])).pick(np.arange(1))
    ec, weight, A = (np.zeros((1, rows.table.n_nodes)) for _ in range(3))
    recentre(cells, slope[None], lists, ec, weight, A, np.zeros((1, len(cells.ptr) - 1)))
    return ec[0], weight[0], A[0]


def test_lattices_represent_polynomials_of_their_degree(rng):
    place = rng.normal(0, 2, (50, 3))
    for n_variables in (0, 1, 2, 3):
        nodes = lattice(n_variables, 3)
        at, points = place[:, :n_variables], nodes.points
        for power in nodes.exponents:
            exact, values = np.prod(at**power, axis=1), nodes.weights(at) @ np.prod(points**power, axis=1)
            np.testing.assert_allclose(values, exact, atol=1e-9 * (1 + np.abs(exact).max()))


def test_base_rows_are_split_by_columns_of_few_values(rng):
    sample = np.repeat(np.arange(4), 500)
    phase, x = rng.integers(0, 3, 2000), rng.normal(size=2000)
    columns = np.column_stack([np.ones(2000), sample % 2, phase == 1, phase == 2, x, x * (phase == 1)])
    base = base_rows([sample], columns)
    assert base.max() + 1 == 12
    assert len(np.unique(base * 100 + sample * 3 + phase)) == 12


def test_columns_at_the_cells_are_those_of_the_rows(rng):
    rows, columns, _ = laid_out(rng)
    np.testing.assert_allclose(rows.at_cells(rows.columns), columns[rows.table.order], rtol=1e-9, atol=1e-7)
    assert rows.table.kind == "centred" and len(rows.columns) < 0.1 * len(columns)
    assert (rows.cells.on_lattice == [1, 1, 0]).all()  # five cells are their own nodes
    np.testing.assert_allclose(np.bincount(rows.base_row, rows.n_cells), [900, 700, 5])


def test_rows_have_the_sums_of_squares_of_the_cells(rng):
    """Random slopes are scaled by them."""
    for n_variables in (1, 2, 6):
        sample, columns, offset = make_cells(rng, n_cells=(900, 700), n_variables=n_variables)
        rows = centred_rows(base_rows([sample], columns), columns, offset)
        assert len(rows.columns) < len(columns) and (rows.n_cells >= 0.0).all()
        for base in range(2):
            mine, cells = rows.base_row == base, columns[sample == base]
            ours = (rows.columns[mine] * rows.n_cells[mine, None]).T @ rows.columns[mine]
            np.testing.assert_allclose(ours, cells.T @ cells, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("wide", [False, True])
def test_no_error_is_larger_than_its_bound(rng, wide):
    """Sums of exp(offset) over nodes, at other slopes than those that the nodes are around."""
    rows, _, _ = laid_out(rng, collapsed=True, wide=wide)
    cells, base = rows.cells, np.repeat(np.arange(3), np.diff(rows.cells.ptr))
    for size in (1e-3, 0.02, 0.1):
        change = size * np.array([[1.0, -0.5], [0.3, 1.0], [0.0, 0.0]])
        exact = np.bincount(base, np.exp(cells.offset + np.sum(cells.v * change[base], axis=1)))
        at = np.exp(np.sum(rows.cells.point * change[rows.base_row], axis=1))
        ours = np.bincount(rows.base_row, rows.table.weight * at)
        counts = np.bincount(base, np.exp(cells.offset))
        bound = rows.error_of(change[None], counts[None])[0]
        assert np.abs(ours - exact)[:2].sum() <= 2.0 * bound + 1e-9


def test_the_pass_over_the_matrix_gives_the_nodes_around_zero(rng):
    rows, columns, offset = laid_out(rng)
    y = rng.poisson(0.5, len(columns)).astype(float)
    ec, weight, A = around(rows, np.zeros((3, rows.cells.v.shape[1])), y)
    stats = compress_counts(sp.csr_matrix(y[:, None]), rows.table, offset)
    np.testing.assert_allclose(ec, rows.table.ec, rtol=1e-12)
    np.testing.assert_allclose(weight, rows.table.weight, atol=1e-8)
    np.testing.assert_allclose(A, stats.A[0], atol=1e-9)


@pytest.mark.parametrize("phi", [1e-6, 0.4, 20.0])
@pytest.mark.parametrize("size", [0.0, 0.2, -0.7])
def test_likelihood_and_derivatives_in_the_slopes_are_those_of_the_cells(rng, phi, size):
    """Check value and three derivatives in a direction at the slopes of the nodes, for any level."""
    rows, columns, offset = laid_out(rng)
    cells, y = rows.cells, rng.poisson(0.8, len(columns)).astype(float)
    slope = size * np.array([[1.0, -0.5], [0.3, 1.0], [1.0, 1.0]])
    ec, weight, A = around(rows, slope, y)
    base = np.repeat(np.arange(3), np.diff(cells.ptr))
    level, turn = np.array([-0.4, 0.3, 0.1]), np.array([0.8, -0.6])
    t = cells.offset + level[base] + np.sum(cells.v * slope[base], axis=1)
    row_of_node = np.repeat(np.arange(len(rows.base_row)), np.diff(cells.node_ptr))
    on_lattice = cells.on_lattice[rows.base_row[row_of_node]] == 1
    row_t = level[rows.base_row] + np.sum(cells.point * slope[rows.base_row], axis=1)
    node_t = np.log(ec) + row_t[row_of_node]

    def derivatives(at, a, n, along):
        """Derive ``-(a + n / phi) log(1 + phi exp(at))`` along a direction: its powers times derivatives in `at`."""
        p = 1 / (1 + np.exp(-at - np.log(phi)))
        w = -(a + n / phi)
        parts = (np.logaddexp(0, at + np.log(phi)), p, p * (1 - p), p * (1 - p) * (1 - 2 * p))
        return np.array([np.sum(w * along**k * part) for k, part in enumerate(parts)])

    kept = base < 2
    exact = derivatives(t[kept], y[rows.table.order][kept], 1.0, (cells.v @ turn)[kept])
    along = (cells.point @ turn)[row_of_node]
    ours = derivatives(node_t[on_lattice], A[on_lattice], weight[on_lattice], along[on_lattice])
    np.testing.assert_allclose(ours, exact, rtol=2e-6, atol=2e-6 * np.abs(exact).max())
    assert centred_error(rows) < 1e-6


def test_slopes_of_a_predictor(rng):
    rows, _, _ = laid_out(rng)
    slope = rng.normal(size=(3, 2)) * rows.cells.on_lattice[:, None]
    eta = np.sum(rows.cells.point * slope[rows.base_row], axis=1) + rows.base_row
    np.testing.assert_allclose(rows.slopes_of(np.stack([eta, 2 * eta])), [slope, 2 * slope], atol=1e-12)


def test_collapsed_rows_have_the_sums_of_the_means(rng):
    rows, columns, offset = laid_out(rng, collapsed=True)
    slope = np.array([[0.5, -0.2], [0.1, 0.3], [0.0, 0.0]])
    weight = np.zeros((1, rows.table.n_nodes))
    recentre_collapsed(rows.cells, slope[None], weight)
    assert rows.table.n_nodes == len(rows.columns)
    base = np.repeat(np.arange(3), np.diff(rows.cells.ptr))
    exact = np.bincount(base, np.exp(rows.cells.offset + np.sum(rows.cells.v * slope[base], axis=1)))
    at = np.exp(np.sum(rows.cells.point * slope[rows.base_row], axis=1))
    np.testing.assert_allclose(np.bincount(rows.base_row, weight[0] * at), exact, rtol=1e-10)
    zero = np.zeros((1, rows.table.n_nodes))
    recentre_collapsed(rows.cells, 0 * slope[None], zero)
    np.testing.assert_allclose(zero[0], rows.table.weight, rtol=1e-9, atol=1e-9)


def test_too_few_cells_stay_as_they_are(rng):
    sample, columns, offset = make_cells(rng, n_cells=(5, 5, 5))
    assert centred_rows(base_rows([sample], columns), columns, offset) is None


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("largest", [1.0, 2.0**24 + 1])
def test_lists_of_counts_in_any_form_and_little_memory(rng, form, largest):
    y = rng.poisson(0.4, (300, 11)).astype(np.float64)
    y[5, 8] = largest
    rank = np.where(np.arange(300) % 7 == 0, -1, np.arange(300)[::-1])
    matrix = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}[form](y)
    genes = np.array([2, 3, 5, 7, 8, 10])
    used = rank >= 0
    sizes = (y[used] > 0).sum(axis=0)[genes]
    for limit in (None, BYTES_PER_COUNT * 2 * int(sizes.max()), 1):
        source = GeneLists(matrix, rank, genes, sizes, memory_limit=limit, under_way=1)
        for lists in (picked := source.pick(np.array([4, 0, 5])), pickle.loads(pickle.dumps(picked))):
            for place, gene in enumerate((8, 2, 10)):
                cell, count = lists.of(place)
                full = np.zeros(300)
                full[cell] = count
                np.testing.assert_array_equal(full[rank[used]], y[used, gene])
                assert (np.diff(cell) > 0).all()
            assert [lists.pick(np.array([2])).of(0)[k].tolist() for k in (0, 1)] == [x.tolist() for x in lists.of(2)]


def test_lists_that_fit_the_memory_are_not_copied(rng):
    y = rng.poisson(0.4, (300, 11)).astype(np.float32)
    lists = GeneLists(sp.csr_matrix(y), np.arange(300), np.arange(11), (y > 0).sum(axis=0), memory_limit=10**6)
    first, second = lists.pick(np.arange(4)), lists.pick(np.array([8, 2]))
    assert np.shares_memory(first.cell, second.cell) and np.shares_memory(first.value, second.value)
    # four bytes for a cell, four for a value, and no room besides
    assert first.cell.nbytes + first.value.nbytes == BYTES_PER_COUNT * np.count_nonzero(y)
    assert len(pickle.dumps(second)) < BYTES_PER_COUNT * np.count_nonzero(y) / 3


def test_slabs_of_lists_and_blocks_under_way_fit_the_limit(rng):
    sizes = rng.integers(0, 1000, 400)
    assert (
        list_slabs(sizes, None, 64).tolist()
        == [0, 400]
        == list_slabs(sizes, BYTES_PER_COUNT * sizes.sum(), 64).tolist()
    )
    for share, under_way in ((0.9, 5), (0.5, 40), (0.3, 5)):
        limit = int(share * BYTES_PER_COUNT * sizes.sum())
        edges = list_slabs(sizes, limit, under_way)
        assert edges[0] == 0 and edges[-1] == 400 and (np.diff(edges) > 0).all()
        blocks = BYTES_PER_COUNT * np.sort(sizes)[-under_way:].sum()
        slabs = BYTES_PER_COUNT * np.add.reduceat(sizes, edges[:-1])
        assert slabs.max() + blocks <= limit
        # and no slab is smaller than needed
        assert (slabs[:-1] + BYTES_PER_COUNT * sizes[edges[1:-1]] + blocks > limit).all()
    assert len(list_slabs(sizes, 1, 64)) == 401


def test_lists_of_another_matrix_are_refused(rng):
    y = rng.poisson(0.4, (300, 3)).astype(np.float32)
    for change in (-1, 1):
        lists = GeneLists(sp.csr_matrix(y), np.arange(300), np.arange(3), (y > 0).sum(axis=0) + change)
        with pytest.raises(InputError, match="has changed since its statistics were computed"):
            lists.pick(np.arange(3))


def test_a_table_without_the_weights_of_its_cells_is_not_used_for_a_pass(rng):
    rows, columns, offset = laid_out(rng)
    lean, y = rows.without_weights(), sp.csr_matrix(rng.poisson(1.0, (len(columns), 2)).astype(np.float32))
    assert sum(getattr(lean.table, name).nbytes for name in vars(lean.table) if name.startswith("cell_")) <= 32
    np.testing.assert_array_equal(lean.table.order, rows.table.order)
    assert compress_counts(y, rows.table, offset).A.shape == (2, rows.table.n_nodes)
    with pytest.raises(InputError, match="the node table 0 cells"):
        compress_counts(y, lean.table, offset)
