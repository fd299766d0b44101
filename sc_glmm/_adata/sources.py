"""Sources for matrices in files, backed AnnData and dask arrays."""

from __future__ import annotations

import os
from copy import copy
from typing import Any

import numpy as np
import scipy.sparse as sp

from .._arrays import AnyArray, IntArray
from .._compress.kernels import Stored
from .._compress.matrix import stored_values
from .._compress.source import Form, Source, checked_lines, sparse_rows
from .._errors import InputError
from .claims import at, refuse_claims
from .hdf5 import H5Reader, Reader


class ZarrReader:
    """Array of a zarr store. It is pickled as a path and a name.

    Parameters
    ----------
    path
        The store.
    name
        The array.
    """

    def __init__(self, path: str, name: str) -> None:
        import zarr

        self.path, self.name = path, name
        self._array: Any = zarr.open_group(path, mode="r")[name]
        self.shape, self.dtype = tuple(self._array.shape), np.dtype(self._array.dtype)

    def __getstate__(self) -> dict[str, str]:
        return {"path": self.path, "name": self.name}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def check_complete(self) -> None:
        """Raise an error if chunks of an array are missing, because zarr reads them as zeros.

        Zarr does not write chunks of zeros. But the stored values of a sparse matrix are not zero, and neither are the
        indices of a whole chunk.
        """
        there, wanted = int(self._array.nchunks_initialized), int(self._array.nchunks)
        if there < wanted:
            raise InputError(
                f"{self.path} is damaged: of {wanted:,} chunks of {self.name}, {wanted - there:,} are missing and "
                "would be read as zeros. Use an intact copy"
            )

    def read(self, first: int, last: int) -> AnyArray:
        """Read the elements (rows) from `first` up to `last`, exclusive."""
        try:
            return np.asarray(self._array[first:last])
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{self.path} is damaged: {self.name} cannot be read ({error}). Use an intact copy"
            ) from error


class SparseSource(Source):
    """CSR or CSC matrix with values and indices that are read slice by slice.

    Parameters
    ----------
    shape, form, name
        As in :class:`~sc_glmm._compress.source.Source`.
    values, indices
        The stored values and their indices.
    indptr
        Start of each row (or column).
    path
        The file, for messages about damage.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        form: Form,
        name: str,
        values: Reader,
        indices: Reader,
        indptr: AnyArray,
        path: str,
    ) -> None:
        self.shape, self.form, self.name = shape, form, name
        self._label = f"{path}: {name}"
        self._values, self._indices = values, indices
        self.line_ptr = np.ascontiguousarray(indptr, dtype=np.int64)
        n = int(self.line_ptr[-1]) if len(self.line_ptr) else -1
        if (
            len(self.line_ptr) != self.n_lines + 1
            or self.line_ptr[0] != 0
            or (np.diff(self.line_ptr) < 0).any()
            or n > values.shape[0]
            or n > indices.shape[0]
        ):
            raise InputError(
                f"{self._label} is damaged: its indptr ({len(self.line_ptr)} numbers, the last {n:,}) does not match "
                f"its shape {shape}, its {values.shape[0]:,} values and {indices.shape[0]:,} indices; use an intact "
                "copy"
            )
        stored_values(np.zeros(0, dtype=values.dtype))

    def read(self, first: int, last: int) -> Stored:
        """Read the lines from `first` up to `last`, exclusive."""
        lo, hi = int(self.line_ptr[first]), int(self.line_ptr[last])  # type: ignore[index]
        indptr = self.line_ptr[first : last + 1] - lo  # type: ignore[index]
        stored = Stored(self._values.read(lo, hi), self._indices.read(lo, hi), indptr)
        return checked_lines(stored, self.shape[0 if self.form == "csc" else 1], self._label, first)

    def read_values(self, first: int, last: int) -> tuple[AnyArray, AnyArray]:
        """Read only the stored values of these lines."""
        lo, hi = int(self.line_ptr[first]), int(self.line_ptr[last])  # type: ignore[index]
        return stored_values(self._values.read(lo, hi)), self.line_ptr[first : last + 1] - lo  # type: ignore[index]

    def part(self, first: int, last: int) -> Source:
        """Return the lines from `first` up to `last`, exclusive, as a source."""
        result = copy(self)
        result.line_ptr = self.line_ptr[first : last + 1].copy()  # type: ignore[index]
        result.shape = (self.shape[0], last - first) if self.form == "csc" else (last - first, self.shape[1])
        return result


class DenseSource(Source):
    """Dense matrix that is read by rows."""

    form = "dense"
    line_ptr = None

    def __init__(self, name: str, rows: Reader, path: str) -> None:
        if len(rows.shape) != 2:
            raise InputError(f"{path}: {name} has {len(rows.shape)} dimensions; it must be cells x genes")
        self.shape, self.name, self._rows, self._first = (int(rows.shape[0]), int(rows.shape[1])), name, rows, 0
        stored_values(np.zeros(0, dtype=rows.dtype))

    def read(self, first: int, last: int) -> Stored:
        """Read the rows from `first` up to `last`, exclusive, as CSR arrays."""
        return sparse_rows(self._rows.read(self._first + first, self._first + last))

    def part(self, first: int, last: int) -> Source:
        """Return the rows from `first` up to `last`, exclusive, as a source."""
        result = copy(self)
        result._first, result.shape = self._first + first, (last - first, self.shape[1])
        return result

    def read_values(self, first: int, last: int) -> tuple[AnyArray, AnyArray]:
        """Read all elements of these rows."""
        block = stored_values(np.ascontiguousarray(self._rows.read(self._first + first, self._first + last)))
        return block.reshape(-1), np.arange(last - first + 1, dtype=np.int64) * self.shape[1]


class DaskSource(Source):
    """Dask array in blocks of whole rows (or of columns, if it has only one block of rows); one block is a chunk."""

    line_ptr = None

    def __init__(self, array: Any, name: str) -> None:
        if np.isnan(np.array(array.shape, dtype=float)).any():
            raise InputError(f"{name} is a dask array of unknown shape {array.shape}; call compute_chunk_sizes() first")
        self._array, self.name = array, name
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        by_columns = len(array.chunks[0]) == 1 and len(array.chunks[1]) > 1 and sp.issparse(array._meta)
        self.form = "csc" if by_columns else "csr"

    def bounds(self) -> IntArray:
        """Return the first line of every block."""
        sizes = self._array.chunks[1 if self.form == "csc" else 0]
        return np.unique(np.concatenate([[0], np.cumsum(sizes)])).astype(np.int64)

    def read(self, first: int, last: int) -> Stored:
        """Read the lines from `first` up to `last`, exclusive."""
        part = self._array[:, first:last] if self.form == "csc" else self._array[first:last]
        block = part.compute()
        if not sp.issparse(block):
            return sparse_rows(np.asarray(block))
        matrix = sp.csc_matrix(block) if self.form == "csc" else sp.csr_matrix(block)
        stored = Stored(matrix.data, matrix.indices, np.asarray(matrix.indptr, dtype=np.int64))
        return checked_lines(stored, self.shape[0 if self.form == "csc" else 1], self.name, first)

    def read_values(self, first: int, last: int) -> tuple[AnyArray, AnyArray]:
        """Read only the stored values of these lines."""
        stored = self.read(first, last)
        return stored.data, stored.indptr


def source_in_file(group: Any, path: str, key: str, name: str) -> Source:
    """Return the matrix under `key` of an open HDF5 file or zarr store, as a source for reading in chunks.

    Parameters
    ----------
    group
        The open root group.
    path
        Path of the file or store, which threads and processes open again.
    key
        Name of the matrix in the file, such as ``"X"`` or ``"layers/counts"``.
    name
        Name of the matrix in messages.
    """
    try:
        element = at(group, key)
        refuse_claims(element["indptr"] if hasattr(element, "keys") and "indptr" in element else np.zeros(0))
    except ValueError as error:
        raise InputError(f"{path}: {name} cannot be read: {error}") from error
    reader: Any = ZarrReader if os.path.isdir(path) else H5Reader
    if not hasattr(element, "keys"):
        return DenseSource(name, reader(path, key), path)
    form, shape = _sparse_form(element, f"{path}: {name}")
    n_lines = shape[1 if form == "csc" else 0]
    if tuple(element["indptr"].shape) != (n_lines + 1,):
        raise InputError(
            f"{path}: {name} is damaged: its indptr has shape {tuple(element['indptr'].shape)}, but its shape "
            f"{shape} needs {n_lines + 1:,} numbers; use an intact copy"
        )
    indptr = np.asarray(element["indptr"][...])
    values, indices = reader(path, f"{key}/data"), reader(path, f"{key}/indices")
    for array in (values, indices):
        if isinstance(array, ZarrReader):
            array.check_complete()
    return SparseSource(shape, form, name, values, indices, indptr, path)


def _sparse_form(element: Any, name: str) -> tuple[Form, tuple[int, int]]:
    attrs = element.attrs
    form = str(attrs.get("encoding-type", attrs.get("h5sparse_format", "")))
    shape = attrs.get("shape", attrs.get("h5sparse_shape"))
    if form[:3] not in ("csr", "csc"):
        raise InputError(f"{name} is stored as {form or 'an unknown format'!r}; it must be CSR, CSC or dense")
    if np.shape(shape) != (2,) or np.asarray(shape).dtype.kind not in "iu":
        raise InputError(f"{name} is damaged: its shape is {shape!r}, not two numbers; use an intact copy of the file")
    return ("csr" if form[:3] == "csr" else "csc"), (int(shape[0]), int(shape[1]))


def is_dask(matrix: Any) -> bool:
    """Check whether a matrix is a dask array."""
    return hasattr(matrix, "dask") and hasattr(matrix, "compute")


def lazy_source(matrix: Any, name: str) -> Source | None:
    """Return a source for the matrix of a backed or lazy AnnData; None for matrices in memory."""
    if is_dask(matrix):
        return DaskSource(matrix, name)
    # anndata's CSRDataset and CSCDataset have a group; the arrays of h5py and zarr do not
    held = getattr(matrix, "group", matrix)
    if type(held).__module__.startswith("h5py"):
        if held.file.mode != "r":
            held.file.flush()
        return source_in_file(held.file, str(held.file.filename), held.name.lstrip("/"), name)
    if type(held).__module__.startswith("zarr"):
        root = str(getattr(held.store, "root", ""))
        if os.path.isdir(root):
            import zarr

            return source_in_file(zarr.open_group(root, mode="r"), root, held.path, name)
    return None
