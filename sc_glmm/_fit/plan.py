"""What is fitted and tested in one group of cells, before any matrix is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._design import Contrast, Design, build_contrasts, build_design
from .._errors import DesignError, InputError
from .._formula import MixedFormula, parse_formula
from .compress import CellGroup
from .model import check_method
from .sizes import CellSizes
from .tests import contrast_df
from .within import missing_terms

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# Degrees of freedom between samples below which p-values are called fragile.
FEW_DF = 4.0


@dataclass(frozen=True)
class Choices:
    """The user's choices that shape a plan, as :func:`sc_glmm.tl.test` takes them."""

    reference: Mapping[str, str] | None
    contrasts: Any
    method: str
    n_agq: int
    within: str


@dataclass(frozen=True)
class Plan:
    """What is fitted and tested in one group of cells.

    Attributes
    ----------
    cells
        The cells with their design.
    contrasts, dfs
        The hypotheses, and their degrees of freedom between samples.
    reml
        Whether fixed effects are integrated out.
    """

    cells: CellGroup
    contrasts: tuple[Contrast, ...]
    dfs: tuple[float, ...]
    reml: bool


def plan_groups(
    obs: pd.DataFrame,
    groups: Sequence[tuple[str, BoolArray]],
    formula: MixedFormula,
    sizes: CellSizes,
    choices: Choices,
    groupby: str | None,
) -> tuple[list[Plan], dict[str, str], list[str]]:
    """A plan per group; a group that cannot be fitted is skipped with the reason, unless there is only one.

    Parameters
    ----------
    obs
        One row per cell of the matrix.
    groups
        Name and ``(n_obs,)`` mask of each group.
    formula, sizes, choices
        The model, the size factors of all cells, the rest.
    groupby
        Column that the groups come from, None for one group of all cells.

    Returns
    -------
    The plans, the reasons of those that were skipped, and notes.
    """
    plans: list[Plan] = []
    skipped: dict[str, str] = {}
    notes: list[str] = []
    for name, mask in groups:
        cells = np.flatnonzero(mask & sizes.used)
        try:
            frame: pd.DataFrame = obs.iloc[cells]  # type: ignore[assignment]
            plan, more = plan_group(name, cells, frame, formula, sizes.log[cells], choices)
        except DesignError as error:
            if groupby is None:
                raise
            skipped[name] = str(error)
            notes.append(f"{groupby} {name!r} was skipped: {error}")
            continue
        plans.append(plan)
        notes += [f"{name}: {note}" if name else note for note in more]
    if not plans:
        raise DesignError(
            f"no level of {groupby!r} can be tested; the first says: {next(iter(skipped.values()), 'none')}"
        )
    return plans, skipped, notes


def plan_group(
    name: str, cells: IntArray, frame: pd.DataFrame, formula: MixedFormula, log_size: FloatArray, choices: Choices
) -> tuple[Plan, list[str]]:
    """Plan one group; the notes say what the user should know.

    Parameters
    ----------
    name
        Level of `groupby`, or an empty string.
    cells
        ``(n_obs,)`` places in the matrix.
    frame
        Their rows of `obs`.
    formula
        The model.
    log_size
        Natural logs of their size factors.
    choices
        The rest.
    """
    if choices.within not in ("heterogeneous", "homogeneous"):
        raise InputError(f"within={choices.within!r}: allowed are 'heterogeneous' and 'homogeneous'")
    if len(frame) == 0:
        raise DesignError("no cell with counts is left")
    design = build_design(formula, frame, reference=choices.reference)
    contrasts = build_contrasts(design, choices.contrasts)
    design, notes = _with_own_variance(design, contrasts, frame, choices)
    contrasts = build_contrasts(design, choices.contrasts)
    reml = check_method(choices.method, choices.n_agq, design.random)
    dfs = contrast_df(contrasts, design)
    notes = [*design.notes, *notes]
    notes += [
        f"{contrast.words}: only {df:g} degrees of freedom between samples; p-values from so few samples are fragile"
        for contrast, df in zip(contrasts, dfs, strict=True)
        if df < FEW_DF
    ]
    log = log_size[design.kept] + (design.offset if design.offset is not None else 0.0)
    kept_frame = frame.loc[design.kept].reset_index(drop=True)
    return Plan(CellGroup(name, cells[design.kept], design, kept_frame, log), contrasts, tuple(dfs), reml), notes


def _with_own_variance(
    design: Design, contrasts: tuple[Contrast, ...], frame: pd.DataFrame, choices: Choices
) -> tuple[Design, list[str]]:
    """The design with the variances that tested effects within samples lack."""
    terms, unclear = missing_terms(design, contrasts)
    notes = [
        f"{label} varies within samples, and no random term lets its effect differ between them: cells count as "
        "replicates, which makes p-values too small if it does; add a random term for it"
        for label in unclear
    ]
    if not terms:
        return design, notes
    if choices.within == "homogeneous":
        notes.append(
            f"effects within samples are taken to be the same in all of them (without {', '.join(terms)}): cells "
            "count as replicates, which makes p-values too small if they differ"
        )
        return design, notes
    source = " + ".join([design.formula.source, *terms])
    notes.append(
        f"tested effects within samples may differ between them, so {', '.join(terms)} was added to the formula; "
        "within='homogeneous' leaves it out"
    )
    return build_design(parse_formula(source), frame, reference=choices.reference), notes
