"""Limit BLAS to one thread: more threads would change the last bits between machines, and gain little."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import scipy.linalg  # noqa: F401  (so that its BLAS is loaded when the controller looks)
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """Limit BLAS to one thread in this process until the context ends."""
    return _controller().limit(limits=1, user_api="blas")
