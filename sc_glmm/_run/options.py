"""Define all options of a run in one place, for the call, the command, YAML files, manifests and recipes.

``sc-glmm --help`` is built from this file. To be fast, it imports neither numpy nor pandas.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .. import _hypotheses
from .._display.arguments import check_choice, check_flag, is_number, is_whole
from .._display.habits import family_name
from .._errors import InputError


@dataclass(frozen=True)
class OptionInfo:
    """Properties of an option besides its name, type and default.

    Attributes
    ----------
    help
        One line of help for the command.
    affects_numbers
        Whether it affects numbers. All processes of a run in chunks must then agree on it.
    minimum
        Smallest allowed number.
    stored
        Its name in the stored recipe, if different; None if the recipe does not contain it.
    stored_unchanged
        Whether the recipe stores the value unchanged, so that it can be read back.
    hint
        Hint that is added to an error about the option.
    flag, metavar
        Name of the option and of its value on the command line, if different from name and type. With an empty flag
        (``""``), the command does not have the option.
    words
        Function that returns the allowed words, if the type does not list them.
    """

    help: str
    affects_numbers: bool = True
    minimum: int | None = None
    stored: str | None = ""
    stored_unchanged: bool = True
    hint: str = ""
    flag: str | None = None
    metavar: str | None = None
    words: Callable[[], tuple[str, ...]] | None = None


def _option(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"info": OptionInfo(help, **more)})


def _technical_option(default: Any, help: str, **more: Any) -> Any:
    """Define an option that does not affect numbers and is not stored."""
    return _option(default, help, affects_numbers=False, stored=None, **more)


@dataclass(frozen=True)
class RunOptions:
    """Options of a run; :func:`sc_glmm.tl.test` documents their meaning."""

    formula: str = _option(
        MISSING, "Formula in lme4 syntax; the left side is a layer, or X: 'counts ~ disease + (1|sample)'."
    )
    family: Literal["nb", "poisson", "gaussian"] = _option(
        "nb", "Distribution of the response.", hint="a binomial response needs the number of trials: use sc_glmm.glmer"
    )
    size_factors: Any = _option(
        None, "Column of obs with size factors (linear, positive).", stored_unchanged=False, metavar="COLUMN"
    )
    offset: Any = _option(None, "Column of obs with offsets (natural log).", stored=None, metavar="COLUMN")
    reference: Mapping[str, str] | None = _option(
        None,
        "Base level of a factor: disease=ctl. May be repeated.",
        stored="given_reference",
        metavar="FACTOR=LEVEL",
    )
    contrasts: Any = _option(
        None,
        "'disease: AD vs ctl', a level, the name of a term or column, or \"cond(disease='AD') - cond(...)\". "
        "May be repeated; default: every term.",
        stored=None,
        flag="--contrast",
        metavar="CONTRAST",
    )
    # scanpy uses the name "groupby" for another stored parameter
    groupby: str | None = _option(
        None,
        "Column of obs, such as the cell type; each level is tested separately.",
        stored="cells_grouped_by",
        metavar="COLUMN",
    )
    test: str | None = _option(
        None,
        "Test; default: eb_lr (moderated over genes) for counts, satterthwaite for Gaussian responses.",
        words=_hypotheses.names,
    )
    min_log_fc: float = _option(
        0.0, "Smallest effect of interest (log2); the test is for larger fold changes.", minimum=0
    )
    alternative: Literal["two-sided", "greater", "less", "abs-less"] = _option(
        "two-sided", "Direction of the test; abs-less: test for effects smaller than --min-log-fc."
    )
    genes: str | Sequence[str] | Sequence[bool] | None = _option(
        None,
        "Test only these genes: a file with one name per line, or a boolean column of var.",
        stored_unchanged=False,
        metavar="FILE|COLUMN",
    )
    n_boot: int = _option(999, "Number of simulated data sets per gene, for --test bootstrap.", minimum=1)
    seed: int = _option(0, "Seed of --test bootstrap.", minimum=0)
    within: Literal["heterogeneous", "homogeneous"] = _option(
        "heterogeneous",
        "Whether effects within samples may differ between samples; if homogeneous, cells count as replicates.",
    )
    min_cells: int = _option(0, "Skip levels of --groupby with fewer cells.", minimum=0)
    min_samples: int = _option(0, "Skip levels of --groupby with fewer samples in an arm.", minimum=0)
    min_counts: int = _option(10, "Do not test genes with fewer counts in total; 0 tests all.", minimum=0)
    dispersion: Literal["ml", "shrunken"] = _option(
        "ml",
        "Dispersions of the moderated tests: the estimate of each gene, or shrunken to a trend.",
        stored="dispersions",
    )
    adjust: Literal["group", "global"] = _option(
        "group", "Adjust p-values over the genes of each level of --groupby, or over all levels together."
    )
    method: Literal["reml", "ml"] = _option("reml", "Method for estimating variances.")
    n_agq: int = _option(1, "Nodes of adaptive Gauss-Hermite quadrature; 1 is the Laplace approximation.", minimum=1)
    n_jobs: int | None = _technical_option(None, "Threads; default: all CPUs available to this process.")
    memory_limit: int | str | None = _technical_option(
        None, "Memory limit for the statistics, such as '4 GB'; default: half of the available memory.", metavar="SIZE"
    )
    key_added: str = _technical_option("glmm", "Name under which the results are stored.", flag="--key")
    modality: str | None = _technical_option(None, "Modality of a MuData.", flag="")
    copy: bool = _technical_option(False, "Whether to return a copy with the results.", flag="")
    progress: bool | None = _technical_option(None, "Whether to show a progress bar.", flag="")

    def __post_init__(self) -> None:
        """Raise an error for invalid words and numbers, wherever they come from."""
        for name, words in allowed_words().items():
            check_choice(name, getattr(self, name), words, option_info()[name].hint)
        for name, info in option_info().items():
            value = getattr(self, name)
            if info.minimum is None:
                continue
            whole = types()[name] is int
            if not (is_whole(value) if whole else is_number(value)) or value < info.minimum:
                kind = "whole" if whole else "finite"
                raise InputError(f"{name}={value!r}: allowed are {kind} numbers of at least {info.minimum}")
        if self.alternative == "abs-less" and self.min_log_fc == 0.0:
            raise InputError(
                "alternative='abs-less' tests for effects smaller than min_log_fc=, so min_log_fc must be above 0"
            )
        for name in ("groupby", "modality"):
            if not isinstance(value := getattr(self, name), str | None):
                several = isinstance(value, list | tuple) and len(value) > 1
                join = "; for the combinations of several columns, add a column that joins their text" * several
                raise InputError(f"{name}={value!r}: must be one name, as text{join}")
        for name in ("copy", "progress"):
            if getattr(self, name) is not None:
                check_flag(name, getattr(self, name))
        if not (self.n_jobs is None or is_whole(self.n_jobs)):
            raise InputError(f"n_jobs={self.n_jobs!r}: allowed are positive whole numbers, and -1 or None for all CPUs")
        self._check_reference()
        self._check_genes()

    def _check_reference(self) -> None:
        reference: Any = self.reference
        if reference is None:
            return
        if not isinstance(reference, Mapping):
            example = {"disease": reference} if isinstance(reference, str) and reference else {"disease": "ctl"}
            raise InputError(
                f"reference={reference!r}: must be a dictionary with factors as keys and base levels as values, such "
                f"as reference={example!r}"
            )
        for factor, level in reference.items():
            if not isinstance(factor, str) or not hasattr(level, "__hash__") or level.__hash__ is None:
                raise InputError(f"reference={reference!r}: must have one base level for each factor")

    def _check_genes(self) -> None:
        genes: Any = self.genes
        several = hasattr(genes, "__len__") and hasattr(genes, "__iter__") and getattr(genes, "ndim", 1) == 1
        if not (genes is None or isinstance(genes, str) or (several and not isinstance(genes, Mapping | bytes))):
            raise InputError(
                f"genes={genes!r}: allowed are a boolean column of var, one boolean per gene, or a list of gene names"
            )

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> RunOptions:
        """Take the options from the arguments of a call, its ``locals()``; other spellings of words are accepted."""
        given = {name: arguments[name] for name in option_info()}
        if isinstance(given["family"], str):
            given["family"] = family_name(given["family"])
        for name, words in allowed_words().items():
            if isinstance(given[name], str) and given[name] not in words and given[name].lower() in words:
                given[name] = given[name].lower()
        if isinstance(given["groupby"], list | tuple) and len(given["groupby"]) == 1:
            (given["groupby"],) = given["groupby"]
        return cls(**given)

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any]) -> RunOptions:
        """Read the options that a recipe stores unchanged; all others have their defaults."""
        stored = {
            name: info.stored
            for name, info in option_info().items()
            if info.stored_unchanged and info.stored is not None
        }
        return cls(**{name: recipe[word] for name, word in stored.items() if word in recipe})

    def for_recipe(self, **described: Any) -> dict[str, Any]:
        """Convert the options for a recipe; `described` replaces values that cannot be stored unchanged."""
        values = {name: described.get(name, getattr(self, name)) for name in option_info()}
        return {info.stored: values[name] for name, info in option_info().items() if info.stored is not None}

    def to_json(self) -> dict[str, Any]:
        """Convert the options that affect numbers to values for JSON."""
        values: dict[str, Any] = json.loads(
            json.dumps({name: getattr(self, name) for name, info in option_info().items() if info.affects_numbers})
        )
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunOptions:
        """Read the options from values of JSON, in which triples of contrasts are lists."""
        return cls(**{**values, "contrasts": _with_triples(values.get("contrasts"))})


@cache
def option_info() -> dict[str, OptionInfo]:
    """Return name -> properties of the options, in their order."""
    out = {each.name: each.metadata["info"] for each in fields(RunOptions)}
    return {name: replace(info, stored=name) if info.stored == "" else info for name, info in out.items()}


@cache
def types() -> dict[str, Any]:
    """Return name -> type of the options."""
    hints = get_type_hints(RunOptions)
    return {name: hints[name] for name in option_info()}


def allowed_words() -> dict[str, tuple[str | None, ...]]:
    """Return the allowed words of each option that has a list of them, with None if the option may be omitted."""
    out: dict[str, tuple[str | None, ...]] = {}
    for name, kind in types().items():
        parts = (kind,) if get_origin(kind) is Literal else get_args(kind)
        words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        words += list((option_info()[name].words or tuple)())
        if words:
            out[name] = (*words, *([None] if type(None) in parts else []))
    return out


def _with_triples(contrasts: Any) -> Any:
    """Convert lists of words in a list or dictionary of contrasts to tuples."""
    if isinstance(contrasts, Mapping):
        return {name: _with_triples([one])[0] for name, one in contrasts.items()}
    if not isinstance(contrasts, list):
        return contrasts
    return [tuple(c) if isinstance(c, list) and all(isinstance(w, str) for w in c) else c for c in contrasts]
