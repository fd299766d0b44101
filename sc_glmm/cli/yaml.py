"""Read options, contrasts and genes of the commands from files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from .._display.arguments import suggest
from .._errors import InputError
from .console import report_errors

# Keys of the command's context, for contrasts and genes from a file of options.
CONTRASTS = "sc_glmm.contrasts"
GENES = "sc_glmm.genes"

# Most entries of a file; a list of genes may have all of a genome.
_MOST_ENTRIES = 1_000_000

_EXAMPLE = "AD: [disease, AD, ctl], or AD: \"cond(disease='AD') - cond(disease='ctl')\""


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises
    ------
    InputError
        If the file is not valid YAML; the message contains the position.
    """
    import yaml  # type: ignore[import-untyped]

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """A loader of plain values, in which merged mappings cannot grow without limit."""

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            if len(node.value) > _MOST_ENTRIES:
                raise yaml.YAMLError(f"a mapping has more than {_MOST_ENTRIES:,} entries after merging (<<)")

    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader)
        _refuse_bombs(value)
    # dates, numbers and nesting that Python does not have raise errors of Python
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}") from error
    return value


def _refuse_bombs(value: Any) -> None:
    """Raise an error for a value that is small in the file, but huge (or endless) when its references are followed."""
    n, waiting = 0, [value]
    while waiting:
        held = waiting.pop()
        n += 1
        if n > _MOST_ENTRIES:
            raise ValueError(f"it has more than {_MOST_ENTRIES:,} entries, or an entry that contains itself")
        if isinstance(held, Mapping):
            waiting += [*held.keys(), *held.values()]
        elif isinstance(held, list | tuple | set):
            waiting += held
        elif isinstance(held, int) and held.bit_length() > 64:
            raise ValueError("it has a whole number of more than 64 bits")


def read_options(context: typer.Context, path: Path | None) -> Path | None:
    """Use the options in the file as defaults of the command; options on the command line take precedence.

    Keys are the long names of options and arguments, with - or _. The value of a repeated option is a list;
    ``reference`` may be a mapping. ``contrasts`` may contain the contrasts of a separate file, and ``genes`` may be a
    list of names.
    """
    if path is None:
        return None
    with report_errors():
        options = read_yaml(path)
        if not isinstance(options, Mapping):
            raise InputError(f"{path} contains no options; write one per line, such as groupby: cell_type")
        allowed = {str(parameter.name) for parameter in context.command.params} - {"config"}
        defaults: dict[str, Any] = {}
        for key, value in options.items():
            name = str(key).replace("-", "_")
            if name == "contrasts" and not isinstance(value, str):
                context.meta[CONTRASTS] = as_contrasts(value, path)
                continue
            if name == "genes" and isinstance(value, list):
                context.meta[GENES] = [str(gene) for gene in value]
                continue
            if name not in allowed:
                hint = suggest(name, sorted(allowed), 99)
                raise InputError(f"{path} contains {key!r}, which is not an option{hint}")
            if name == "reference" and isinstance(value, Mapping):
                value = [f"{factor}={level}" for factor, level in value.items()]
            if name in ("reference", "contrast") and isinstance(value, str):
                value = [value]
            defaults[name] = value
        context.default_map = {**(context.default_map or {}), **defaults}
    return path


def read_genes(value: str | None) -> str | list[str] | None:
    """Read a file with one gene per line; any other value is the name of a column.

    Raises
    ------
    InputError
        If the file contains no name, or if the value looks like a path and the file does not exist.
    """
    if value is None:
        return None
    if not Path(value).is_file():
        if Path(value).suffix in (".txt", ".csv", ".tsv") or "/" in value:
            raise InputError(
                f"--genes {value}: the file does not exist; pass a file with one gene per line, or a column of var"
            )
        return value
    try:
        names = [line.strip() for line in Path(value).read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"{value} cannot be read as a list of genes, one per line: {error}") from error
    genes = [name for name in names if name]
    if not genes:
        raise InputError(f"{value} contains no gene names; write one per line")
    return genes


def read_contrasts(path: Path) -> dict[str, Any]:
    """Read named contrasts from a file; see :func:`as_contrasts`."""
    return as_contrasts(read_yaml(path), path)


def as_contrasts(value: Any, path: Path) -> dict[str, Any]:
    """Convert contrasts to the form of ``tl.test``.

    Two forms are accepted. The first is a mapping with names as keys. Its values are ``"AD vs ctl"``,
    ``[disease, AD, ctl]``, an expression of conditions, a list of weights, or ``joint:`` with a list of these. The
    second is the form of nf-core: a list of entries with ``id`` and ``comparison: [variable, reference, target]``. Both
    may be under the key ``contrasts``.

    Raises
    ------
    InputError
        If the file has no contrasts, or an entry is not a contrast.
    """
    if isinstance(value, Mapping) and set(value) == {"contrasts"}:
        value = value["contrasts"]
    result: dict[str, Any] = {}
    if isinstance(value, list):
        for entry in value:
            comparison = entry.get("comparison") if isinstance(entry, Mapping) else None
            if not (isinstance(comparison, list) and len(comparison) == 3 and "id" in entry):
                raise InputError(
                    f"{path}: {entry!r} is not a contrast; write id: and comparison: [variable, reference, target], or "
                    f"names and contrasts, such as {_EXAMPLE}"
                )
            factor, base, level = comparison
            result[str(entry["id"])] = (str(factor), *_levels(level, base, path))
    elif isinstance(value, Mapping):
        result = {str(name): _contrast(entry, path) for name, entry in value.items()}
    if not result:
        raise InputError(f"{path} contains no contrasts; write one per line, such as {_EXAMPLE}")
    return result


def _contrast(value: Any, path: Path) -> Any:
    if isinstance(value, str):
        return parse_contrast(value)
    if isinstance(value, Mapping) and set(value) == {"joint"} and isinstance(value["joint"], list):
        return [_contrast(part, path) for part in value["joint"]]
    if isinstance(value, list) and value and all(isinstance(part, int | float) for part in value):
        return value
    if isinstance(value, list) and len(value) == 3:
        return (str(value[0]), *_levels(value[1], value[2], path))
    raise InputError(f"{path}: {value!r} is not a contrast; write for example {_EXAMPLE}")


def _levels(level: Any, base: Any, path: Path) -> tuple[Any, Any]:
    for each in (level, base):
        if isinstance(each, list | Mapping | set) or each is None:
            raise InputError(f"{path}: {each!r} is not a level of a contrast; write text or a number")
    return level, base


def parse_contrast(text: str) -> str | tuple[str, str, str]:
    """Convert a label such as ``disease: AD vs ctl`` to a triple; any other text is a name."""
    match = re.fullmatch(r"\s*(.+?)\s*:\s+(.+?)\s+vs\s+(.+?)\s*", text)
    if match is None:
        return text.strip()
    factor, level, base = match.groups()
    return factor, level, base
