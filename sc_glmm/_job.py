"""The main job between AnnData and the stages: what is to be done from the tables, and where the results go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._anndata import Opened, Response, cut_note, find_response, groups_of, obs_numbers, write_results
from ._errors import InputError
from ._families.registry import Family
from ._fit.adjust import adjust_over_groups, check_adjust
from ._fit.details import details_table
from ._fit.dispersion import Dispersion
from ._fit.model import get_family
from ._fit.plan import Choices, Plan, plan_groups
from ._fit.run import Task
from ._fit.selection import describe_selection, select_genes
from ._fit.sizes import CellSizes, check_offset, check_size_factors, library_sizes
from ._fit.tests import check_test, default_test, is_moderated
from ._formula import MixedFormula, parse_formula
from ._recipe import make_recipe
from ._results import GeneTests

if TYPE_CHECKING:
    from anndata import AnnData

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Request:
    """What was asked for, as :func:`sc_glmm.tl.test` takes it."""

    formula: str
    family: str = "nb"
    size_factors: Any = None
    offset: Any = None
    groupby: str | None = None
    test: str | None = None
    genes: Any = None
    n_boot: int = 999
    seed: int = 0
    min_counts: int = 0
    dispersion: Dispersion = "ml"
    adjust: str = "group"
    choices: Choices = Choices()


@dataclass(frozen=True)
class Question:
    """A request whose words have been understood.

    Attributes
    ----------
    request
        The request.
    formula, family
        The model.
    response
        The matrix that is modelled.
    selected
        ``(n_vars,)`` genes that are tested; None for all.
    """

    request: Request
    formula: MixedFormula
    family: Family
    response: Response
    selected: BoolArray | None

    @property
    def test(self) -> str:
        """The test that was asked for, or the family's own."""
        return self.request.test or default_test(self.family)


@dataclass(frozen=True)
class Job:
    """All that the stages need, but the matrix.

    Attributes
    ----------
    question
        What was asked for.
    sizes
        Size factors of the cells.
    groups
        Name and ``(n_obs,)`` mask of every group of cells.
    plans, skipped
        Those that are fitted, and why the others are not.
    task
        What is done with each.
    notes
        What the user should know.
    """

    question: Question
    sizes: CellSizes
    groups: list[tuple[str, BoolArray]]
    plans: list[Plan]
    skipped: dict[str, str]
    task: Task
    notes: list[str]


def understand(opened: Opened, request: Request) -> Question:
    """Check a request against the data, without a look at the matrix beyond its first values."""
    family, formula = get_family(request.family), parse_formula(request.formula)
    if not formula.random:
        raise InputError(
            f"the formula {request.formula!r} has no random effect: cells of one sample are not independent, so say "
            "which column names the samples, as in 'counts ~ disease + (1|sample)'"
        )
    check_test(request.test, family)
    check_adjust(request.adjust)
    if request.dispersion not in ("ml", "shrunken"):
        raise InputError(f"dispersion={request.dispersion!r} is not known; it is 'ml' or 'shrunken'")
    test = request.test or default_test(family)
    if request.dispersion == "shrunken" and not (family.name == "nb" and is_moderated(test, family)):
        raise InputError(
            f"dispersion='shrunken' with family={family.name!r} and test={test!r}: dispersions are drawn to their "
            "trend for the moderated tests of family='nb' only (such as 'eb_lr'); leave it out, or choose one of these"
        )
    if request.test == "bootstrap" and request.genes is None:
        raise InputError("test='bootstrap' fits many simulated data sets for each gene: say for which, with genes=")
    var: pd.DataFrame = opened.adata.var  # type: ignore[assignment]
    selected = select_genes(var, request.genes)
    return Question(request, formula, family, find_response(opened, formula, family.counts), selected)


def plan_job(adata: AnnData, question: Question, library: Callable[[], FloatArray]) -> Job:
    """Plan all groups.

    Parameters
    ----------
    adata
        `obs` and `var`.
    question
        What was asked for.
    library
        Gives the library sizes, ``(n_obs,)``; called if size factors are left to us.
    """
    request = question.request
    sizes = find_sizes(adata, question.formula, question.family, request.size_factors, request.offset, library)
    groups, ungrouped = groups_of(adata, request.groupby)
    obs: pd.DataFrame = adata.obs  # type: ignore[assignment]
    plans, skipped, planned = plan_groups(obs, groups, question.formula, sizes, request.choices, request.groupby)
    task = Task(
        family=question.family,
        test=question.test,
        n_agq=request.choices.n_agq,
        min_counts=request.min_counts,
        dispersion=request.dispersion,
        normalise=sizes.default,
        selected=question.selected,
        bootstrap=(request.n_boot, request.seed) if request.test == "bootstrap" else None,
    )
    notes = [*question.response.notes, *sizes.notes, *ungrouped, *planned]
    return Job(question, sizes, groups, plans, skipped, task, notes)


def leaves_sizes_to_us(question: Question) -> bool:
    """Whether size factors are library sizes, for which the matrix must be read once before anything else."""
    request = question.request
    given = request.size_factors is not None or request.offset is not None or bool(question.formula.offsets)
    return question.family.counts and not given


def put_results(adata: AnnData, key: str, job: Job, tests: list[GeneTests], told: Sequence[str]) -> list[GeneTests]:
    """Write the tables under `key`, p-values adjusted as was asked; `told` are the notes of the stages."""
    request, choices, sizes = job.question.request, job.question.request.choices, job.sizes
    if request.adjust == "global":
        tests = adjust_over_groups(tests)
    recipe = make_recipe(
        formula=request.formula,
        response=job.question.response.name,
        family=job.question.family.name,
        method=choices.method,
        n_agq=choices.n_agq,
        groupby=request.groupby,
        size_factors=sizes.source,
        given_reference=dict(choices.reference or {}),
        within=choices.within,
        genes=describe_selection(request.genes, job.question.selected),
        min_counts=request.min_counts,
        dispersions=request.dispersion,
        adjust=request.adjust,
        n_obs=adata.n_obs,
        n_vars=adata.n_vars,
        tests=tests,
        notes=[*job.notes, *told],
    )
    details = None
    if request.groupby is not None:
        used = [(name, mask & sizes.used) for name, mask in job.groups]
        obs: pd.DataFrame = adata.obs  # type: ignore[assignment]
        details = details_table(tests, job.skipped, obs, used, job.question.formula, request.groupby)
    given = sizes.log if request.size_factors is not None or request.offset is not None else None
    write_results(adata, key, tests, recipe, groupby=request.groupby, details=details, sizes=given)
    return tests


def find_sizes(
    adata: AnnData,
    formula: MixedFormula,
    family: Family,
    size_factors: Any,
    offset: Any,
    library: Callable[[], FloatArray],
) -> CellSizes:
    """Size factors as given or by default; only the default calls `library`, which gives the sums of the cells."""
    if size_factors is not None and offset is not None:
        raise InputError(
            "size_factors and offset were both given; size_factors are linear, offset is their natural log: pass one"
        )
    everything = np.ones(adata.n_obs, dtype=bool)
    if not family.counts:
        if size_factors is not None:
            raise InputError("size_factors do not go with family='gaussian', whose response is not counts")
        if offset is None:
            return CellSizes(np.zeros(adata.n_obs), everything, False, "none", ())
        values = check_offset(obs_numbers(adata, offset, "offset"), everything, False)
        return CellSizes(values, everything, False, "offset", ())
    if size_factors is not None:
        values = obs_numbers(adata, size_factors, "size_factors")
        source = size_factors if isinstance(size_factors, str) else "given"
        return CellSizes(check_size_factors(values, everything), everything, False, source, ())
    if offset is not None:
        values = obs_numbers(adata, offset, "offset")
        source = f"offset {offset}" if isinstance(offset, str) else "offset"
        return CellSizes(check_offset(values, everything, True), everything, False, source, ())
    if formula.offsets:
        return CellSizes(np.zeros(adata.n_obs), everything, False, "offset(...) in the formula", ())
    total = library()
    note = cut_note(adata, total)
    return library_sizes(total, () if note is None else (note,))
