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

# With fewer degrees of freedom between samples, p-values are called fragile.
FEW_DF = 4.0


@dataclass(frozen=True)
class Plan:
    """The fits and tests of one group of cells.

    Attributes
    ----------
    cells
        The cells with their design.
    contrasts, dfs
        The hypotheses, and their degrees of freedom between samples.
    reml
        Whether the fixed effects are integrated out.
    dropped
        Terms of the formula that were dropped because they are constant in the group.
    not_tested
        Requested contrast -> why it was skipped in this group.
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
        Name and ``(n_obs,)`` mask of each group.
    formula, sizes, options
        The model, the size factors of all cells, and the other options.
    rows_are_samples
        Whether a random effect may have one level for each row.

    Returns
    -------
    The plans, the reasons for skipped groups, and notes.
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
    for asked, reason in plans[0].not_tested.items() if options.contrasts is not None else ():
        if all(asked in plan.not_tested for plan in plans):
            raise DesignError(f"no level of {groupby!r} can test the contrast {asked}: {reason}")
    label = [
        f"{groupby} {some_names(list(map(repr, names)))} {'was' if len(names) == 1 else 'were'} skipped: {reason}"
        for reason, names in reasons.items()
    ]
    return plans, skipped, [*bases.values(), *by_note(notes, len(plans), groupby), *label]


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
    """Plan one group; the notes are for the user.

    Parameters
    ----------
    name
        Level of `groupby`, or an empty string.
    cells
        ``(n_obs,)`` positions in the matrix.
    frame
        Their rows of `obs`.
    formula
        The model.
    log_size
        Natural logs of their size factors.
    options
        Other options.
    rows_are_samples
        As for :func:`plan_groups`.
    """
    if len(frame) == 0:
        raise DesignError("no cell with counts remains")
    if len(frame) < options.min_cells:
        raise DesignError(f"{len(frame)} cells, fewer than min_cells={options.min_cells}")
    everywhere = formula
    dropped: tuple[str, ...] = ()
    if name:
        formula, dropped = drop_constant(everywhere, frame)
        if dropped and all(not term for term in formula.fixed_terms):
            build_design(everywhere, frame, reference=options.reference)  # raises an error about a constant factor
            raise DesignError(f"nothing can be compared, because {', '.join(dropped)} does not vary here")
        if not formula.random:
            raise DesignError(f"no random effect remains, because {', '.join(dropped)} does not vary here")
    if dropped and options.reference:
        gone = _names(everywhere) - _names(formula)
        options = replace(options, reference={k: v for k, v in options.reference.items() if k not in gone})
    design = build_design(formula, frame, reference=options.reference, check_replication=not rows_are_samples)
    asked, not_tested = _available(design, options.contrasts) if name else (options.contrasts, {})
    if asked is None:
        not_tested = untestable_terms(design)
    contrasts = build_contrasts(design, asked, each_level=True)
    design, notes = (design, []) if rows_are_samples else _with_own_variance(design, contrasts, frame, options)
    contrasts = build_contrasts(design, asked, each_level=True)
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
        there = [samples_in_words(design.formula, frame.loc[design.rows_used]), *mixed]
        raise DesignError(". ".join([str(error), *(words for words in there if words)])) from None
    check_absorbed(design)
    if options.test is not None:
        check_sample_rows(design, contrasts, get_test(options.test))
    notes = [*design.notes, *notes]
    notes += [
        f"{contrast.words}: only {df:g} degrees of freedom between samples; p-values from so few samples are fragile"
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


def _available(design: Design, contrasts: Any) -> tuple[Any, dict[str, str]]:
    """The contrasts that a group can test, and the reasons for the others; a single contrast must be testable."""
    several = isinstance(contrasts, Mapping | list) and len(contrasts) > 1 and not is_comparison(design, contrasts)
    if not several or all(isinstance(value, int | float | np.number) for value in contrasts):
        return contrasts, {}
    items = contrasts.items() if isinstance(contrasts, Mapping) else [(None, value) for value in contrasts]
    kept, missing, first = [], {}, None
    for key, value in items:
        try:
            build_contrasts(design, [value] if key is None else {key: value})
        except DesignError as error:
            first = first or error
            missing[repr(value if key is None else key)] = str(error)
        else:
            kept.append((key, value))
    if first is not None and not kept:
        raise first
    return (dict(kept) if isinstance(contrasts, Mapping) else [value for _, value in kept]), missing


def _with_own_variance(
    design: Design, contrasts: tuple[Contrast, ...], frame: pd.DataFrame, options: RunOptions
) -> tuple[Design, list[str]]:
    """The design with added variances for tested effects within samples."""
    terms = missing_terms(design, contrasts, frame.loc[design.rows_used])
    notes = [
        f"the slopes of {label} are uncorrelated with the intercepts at zero, which lies outside the data (mean "
        f"{mean:.3g}). Their variance may be estimated too small, and p-values may be too small. Use center(...) for "
        "the covariate, or fit slopes and intercepts with their correlation, as in (x | group)"
        for label, mean in far_slopes(design, contrasts)
    ]
    if not terms:
        return design, notes
    if options.within == "homogeneous":
        notes.append(
            f"nothing was added to the formula: within='homogeneous' assumes that tested effects within samples "
            f"are the same in all samples. Cells count as replicates, and p-values are too small if effects differ; "
            f"{', '.join(terms)} would account for that"
        )
        return design, notes
    source = " + ".join([design.formula.source, *terms])
    notes.append(
        f"tested effects within samples may differ between samples, so {', '.join(terms)} was added to the formula; "
        f"within='homogeneous' leaves {'it' if len(terms) == 1 else 'them'} out"
    )
    return build_design(parse_formula(source), frame, reference=options.reference), notes
