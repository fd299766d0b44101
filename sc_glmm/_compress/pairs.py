"""Arithmetic on pairs of floats, high and low, whose total has about 32 digits; arrays can have any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from .._arrays import FloatArray

Pair: TypeAlias = tuple[FloatArray, FloatArray]

_SPLIT = 134217729.0  # 2^27 + 1


def add(a: Pair, b: Pair) -> Pair:
    """Compute ``a + b``."""
    total = a[0] + b[0]
    part = total - a[0]
    rest = (a[0] - (total - part)) + (b[0] - part) + (a[1] + b[1])
    high = total + rest
    return high, rest - (high - total)


def times(a: Pair, factor: FloatArray | float) -> Pair:
    """Compute ``a * factor``."""
    product = a[0] * factor
    (a1, a2), (b1, b2) = _halves(a[0]), _halves(np.asarray(factor, dtype=np.float64))
    rest = a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2) + a[1] * factor
    high = product + rest
    return high, rest - (high - product)


def negative(a: Pair) -> Pair:
    """Compute ``-a``."""
    return -a[0], -a[1]


def single(values: FloatArray) -> Pair:
    """Convert floats to pairs without changing their values."""
    return values, np.zeros_like(values)


def _halves(values: FloatArray) -> Pair:
    """Split floats into two floats of 26 bits each."""
    scaled = _SPLIT * values
    upper = scaled - (scaled - values)
    return upper, values - upper


def sum_of(values: FloatArray) -> tuple[float, float]:
    """Compute the sum of all values."""
    high = math.fsum(values)
    return high, math.fsum([*values, -high])


def sum_of_squares(values: FloatArray) -> tuple[float, float]:
    """Compute the sum of the squares of all values."""
    high, low = times(single(values), values)
    return sum_of(np.concatenate([high, low]))


def columns(parts: Sequence[tuple[float, float]]) -> Pair:
    """Convert numbers to a pair of ``(n, 1)`` arrays."""
    return np.array([[part[0]] for part in parts]), np.array([[part[1]] for part in parts])
