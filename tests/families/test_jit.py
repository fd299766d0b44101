"""Check that the faster compilation of kernels does not change their results."""

import math

import numpy as np
from numba import njit

from sc_glmm._families.jit import allocating, is_linked_only, kernel


def _row(x, i):
    s = 0.0
    for j in range(x.shape[0]):
        s += math.log1p(x[j] * i)
    return s


def _buffer(n):
    return np.ones(n)


def test_numba_has_the_hooks():
    # Without these hooks the first call takes 50 % longer. If numba removes them, look for their replacement.
    assert is_linked_only()


def test_linked_kernel_gives_the_result_of_a_normal_one():
    row, plain, buffer = kernel(_row), njit(_row, error_model="numpy"), allocating(_buffer)

    @njit
    def both(x):
        first = buffer(x.shape[0])
        second = buffer(x.shape[0])
        for i in range(x.shape[0]):
            first[i] += row(x, i)
            second[i] += plain(x, i)
        return first, second

    x = np.random.default_rng(0).uniform(0.1, 3.0, 25)
    first, second = both(x)
    expected = 1.0 + np.array([np.log1p(x * i).sum() for i in range(len(x))])
    np.testing.assert_allclose(first, expected, rtol=1e-13)
    np.testing.assert_allclose(second, expected, rtol=1e-13)


def test_a_linked_kernel_has_no_machine_code_of_its_own():
    row = kernel(_row)

    @njit
    def call(x):
        return row(x, 2.0)

    assert call(np.ones(1)) == math.log1p(2.0)
    (signature,) = row.overloads
    assert row.overloads[signature].library.get_pointer_to_function("anything") == 0
