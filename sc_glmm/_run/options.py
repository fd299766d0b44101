"""All options of a run, each named once: the call, the command, YAML, manifests and recipes are made from them.

This file loads neither numpy nor pandas: ``sc-glmm --help`` is made from it.
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
    """What is known of an option besides its name, type and default.

    Attributes
    ----------
    help
        One line for the command.
    numbers
        Whether it matters for numbers: all processes of a run in chunks must agree in it.
    least
        Smallest number that is allowed.
    stored
        Its name in the stored recipe, if not its own; None if the recipe does not hold it.
    given
        Whether the recipe holds the value as it was given, so that it can be read back.
    hint
        What an error about it adds.
    flag, metavar
        How the command names it and its value, where that differs from the name and type. Without a flag (``""``)
        the command does not have it.
    words
        Gives the words that are allowed, where the type does not say them.
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
    """An option without influence on numbers, which is not stored."""
    return _option(default, help, numbers=False, stored=None, **more)


@dataclass(frozen=True)
class RunOptions:
    """What :func:`sc_glmm.tl.test` was asked for; its documentation says what each option means."""

    formula: str = _option(MISSING, "lme4 syntax; the left side names a layer, or X: 'counts ~ disease + (1|sample)'.")
    family: Literal["nb", "poisson", "gaussian"] = _option(
        "nb", "Distribution of the counts.", hint="a binomial response needs numbers of trials: use sc_glmm.glmer"
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
    # scanpy has a use of its own for "groupby" among stored parameters
    groupby: str | None = _option(
        None, "obs column; each of its levels is tested separately.", stored="cells_grouped_by", metavar="COLUMN"
    )
    test: str | None = _option(
        None, "The test; default: eb_lr, moderated over genes (Gaussian: satterthwaite).", words=_hypotheses.names
    )
    min_log_fc: float = _option(
        0.0, "Smallest effect of interest (log2): tests whether fold changes are beyond it.", least=0
    )
    alternative: Literal["two-sided", "greater", "less", "abs-less"] = _option(
        "two-sided", "Side of --min-log-fc that is tested; abs-less: effects smaller than it."
    )
    genes: str | Sequence[str] | Sequence[bool] | None = _option(
        None,
        "Test these genes only: a file with one name a line, or a var column of True and False.",
        given=False,
        metavar="FILE|COLUMN",
    )
    n_boot: int = _option(999, "Simulated data sets of each gene, for --test bootstrap.", least=1)
    seed: int = _option(0, "Seed of --test bootstrap.", least=0)
    within: Literal["heterogeneous", "homogeneous"] = _option(
        "heterogeneous", "Whether effects within samples may differ between them; cells count if not."
    )
    min_cells: int = _option(0, "Levels of --groupby with fewer cells are skipped.", least=0)
    min_samples: int = _option(0, "Levels of --groupby with fewer samples in an arm are skipped.", least=0)
    min_counts: int = _option(10, "Genes with fewer counts in all are not tested; 0 tests all.", least=0)
    dispersion: Literal["ml", "shrunken"] = _option(
        "ml", "Dispersions of the moderated tests: a gene's own, or drawn to their trend.", stored="dispersions"
    )
    adjust: Literal["group", "global"] = _option(
        "group", "Adjust p-values over the genes of each level of --groupby, or of all together."
    )
    method: Literal["reml", "ml"] = _option("reml", "How variances are estimated.")
    n_agq: int = _option(1, "Nodes of adaptive Gauss-Hermite quadrature; 1 is the Laplace approximation.", least=1)
    n_jobs: int | None = _aside(None, "Threads; default: the cores this process may use.")
    memory_limit: int | str | None = _aside(
        None, "What the statistics may take, such as '4 GB'; default: half of what is free.", metavar="SIZE"
    )
    key_added: str = _aside("glmm", "Name under which the results are stored.", flag="--key")
    modality: str | None = _aside(None, "Which modality of a MuData.", flag="")
    copy: bool = _aside(False, "Whether a copy with the results is returned.", flag="")
    progress: bool | None = _aside(None, "Whether a bar is shown.", flag="")

    def __post_init__(self) -> None:
        """Refuse words and numbers that are not allowed, whichever way they came."""
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
            raise InputError("alternative='abs-less' tests for effects smaller than min_log_fc: give one above 0")
        for name in ("groupby", "modality"):
            if not isinstance(value := getattr(self, name), str | None):
                raise InputError(f"{name}={value!r}: allowed is a name, as text")
        for name in ("copy", "progress"):
            # numpy's own truth values are called bool or bool_
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
                f"reference={given!r}: allowed is a dictionary from factors to their base levels, such as "
                f"reference={example!r}"
            )
        for factor, level in given.items():
            if not isinstance(factor, str) or not hasattr(level, "__hash__") or level.__hash__ is None:
                raise InputError(f"reference={given!r}: allowed are names of factors, each with one base level")

    def _check_genes(self) -> None:
        genes: Any = self.genes
        several = hasattr(genes, "__len__") and hasattr(genes, "__iter__") and getattr(genes, "ndim", 1) == 1
        if not (genes is None or isinstance(genes, str) or (several and not isinstance(genes, Mapping | bytes))):
            raise InputError(
                f"genes={genes!r}: allowed are a column of var with True and False, such values for all genes, or a "
                "list of names of genes"
            )

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> RunOptions:
        """The options among the arguments of a call, as ``locals()`` gives them."""
        return cls(**{name: arguments[name] for name in about()})

    @classmethod
    def read(cls, recipe: Mapping[str, Any]) -> RunOptions:
        """The options that a stored recipe holds as they were given; all others have their defaults."""
        stored = {name: known.stored for name, known in about().items() if known.given and known.stored is not None}
        return cls(**{name: recipe[word] for name, word in stored.items() if word in recipe})

    def recorded(self, **described: Any) -> dict[str, Any]:
        """What a recipe stores of them; `described` are words for values that cannot be stored as they were given."""
        values = {name: described.get(name, getattr(self, name)) for name in about()}
        return {known.stored: values[name] for name, known in about().items() if known.stored is not None}

    def plain(self) -> dict[str, Any]:
        """Those that matter for numbers, as values that JSON can hold."""
        values: dict[str, Any] = json.loads(
            json.dumps({name: getattr(self, name) for name, known in about().items() if known.numbers})
        )
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> RunOptions:
        """The options again; JSON made lists of the triples among the contrasts."""
        return cls(**{**values, "contrasts": _with_triples(values.get("contrasts"))})


def is_whole(value: Any) -> bool:
    """Whether this is a whole number that every part of a run can hold."""
    return isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) < 2**53


@cache
def about() -> dict[str, About]:
    """What is known of each option, by its name, in their order."""
    out = {each.name: each.metadata["about"] for each in fields(RunOptions)}
    return {name: replace(known, stored=name) if known.stored == "" else known for name, known in out.items()}


@cache
def types() -> dict[str, Any]:
    """The type of each option, by its name."""
    hints = get_type_hints(RunOptions)
    return {name: hints[name] for name in about()}


def allowed_words() -> dict[str, tuple[str | None, ...]]:
    """The words that an option takes, for those that take words; with None if it may be left out."""
    out: dict[str, tuple[str | None, ...]] = {}
    for name, kind in types().items():
        parts = (kind,) if get_origin(kind) is Literal else get_args(kind)
        words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        words += list((about()[name].words or tuple)())
        if words:
            out[name] = (*words, *([None] if type(None) in parts else []))
    return out


def _with_triples(contrasts: Any) -> Any:
    """Contrasts as a list or dictionary whose lists of words are tuples."""
    if isinstance(contrasts, Mapping):
        return {name: _with_triples([one])[0] for name, one in contrasts.items()}
    if not isinstance(contrasts, list):
        return contrasts
    return [tuple(c) if isinstance(c, list) and all(isinstance(w, str) for w in c) else c for c in contrasts]
