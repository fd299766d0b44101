"""Register tests of hypotheses: one file per test in ``tests/``, each with a record ``TEST``.

The name of the file is the name of the test. This file imports none of them, so that ``sc-glmm --help`` stays fast.
"""

from __future__ import annotations

from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .records import HypothesisTest

_added: dict[str, HypothesisTest] = {}


def names() -> tuple[str, ...]:
    """List the names of all tests in alphabetical order, followed by registered tests of other packages."""
    files = sorted(module.name for module in iter_modules([f"{folder}/tests" for folder in __path__]))
    return (*files, *(name for name in _added if name not in files))


def register(test: HypothesisTest) -> None:
    """Register a test of another package under its name, for this process."""
    _added[test.name] = test


def unregister(name: str) -> None:
    """Remove a registered test."""
    _added.pop(name, None)


def registered(name: str) -> HypothesisTest | None:
    """Return the registered test of another package with this name, or None."""
    return _added.get(name)
