"""Connect an AnnData to the stages: plan the work from the tables, and store the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.abundance import AbundanceTable, spatial_weights
from .._adata.columns import cut_note, groups_of, obs_numbers
from .._adata.open import Opened, Response, find_response
from .._adata.slots import write_results
from .._arrays import BoolArray, FloatArray
from .._design.columns import native
from .._errors import InputError
from .._families.registry import Family
from .._fit.adjust import adjust_over_groups
from .._fit.details import details_table
from .._fit.gene_table import FACTS
from .._fit.model import get_family
from .._fit.pairing import pairing_note
from .._fit.selection import describe_selection, select_genes
from .._fit.sizes import CellSizes, given_sizes, library_sizes
from .._formula import MixedFormula, parse_formula
from .._hypotheses.records import HypothesisTest
from .._hypotheses.registry import choose_test
from .._results import CONTRAST_COLUMNS, GeneTests
from .options import RunOptions
from .plan import Plan, plan_groups
from .recipe import make_recipe
from .samples import for_samples, tested_types
from .stages import Task
from .summary import attention

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class ParsedRequest:
    """Options that have been checked against the data.

    Attributes
    ----------
    options
        Options of the run.
    formula, family
        The model.
    test
        The requested test, or the default test of the family.
    response
        The matrix of the response.
    selected
        (n_vars,) genes to test; None for all.
    table
        The abundance table, if rows are samples; None if rows are cells.
    """

    options: RunOptions
    formula: MixedFormula
    family: Family
    test: HypothesisTest
    response: Response
    selected: BoolArray | None
    table: AbundanceTable | None = None

    @property
    def needs_library(self) -> bool:
        """Whether size factors are library sizes, which need an additional pass over the matrix."""
        given = self.options.size_factors is not None or self.options.offset is not None or bool(self.formula.offsets)
        return self.family.counts and not given


@dataclass(frozen=True)
class Job:
    """Everything the stages need except the matrix.

    Attributes
    ----------
    request
        The checked request.
    sizes
        Size factors of the cells.
    groups
        Name and (n_obs,) mask of every group of cells.
    plans
        Plans of the groups to fit.
    skipped
        Name of each skipped group -> reason.
    task
        Settings that all groups share.
    notes
        Notes for the user.
    """

    request: ParsedRequest
    sizes: CellSizes
    groups: list[tuple[str, BoolArray]]
    plans: list[Plan]
    skipped: dict[str, str]
    task: Task
    notes: list[str]


def validate_request(opened: Opened, options: RunOptions) -> ParsedRequest:
    """Check options against the data; only the first values of the matrix are read.

    Raises
    ------
    FormulaError, InputError
        If an option does not fit the data or another option.
    """
    options, table = for_samples(opened.adata, options)
    family, formula = get_family(options.family), parse_formula(options.formula)
    if not formula.random:
        raise InputError(
            f"the formula {options.formula!r} has no random effect, but cells of one sample are not independent: add "
            "the column of the samples, as in 'counts ~ disease + (1|sample)'"
        )
    test = choose_test(options.test, family)
    if options.groupby in (taken := {"variable", "contrast", "tested", "meaning", *CONTRAST_COLUMNS, *FACTS}):
        raise InputError(
            f"groupby={options.groupby!r} is also the name of a column of the results: rename the column in obs "
            f"(reserved names: {', '.join(sorted(taken))})"
        )
    if options.dispersion == "shrunken" and not (family.has_dispersion and test.profiles(family)):
        raise InputError(
            f"dispersion='shrunken' is not available with family={family.name!r} and test={test.name!r}: it needs "
            "family='nb' and a moderated test such as 'eb_lr'; omit it, or change family= or test="
        )
    if not test.has_minimum and (options.min_log_fc > 0.0 or options.alternative != "two-sided"):
        raise InputError(
            f"test={test.name!r} does not support a minimum effect or a one-sided test "
            f"(min_log_fc={options.min_log_fc:g}, alternative={options.alternative!r}): omit them, or use "
            "test='eb_lr', 'hk', 'ql', 't' or 'wald'"
        )
    if test.needs.simulations and options.genes is None:
        raise InputError(
            f"test={test.name!r} fits many simulated data sets for each gene: select the genes with genes="
        )
    var: pd.DataFrame = opened.adata.var  # type: ignore[assignment]
    selected = select_genes(var, options.genes)
    if table is not None:
        selected = tested_types(opened.adata, table, selected)
    response = find_response(opened, formula, family.counts)
    return ParsedRequest(options, formula, family, test, response, selected, table)


def plan_job(
    adata: AnnData,
    request: ParsedRequest,
    library: Callable[[], FloatArray],
    labels: Callable[[], pd.DataFrame] | None = None,
) -> Job:
    """Plan the fits and tests of all groups.

    Parameters
    ----------
    adata
        `obs` and `var` of the data.
    request
        The checked request.
    library
        Function that returns the (n_obs,) library sizes; called if the user passed no size factors.
    labels
        Function that returns the columns of `obs` that may pair samples; None for no note about pairs.

    Raises
    ------
    DesignError, InputError
        If no group can be fitted, or the options do not fit the contrasts.
    """
    options, table = request.options, request.table
    sizes = find_sizes(adata, request.formula, request.family, options.size_factors, options.offset, library)
    groups, ungrouped = groups_of(adata, options.groupby)
    obs = native(adata.obs)
    plans, skipped, planned = plan_groups(
        obs, groups, request.formula, sizes, options, rows_are_samples=table is not None
    )
    joint = [contrast for plan in plans for contrast in plan.contrasts if len(contrast.L) > 1]
    if joint and (options.min_log_fc > 0.0 or options.alternative != "two-sided"):
        raise InputError(
            f"the contrast {joint[0].words!r} has {len(joint[0].L)} rows, so it has no direction. Minimum effects and "
            "one-sided tests need contrasts with one row: use contrasts=, such as 'AD vs ctl'"
        )
    task = Task(
        options,
        request.family,
        request.test,
        normalise=sizes.default if table is None else table.reference == "robust",
        selected=request.selected,
        rows_are_samples=table is not None,
        weight=None if table is None else spatial_weights(adata),
    )
    pairing = None if labels is None else pairing_note(request.formula, obs, native(labels()))
    notes = [*request.response.notes, *sizes.notes, *ungrouped, *planned, *filter(None, [pairing])]
    return Job(request, sizes, groups, plans, skipped, task, notes)


def put_results(adata: AnnData, key: str, job: Job, tests: list[GeneTests], notes: Sequence[str]) -> list[GeneTests]:
    """Adjust the p-values and store the tables under `key`, with the notes of the stages."""
    request, options, sizes = job.request, job.request.options, job.sizes
    if options.adjust == "global":
        tests = adjust_over_groups(tests, job.task.weight)
    recipe = make_recipe(
        options.for_recipe(
            reference=dict(options.reference or {}),
            size_factors=sizes.source,
            genes=describe_selection(options.genes, request.selected),
        ),
        tests,
        notes=[*job.notes, *notes],
        matrix_digest=sizes.digest,
        attention=attention(tests, job.plans, job.skipped, options.groupby, options.min_counts, sizes.default),
        response=request.response.name,
        n_obs=adata.n_obs,
        n_vars=adata.n_vars,
    )
    used = [(name, mask & sizes.used) for name, mask in job.groups]
    details = details_table(tests, job.skipped, native(adata.obs), used, request.formula, options.groupby)
    given = sizes.log if options.size_factors is not None or options.offset is not None else None
    write_results(adata, key, tests, recipe, groupby=options.groupby, details=details, sizes=given)
    return tests


def find_sizes(
    adata: AnnData,
    formula: MixedFormula,
    family: Family,
    size_factors: Any,
    offset: Any,
    library: Callable[[], FloatArray],
) -> CellSizes:
    """Return the size factors that the user passed, or the library sizes from the function `library`.

    Raises
    ------
    InputError
        If both size factors and an offset are passed, or their values cannot be used.
    """
    if size_factors is not None and offset is not None:
        raise InputError(
            "size_factors= and offset= cannot be combined, because an offset is the natural log of size factors: pass "
            "only one of them"
        )
    if size_factors is not None and not family.counts:
        raise InputError(
            "size_factors= cannot be used with family='gaussian', because the response is not a count: omit it"
        )
    name, given = ("offset", offset) if size_factors is None else ("size_factors", size_factors)
    if given is not None:
        source = {"offset": "offset", "size_factors": "given"}[name]
        if family.counts and isinstance(given, str):
            source = given if name == "size_factors" else f"offset {given}"
        return given_sizes(obs_numbers(adata, given, name), source, linear=name == "size_factors", counts=family.counts)
    if not family.counts or formula.offsets:
        source = "offset(...) in the formula" if family.counts else "none"
        return given_sizes(np.zeros(adata.n_obs), source, linear=False, counts=family.counts)
    total = library()
    note = cut_note(adata, total)
    return library_sizes(total, () if note is None else (note,))
