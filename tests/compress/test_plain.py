"""Check the cell-by-cell likelihood itself against scipy's negative binomial and numerical derivatives."""

import numpy as np
import pytest
from scipy import stats

from tests.compress.plain import nb_from_cells, simulate


@pytest.mark.parametrize("phi", [0.01, 0.5, 30.0])
def test_value_is_that_of_scipy(rng, phi):
    y, _, offset = simulate(rng)
    mu = np.exp(offset + 0.3)
    expected = stats.nbinom.logpmf(y[:, 0], 1 / phi, 1 / (1 + phi * mu)).sum()
    assert float(nb_from_cells(y[:, 0], offset, 0.3, phi)[0][0]) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("phi", [1e-6, 0.5, 100.0])
def test_derivatives_are_those_of_the_value(rng, phi):
    y, _, offset = simulate(rng)
    y, eta, h = y[:, 1], -0.4, np.longdouble(1e-3)

    def at(shift, log_shift=0):
        return nb_from_cells(y, offset, eta + np.longdouble(shift), phi * np.exp(np.longdouble(log_shift)))[0]

    exact = at(0)
    for order in (1, 2, 3):
        k = order - 1
        numeric = (8 * (at(h)[k] - at(-h)[k]) - (at(2 * h)[k] - at(-2 * h)[k])) / (12 * h)
        assert float(numeric) == pytest.approx(float(exact[order]), rel=1e-8)
    numeric = (8 * (at(0, h)[0] - at(0, -h)[0]) - (at(0, 2 * h)[0] - at(0, -2 * h)[0])) / (12 * h)
    assert float(numeric) == pytest.approx(float(exact[4]), rel=1e-7)
