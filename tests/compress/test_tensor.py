import numpy as np
import pytest
import scipy.sparse as sp

from sc_glmm import InputError
from sc_glmm._compress import chebyshev_nodes, compress_counts, tensor_error, tensor_nodes
from tests.compress.plain import FORMS, assert_same_stats, nb_from_cells, nb_from_stats


def make_cells(rng, n_cells=(3000, 2500, 40), width=8.0, spread=0.5):
    """Two base rows with many cells, one with few; the second has its own level and range of x."""
    row_of = np.repeat(np.arange(len(n_cells)), n_cells)
    x = 50 + width / 8 * (rng.normal(0, 1, len(row_of)) + row_of).clip(-4, 4)
    return row_of, x, rng.normal(1, spread, len(row_of))


@pytest.mark.parametrize("slope", [0.0, 0.1, -0.4, 0.75])
@pytest.mark.parametrize("phi", [1e-8, 0.3, 1e3])
def test_grid_gives_the_nb_likelihood_of_the_cells(rng, slope, phi):
    row_of, x, offset = make_cells(rng)
    grid = tensor_nodes(row_of, 3, x, offset, variation=6.0, x_tol=1e-10)
    assert grid.table.kind == "tensor" and grid.table.n_nodes < 0.35 * len(x)
    assert slope <= grid.slope_bound
    slopes = slope * np.array([1.0, -1.0, 1.0])
    level = np.array([-1.5, 0.5, -0.5]) - slopes * 50
    eta = level[row_of] + slopes[row_of] * x
    y = rng.poisson(np.exp(np.minimum(offset + eta, 4))).astype(float)
    stats = compress_counts(sp.csr_matrix(y[:, None]), grid.table, offset)
    eta_of_row = level[grid.base_row] + slopes[grid.base_row] * grid.x
    exact, size = nb_from_cells(y, offset, eta, phi)
    ours = nb_from_stats(stats, 0, grid.table, eta_of_row, phi)
    error = np.abs(ours - exact) / (size + np.abs(exact))
    np.testing.assert_array_less(error.astype(float), [1e-11, 1e-11, 1e-10, 1e-9, 1e-11])


def test_derivative_in_the_slope(rng):
    """Weighted by x, the derivatives of virtual rows add up to those of the cells."""
    row_of, x, offset = make_cells(rng)
    grid = tensor_nodes(row_of, 3, x, offset)
    eta, phi = -20.5 + 0.4 * x, 0.6
    y = rng.poisson(np.exp(offset + eta)).astype(float)
    stats = compress_counts(y[:, None], grid.table, offset)
    p = 1 / (1 + 1 / (phi * np.exp(offset + eta)))
    node_x = np.repeat(grid.x, np.diff(grid.table.ptr))
    node_p = 1 / (1 + 1 / (phi * grid.table.ec * np.exp(-20.5 + 0.4 * node_x)))
    slope_of_nodes = stats.A[0] @ (node_x * (1 - node_p)) - grid.table.weight @ (node_x * node_p) / phi
    assert slope_of_nodes == pytest.approx((x * (y - (y + 1 / phi) * p)).sum(), rel=1e-9)


def test_bound_is_kept_up_to_the_slope_bound_and_lost_far_beyond(rng):
    row_of, x, offset = make_cells(rng)
    grid = tensor_nodes(row_of, 3, x, offset, variation=4.0, x_tol=1e-8)
    assert grid.table.bound <= 1.1e-8
    np.testing.assert_allclose(grid.slope_bound * np.ptp(x[row_of == 0]), 4.0, rtol=0.2)
    for slope in (0.0, grid.slope_bound, -grid.slope_bound, np.array([1.0, -0.5, 3.0]) * grid.slope_bound):
        assert tensor_error(grid, x, offset, slope) < 1e-8
    assert tensor_error(grid, x, offset, 4 * grid.slope_bound) > 1e-6


def test_more_variation_takes_more_nodes(rng):
    row_of, x, offset = make_cells(rng, n_cells=(30000,))
    sizes = [tensor_nodes(row_of, 1, x, offset, variation=v).table.n_nodes for v in (1.0, 4.0, 6.5, 12.0)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] / 2


def test_few_cells_stay_rows_of_their_own(rng):
    row_of, x, offset = make_cells(rng)
    grid = tensor_nodes(row_of, 3, x, offset)
    alone = grid.base_row == 2
    assert alone.sum() == 40 and grid.x_range[2] == 0 and grid.x_range[0] == pytest.approx(np.ptp(x[row_of == 0]))
    cells = grid.table.order[grid.table.order_ptr[2] :]
    np.testing.assert_array_equal(grid.x[alone], x[cells])
    np.testing.assert_array_equal(grid.table.weight[-40:], 1)
    np.testing.assert_allclose(np.log(grid.table.ec[-40:]), offset[cells], rtol=1e-12, atol=1e-14)
    assert tensor_error(grid, x, offset, [0.1, 0.1, 50.0]) < 1e-8


def test_all_rows_small_makes_cells(rng):
    row_of, x, offset = make_cells(rng, n_cells=(60, 50))
    grid = tensor_nodes(row_of, 2, x, offset)
    assert grid.table.kind == "cells" and grid.slope_bound == np.inf and grid.table.bound == 0
    y = rng.poisson(1.0, (110, 4)).astype(float)
    stats = compress_counts(y, grid.table, offset)
    np.testing.assert_array_equal(stats.A, y[grid.table.order].T)


def test_covariate_with_few_values_is_exact(rng):
    row_of, _, offset = make_cells(rng)
    x = rng.choice([0.0, 1.0, 5.0], len(row_of))
    grid = tensor_nodes(row_of, 3, x, offset, variation=1.0)
    np.testing.assert_array_equal(grid.x[grid.base_row == 0], [0, 1, 5])
    assert tensor_error(grid, x, offset, 5.0) < 1e-12


def test_constant_covariate_leaves_the_offset_nodes(rng):
    row_of, _, offset = make_cells(rng, n_cells=(500, 600))
    grid = tensor_nodes(row_of, 2, np.full(1100, 3.0), offset)
    table = chebyshev_nodes(row_of, 2, offset)
    np.testing.assert_array_equal(grid.table.ptr, table.ptr)
    np.testing.assert_allclose(grid.table.weight, table.weight, rtol=1e-12)
    assert grid.slope_bound == np.inf and not grid.x_range.any()


@pytest.mark.parametrize("form", FORMS)
def test_forms_threads_and_unused_cells(rng, form):
    row_of, x, offset = make_cells(rng, n_cells=(1500, 1400, 40, 30))
    row_of[::7] = -1
    x[::7] = np.nan
    y = rng.poisson(0.5, (len(x), 5)).astype(float)
    grid = tensor_nodes(row_of, 4, x, offset)
    assert grid.table.kind == "tensor"
    stats = compress_counts(FORMS[form](y), grid.table, offset, n_jobs=3)
    used = row_of >= 0
    np.testing.assert_allclose(stats.A.sum(axis=1), y[used].sum(axis=0), rtol=1e-10)
    alone = tensor_nodes(row_of[used], 4, x[used], offset[used])
    assert_same_stats(stats, compress_counts(y[used], alone.table, offset[used]), rtol=1e-11)
    assert (row_of[grid.example] == grid.base_row).all()


def test_order_of_cells_moves_no_node(rng):
    row_of, x, offset = make_cells(rng, n_cells=(2000, 1500))
    perm = rng.permutation(len(x))
    one, two = tensor_nodes(row_of, 2, x, offset), tensor_nodes(row_of[perm], 2, x[perm], offset[perm])
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.table.ec, two.table.ec)
    np.testing.assert_allclose(one.table.weight, two.table.weight, rtol=1e-11, atol=1e-10)


def test_wide_offsets_and_wide_covariates_are_cut_into_panels(rng):
    row_of = np.zeros(60000, dtype=int)
    x, offset = rng.uniform(-1, 1, 60000), rng.uniform(-5, 5, 60000)
    grid = tensor_nodes(row_of, 1, x, offset, variation=9.0)
    assert grid.table.kind == "tensor" and grid.table.range_max <= 4
    assert tensor_error(grid, x, offset, 4.5) < 1e-8


def test_rows_without_cells(rng):
    row_of, x, offset = make_cells(rng, n_cells=(2500, 0, 30))
    grid = tensor_nodes(row_of, 3, x, offset)
    assert grid.first[1] == grid.first[2] and not (grid.base_row == 1).any()
    nothing = tensor_nodes(np.full(3, -1), 2, np.zeros(3), np.zeros(3))
    assert nothing.table.n_rows == 0 and nothing.table.n_nodes == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variation": 0.0}, "variation is 0.0"),
        ({"x": np.array([1.0, np.inf])}, "the covariate is inf in cell 1"),
        ({"x_tol": 2.0}, "tol is 2.0"),
    ],
)
def test_unusable_arguments_are_refused(change, words):
    arguments = {"row_of": np.zeros(2, int), "n_rows": 1, "x": np.zeros(2), "offset": np.zeros(2), **change}
    with pytest.raises(InputError, match=words):
        tensor_nodes(**arguments)
