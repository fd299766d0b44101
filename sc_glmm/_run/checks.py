"""Check before the fit that a design allows the tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._design import Contrast, Design, finest
from .._errors import DesignError
from .._fit.details import arm_samples, samples_of
from .._fit.rows import design_rows
from .._fit.within import constant_within
from .._hypotheses.records import HypothesisTest


def check_absorbed(design: Design) -> None:
    """Raise an error if the fixed effects already explain a random effect, because its variance is then arbitrary."""
    X = design.fixed.X
    for term in design.random:
        n_levels, k = len(term.levels), term.Z.shape[1]
        if n_levels * k > X.shape[1]:
            continue
        effects = np.zeros((len(X), n_levels * k))
        effects[np.arange(len(X))[:, None], term.codes[:, None] * k + np.arange(k)] = term.Z
        fitted, *_ = np.linalg.lstsq(X, effects, rcond=None)
        if np.allclose(X @ fitted, effects, rtol=0.0, atol=1e-8 * np.abs(effects).max(initial=1.0)):
            raise DesignError(
                f"the fixed effects already distinguish all {n_levels} levels of {term.group!r}, so the variance of "
                f"{term.label} cannot be estimated. A grouping factor is either fixed or random: drop one of the two"
            )


def check_samples(design: Design, contrasts: Sequence[Contrast], frame: pd.DataFrame, minimum: int) -> None:
    """Raise an error if an arm of a tested factor has fewer than `minimum` samples; for numbers, count all samples."""
    if minimum <= 0:
        return
    used: pd.DataFrame = frame.loc[design.rows_used]
    finest, levels = next(iter(samples_of(design.formula, used).items()))
    if levels.nunique() < minimum:
        raise DesignError(f"{levels.nunique()} levels of {finest}, fewer than min_samples={minimum}")
    tested = set(np.flatnonzero(np.any([np.any(c.L != 0.0, axis=0) for c in contrasts], axis=0)).tolist())
    factors = {
        name
        for term in design.formula.fixed_terms
        if tested & set(design.fixed.terms[design.formula.labels[term]])
        for atom in term
        for name in atom.columns
    }
    for arm in arm_samples(design.formula, used):
        if arm.factor in factors and arm.n_samples < minimum:
            raise DesignError(
                f"{arm.factor}: {arm.level} has {arm.n_samples} levels of {finest}, fewer than min_samples={minimum}"
            )


def check_sample_rows(design: Design, contrasts: Sequence[Contrast], test: HypothesisTest) -> None:
    """Raise an error if a test uses the residuals between samples but a term varies within samples."""
    samples = design.random[finest(design.random)]
    if not test.needs.sample_rows or all(len(contrast.L) > 1 for contrast in contrasts):
        return
    if design_rows(design).n_rows == len(samples.levels):
        return
    varying = {
        label: design.fixed.X[:, list(columns)] for label, columns in design.fixed.terms.items() if len(columns)
    } | {term.label: np.column_stack([term.Z, term.codes]) for term in design.random}
    named = [
        repr(label)
        for label, columns in varying.items()
        if not constant_within(columns, samples.codes, len(samples.levels)).all()
    ]
    raise DesignError(
        f"test={test.name!r} compares contrasts with the residuals between the levels of {samples.group!r}, but "
        f"{', '.join(named)} var{'ies' if len(named) == 1 else 'y'} within these levels. Use the default test, which "
        "estimates the variances from all genes, or test='t', which uses each gene separately"
    )
