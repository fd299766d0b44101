"""Find the contrasts of a stored run by any of the names that users give them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._display.arguments import quote_some, suggest
from .._errors import InputError


@dataclass(frozen=True)
class StoredContrast:
    """Contrast of a run.

    Attributes
    ----------
    label
        Label in the column `contrast`.
    name
        Key.
    meaning
        Description of the comparison.
    levels
        ``(factor, level, base)`` if the contrast compares two levels of a factor, otherwise None.
    asked
        Text with which the user requested the contrast; may be empty.
    """

    label: str
    name: str
    meaning: str
    levels: tuple[str, str, str] | None = None
    asked: str = ""


def contrasts_of_run(params: Mapping[str, Any]) -> dict[str, tuple[StoredContrast, ...]]:
    """Return the contrasts of each group of cells (under an empty string without groups).

    Contrasts of the same name can differ in meaning between groups, for example if a group lacks the base level.
    """
    groups = {"": params} if params.get("cells_grouped_by") is None else _decoded(params["groups"])
    return {str(group): _contrasts_in(recipe) for group, recipe in groups.items()}


def _contrasts_in(recipe: Mapping[str, Any]) -> tuple[StoredContrast, ...]:
    return tuple(
        StoredContrast(
            str(label),
            str(each["name"]),
            str(each["meaning"]),
            None if each["levels"] is None else tuple(map(str, each["levels"])),  # type: ignore[arg-type]
            str(each["asked"]),
        )
        for label, each in _decoded(recipe.get("contrast_facts", {})).items()
    )


def contrasts_of_group(params: Mapping[str, Any], labels: pd.Series) -> tuple[StoredContrast, ...]:
    """Return the contrasts of one group of cells, from the merged parameters of the run and the group.

    `labels` are the labels in its results. They are used if an older version stored no facts about contrasts.
    """
    there = set(labels.astype(str))
    return _contrasts_in(params) or tuple(each for each in _without_facts(params) if each.label in there)


def all_contrasts(params: Mapping[str, Any]) -> list[StoredContrast]:
    """Return the distinct contrasts of a run, in their order."""
    found = list(dict.fromkeys(each for group in contrasts_of_run(params).values() for each in group))
    return found or _without_facts(params)


def _without_facts(params: Mapping[str, Any]) -> list[StoredContrast]:
    """Return the contrasts of a run of an older version, which stored only their keys and labels."""
    pairs = zip(np.atleast_1d(params["contrast_keys"]), np.atleast_1d(params["contrast_words"]), strict=True)
    named = [(str(name), str(label)) for name, label in pairs]
    return [StoredContrast(label, name, label, _levels_in_words(label)) for name, label in named]


def contrasts_in_frame(frame: pd.DataFrame) -> list[StoredContrast]:
    """Return the contrasts of a data frame of results, which has labels and perhaps meanings."""
    meanings = frame["meaning"] if "meaning" in frame else frame["contrast"]
    pairs = pd.DataFrame({"label": frame["contrast"].astype(str), "meaning": meanings.astype(str)}).drop_duplicates()
    return [
        StoredContrast(label, label, meaning, _levels_in_words(meaning))
        for label, meaning in zip(pairs["label"], pairs["meaning"], strict=True)
    ]


def _levels_in_words(words: str) -> tuple[str, str, str] | None:
    match = re.fullmatch(r"(.+?): (.+?) vs (.+?)(?: \(at .+\))?", words, flags=re.DOTALL)
    return None if match is None else (match[1], match[2], match[3])


def meanings(frame: pd.DataFrame, params: Mapping[str, Any]) -> pd.Series:
    """Return the ``(n_rows,)`` meanings: what the contrast of each row compares."""
    groupby = params.get("cells_grouped_by")
    contrast = pd.Categorical(frame["contrast"])
    labels = [str(label) for label in contrast.categories]
    levels = [""] if groupby is None else [str(level) for level in pd.Categorical(frame[groupby]).categories]
    known = {(group, each.label): each.meaning for group, held in contrasts_of_run(params).items() for each in held}
    words = [known.get((group, label), label) for group in levels for label in labels]
    group_codes = np.zeros(len(frame), dtype=np.int64) if groupby is None else pd.Categorical(frame[groupby]).codes
    places = group_codes.astype(np.int64) * len(labels) + contrast.codes
    categories = list(dict.fromkeys(words))
    numbers = np.array([categories.index(word) for word in words], dtype=np.int64)
    codes = numbers[places] if len(words) else places
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(categories)), index=frame.index)


def find_contrasts(known: Sequence[StoredContrast], asked: Any) -> list[str]:
    """Find the labels of the contrasts that one or several names of the user refer to.

    A name can be, in this order: a label; a key, or the text with which the contrast was requested; its meaning;
    ``"AD vs ctl"`` or ``"disease: AD vs ctl"``; the level ``"AD"``. A triple ``(factor, level, base)`` is one contrast.

    Raises
    ------
    InputError
        If a name matches no contrast; the message lists similar ones.
    """
    triple = tuple(map(str, asked)) if not isinstance(asked, str) and isinstance(asked, Sequence) else ()
    by_levels = [each.label for each in known if each.levels == triple]
    if by_levels:
        return by_levels
    return [label for name in map(str, as_list(asked)) for label in _find(known, name)]


def _find(known: Sequence[StoredContrast], name: str) -> list[str]:
    for names in (_own_label, _own_names, _own_meaning, _comparison, _level):
        found = list(dict.fromkeys(each.label for each in known if name in names(each)))
        if found:
            return found
    labels = list(dict.fromkeys(each.label for each in known))
    keys = list(dict.fromkeys(each.name for each in known))
    by_name = "" if keys == labels else f", with the names {quote_some(keys)}"
    ways = (_own_names, _own_meaning, _comparison, _level)
    also = [other for each in known for names in ways for other in names(each)]
    raise InputError(f"the results have no contrast {name!r}{suggest(name, labels, also=also)}{by_name}")


def _own_label(one: StoredContrast) -> tuple[str, ...]:
    return (one.label,)


def _own_names(one: StoredContrast) -> tuple[str, ...]:
    return (one.name, one.asked) if one.asked else (one.name,)


def _own_meaning(one: StoredContrast) -> tuple[str, ...]:
    return (one.meaning,)


def _comparison(one: StoredContrast) -> tuple[str, ...]:
    if one.levels is None:
        return ()
    factor, level, base = one.levels
    return (f"{level} vs {base}", f"{factor}: {level} vs {base}", f"{factor}_{level}_vs_{base}")


def _level(one: StoredContrast) -> tuple[str, ...]:
    return () if one.levels is None else (one.levels[1],)


def as_list(value: Any) -> list[Any]:
    """Return a single value as a list."""
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
