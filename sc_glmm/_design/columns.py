"""The columns that a formula uses: found, checked, and turned into plain numbers, booleans or categories."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .._errors import DesignError, FormulaError, mark
from .._formula import Atom, MixedFormula, Name, is_word

Span = tuple[int, int]

# what Python itself may add to formulaic's functions; nothing that reads files or runs code
_BUILTINS = frozenset("abs bool dict divmod float int len list max min pow range round set slice str sum tuple".split())
_RESPONSE_FUNCTIONS = frozenset({"cbind"})


@dataclass
class Use:
    """How a formula uses one column.

    Attributes
    ----------
    span
        First place in the formula.
    coded
        Used bare or in ``C(...)`` in the fixed part or left of a bar: it may be a factor there.
    computed
        Used in other Python code: its values must stay what they are.
    group
        Used as a grouping factor.
    """

    span: Span
    coded: bool = False
    computed: bool = False
    group: bool = False


def find_columns(formula: MixedFormula, data: pd.DataFrame, *, response: bool = False) -> dict[str, Use]:
    """Every column of `data` that `formula` uses, in the order of the source.

    Raises
    ------
    FormulaError
        If a name is neither a column nor a function.
    """
    uses: dict[str, Use] = {}
    for atom, coded in _atoms(formula, response):
        functions = _functions() | (_RESPONSE_FUNCTIONS if atom is formula.response_atom else frozenset())
        for name in atom.names:
            if not _is_column(name, atom, data, functions, formula.source):
                continue
            use = uses.setdefault(name.name, Use(name.span))
            use.coded |= coded and (atom.kind == "column" or is_categorical_call(atom))
            use.computed |= atom.kind == "python" and not is_categorical_call(atom)
    for term in formula.random:
        for column, span in zip(term.group, term.group_spans, strict=True):
            if column not in data.columns:
                raise _missing(Name(column, span), data, formula.source)
            uses.setdefault(column, Use(span)).group = True
    for column, use in uses.items():
        if isinstance(data[column], pd.DataFrame):
            raise DesignError(
                f"the data have {data[column].shape[1]} columns called {column!r}: names of columns must be unique; "
                f"rename or drop all but one\n{mark(formula.source, use.span)}"
            )
    return dict(sorted(uses.items(), key=lambda item: item[1].span))


def is_categorical_call(atom: Atom) -> bool:
    """Whether the atom is ``C(column, ...)``."""
    return atom.kind == "python" and atom.text.startswith("C(")


def _atoms(formula: MixedFormula, response: bool) -> Iterator[tuple[Atom, bool]]:
    if response and formula.response_atom is not None:
        yield formula.response_atom, False
    for terms in (formula.fixed_terms, *(random.terms for random in formula.random)):
        for term in terms:
            for atom in term:
                yield atom, True
    for atom in formula.offset_atoms:
        yield atom, False


def _functions() -> frozenset[str]:
    from formulaic.transforms import TRANSFORMS  # formulaic is slow to import

    return frozenset(TRANSFORMS) | _BUILTINS


def _is_column(name: Name, atom: Atom, data: pd.DataFrame, functions: frozenset[str], source: str) -> bool:
    """Whether the name is a column (True) or a function (False)."""
    present = name.name in data.columns
    if atom.kind == "column":
        if present:
            return True
        raise _missing(name, data, source)
    if name.called and name.name in functions:
        return False
    if present:
        return True
    if name.name in functions:
        return False
    raise _missing(name, data, source, functions if name.called else None)


def _missing(name: Name, data: pd.DataFrame, source: str, functions: frozenset[str] | None = None) -> FormulaError:
    kind, known = (
        ("column", [c for c in data.columns if isinstance(c, str)])
        if functions is None
        else (
            "function",
            sorted(functions),
        )
    )
    close = difflib.get_close_matches(name.name, known, n=1)
    folded = [candidate for candidate in known if candidate.casefold() == name.name.casefold()]
    hint = f"; did you mean {(folded or close)[0]!r}?" if folded or close else ""
    dotted = [c for c in known if functions is None and c.startswith(f"{name.name}.")]
    if dotted and not hint:
        hint = f"; inside a function write `{dotted[0]}` in backticks"
    listed = list_some(known, 20) if known else "none"
    return FormulaError(f"no {kind} {name.name!r}{hint} (available: {listed})", source, name.span)


def list_some(items: Iterable[object], most: int = 8) -> str:
    """``a, b, c, ... (12 in all)``."""
    texts = [str(item) for item in items]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])}, ... ({len(texts)} in all)"


@dataclass(frozen=True)
class Column:
    """How a column enters the model, so that new data can be treated in the same way.

    Attributes
    ----------
    name
        Its name.
    kind
        ``"number"``, ``"bool"`` (kept as it is for computations) or ``"factor"``.
    categories
        The categories of a factor, base level first if one was asked for.
    chosen
        Where their order comes from: ``"given"``, ``"categorical"``, ``"alphabetical"`` or ``"sorted"``.
    unused
        Declared categories that no row has.
    """

    name: str
    kind: str
    categories: tuple[object, ...] = ()
    chosen: str = "sorted"
    unused: tuple[object, ...] = field(default=(), compare=False)

    def convert(self, values: pd.Series) -> pd.Series:
        """Numbers, booleans, or a Categorical with the stored categories."""
        kind, plain = _plain(values, self.name)
        if self.kind == "factor":
            if kind == "number":
                plain = _match_numbers(np.asarray(plain), self.categories)
            result = pd.Categorical(plain, categories=list(self.categories))
            unknown = pd.unique(plain[result.codes < 0])
            if len(unknown):
                raise DesignError(
                    f"column {self.name!r} has levels that the model does not know: {list_some(unknown)}; "
                    f"known are {list_some(self.categories)}"
                )
            return pd.Series(result, name=self.name)
        if kind == "text" or (kind == "factor" and not pd.api.types.is_numeric_dtype(np.asarray(plain).dtype)):
            raise DesignError(f"column {self.name!r} held numbers when the model was made, and now holds text")
        return pd.Series(np.asarray(plain), name=self.name)


def read_column(values: pd.Series, use: Use, reference: object | None = None) -> Column:
    """Decide how the column enters the model; `values` has no missing ones."""
    name = str(values.name)
    kind, plain = _plain(values, name)
    if kind == "factor":
        declared = values.cat.categories
        used = values.cat.remove_unused_categories().cat.categories
        unused = tuple(level for level in declared if level not in set(used))
        column = Column(name, "factor", tuple(used), "categorical", unused)
    elif kind == "text":
        column = Column(name, "factor", tuple(sorted(set(plain))), "alphabetical")
    elif kind == "bool" and use.coded and not use.computed:
        column = Column(name, "factor", tuple(sorted(set(plain.tolist()))), "sorted")
    else:
        column = Column(name, kind)
    return column if reference is None else _relevel(column, reference)


def _relevel(column: Column, reference: object) -> Column:
    if column.kind != "factor":
        raise DesignError(
            f"reference={{{column.name!r}: {reference!r}}}: column {column.name!r} holds numbers, so it has no levels; "
            "convert it to strings or a pandas Categorical to use it as a factor"
        )
    match = [level for level in column.categories if level == reference or str(level) == str(reference)]
    if not match:
        raise DesignError(
            f"reference={{{column.name!r}: {reference!r}}}: there is no such level in the rows used; "
            f"the levels are {list_some(column.categories, 20)}"
        )
    rest = tuple(level for level in column.categories if level is not match[0])
    return Column(column.name, "factor", (match[0], *rest), "given", column.unused)


def _plain(values: pd.Series, name: str) -> tuple[str, pd.Series | np.ndarray]:
    """What a column holds (``factor``, ``text``, ``bool`` or ``number``) and its values in a plain form."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "factor", values.astype(object).to_numpy()
    if isinstance(dtype, pd.SparseDtype):
        values = pd.Series(np.asarray(values), name=values.name)
        dtype = values.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "bool", values.to_numpy(dtype=bool)
    if pd.api.types.is_complex_dtype(dtype):
        raise DesignError(f"column {name!r} holds complex numbers, which no model here can use")
    if pd.api.types.is_integer_dtype(dtype):
        return "number", values.to_numpy(dtype=np.int64)
    if pd.api.types.is_float_dtype(dtype):
        return "number", values.to_numpy(dtype=np.float64)
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred == "boolean":
        return "bool", values.to_numpy(dtype=bool)
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal"):
        numbers = values.to_numpy(dtype=np.float64)
        whole = inferred == "integer" and np.abs(numbers).max(initial=0.0) < 2**53
        return "number", numbers.astype(np.int64) if whole else numbers
    if inferred in ("string", "mixed-integer", "empty") or all(isinstance(v, str | int | float) for v in values):
        return "text", np.array([str(value) for value in values], dtype=object)
    raise DesignError(
        f"column {name!r} holds {dtype if inferred == 'mixed' else inferred} values; "
        "a model needs numbers, booleans, strings or categories: convert it first"
    )


def _match_numbers(values: np.ndarray, categories: tuple[object, ...]) -> np.ndarray:
    """Numbers written as text when the categories are text: new data may have lost their type in a file."""
    if categories and all(isinstance(category, str) for category in categories):
        return np.array([str(value) for value in values.tolist()], dtype=object)
    return values


def in_backticks(name: str) -> str:
    """The name as a formula writes it."""
    return name if is_word(name) else f"`{name}`"
