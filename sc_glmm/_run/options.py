"""All options of a run, each defined once, for the call, the command, YAML, manifests and recipes.

This file imports neither numpy nor pandas, because ``sc-glmm --help`` is built from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from math import inf
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .. import _hypotheses
from .._errors import InputError


@dataclass(frozen=True)
class About:
    """Properties of an option besides its name, type and default.

    Attributes
    ----------
    help
        One line of help for the command.
    numbers
        Whether it affects numbers: all processes of a run in chunks must then agree on it.
    least
        Smallest allowed number.
    stored
        Its name in the stored recipe, if different; None if the recipe does not contain it.
    given
        Whether the recipe stores the value as given, so that it can be read back.
    hint
        Hint that is added to an error about the option.
    flag, metavar
        Name of the option and of its value on the command line, if different from name and type. With an empty flag
        (``""``), the command does not have the option.
    words
        Returns the allowed words, if the type does not list them.
    """

    help: str
    numbers: bool = True
    least: int | None = None
    stored: str | None = ""
    given: bool = True
    hint: str = ""
    flag: str | None = None
    metavar: str | None = None
    words: Callable[[], tuple[str, ...]] | None = None


def _option(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"about": About(help, **more)})


def _aside(default: Any, help: str, **more: Any) -> Any:
    """An option that does not affect numbers and is not stored."""
    return _option(default, help, numbers=False, stored=None, **more)


@dataclass(frozen=True)
class RunOptions:
    """Options of a run; :func:`sc_glmm.tl.test` documents their meaning."""

    formula: str = _option(
        MISSING, "Formula in lme4 syntax; the left side names a layer, or X: 'counts ~ disease + (1|sample)'."
    )
    family: Literal["nb", "poisson", "gaussian"] = _option(
        "nb", "Distribution of the response.", hint="a binomial response needs numbers of trials: use sc_glmm.glmer"
    )
    size_factors: Any = _option(None, "obs column of size factors (linear, positive).", given=False, metavar="COLUMN")
    offset: Any = _option(None, "obs column of offsets (natural log).", stored=None, metavar="COLUMN")
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
        None, "obs column; each of its levels is tested separately.", stored="cells_grouped_by", metavar="COLUMN"
    )
    test: str | None = _option(
        None, "The test; default: eb_lr, moderated over genes (Gaussian: satterthwaite).", words=_hypotheses.names
    )
    min_log_fc: float = _option(0.0, "Smallest effect of interest (log2): test for fold changes beyond it.", least=0)
    alternative: Literal["two-sided", "greater", "less", "abs-less"] = _option(
        "two-sided", "Direction of the test with --min-log-fc; abs-less: for effects smaller than it."
    )
    genes: str | Sequence[str] | Sequence[bool] | None = _option(
        None,
        "Test only these genes: a file with one name per line, or a boolean column of var.",
        given=False,
        metavar="FILE|COLUMN",
    )
    n_boot: int = _option(999, "Number of simulated data sets per gene, for --test bootstrap.", least=1)
    seed: int = _option(0, "Seed of --test bootstrap.", least=0)
    within: Literal["heterogeneous", "homogeneous"] = _option(
        "heterogeneous",
        "Whether effects within samples may differ between samples; otherwise cells count as replicates.",
    )
    min_cells: int = _option(0, "Skip levels of --groupby with fewer cells.", least=0)
    min_samples: int = _option(0, "Skip levels of --groupby with fewer samples in an arm.", least=0)
    min_counts: int = _option(10, "Do not test genes with fewer counts in total; 0 tests all.", least=0)
    dispersion: Literal["ml", "shrunken"] = _option(
        "ml",
        "Dispersions of the moderated tests: the estimate of each gene, or shrunken to a trend.",
        stored="dispersions",
    )
    adjust: Literal["group", "global"] = _option(
        "group", "Adjust p-values over the genes of each level of --groupby, or of all together."
    )
    method: Literal["reml", "ml"] = _option("reml", "Method for estimating variances.")
    n_agq: int = _option(1, "Nodes of adaptive Gauss-Hermite quadrature; 1 is the Laplace approximation.", least=1)
    n_jobs: int | None = _aside(None, "Threads; default: all CPUs available to this process.")
    memory_limit: int | str | None = _aside(
        None, "Memory limit for the statistics, such as '4 GB'; default: half of the available memory.", metavar="SIZE"
    )
    key_added: str = _aside("glmm", "Name under which the results are stored.", flag="--key")
    modality: str | None = _aside(None, "Modality of a MuData.", flag="")
    copy: bool = _aside(False, "Whether to return a copy with the results.", flag="")
    progress: bool | None = _aside(None, "Whether to show a progress bar.", flag="")

    def __post_init__(self) -> None:
        """Reject invalid words and numbers, wherever they come from."""
        for name, words in allowed_words().items():
            value = getattr(self, name)
            if not (value is None or isinstance(value, str)) or value not in words:
                allowed, hint = ", ".join(repr(word) for word in words if word is not None), about()[name].hint
                raise InputError(f"{name}={value!r}: allowed are {allowed}{'; ' if hint else ''}{hint}")
        for name, known in about().items():
            value = getattr(self, name)
            if known.least is None:
                continue
            kind = "whole numbers" if types()[name] is int else "finite numbers"
            whole = types()[name] is int
            number = is_whole(value) if whole else isinstance(value, Real) and not isinstance(value, bool)
            fits = number and float(value) >= known.least
            if not fits or value == inf:
                raise InputError(f"{name}={value!r}: allowed are {kind} from {known.least} on")
        if self.alternative == "abs-less" and self.min_log_fc == 0.0:
            raise InputError("alternative='abs-less' tests for effects smaller than min_log_fc, which must be above 0")
        for name in ("groupby", "modality"):
            if not isinstance(value := getattr(self, name), str | None):
                raise InputError(f"{name}={value!r}: must be a name, as text")
        for name in ("copy", "progress"):
            # numpy's own booleans are called bool or bool_
            if type(value := getattr(self, name)).__name__ not in ("bool", "bool_", "NoneType"):
                raise InputError(f"{name}={value!r}: allowed are True and False")
        if not (self.n_jobs is None or is_whole(self.n_jobs)):
            raise InputError(f"n_jobs={self.n_jobs!r}: allowed are positive whole numbers, and -1 or None for all CPUs")
        self._check_reference()
        self._check_genes()

    def _check_reference(self) -> None:
        given: Any = self.reference
        if given is None:
            return
        if not isinstance(given, Mapping):
            example = {"disease": given} if isinstance(given, str) and given else {"disease": "ctl"}
            raise InputError(
                f"reference={given!r}: must be a dictionary from factors to their base levels, such as "
                f"reference={example!r}"
            )
        for factor, level in given.items():
            if not isinstance(factor, str) or not hasattr(level, "__hash__") or level.__hash__ is None:
                raise InputError(f"reference={given!r}: must map each factor to one base level")

    def _check_genes(self) -> None:
        genes: Any = self.genes
        several = hasattr(genes, "__len__") and hasattr(genes, "__iter__") and getattr(genes, "ndim", 1) == 1
        if not (genes is None or isinstance(genes, str) or (several and not isinstance(genes, Mapping | bytes))):
            raise InputError(
                f"genes={genes!r}: allowed are a boolean column of var, one boolean per gene, or a list of gene names"
            )

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> RunOptions:
        """The options among the arguments of a call, from ``locals()``."""
        return cls(**{name: arguments[name] for name in about()})

    @classmethod
    def read(cls, recipe: Mapping[str, Any]) -> RunOptions:
        """The options that a stored recipe contains as given; all others have their defaults."""
        stored = {name: known.stored for name, known in about().items() if known.given and known.stored is not None}
        return cls(**{name: recipe[word] for name, word in stored.items() if word in recipe})

    def recorded(self, **described: Any) -> dict[str, Any]:
        """The options for a recipe; `described` replaces values that cannot be stored as given."""
        values = {name: described.get(name, getattr(self, name)) for name in about()}
        return {known.stored: values[name] for name, known in about().items() if known.stored is not None}

    def plain(self) -> dict[str, Any]:
        """The options that affect numbers, as values for JSON."""
        values: dict[str, Any] = json.loads(
            json.dumps({name: getattr(self, name) for name, known in about().items() if known.numbers})
        )
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> RunOptions:
        """The options from JSON, in which triples of contrasts are lists."""
        return cls(**{**values, "contrasts": _with_triples(values.get("contrasts"))})


def is_whole(value: Any) -> bool:
    """Whether this is a whole number within the range that all parts of a run can store."""
    return isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) < 2**53


@cache
def about() -> dict[str, About]:
    """Properties of each option by name, in their order."""
    out = {each.name: each.metadata["about"] for each in fields(RunOptions)}
    return {name: replace(known, stored=name) if known.stored == "" else known for name, known in out.items()}


@cache
def types() -> dict[str, Any]:
    """Type of each option by name."""
    hints = get_type_hints(RunOptions)
    return {name: hints[name] for name in about()}


def allowed_words() -> dict[str, tuple[str | None, ...]]:
    """Allowed words of each option that takes words; includes None if the option may be omitted."""
    out: dict[str, tuple[str | None, ...]] = {}
    for name, kind in types().items():
        parts = (kind,) if get_origin(kind) is Literal else get_args(kind)
        words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        words += list((about()[name].words or tuple)())
        if words:
            out[name] = (*words, *([None] if type(None) in parts else []))
    return out


def _with_triples(contrasts: Any) -> Any:
    """Contrasts as a list or dictionary in which lists of words are tuples."""
    if isinstance(contrasts, Mapping):
        return {name: _with_triples([one])[0] for name, one in contrasts.items()}
    if not isinstance(contrasts, list):
        return contrasts
    return [tuple(c) if isinstance(c, list) and all(isinstance(w, str) for w in c) else c for c in contrasts]
