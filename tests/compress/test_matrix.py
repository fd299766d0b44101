"""Check the formats of a matrix, and the selection of rows and columns."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from sc_glmm import InputError
from sc_glmm._compress import add_counts, chebyshev_nodes, compress_counts, spread_kernels
from tests.compress.plain import FORMS, assert_same_stats, simulate


@pytest.fixture
def data(rng):
    return simulate(rng)


def compress(y, row_of, offset, n_rows=6, **kwargs):
    return compress_counts(y, chebyshev_nodes(row_of, n_rows, offset), offset, **kwargs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint16])
def test_every_form_of_matrix_gives_the_same(data, form, dtype):
    y, row_of, offset = data
    y[11, 4] = 2950
    assert_same_stats(compress(FORMS[form](y.astype(dtype)), row_of, offset), compress(y, row_of, offset))


@pytest.mark.parametrize("form", FORMS)
def test_more_cells_than_a_block_of_the_kernels(rng, form):
    y, row_of, offset = simulate(rng, n_obs=2 * spread_kernels.CELLS_PER_BLOCK + 900, n_genes=3)
    y[rng.integers(0, len(y), 30), 1] = 90
    row_of[::11] = -1
    table = chebyshev_nodes(row_of, 6, offset)
    halves = [np.where((np.arange(len(y)) < 1234) == half, np.arange(len(y)), -1) for half in (True, False)]
    whole = compress_counts(FORMS[form](y), table, offset)
    one, two = (compress_counts(sp.csr_matrix(y), table, offset, obs_index=index) for index in halves)
    assert_same_stats(whole, add_counts(one, two))
    np.testing.assert_array_equal(whole.total, y[row_of >= 0].sum(axis=0))


def test_unusual_storage(data):
    y, row_of, offset = data
    expected = compress(y, row_of, offset)
    csr = sp.csr_matrix(y)
    shuffled = csr.copy()
    for i in range(len(y)):
        part = slice(csr.indptr[i], csr.indptr[i + 1])
        shuffled.indices[part], shuffled.data[part] = csr.indices[part][::-1], csr.data[part][::-1]
    shuffled.has_sorted_indices = False
    shuffled.has_canonical_format = False
    # Every count is stored as two entries of the same cell: y - 1 and 1.
    parts = np.column_stack([csr.data - 1, np.ones(csr.nnz)]).ravel()
    doubled = sp.csr_matrix((parts, np.repeat(csr.indices, 2), 2 * csr.indptr), shape=y.shape)
    wide = sp.csr_matrix((csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)), shape=y.shape)
    frozen = csr.copy()
    frozen.data.flags.writeable = False
    frozen.indices.flags.writeable = False
    for matrix in (
        shuffled,
        doubled,
        wide,
        frozen,
        csr.tolil(),
        y.astype(np.float16),
        y.astype(">f8"),
        np.repeat(y, 2, axis=1)[:, ::2],
    ):
        assert_same_stats(compress(matrix, row_of, offset), expected)
    assert doubled.nnz == 2 * csr.nnz, "the caller's matrix was changed"


def test_matrix_is_not_changed(data):
    y, row_of, offset = data
    matrix = sp.csc_matrix(y)
    parts = [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    compress(matrix, row_of, offset)
    for before, now in zip(parts, (matrix.data, matrix.indices, matrix.indptr), strict=True):
        np.testing.assert_array_equal(before, now)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_rows_of_a_larger_matrix(rng, data, form):
    """Check cells that are a part of the rows of a matrix, in any order."""
    y, row_of, offset = data
    index = rng.permutation(len(y) + 70)[: len(y)]
    larger = rng.poisson(5.0, (len(y) + 70, y.shape[1])).astype(float)
    larger[index] = y
    assert_same_stats(
        compress(FORMS[form](larger), row_of, offset, obs_index=index), compress(y, row_of, offset), rtol=1e-11
    )


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("genes", [slice(3, 9), slice(None, None, -2), np.array([7, 0, 5]), np.arange(12) % 3 == 0])
def test_subsets_of_genes(data, form, genes):
    y, row_of, offset = data
    y[0, 5], y[1, 7] = 100, 200
    ours = compress(FORMS[form](y), row_of, offset, genes=genes)
    assert_same_stats(ours, compress(y[:, genes], row_of, offset))


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf, 1e17])
def test_error_names_the_place_of_a_value_that_is_not_a_count(data, form, value):
    y, row_of, offset = data
    y[213, 8] = value
    with pytest.raises(InputError, match=r"row 213, column 8, which is not a count"):
        compress(FORMS[form](y), row_of, offset)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matrix": np.zeros((3, 2))}, "the matrix has 3 rows, the design has 4 cells"),
        ({"matrix": np.zeros(4)}, "1 dimensions"),
        ({"matrix": [[1, 2]] * 4}, "is a list"),
        ({"matrix": np.full((4, 2), "a")}, "dtype <U1"),
        ({"offset": np.zeros(3)}, "offset has shape"),
        ({"genes": [0, 0]}, "twice"),
        ({"obs_index": [0, 1, 2, 2]}, "twice"),
        ({"obs_index": [0, 1, 2, 9]}, "row 9 of the matrix for cell 3"),
        ({"obs_index": [0, 1, -2, 3]}, "row -2 of the matrix for cell 2"),
        ({"obs_index": [0, 1]}, "obs_index has shape"),
        ({"n_jobs": 0}, "n_jobs is 0"),
        ({"group_of": [0, 1, 0, 0]}, "different groups"),
        ({"group_of": [0, 0, -1, -1]}, "different groups or in none"),
        ({"group_of": [0, 0, 1, 1], "n_groups": 1}, "2 groups"),
        ({"group_of": [0, 0]}, "group_of has shape"),
    ],
)
def test_unusable_arguments_are_refused(change, words):
    table = chebyshev_nodes(np.array([0, 0, 1, 1]), 2, np.zeros(4))
    arguments = {"matrix": np.zeros((4, 2)), "node_table": table, "offset": np.zeros(4), **change}
    with pytest.raises(InputError, match=words):
        compress_counts(**arguments)


@pytest.mark.parametrize("form", ["csr", "csc", "csr_array", "dense"])
def test_views_of_anndata_are_read_and_not_changed(rng, data, form):
    y, row_of, offset = data
    adata = ad.AnnData(FORMS[form](y))
    cells, genes = np.flatnonzero(rng.random(len(y)) < 0.5)[::-1], [7, 2, 5]
    view = adata[cells, genes]
    ours = compress(view.X, row_of[cells], offset[cells])
    assert_same_stats(ours, compress(y[cells][:, genes], row_of[cells], offset[cells]))
    assert view.is_view
    compress(FORMS[form](y), row_of, offset)
    np.testing.assert_array_equal(sp.csr_matrix(adata.X).toarray(), y)


def test_flags_that_are_wrong_do_no_harm(data):
    y, row_of, offset = data
    expected = compress(y, row_of, offset)
    matrix = sp.csr_matrix(y)
    for i in range(len(y)):
        part = slice(matrix.indptr[i], matrix.indptr[i + 1])
        matrix.indices[part], matrix.data[part] = matrix.indices[part][::-1].copy(), matrix.data[part][::-1].copy()
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    assert_same_stats(compress(matrix, row_of, offset), expected)
    matrix.indices[5] = 10**6
    with pytest.raises(InputError, match="an index outside of 0 to 11"):
        compress(matrix, row_of, offset)
