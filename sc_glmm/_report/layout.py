"""Assign the samples to the arms, for the text and the drawing of the design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._arrays import IntArray
from .._formula import Term
from .study import Study
from .tested_terms import main_columns, tested_terms


@dataclass(frozen=True)
class Layout:
    """Samples in the arms of one factor.

    Attributes
    ----------
    factor, levels
        The factor and its levels; empty without a factor, with all samples in one arm.
    sample
        Name of the sample column.
    places
        One row per sample and arm with cells: ``arm`` (code), ``sample``, ``pair`` (text, empty without pairs) and
        ``cells``.
    pair
        Grouping factor whose levels have samples in several arms, so that arms are compared within its levels;
        otherwise empty.
    tested
        Fixed terms with a weight in a contrast.
    """

    factor: str
    levels: tuple[str, ...]
    sample: str
    places: pd.DataFrame
    pair: str
    tested: frozenset[Term]

    @property
    def tested_columns(self) -> set[str]:
        """Columns in the tested terms."""
        return {name.name for term in self.tested for atom in term for name in atom.names}

    def of_arm(self, arm: int) -> pd.DataFrame:
        """Select the samples of one arm."""
        return self.places[self.places["arm"] == arm]


def layout_of(study: Study) -> Layout:
    """Assign the samples to the arms of the factor that is tested first."""
    by_contrast = tested_terms(study)
    factor = _main_factor(study, by_contrast)
    units = study.units[study.sample].astype(str).to_numpy()
    arms: IntArray = np.zeros(len(units), dtype=np.int64)
    levels: tuple[str, ...] = ("",)
    if factor:
        column = study.arms[factor]
        arms = np.asarray(column.cat.codes, dtype=np.int64)
        levels = tuple(str(level) for level in column.cat.categories)
    cells = pd.DataFrame({"arm": arms, "sample": units})
    pair = _pairing(study, arms) if factor else ""
    cells["pair"] = study.units[pair].astype(str).to_numpy() if pair else ""
    places = cells.groupby(["arm", "sample", "pair"], sort=False).size().rename("cells").reset_index()
    tested = frozenset().union(*by_contrast)
    return Layout(factor, levels if factor else (), study.sample, places, pair, tested)


def _main_factor(study: Study, by_contrast: Sequence[frozenset[Term]]) -> str:
    """Choose the first tested factor; if only numbers are tested, the first factor of the formula."""
    named = [name for terms in by_contrast for name in study.arms if name in main_columns(terms)]
    return next(iter([*named, *study.arms]), "")


def _pairing(study: Study, arms: IntArray) -> str:
    """Find the finest grouping factor for which most levels have cells in several arms; empty if there is none."""
    for name, levels in study.units.items():
        n_arms = pd.Series(arms).groupby(levels.cat.codes.to_numpy()).nunique()
        if (n_arms > 1).mean() > 0.5:
            return name
    return ""


def counted(n: int, noun: str) -> str:
    """Write a number with its noun: ``1 sample``, ``6 samples``."""
    return f"{n:,} {noun}" + ("" if n == 1 or noun.endswith("s") else "s")


def listed(names: Sequence[str], most: int = 8) -> str:
    """Join names as in ``a, b and c``, with at most `most` names."""
    shown = [*names[:most], *([f"{len(names) - most:,} more"] if len(names) > most else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""
