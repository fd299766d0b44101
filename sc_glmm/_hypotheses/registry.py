"""Find tests by name."""

from __future__ import annotations

from importlib import import_module

from .._display.arguments import check_choice
from .._errors import InputError
from .._families.registry import Family
from . import names, registered
from .records import HypothesisTest


def get_test(name: str) -> HypothesisTest:
    """Return the test of that name; its file is imported first.

    Raises
    ------
    InputError
        If there is no test of that name.
    """
    test = registered(name)
    if test is None:
        check_choice("test", name, names())
        found: HypothesisTest = import_module(f"{__package__}.tests.{name}").TEST
        return found
    return test


def choose_test(name: str | None, family: Family) -> HypothesisTest:
    """Return the requested test, or the default of the family.

    Raises
    ------
    InputError
        If there is no such test, or if the family does not support it.
    """
    if name is None:
        return get_test("eb_lr" if family.counts else "satterthwaite")
    test = get_test(name)
    if family.name not in test.families:
        allowed = [repr(other) for other in names() if family.name in get_test(other).families]
        raise InputError(f"test={name!r}: allowed with family={family.name!r} are {', '.join(allowed)}")
    return test
