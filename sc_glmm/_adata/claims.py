"""Check the declared structure of a stored element before it is read.

Functions here raise ValueError; callers add the file and the element.

A small file can declare an array that fills the memory, groups that contain themselves, and links to other files. Such
an element is rejected before anything is allocated or opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .._parallel.resources import available_memory

# Largest number of groups and arrays in one element, and of groups nested in each other.
_MOST, _DEEPEST = 200_000, 40
# Elements below this size (bytes) are read without comparing them with the available memory.
_SMALL = 1 << 26


def read_checked(element: Any) -> Any:
    """Read an element that AnnData wrote.

    Raises
    ------
    ValueError
        If it refers to other files, contains itself, or declares more data than fit into memory.
    """
    from anndata.io import read_elem

    refuse_claims(element)
    read: Any = read_elem
    return read(element)


def refuse_claims(element: Any) -> None:
    """Raise an error for an element that cannot be read safely; only its structure is read."""
    n_bytes, n_seen = 0, 0
    waiting = [(element, 0)]
    while waiting:
        held, depth = waiting.pop()
        n_seen += 1
        if n_seen > _MOST or depth > _DEEPEST:
            raise ValueError(f"it has more than {_MOST:,} parts or {_DEEPEST} levels, or contains itself")
        if hasattr(held, "keys"):
            if held.attrs.get("encoding-type") == "dataframe":
                refuse_lengths(held, [str(name) for name in held.attrs["column-order"]])
            waiting += [(child_of(held, name), depth + 1) for name in held]
            continue
        refuse_other_files(held)
        n_bytes += math.prod(held.shape or ()) * held.dtype.itemsize
    if n_bytes > _SMALL and n_bytes > available_memory():
        free = available_memory()
        raise ValueError(
            f"it declares {n_bytes / 1e9:,.1f} GB of data, but {free / 1e9:,.1f} GB of memory are available"
        )


def refuse_lengths(table: Any, names: Iterable[str]) -> None:
    """Raise an error for columns of a table whose length differs from its index; pandas would repeat a single value."""
    index = shape_of_column(table, str(table.attrs["_index"]))
    for name in names:
        shape = shape_of_column(table, name)
        if shape != index:
            raise ValueError(f"its column {name!r} has shape {shape}, but its index has shape {index}")


def shape_of_column(table: Any, name: str) -> tuple[int, ...]:
    """Shape of a column of a table; categories and nullable columns are groups of arrays."""
    column = child_of(table, name)
    inside = next((part for part in ("codes", "values") if hasattr(column, "keys") and part in column), None)
    array = column if inside is None else child_of(column, inside)
    if hasattr(array, "keys"):
        raise ValueError(f"its column {name!r} is a group, but must be an array")
    return tuple(array.shape)


def child_of(group: Any, name: str) -> Any:
    """Return an entry of a group; links to other files are not followed."""
    get = getattr(group, "get", None)
    if type(group).__module__.startswith("h5py") and get is not None:
        import h5py

        if isinstance(get(name, getlink=True), h5py.ExternalLink):
            raise ValueError(f"{name!r} is a link to another file; copy that element into this file")
    return group[name]


def refuse_other_files(dataset: Any) -> None:
    """Raise an error for an HDF5 dataset that stores its values in other files."""
    if getattr(dataset, "external", None) or getattr(dataset, "is_virtual", False):
        raise ValueError("its values are in other files; copy them into this file")


def at(root: Any, place: str) -> Any:
    """Return the element at a place such as ``varm/glmm`` or ``X``, without following links to other files."""
    if not hasattr(root, "get"):  # a store with a stage next to it
        return root[place]
    held = root
    for name in place.split("/"):
        held = child_of(held, name)
    return held
