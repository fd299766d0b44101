"""Summarise a fit: collect its numbers in one record, and print them as text or HTML in R's order."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .._design import estimable_alone
from .._display.arguments import list_some
from .._engine.optimize import ACCEPTED
from .fitted import MixedFit
from .glmm import GlmmModel
from .lmm import LmmModel
from .scales import LINKS
from .table import (
    abbreviate,
    aligned,
    format_column,
    format_p,
    format_test,
    format_together,
    frame_html,
    frame_text,
    stars,
)
from .varcorr import TermVariance, term_variances
from .wald import METHODS, coefficient_tests, ddf_method

# Columns of the tests of a gene that a summary shows.
_TEST_COLUMNS = ("coef", "se", "df", "p_value", "adj_p_value", "log_fc", "ci_low", "ci_high")
_TEST_TITLE = "Tests of the run, based on all genes (report these; all other numbers are from this gene only):"
FAMILY_WORDS = {"poisson": "poisson", "binomial": "binomial", "nb": "negative binomial"}


@dataclass(frozen=True, eq=False)
class Summary:
    """All numbers of a summary.

    Attributes
    ----------
    title
        Type of model and method.
    family
        Family and link; empty for a linear model.
    formula
        Formula as written.
    criteria
        ``{"REML criterion at convergence": value}``, or AIC, BIC, logLik, deviance and df.resid.
    residuals
        Five quantiles of the scaled residuals.
    random
        The covariances, term by term.
    sigma
        Residual standard deviation; NaN for counts and trials.
    nobs
        Number of observations.
    ngrps
        Number of levels of each grouping factor.
    fixed
        ``estimate, se, df, stat, p_value`` by name; without ``df`` for z tests.
    test
        For a gene of a run: its tests, one row per contrast; otherwise None.
    correlation
        (p, p) correlation of the fixed effects.
    notes
        Notes on dropped columns, singularity and convergence.
    """

    title: str
    family: str
    formula: str
    criteria: dict[str, float]
    residuals: dict[str, float]
    random: tuple[TermVariance, ...]
    sigma: float
    nobs: int
    ngrps: dict[str, int]
    fixed: pd.DataFrame
    test: pd.DataFrame | None
    correlation: pd.DataFrame
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return summary_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return summary_html(self)


def summarise(fit: MixedFit, *, ddf: str | None = None) -> Summary:
    """Summarise the model in R's order, as text and as HTML.

    Parameters
    ----------
    fit
        The model.
    ddf
        Method for the degrees of freedom: ``"satterthwaite"`` (default for linear models), ``"kenward-roger"``,
        ``"between-within"``, or ``"asymptotic"`` (default for counts and trials).

    Returns
    -------
    A record that prints as text, or as HTML in notebooks.

    Raises
    ------
    InputError
        If the method is unknown, or not defined for this model.
    """
    method = ddf_method(fit, ddf)
    fixed = coefficient_tests(fit, method)
    fixed.index = pd.Index(list(fit.names))
    if np.isinf(fixed["df"]).all():
        fixed = fixed.drop(columns="df")
    scaled = fit.residuals("pearson", scaled=True)
    quantiles = np.quantile(scaled, [0.0, 0.25, 0.5, 0.75, 1.0])
    sd = fit.bse.to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = fit.vcov().div(sd, axis=0).div(sd, axis=1)
    estimable = estimable_alone(fit.prepared.design.fixed)
    correlation = correlation.where(estimable[:, None] & estimable)
    return Summary(
        title=_title(fit, method),
        family=_family(fit),
        formula=fit.formula,
        criteria=_criteria(fit),
        residuals=dict(zip(("Min", "1Q", "Median", "3Q", "Max"), map(float, quantiles), strict=True)),
        random=tuple(term_variances(fit)),
        sigma=fit.sigma if fit.family == "gaussian" else np.nan,
        nobs=fit.nobs,
        ngrps={str(name): int(n) for name, n in fit.ngrps().items()},
        fixed=fixed,
        test=None if fit.test is None else fit.test[[c for c in _TEST_COLUMNS if c in fit.test]],
        correlation=correlation,
        notes=_notes(fit),
    )


def _title(fit: MixedFit, method: str) -> str:
    if isinstance(fit, LmmModel):
        how = "REML" if fit.reml else "maximum likelihood"
        tests = "" if method == "asymptotic" else f". t-tests use {METHODS[method]} method"
        return f"Linear mixed model fit by {how}{tests}"
    n_agq = fit.n_agq if isinstance(fit, GlmmModel) else 1
    how = "Laplace Approximation" if n_agq == 1 else f"Adaptive Gauss-Hermite Quadrature, n_agq = {n_agq}"
    by = "restricted maximum likelihood" if fit.reml else "maximum likelihood"
    return f"Generalized linear mixed model fit by {by} ({how})"


def _family(fit: MixedFit) -> str:
    if not isinstance(fit, GlmmModel):
        return ""
    text = f"{FAMILY_WORDS[fit.family]} ( {LINKS[fit.family]} )"
    if fit.family == "nb":
        text += f", dispersion {fit.dispersion:.4g} (R's size {1.0 / fit.dispersion:.4g})"
    return text


def _criteria(fit: MixedFit) -> dict[str, float]:
    if fit.reml:
        return {"REML criterion at convergence": -2.0 * fit.loglik()}
    loglik = fit.loglik()
    return {
        "AIC": fit.aic(),
        "BIC": fit.bic(),
        "logLik": loglik,
        "deviance": -2.0 * loglik,
        "df.resid": float(fit.df_resid),
    }


def _notes(fit: MixedFit) -> tuple[str, ...]:
    notes = []
    if fit.limit is not None:
        notes.append(fit.limit.note(fit.names, fit.family == "binomial"))
    notes += _dropped(fit)
    if fit.is_singular():
        notes.append(
            "boundary (singular) fit: a variance is zero or a correlation is one (see is_singular). The fit is "
            "valid, but the data do not show that this variance is larger than zero"
        )
    if not fit.converged:
        notes.append(_why_not_converged(fit))
    return tuple(notes)


def _dropped(fit: MixedFit) -> list[str]:
    """Write which columns were dropped from the design, and which coefficients are therefore not shown."""
    fixed = fit.prepared.design.fixed
    if not fixed.aliased:
        return []
    text = f"dropped from the design, because they depend on other columns: {list_some(fixed.aliased)}"
    hidden = [name for name, estimable in zip(fixed.names, estimable_alone(fixed), strict=True) if not estimable]
    if hidden:
        text += (
            f". Not shown, because they are confounded with dropped columns: {list_some(hidden)} (fixef() returns "
            "sums of these effects)"
        )
    return [text]


def _why_not_converged(fit: MixedFit) -> str:
    if fit.family == "binomial":
        for place in fit.prepared.places:
            codes = fit.prepared.blocks[place.block].codes[fit.prepared.row_of]
            by_level = pd.Series(fit.y).groupby(codes)
            if ((by_level.max() == 0.0) | (by_level.min() == 1.0)).all():
                return (
                    f"not converged: every level of {place.name} has only successes or only failures, so the "
                    "variance between levels has no finite estimate; use a coarser grouping factor, or one row for "
                    "each level"
                )
    if fit.decrement < ACCEPTED:
        return (
            "not converged: the Hessian at the end is not positive definite, so some parameters cannot be "
            "identified; simplify the random effects"
        )
    return (
        f"not converged: the Newton decrement at the end is {fit.decrement:.2g} (the limit is {ACCEPTED:g}); centre "
        "and scale covariates, or simplify the random effects"
    )


# --- cells of the tables, for text and HTML

Cells = list[list[str]]

# With more columns than this, R does not print correlations.
MAX_CORRELATED = 20
LEGEND = "Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1"


def random_cells(summary: Summary) -> Cells:
    """Write the cells of the random effects: Groups, Name, Variance, Std.Dev., Corr."""
    has_residual = not np.isnan(summary.sigma)
    sds = [float(sd) for term in summary.random for sd in term.sd] + ([summary.sigma] if has_residual else [])
    variances = format_column([sd**2 for sd in sds])
    deviations = format_column(sds)
    widest = max(len(term.names) for term in summary.random)
    rows: Cells = [["Groups", "Name", "Variance", "Std.Dev.", *(["Corr"] + [""] * (widest - 2) if widest > 1 else [])]]
    i = 0
    for term in summary.random:
        for r, name in enumerate(term.names):
            corr = ["" if np.isnan(c) else f"{c:.2f}" for c in term.corr[r, :r]]
            corr += [""] * (widest - 1 - len(corr))
            rows.append([term.group if r == 0 else "", name, variances[i], deviations[i], *corr])
            i += 1
    if has_residual:
        rows.append(["Residual", "", variances[i], deviations[i], *[""] * (widest - 1)])
    return rows


def fixed_cells(summary: Summary) -> Cells:
    """Write the cells of the fixed effects: name, estimate, standard error, df (t tests), statistic, p, stars."""
    fixed = summary.fixed
    has_df = "df" in fixed.columns
    letter = "t" if has_df else "z"
    names = {"estimate": "Estimate", "se": "Std. Error", **({"df": "df"} if has_df else {})}
    cells = format_together([list(fixed[column]) for column in names])
    columns = [["", *fixed.index.astype(str)]]
    columns += [[head, *texts] for head, texts in zip(names.values(), cells, strict=True)]
    columns.append([f"{letter} value", *format_test(list(fixed["stat"]))])
    columns.append([f"Pr(>|{letter}|)", *format_p(list(fixed["p_value"]))])
    columns.append(["", *(stars(p) for p in fixed["p_value"])])
    return [list(row) for row in zip(*columns, strict=True)]


def correlation_cells(summary: Summary) -> Cells:
    """Write the cells of the lower triangle of the correlations of the fixed effects."""
    names = [str(name).replace("[T.", "").replace("]", "") for name in summary.correlation.index]
    short = [abbreviate(name) for name in names]
    values = summary.correlation.to_numpy()
    rows: Cells = [["", *short[:-1]]]
    for i in range(1, len(names)):
        rows.append(
            [
                abbreviate(names[i], 10),
                *(
                    f"{round(values[i, j], 3) + 0.0:.3f}" if j < i and np.isfinite(values[i, j]) else ""
                    for j in range(len(names) - 1)
                ),
            ]
        )
    return rows


def criterion_cells(summary: Summary) -> Cells:
    """Write the cells of AIC, BIC, logLik, deviance and df.resid."""
    values = [f"{v:.0f}" if name == "df.resid" else f"{v:.1f}" for name, v in summary.criteria.items()]
    return [list(summary.criteria), values]


def residual_cells(summary: Summary) -> Cells:
    """Write the cells of the quantiles of the scaled residuals."""
    return [list(summary.residuals), format_column([float(np.round(v, 4)) for v in summary.residuals.values()], 5)]


def groups_line(summary: Summary) -> str:
    """Write the numbers of observations and of levels."""
    groups = "; ".join(f"{name}, {n}" for name, n in summary.ngrps.items())
    return f"Number of obs: {summary.nobs}, groups:  {groups}"


def summary_text(summary: Summary) -> str:
    """Write a summary as text in R's format."""
    lines = [summary.title]
    if summary.family:
        lines.append(f" Family: {summary.family}")
    lines += [f"Formula: {summary.formula}", ""]
    if len(summary.criteria) == 1:
        ((name, value),) = summary.criteria.items()
        lines.append(f"{name}: {value:.1f}")
    else:
        lines.append(_right(criterion_cells(summary)))
    lines += ["", "Scaled residuals:", _right(residual_cells(summary)), "", "Random effects:"]
    random = random_cells(summary)
    lines.append(_indent(aligned(random, [True, True] + [False] * (len(random[0]) - 2))))
    lines += [groups_line(summary), "", "Fixed effects:"]
    fixed = fixed_cells(summary)
    lines.append(aligned(fixed, [True] + [False] * (len(fixed[0]) - 2) + [True]))
    if (summary.fixed["p_value"] < 0.1).any():
        lines += ["---", LEGEND]
    if summary.test is not None:
        lines += ["", _TEST_TITLE, frame_text(summary.test)]
    p = len(summary.correlation)
    if 1 < p <= MAX_CORRELATED:
        cells = correlation_cells(summary)
        lines += ["", "Correlation of Fixed Effects:", aligned(cells, [True] + [False] * (p - 1))]
    elif p > MAX_CORRELATED:
        lines += ["", f"Correlation of fixed effects not shown for p = {p} > {MAX_CORRELATED}; see vcov()"]
    lines += ["", *summary.notes] if summary.notes else []
    return "\n".join(lines)


def summary_html(summary: Summary) -> str:
    """Write a summary as HTML tables."""
    parts = [f"<p><strong>{html.escape(summary.title)}</strong><br>"]
    if summary.family:
        parts.append(f"Family: {html.escape(summary.family)}<br>")
    parts.append(f"Formula: <code>{html.escape(summary.formula)}</code></p>")
    if len(summary.criteria) == 1:
        ((name, value),) = summary.criteria.items()
        parts.append(f"<p>{name}: {value:.1f}</p>")
    else:
        parts.append(_table(criterion_cells(summary)))
    parts += ["<p>Scaled residuals</p>", _table(residual_cells(summary))]
    parts += ["<p>Random effects</p>", _table(random_cells(summary)), f"<p>{html.escape(groups_line(summary))}</p>"]
    parts += ["<p>Fixed effects</p>", _table(fixed_cells(summary))]
    if summary.test is not None:
        parts += [f"<p>{html.escape(_TEST_TITLE)}</p>", frame_html(summary.test)]
    if 1 < len(summary.correlation) <= MAX_CORRELATED:
        cells = correlation_cells(summary)
        parts += ["<details><summary>Correlation of fixed effects</summary>", _table(cells), "</details>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in summary.notes]
    return "".join(parts)


def _right(cells: Cells) -> str:
    return aligned(cells, [False] * len(cells[0]))


def _indent(text: str) -> str:
    return "\n".join(f" {line}" for line in text.splitlines())


def _table(cells: Cells) -> str:
    head = "".join(f"<th>{html.escape(c)}</th>" for c in cells[0])
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in cells[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
