import numpy as np
import pytest

from sc_glmm import InputError
from sc_glmm._compress import chebyshev_nodes, compress_counts, node_error, poisson_nodes
from sc_glmm._compress.nodes import spread
from tests.compress.plain import nb_from_cells, nb_from_stats, simulate

PHIS = (1e-8, 1e-3, 0.5, 20.0, 1e3)
ETAS = (-9.0, -4.0, -1.0, 2.0, 5.0)


def offsets(shape, rng, n_obs):
    """Draw offsets with different distributions: narrow, usual, bimodal, heavy-tailed, and wide enough for panels."""
    match shape:
        case "narrow":
            return rng.normal(0, 0.01, n_obs)
        case "usual":
            return rng.normal(8, 0.5, n_obs)
        case "humps":
            return rng.choice([-1.5, 1.5], n_obs) + rng.normal(0, 0.4, n_obs)
        case "tails":
            return 0.6 * rng.standard_t(3, n_obs)
        case "wide":
            return rng.uniform(-9, 9, n_obs)
    raise AssertionError(shape)


def largest_errors(rng, table, row_of, offset, centre):
    """Compute errors of the negative binomial likelihood and its derivatives relative to the sum of absolute terms."""
    worst = np.zeros(5)
    for eta in ETAS:
        eta_of_row = eta - centre + rng.normal(0, 0.3, table.n_rows)
        y = rng.poisson(np.exp(np.minimum(offset + eta_of_row[row_of], 4.0))).astype(float)
        stats = compress_counts(y[:, None], table, offset)
        for phi in PHIS:
            exact, size = nb_from_cells(y, offset, eta_of_row[row_of], phi)
            error = np.abs(nb_from_stats(stats, 0, table, eta_of_row, phi) - exact)
            worst = np.maximum(worst, (error / (size + np.abs(exact) + 1e-300)).astype(float))
    return worst


@pytest.mark.parametrize("shape", ["narrow", "usual", "humps", "tails", "wide"])
def test_nodes_give_the_nb_likelihood_and_its_derivatives(rng, shape):
    n_rows = 4
    row_of = rng.integers(0, n_rows, 3000)
    offset = offsets(shape, rng, 3000)
    table = chebyshev_nodes(row_of, n_rows, offset)
    assert table.kind == "chebyshev" and table.n_nodes < 700
    assert 0 < table.bound <= 1e-10
    worst = largest_errors(rng, table, row_of, offset, np.median(offset))
    np.testing.assert_array_less(worst, [1e-11, 1e-11, 1e-10, 1e-9, 1e-11])


def test_fewer_nodes_give_larger_errors(rng):
    row_of, offset = np.zeros(3000, dtype=int), offsets("humps", rng, 3000)
    coarse = chebyshev_nodes(row_of, 1, offset, tol=1e-3)
    worst = largest_errors(rng, coarse, row_of, offset, 0.0)
    assert worst[0] > 1e-9 and worst[3] > 1e-6


@pytest.mark.parametrize("shape", ["usual", "wide"])
def test_doubling_the_nodes_changes_nothing(rng, shape):
    row_of, offset = rng.integers(0, 3, 4000), offsets(shape, rng, 4000)
    table = chebyshev_nodes(row_of, 3, offset)
    double = chebyshev_nodes(row_of, 3, offset, n_min=2 * table.n_nodes_max)
    assert double.n_nodes >= 2 * table.n_nodes
    eta = np.array([-1.0, 0.5, 1.5]) - np.median(offset)
    y = rng.poisson(np.exp(np.minimum(offset + eta[row_of], 4.0))).astype(float)
    for phi in PHIS:
        one, two = (nb_from_stats(compress_counts(y[:, None], t, offset), 0, t, eta, phi) for t in (table, double))
        size = np.maximum(np.abs(two), 1).astype(float)
        np.testing.assert_array_less(np.abs(one - two).astype(float) / size, [1e-11, 1e-11, 1e-10, 1e-9, 1e-11])


def test_rule_for_the_number_of_nodes():
    """Check the table of the method: ranges of 2, 4, 6 need 16, 22, 29 nodes; from 7 on, panels are at most 4 wide."""
    for width, n_nodes in ((2, 16), (4, 22), (6, 29)):
        assert chebyshev_nodes(np.zeros(500, int), 1, np.linspace(-1, width - 1, 500)).n_nodes == n_nodes
    wide = chebyshev_nodes(np.zeros(900, int), 1, np.linspace(0, 11, 900))
    assert wide.n_nodes > 2 * 22 and 3.6 < wide.range_max <= 11 / 3


def test_weights_of_a_cell_reproduce_polynomials(rng):
    """Check Lagrange weights: they sum to one and are exact for powers below the number of nodes."""
    row_of, offset = rng.integers(0, 2, 500), rng.normal(0, 1, 500)
    table = chebyshev_nodes(row_of, 2, offset)
    node = np.log(table.ec)
    for i in range(0, 500, 37):
        w = table.cell_weight[table.cell_ptr[i] : table.cell_ptr[i + 1]]
        c = node[table.cell_first[i] : table.cell_first[i] + len(w)]
        for power in range(5):
            np.testing.assert_allclose(w @ c**power, offset[i] ** power, rtol=1e-11, atol=1e-12)


def test_cells_at_a_node_use_only_this_node():
    row_of = np.zeros(116, dtype=int)
    node = spread(np.arange(100), np.array([0, 100]), np.linspace(-1, 1, 100), 1e-10).node
    offset = np.concatenate([np.linspace(-1, 1, 100), node])
    table = chebyshev_nodes(row_of, 1, offset)
    weights = table.cell_weight[table.cell_ptr[100] :].reshape(16, 16)
    np.testing.assert_array_equal(weights, np.eye(16))
    np.testing.assert_allclose(table.weight.sum(), 116, rtol=1e-13)


def test_weights_sum_to_the_number_of_cells(rng):
    row_of, offset = rng.integers(-1, 4, 1000), rng.normal(0, 2, 1000)
    table = chebyshev_nodes(row_of, 4, offset)
    per_row = np.add.reduceat(table.weight, table.ptr[:-1])
    np.testing.assert_allclose(per_row, np.bincount(row_of[row_of >= 0]), rtol=1e-12)


def test_few_cells_are_their_own_nodes(rng):
    row_of, offset = np.repeat(np.arange(8), 9), rng.normal(0, 1, 72)
    table = chebyshev_nodes(row_of, 8, offset)
    assert table.kind == "cells" and table.n_nodes == 72 and table.bound == 0 and table.range_max == 0
    assert (table.cell_weight == 1).all() and (table.weight == 1).all()
    np.testing.assert_array_equal(np.sort(np.log(table.ec)), np.sort(np.log(np.exp(offset))))
    assert node_error(table, row_of, offset) < 1e-15


def test_rows_with_many_cells_and_few_offsets_are_exact(rng):
    row_of, offset = rng.integers(0, 3, 2000), rng.choice([0.0, 0.7, 3.0], 2000)
    table = chebyshev_nodes(row_of, 3, offset)
    assert table.kind == "cells" and table.n_nodes == 9
    np.testing.assert_array_equal(
        table.weight, np.unique(3 * row_of + np.searchsorted([0, 0.7, 3], offset), return_counts=True)[1]
    )
    single = chebyshev_nodes(row_of, 3, np.zeros(2000))
    np.testing.assert_array_equal(single.ec, np.ones(3))


def test_rows_of_both_kinds_and_rows_without_cells(rng):
    row_of = np.concatenate([np.zeros(5, int), np.full(800, 2), [-1, -1]])
    offset = np.concatenate([rng.normal(0, 1, 805), [np.nan, np.inf]])
    table = chebyshev_nodes(row_of, 4, offset)
    np.testing.assert_array_equal(np.diff(table.ptr)[[0, 1, 3]], [5, 0, 0])
    assert table.kind == "chebyshev" and table.ptr[3] - table.ptr[2] == table.n_nodes_max
    np.testing.assert_array_equal(np.diff(table.cell_ptr)[-2:], 0)


def test_order_of_cells_does_not_change_the_nodes(rng):
    row_of, offset = rng.integers(0, 5, 3000), np.where(rng.random(3000) < 0.3, 0.25, rng.normal(0, 2.5, 3000))
    perm = rng.permutation(3000)
    one, two = chebyshev_nodes(row_of, 5, offset), chebyshev_nodes(row_of[perm], 5, offset[perm])
    np.testing.assert_array_equal(one.ptr, two.ptr)
    np.testing.assert_array_equal(one.ec, two.ec)
    np.testing.assert_allclose(one.weight, two.weight, rtol=1e-12, atol=1e-11)


def test_shifting_the_offsets_shifts_the_nodes(rng):
    y, row_of, offset = simulate(rng, n_obs=2000)
    one, two = chebyshev_nodes(row_of, 6, offset), chebyshev_nodes(row_of, 6, offset + 3.0)
    np.testing.assert_allclose(two.ec, one.ec * np.exp(3.0), rtol=1e-12)
    a, b = (compress_counts(y, t, o) for t, o in ((one, offset), (two, offset + 3.0)))
    np.testing.assert_allclose(a.A, b.A, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(b.const, a.const + 3.0 * a.total, rtol=1e-12)


def test_poisson_statistics_are_exact(rng):
    y, row_of, offset = simulate(rng, n_rows=5)
    row_of[::50] = -1
    table = poisson_nodes(row_of, 6, offset)
    stats = compress_counts(y, table, offset)
    eta = rng.normal(0, 1, 6)
    used = row_of >= 0
    for gene in range(y.shape[1]):
        mu = offset[used] + eta[row_of[used]]
        exact = (y[used, gene] * mu - np.exp(mu)).sum()
        ours = stats.A[gene] @ eta - (table.weight * table.ec) @ np.exp(eta)
        log_factorials = sum(np.log(np.arange(1, int(v) + 1)).sum() for v in y[used, gene])
        assert ours + stats.const[gene] == pytest.approx(exact - log_factorials, rel=1e-12)
    assert table.kind == "collapsed" and table.n_nodes == 6 and node_error(table, row_of, offset) == 0


def test_node_error_sees_too_few_nodes_and_wrong_offsets(rng):
    row_of, offset = rng.integers(0, 3, 5000), rng.normal(0, 1, 5000)
    assert node_error(chebyshev_nodes(row_of, 3, offset), row_of, offset) < 1e-13
    coarse = chebyshev_nodes(row_of, 3, offset, tol=1e-2)
    assert 1e-6 < node_error(coarse, row_of, offset) < 1e-2
    assert node_error(chebyshev_nodes(row_of, 3, offset), row_of, offset + 0.1) > 1e-2
    # Far to the right the function is a straight line, which any two nodes represent.
    assert node_error(coarse, row_of, offset, np.array([40.0])) < 1e-13


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offset": np.array([0.0, np.nan, 1.0])}, "offset is nan in cell 1"),
        ({"offset": np.array([0.0, 1.0])}, "shape"),
        ({"offset": np.array([0.0, 8.0, 2000.0])}, "offset is 2000 in cell 2; it is a logarithm"),
        ({"tol": 0.5}, "tol is 0.5"),
    ],
)
def test_unusable_input_is_refused(change, words):
    arguments = {"row_of": np.array([0, 0, 1]), "n_rows": 2, "offset": np.zeros(3), **change}
    with pytest.raises(InputError, match=words):
        chebyshev_nodes(**arguments)
