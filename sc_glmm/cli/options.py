"""Build the options of `sc-glmm test` from :class:`~sc_glmm._run.options.RunOptions`, and read them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from .._errors import FormulaError, InputError
from .._formula import parse_formula
from .._run.options import OptionInfo, RunOptions, allowed_words, option_info, types
from .yaml import CONTRASTS, GENES, parse_contrast, read_contrasts, read_genes

# Options that may be repeated on the command line.
_REPEATED = ("reference", "contrasts")


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command with ``**given`` every option of a run: arguments before `out`, options after it."""
    result = list(_parameters())
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    place = [p.name for p in own].index("out")
    arguments = [p for p in result if p.default is inspect.Parameter.empty]
    options = [p for p in result if p.default is not inspect.Parameter.empty]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    ordered = [*own[:place], *arguments, own[place], *options, *own[place + 1 :]]
    command.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in ordered}
    return command


def run_options(given: Mapping[str, Any], contrasts: Path | None, context: typer.Context) -> RunOptions:
    """Read the options from the command line; contrasts and genes may come from files.

    Raises
    ------
    InputError
        If a value cannot be read, or if contrasts come from both --contrast and a file.
    """
    values = {name: given[_name_of(name, about)] for name, about in option_info().items() if about.flag != ""}
    values = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
    named = read_contrasts(contrasts) if contrasts is not None else context.meta.get(CONTRASTS)
    if named and values["contrasts"]:
        raise InputError("Contrasts cannot come from both --contrast and a file; use only one of them.")
    return RunOptions(
        **{
            **values,
            "reference": parse_references(values["reference"] or [], values["formula"]) or None,
            "contrasts": named or [parse_contrast(text) for text in values["contrasts"] or []] or None,
            "genes": read_genes(values["genes"]) or context.meta.get(GENES),
        }
    )


def _parameters() -> Iterator[inspect.Parameter]:
    """Yield one parameter of the command for each option that has a flag."""
    for name, about in option_info().items():
        if about.flag == "":
            continue
        default = getattr(RunOptions, name, inspect.Parameter.empty)
        if default is inspect.Parameter.empty:
            yield inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=Annotated[str, typer.Argument(metavar=name.upper(), help=about.help)],
            )
            continue
        info = typer.Option(*([about.flag] if about.flag else []), help=about.help, metavar=about.metavar)
        info.min = about.minimum
        kind = _kind(name)
        yield inspect.Parameter(
            _name_of(name, about), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
        )


def _kind(name: str) -> Any:
    """Return the type of an option on the command line: a word, a whole number, text, or several texts."""
    kind = types()[name]
    if name in _REPEATED:
        return list[str] | None
    if name in allowed_words():
        words = [word for word in allowed_words()[name] if word is not None]
        choices = StrEnum(name.title(), {word: word for word in words})  # type: ignore[misc]
        return choices | None if None in allowed_words()[name] else choices
    if kind in (int, float, str) or set(get_args(kind)) == {int, type(None)}:
        return kind
    return str | None


def _name_of(name: str, about: OptionInfo) -> str:
    return (about.flag or name).lstrip("-").replace("-", "_")


def parse_references(texts: list[str], formula: str = "") -> dict[str, str]:
    """Read base levels such as ``disease=ctl``; the name of a factor in the formula may contain a ``=``."""
    references: dict[str, str] = {}
    for text in texts:
        factor, level = _split_reference(text, _names_in(formula))
        if factor in references:
            raise InputError(f"--reference sets the base level of {factor!r} twice; remove one.")
        references[factor] = level
    return references


def _names_in(formula: str) -> frozenset[str]:
    try:
        return parse_formula(formula).names
    except FormulaError:  # reported when the run starts
        return frozenset()


def _split_reference(text: str, names: frozenset[str]) -> tuple[str, str]:
    """Split a text into factor and level; with several ``=``, the factor is a name that the formula uses."""
    quoted = re.fullmatch(r"\s*`([^`]+)`\s*=(.*)", text, re.DOTALL)
    places = [i for i, char in enumerate(text) if char == "="]
    splits = [(quoted[1], quoted[2].strip())] if quoted else [(text[:i].strip(), text[i + 1 :].strip()) for i in places]
    splits = [(factor, level) for factor, level in splits if factor and level]
    in_formula = [split for split in splits if split[0] in names]
    if len(in_formula) > 1:
        raise InputError(
            f"--reference {text!r} is ambiguous: it can be read in {len(in_formula)} ways; put the factor in "
            "`backticks`."
        )
    if not splits:
        raise InputError(f"--reference {text!r} must have the form FACTOR=LEVEL, such as disease=ctl.")
    return (in_formula or splits)[0]
