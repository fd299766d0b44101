"""Plan the fits and tests of one group of cells, before the matrix is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from .._arrays import BoolArray, FloatArray, IntArray
from .._design import Contrast, Design, base_notes, build_contrasts, build_design, is_comparison, untestable_terms
from .._display import by_note, some_names
from .._errors import DesignError
from .._fit.compress import CellGroup, tests_slopes
from .._fit.constant import drop_constant
from .._fit.details import mixed_samples, samples_in_words
from .._fit.model import check_method, get_family
from .._fit.sizes import CellSizes
from .._fit.within import far_slopes, missing_terms
from .._formula import MixedFormula, parse_formula
from .._hypotheses.df import contrast_df
from .._hypotheses.registry import choose_test, get_test
from .checks import check_absorbed, check_sample_rows, check_samples
from .options import RunOptions

# With fewer degrees of freedom between samples, a warning recommends caution.
FEW_DF = 4.0


@dataclass(frozen=True)
class Plan:
    """The fits and tests of one group of cells.

    Attributes
    ----------
    cells
        The cells with their design.
    contrasts
        The hypotheses.
    dfs
        Their degrees of freedom between samples.
    reml
        Whether the fixed effects are integrated out.
    dropped
        Terms of the formula that were dropped because they are constant in the group.
    not_tested
        Contrast that was skipped in this group -> reason.
    """

    cells: CellGroup
    contrasts: tuple[Contrast, ...]
    dfs: tuple[float, ...]
    reml: bool
    dropped: tuple[str, ...] = ()
    not_tested: Mapping[str, str] = field(default_factory=dict)


def plan_groups(
    obs: pd.DataFrame,
    groups: Sequence[tuple[str, BoolArray]],
    formula: MixedFormula,
    sizes: CellSizes,
    options: RunOptions,
    *,
    rows_are_samples: bool = False,
) -> tuple[list[Plan], dict[str, str], list[str]]:
    """Plan each group; a group that cannot be fitted is skipped with a reason, unless it is the only one.

    Parameters
    ----------
    obs
        One row per cell of the matrix.
    groups
        Name and (n_obs,) mask of each group.
    formula, sizes, options
        The model, the size factors of all cells, and the other options.
    rows_are_samples
        Whether a random effect may have one level for each row.

    Returns
    -------
    plans
        The plans of the groups that can be fitted.
    skipped
        Name of each skipped group -> reason.
    notes
        Notes for the user.

    Raises
    ------
    DesignError
        If no group can be tested.
    """
    groupby = options.groupby
    plans: list[Plan] = []
    skipped: dict[str, str] = {}
    notes: list[tuple[str, str]] = []
    bases: dict[str, str] = {}
    reasons: dict[str, list[str]] = {}
    for name, mask in groups:
        cells = np.flatnonzero(mask & sizes.used)
        try:
            frame: pd.DataFrame = obs.iloc[cells]  # type: ignore[assignment]
            plan, more = plan_group(
                name, cells, frame, formula, sizes.log[cells], options, rows_are_samples=rows_are_samples
            )
        except DesignError as error:
            if groupby is None:
                raise
            skipped[name] = str(error).partition("\n")[0]
            reasons.setdefault(skipped[name], []).append(name)
            continue
        plans.append(plan)
        base_of = base_notes(plan.cells.design.fixed)
        bases = base_of | bases
        notes += [(name, note) for note in more if note not in base_of.values()]
    if not plans:
        raise DesignError(
            f"no level of {groupby!r} can be tested; the reason for the first is: "
            f"{next(iter(skipped.values()), 'none')}"
        )
    for contrast, reason in plans[0].not_tested.items() if options.contrasts is not None else ():
        if all(contrast in plan.not_tested for plan in plans):
            raise DesignError(f"the contrast {contrast} cannot be tested in any level of {groupby!r}: {reason}")
    skip_notes = [
        f"{groupby} {some_names(list(map(repr, names)))} {'was' if len(names) == 1 else 'were'} skipped: {reason}"
        for reason, names in reasons.items()
    ]
    return plans, skipped, [*bases.values(), *by_note(notes, len(plans), groupby), *skip_notes]


def plan_group(
    name: str,
    cells: IntArray,
    frame: pd.DataFrame,
    formula: MixedFormula,
    log_size: FloatArray,
    options: RunOptions,
    *,
    rows_are_samples: bool = False,
) -> tuple[Plan, list[str]]:
    """Plan one group, and return notes for the user.

    Parameters
    ----------
    name
        Level of `groupby`, or an empty string.
    cells
        (n_obs,) positions of the cells in the matrix.
    frame
        Rows of `obs` for these cells.
    formula
        The model.
    log_size
        (n_obs,) natural logs of the size factors.
    options
        Other options.
    rows_are_samples
        As for :func:`plan_groups`.

    Raises
    ------
    DesignError
        If the group cannot be fitted or tested.
    """
    if len(frame) == 0:
        raise DesignError("no cell with counts remains")
    if len(frame) < options.min_cells:
        raise DesignError(f"{len(frame)} cells, fewer than min_cells={options.min_cells}")
    full_formula = formula
    dropped: tuple[str, ...] = ()
    if name:
        formula, dropped = drop_constant(full_formula, frame)
        if dropped and all(not term for term in formula.fixed_terms):
            build_design(full_formula, frame, reference=options.reference)  # raises an error about a constant factor
            raise DesignError(f"nothing can be compared, because {', '.join(dropped)} does not vary here")
        if not formula.random:
            raise DesignError(f"no random effect remains, because {', '.join(dropped)} does not vary here")
    if dropped and options.reference:
        removed = _names(full_formula) - _names(formula)
        options = replace(options, reference={k: v for k, v in options.reference.items() if k not in removed})
    design = build_design(formula, frame, reference=options.reference, check_replication=not rows_are_samples)
    requested, not_tested = _testable_contrasts(design, options.contrasts) if name else (options.contrasts, {})
    if requested is None:
        not_tested = untestable_terms(design)
    contrasts = build_contrasts(design, requested, each_level=True)
    design, notes = (design, []) if rows_are_samples else _with_own_variance(design, contrasts, frame, options)
    contrasts = build_contrasts(design, requested, each_level=True)
    check_samples(design, contrasts, frame, options.min_samples)
    if dropped:
        notes.append(f"{', '.join(dropped)} does not vary here and was dropped from the formula")
    notes += [f"the contrast {text} is not tested: {reason}" for text, reason in not_tested.items()]
    reml = check_method(options.method, options.n_agq, design.random)
    mixed = mixed_samples(formula, frame.loc[design.rows_used])
    notes += mixed
    try:
        dfs = contrast_df(contrasts, design)
    except DesignError as error:
        details = [samples_in_words(design.formula, frame.loc[design.rows_used]), *mixed]
        raise DesignError(". ".join([str(error), *(words for words in details if words)])) from None
    check_absorbed(design)
    if options.test is not None:
        check_sample_rows(design, contrasts, get_test(options.test))
    notes = [*design.notes, *notes]
    notes += [
        f"{contrast.words}: only {df:g} degrees of freedom between samples; p-values from so few samples are unreliable"
        for contrast, df in zip(contrasts, dfs, strict=True)
        if df < FEW_DF
    ]
    log = log_size[design.rows_used] + (design.offset if design.offset is not None else 0.0)
    family = get_family(options.family)
    profiled = choose_test(options.test, family).profiles(family)
    wide = profiled and tests_slopes(design, [contrast.L for contrast in contrasts])
    group = CellGroup(name, cells[design.rows_used], design, log, wide)
    return Plan(group, contrasts, tuple(dfs), reml, dropped, not_tested), notes


def _names(formula: MixedFormula) -> set[str]:
    return {name for term in formula.fixed_terms for atom in term for name in atom.columns}


def _testable_contrasts(design: Design, contrasts: Any) -> tuple[Any, dict[str, str]]:
    """Split several contrasts into those that a group can test and reasons for the others.

    A single contrast is returned unchanged.
    """
    several = isinstance(contrasts, Mapping | list) and len(contrasts) > 1 and not is_comparison(design, contrasts)
    if not several or all(isinstance(value, int | float | np.number) for value in contrasts):
        return contrasts, {}
    items = contrasts.items() if isinstance(contrasts, Mapping) else [(None, value) for value in contrasts]
    testable, reasons, first_error = [], {}, None
    for key, value in items:
        try:
            build_contrasts(design, [value] if key is None else {key: value})
        except DesignError as error:
            first_error = first_error or error
            reasons[repr(value if key is None else key)] = str(error)
        else:
            testable.append((key, value))
    if first_error is not None and not testable:
        raise first_error
    return (dict(testable) if isinstance(contrasts, Mapping) else [value for _, value in testable]), reasons


def _with_own_variance(
    design: Design, contrasts: tuple[Contrast, ...], frame: pd.DataFrame, options: RunOptions
) -> tuple[Design, list[str]]:
    """Add random slopes for tested effects within samples, so that these may differ between samples."""
    terms = missing_terms(design, contrasts, frame.loc[design.rows_used])
    notes = [
        f"the formula assumes that slopes of {label} and intercepts are uncorrelated at zero, which lies outside the "
        f"data (mean {mean:.3g}). The variance of the slopes and p-values may be too small. Use center(...) for the "
        "covariate, or fit slopes and intercepts with their correlation, as in (x | group)"
        for label, mean in far_slopes(design, contrasts)
    ]
    if not terms:
        return design, notes
    if options.within == "homogeneous":
        notes.append(
            "within='homogeneous' assumes that tested effects within samples are the same in all samples. Cells count "
            "as replicates, and p-values are too small if effects differ between samples; the term "
            f"{', '.join(terms)} would account for this"
        )
        return design, notes
    source = " + ".join([design.formula.source, *terms])
    notes.append(
        f"tested effects within samples may differ between samples, so {', '.join(terms)} was added to the formula; "
        f"within='homogeneous' leaves {'it' if len(terms) == 1 else 'them'} out"
    )
    return build_design(parse_formula(source), frame, reference=options.reference), notes
