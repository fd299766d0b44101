import numpy as np
import pytest
import scipy.sparse as sp

from sc_glmm._compress import count_problem, source
from tests.compress.plain import FORMS


@pytest.fixture
def counts(rng):
    return rng.poisson(0.7, (300, 40)).astype(float) + (np.arange(40) == 0)


@pytest.mark.parametrize("form", [*FORMS, "coo"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, np.uint8, bool])
def test_counts_of_any_type_are_fine(counts, form, dtype):
    matrix = counts.astype(dtype)
    assert count_problem(sp.coo_matrix(matrix) if form == "coo" else FORMS[form](matrix)) is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block", [7, 1 << 18])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-2.0, "holds -2 (row 211, column 33), which is negative"),
        (np.nan, "holds nan (row 211, column 33), which is not finite"),
        (np.inf, "holds inf (row 211, column 33), which is not finite"),
        (1e20, "holds 1e+20 (row 211, column 33), which is too large for a count"),
    ],
)
def test_a_single_bad_value_is_found(monkeypatch, counts, form, block, value, words):
    monkeypatch.setattr(source, "CHUNK_VALUES", block)
    counts[211, 33] = value
    assert count_problem(FORMS[form](counts)) == words


def test_negative_integers_are_found(counts):
    counts[5, 6] = -1
    assert count_problem(sp.csc_matrix(counts.astype(np.int32))) == "holds -1 (row 5, column 6), which is negative"


@pytest.mark.parametrize("form", FORMS)
def test_normalised_data_are_recognised(counts, form):
    scaled = counts / counts.sum(axis=1, keepdims=True) * 1e4
    logged = np.log1p(scaled)
    assert "the values add up to 10000 in every cell" in count_problem(FORMS[form](scaled))
    assert "exp(x) - 1 adds up to 10000 in every cell" in count_problem(FORMS[form](logged))
    subset = count_problem(FORMS[form](logged[:, 3:20]))
    assert "it looks log-transformed: the largest value in the first cells is" in subset
    assert "exp" not in subset


def test_fractions_that_are_not_a_normalisation(counts):
    counts[10] *= 10.5
    counts[11] *= 30
    assert count_problem(sp.csr_matrix(counts * 1.5)).endswith("which is not a whole number")
