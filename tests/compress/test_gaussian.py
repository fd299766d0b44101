import numpy as np
import pytest
import scipy.sparse as sp

from sc_glmm import InputError
from sc_glmm._compress import compress_gaussian, passes, source, stack_rows, unique_rows
from tests.compress.plain import FORMS


@pytest.fixture
def data(rng):
    sample = rng.integers(0, 7, 500)
    X = np.column_stack([np.ones(500), sample % 2])
    y = np.log1p(rng.poisson(0.6, (500, 9)) * rng.gamma(2, 1, (500, 9)))
    return y, unique_rows(X, [np.ones((500, 1))], [sample]), X


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_cross_products_are_exact(data, form, dtype):
    y, rows, X = data
    y = y.astype(dtype).astype(float)
    stats = compress_gaussian(FORMS[form](y.astype(dtype)), rows)
    np.testing.assert_allclose(stats.sum_y @ rows.X, y.T @ X, rtol=1e-12)
    np.testing.assert_allclose(stats.sum_yy, (y**2).sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(stats.n_cells, rows.n_cells)
    np.testing.assert_array_equal(stats.n_nonzero, (y != 0).sum(axis=0))


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_offsets_are_subtracted_from_zeros_too(rng, data, form):
    y, rows, _ = data
    offset = rng.normal(1, 1, 500)
    stats = compress_gaussian(FORMS[form](y), rows, offset)
    centred = y - offset[:, None]
    expected = np.array([centred[rows.row_of == row].sum(axis=0) for row in range(rows.n_rows)]).T
    np.testing.assert_allclose(stats.sum_y, expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(stats.sum_yy, (centred**2).sum(axis=0), rtol=1e-11)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_groups_genes_and_rows_of_a_larger_matrix(rng, data, form):
    y, _, X = data
    sample, group = rng.integers(0, 5, 500), rng.integers(-1, 2, 500)
    offset = rng.normal(0, 1, 500)
    parts = []
    for label in range(2):
        cells = np.flatnonzero(group == label)
        parts.append((cells, unique_rows(X[cells], [], [sample[cells]])))
    stacked = stack_rows(parts, 500)
    index = rng.permutation(600)[:500]
    larger = rng.normal(0, 1, (600, 9))
    larger[index] = y
    genes = np.array([4, 0, 8])
    stats = compress_gaussian(FORMS[form](larger), stacked, offset, obs_index=index, genes=genes, n_groups=3)
    assert stats.sum_yy.shape == (3, 3) and not stats.sum_yy[2].any()
    for label, (cells, rows) in enumerate(parts):
        alone = compress_gaussian(y[cells][:, genes], rows, offset[cells])
        part = slice(*stacked.first_row[label : label + 2])
        np.testing.assert_allclose(stats.sum_y[:, part], alone.sum_y, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(stats.sum_yy[label], alone.sum_yy, rtol=1e-11)
        np.testing.assert_array_equal(stats.n_cells[part], alone.n_cells)
        np.testing.assert_array_equal(stats.n_nonzero[label], alone.n_nonzero)


@pytest.mark.parametrize("form", FORMS)
def test_results_are_identical_for_any_number_of_threads(rng, monkeypatch, form):
    monkeypatch.setattr(passes, "GENES_PER_RANGE", 2)
    monkeypatch.setattr(source, "CHUNK_VALUES", 2000)
    y = rng.normal(0, 1, (3000, 9)) * (rng.random((3000, 9)) < 0.4)
    rows = unique_rows(np.ones((3000, 1)), [], [rng.integers(0, 40, 3000)])
    one, four = (compress_gaussian(FORMS[form](y), rows, rng.normal(0, 1, 3000) * 0 + 0.3, n_jobs=n) for n in (1, 4))
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(four, name))


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_values_that_are_not_finite_are_rejected(data, form):
    y, rows, _ = data
    y[77, 5] = np.nan
    with pytest.raises(InputError, match="not finite in 1 of 9 genes, the first in column 5"):
        compress_gaussian(FORMS[form](y), rows)
    with pytest.raises(InputError, match="499 cells|499 rows"):
        compress_gaussian(sp.csr_matrix(y[1:]), rows)
