"""log(1 + x) without a call or a branch, so that loops over nodes are vectorised.

The logarithm takes most of the time of a negative binomial row. Processors compute several at once only if the compiler
sees arithmetic instead of a call of the C library.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sc_glmm._families.jit import kernel

_LN_2 = math.log(2.0)
# The mantissa is between the root of a half and the root of two.
_ROOT_HALF = int(struct.unpack("<q", struct.pack("<d", math.sqrt(0.5)))[0])


@intrinsic
def _bits(context: Any, x: Any) -> Any:
    """Read the bits of a number as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _number(context: Any, bits: Any) -> Any:
    """Read an integer as the bits of a number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@kernel
def log1p(x):
    """Compute log(1 + x) for x >= 0, with a relative error below 1e-15.

    The series is that of ``log(m) = 2 atanh((m - 1) / (m + 1))``, for the mantissa m of ``1 + x``.
    """
    y = 1.0 + x
    bits = _bits(y)
    exponent = (bits - _ROOT_HALF) >> 52
    f = _number(bits - (exponent << 52)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 1.0 / 19.0 + z * (1.0 / 21.0)
    p = 1.0 / 17.0 + z * p
    p = 1.0 / 15.0 + z * p
    p = 1.0 / 13.0 + z * p
    p = 1.0 / 11.0 + z * p
    p = 1.0 / 9.0 + z * p
    p = 1.0 / 7.0 + z * p
    p = 1.0 / 5.0 + z * p
    p = 1.0 / 3.0 + z * p
    # the digits of x that 1 + x has lost; NaN and infinity become NaN here
    lost = (x - (y - 1.0)) / y
    return exponent * _LN_2 + (2.0 * (s + s * z * p) + lost)
