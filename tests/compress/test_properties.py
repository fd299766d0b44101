"""Check that compressed equals uncompressed for random offsets and rows."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_glmm._compress import centred_error, chebyshev_nodes, compress_counts, node_error
from sc_glmm._compress.centred import centred_rows
from tests.compress.plain import nb_from_cells, nb_from_stats

SCALES = st.sampled_from([0.0, 1e-300, 1e-15, 1e-8, 1e-3, 0.3, 1.0, 2.5, 8.0, 60.0])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_obs=st.integers(0, 400),
    n_rows=st.integers(1, 5),
    scale=SCALES,
    centre=st.sampled_from([0.0, -30.0, 9.0]),
    decimals=st.sampled_from([0, 1, 15]),
    log_phi=st.floats(-18, 7),
    large=st.booleans(),
)
def test_likelihood_survives_compression(seed, n_obs, n_rows, scale, centre, decimals, log_phi, large):
    rng = np.random.default_rng(seed)
    row_of = rng.integers(-1, n_rows, n_obs)
    offset = centre + np.round(scale * rng.standard_t(4, n_obs), decimals).clip(-400, 400)
    eta_of_row = rng.normal(-centre, 1.0, n_rows)
    y = rng.poisson(np.exp(np.clip(offset + eta_of_row[row_of], -20, 4)) * (40 if large else 1)).astype(float)
    table = chebyshev_nodes(row_of, n_rows, offset)
    stats = compress_counts(sp.csc_matrix(y[:, None]), table, offset)
    used = row_of >= 0
    phi = np.exp(log_phi)
    exact, size = nb_from_cells(y[used], offset[used], eta_of_row[row_of[used]], phi)
    error = np.abs(nb_from_stats(stats, 0, table, eta_of_row, phi) - exact)
    # the offsets themselves are exact only to their last digit
    floor = np.array([1e-11, 1e-11, 1e-10, 1e-9, 1e-11]) * (size + np.abs(exact)).astype(float) + 1e-280
    assert (error.astype(float) <= floor).all(), error / floor
    assert node_error(table, row_of, offset) < 1e-11
    assert table.n_nodes <= max(used.sum(), 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_obs=st.integers(1, 3000),
    n_rows=st.integers(1, 3),
    n_variables=st.integers(0, 3),
    scale=SCALES,
    x_scale=SCALES,
)
def test_lattices_represent_their_cells(seed, n_obs, n_rows, n_variables, scale, x_scale):
    rng = np.random.default_rng(seed)
    _, row_of = np.unique(rng.integers(0, n_rows, n_obs), return_inverse=True)
    offset = scale * rng.normal(0, 1, n_obs)
    x = 100.0 + x_scale * rng.normal(0, 1, (n_obs, n_variables))
    rows = centred_rows(row_of, x, offset)
    if rows is None:
        return
    assert centred_error(rows) < 1e-5
    y = rng.poisson(0.5, (n_obs, 2)).astype(float)
    stats = compress_counts(y, rows.table, offset)
    np.testing.assert_allclose(stats.A.sum(axis=1), y.sum(axis=0), rtol=1e-9, atol=1e-9)
    at_nodes = np.repeat(rows.columns, np.diff(rows.table.ptr), axis=0)
    np.testing.assert_allclose(stats.A @ at_nodes, y.T @ x, rtol=1e-7, atol=1e-7)
