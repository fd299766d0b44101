"""Limit BLAS to one thread: more threads save little time, and the last bits would differ between machines."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import scipy.linalg  # noqa: F401  (its BLAS must be loaded before the controller is created)
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """Limit BLAS to one thread in this process until the context ends."""
    return _controller().limit(limits=1, user_api="blas")
