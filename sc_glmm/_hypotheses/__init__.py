"""Tests of hypotheses: one file a test in ``tests/``, each with a record ``TEST`` that says what it needs and does.

The file's name is the name of the test. This file loads none of them, so that ``sc-glmm --help`` stays fast.
"""

from __future__ import annotations

from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .records import HypothesisTest

_added: dict[str, HypothesisTest] = {}


def names() -> tuple[str, ...]:
    """Names of all tests, in alphabetical order; then those that were registered by others."""
    files = sorted(module.name for module in iter_modules([f"{folder}/tests" for folder in __path__]))
    return (*files, *(name for name in _added if name not in files))


def register(test: HypothesisTest) -> None:
    """Make a test known under its name, for as long as the process runs: for tests of other packages."""
    _added[test.name] = test


def unregister(name: str) -> None:
    """Forget a test that was registered."""
    _added.pop(name, None)


def registered(name: str) -> HypothesisTest | None:
    """A test that was registered by others."""
    return _added.get(name)
