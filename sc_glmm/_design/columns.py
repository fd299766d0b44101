"""Convert columns of a data frame to numbers, booleans or categories, and convert new data in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd

from .._display.arguments import list_some
from .._errors import DesignError
from .names import Use


@dataclass(frozen=True)
class Column:
    """The conversion of a column, which is stored to convert new data in the same way.

    Attributes
    ----------
    name
        Its name.
    kind
        ``"number"``, ``"bool"`` (0 and 1) or ``"factor"``.
    categories
        The levels of a factor that occur in the data; a base level that the user chose comes first.
    chosen
        Source of their order: ``"given"``, ``"categorical"``, ``"alphabetical"`` or ``"sorted"``.
    unused
        Categories of the pandas Categorical that do not occur in the rows used.
    """

    name: str
    kind: str
    categories: tuple[object, ...] = ()
    chosen: str = "sorted"
    unused: tuple[object, ...] = field(default=(), compare=False)

    def find(self, levels: list[object]) -> list[int | None]:
        """Return the position of each level among the categories, by text or value; None for an unknown level."""
        by_text = {str(level): i for i, level in enumerate(self.categories)}
        by_value = {level: i for i, level in enumerate(self.categories)}
        return [by_text.get(str(level), by_value.get(level)) for level in levels]

    def convert(self, values: pd.Series) -> pd.Series:
        """Convert values to numbers, booleans, or a Categorical with the stored categories.

        `values` must not have missing values.
        """
        if self.kind != "factor":
            plain = _plain(values, self.name)[1]
            if isinstance(plain, pd.Categorical):
                raise DesignError(
                    f"column {self.name!r} contains text, but contained numbers when the model was built: convert it"
                )
            return pd.Series(plain, index=values.index, name=self.name)
        found, levels = pd.factorize(values)
        places = self.find(list(levels))
        unknown = [level for level, place in zip(levels, places, strict=True) if place is None]
        if unknown:
            raise DesignError(
                f"column {self.name!r} has levels that are not in the model: {list_some(unknown)}; "
                f"its levels are {list_some(self.categories, 20)}"
            )
        codes = np.array(places, dtype=np.int64)[found]
        result = pd.Categorical.from_codes(codes, categories=pd.Index(list(self.categories)))
        return pd.Series(result, index=values.index, name=self.name)


def read_column(values: pd.Series, use: Use, reference: object | None = None) -> Column:
    """Decide how to convert a column without missing values."""
    name = str(values.name)
    kind, plain = _plain(values, name)
    factor_only = (use.bare or use.categorical) and not use.computed
    if isinstance(plain, pd.Categorical):
        declared = kind == "factor"
        unused = tuple(values.cat.categories.difference(plain.categories, sort=False)) if declared else ()
        column = Column(name, "factor", tuple(plain.categories), "categorical" if declared else "alphabetical", unused)
    elif factor_only and (kind == "bool" or not use.bare):
        column = Column(name, "factor", tuple(np.unique(plain).tolist()), "sorted")
    else:
        column = Column(name, kind)
    texts = [str(level) for level in column.categories]
    if len(set(texts)) < len(texts):
        twice = next(text for i, text in enumerate(texts) if text in texts[:i])
        raise DesignError(f"column {name!r} has different levels with the same text {twice!r}: rename them")
    return column if reference is None else _relevel(column, reference)


def _relevel(column: Column, reference: object) -> Column:
    argument = f"reference={{{column.name!r}: {reference!r}}}"
    if column.kind != "factor":
        raise DesignError(
            f"{argument}: column {column.name!r} is numeric, so it has no levels; "
            "convert it with .astype('category') to use it as a factor"
        )
    place = column.find([reference])[0]
    if place is None:
        known = list_some(column.categories, 20)
        raise DesignError(f"{argument}: the rows used do not have this level; the levels are {known}")
    levels = column.categories
    reordered = (levels[place], *levels[:place], *levels[place + 1 :])
    return Column(column.name, "factor", reordered, "given", column.unused)


def native(data: Any, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Convert the columns (all, or `names`) to the machine's byte order, as pandas needs."""
    frame: pd.DataFrame = data
    foreign = {
        name: dtype.newbyteorder("=")
        for name, dtype in frame.dtypes.items()
        if isinstance(dtype, np.dtype) and not dtype.isnative and (names is None or name in names)
    }
    return (
        frame.assign(**{str(name): np.asarray(frame[name]).astype(dtype) for name, dtype in foreign.items()})
        if foreign
        else frame
    )


def _plain(values: pd.Series, name: str) -> tuple[str, pd.Categorical | np.ndarray]:
    """Return the type of a column (``factor``, ``text``, ``bool`` or ``number``), and its values as an array."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "factor", cast("pd.Categorical", values.cat.remove_unused_categories().array)
    if isinstance(dtype, pd.SparseDtype):
        values = pd.Series(np.asarray(values))
        dtype = values.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "bool", values.to_numpy(dtype=bool)
    if pd.api.types.is_complex_dtype(dtype):
        raise DesignError(f"column {name!r} has complex numbers, which models do not support")
    if pd.api.types.is_integer_dtype(dtype):
        # above 2^53 a double cannot represent every integer; R also reads such numbers as doubles
        doubles = values.to_numpy(dtype=np.float64)
        exact = np.abs(doubles).max(initial=0.0) < 2.0**53
        return "number", values.to_numpy(dtype=np.int64) if exact else doubles
    if pd.api.types.is_float_dtype(dtype):
        return "number", values.to_numpy(dtype=np.float64)
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred == "boolean":
        return "bool", values.to_numpy(dtype=bool)
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal"):
        return "number", values.to_numpy(dtype=np.float64)
    if inferred in ("string", "empty") or all(isinstance(value, str | int | float) for value in values):
        return "text", _as_categorical(values.to_numpy(dtype=object))
    raise DesignError(
        f"column {name!r} has values of type {type(values.iloc[0]).__name__}; "
        "a model needs numbers, booleans, strings or categories: convert it first"
    )


def _as_categorical(values: np.ndarray) -> pd.Categorical:
    """Convert text or numbers to sorted categories."""
    codes, found = pd.factorize(values)
    if values.dtype == object:
        found = np.array([str(level) for level in found], dtype=object)
    levels, order = np.unique(found, return_inverse=True)
    return pd.Categorical.from_codes(order.reshape(-1)[codes], categories=pd.Index(levels.tolist()))
