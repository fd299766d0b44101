"""Read slices of HDF5 datasets directly from the file, from many threads at once.

h5py holds one lock for all files, and Python's lock while it copies. Plain numbers can be read without both locks:
HDF5 reports the position of the bytes of a dataset, the operating system reads them, and zlib decompresses gzip.
All other data (other filters, several dimensions in chunks) are read with h5py, in one thread at a time.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .._arrays import AnyArray, IntArray
from .._errors import InputError
from .journal import view
from .lock import gate

_DEFLATE, _SHUFFLE = 1, 2
# Gaps of up to this many bytes between neighbouring chunks are read too, because this is faster than seeking.
_GAP = 1 << 12


class Reader(Protocol):
    """Reader of slices along the first axis of a stored array; safe to call from several threads."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, first: int, last: int) -> AnyArray:
        """Read the elements from `first` up to `last`, exclusive."""
        ...


@dataclass(frozen=True)
class _Layout:
    """Position of the bytes of a dataset: at one offset, or in chunks of `chunk` elements (`size` bytes each)."""

    offset: int | None
    chunk: int
    starts: IntArray
    sizes: IntArray
    masks: IntArray
    filters: tuple[int, ...]


class H5Reader:
    """Dataset of an HDF5 file. It is pickled as a path and a name, and opens the file on use.

    Parameters
    ----------
    path
        The file.
    name
        The dataset.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name
        self._open()

    def __getstate__(self) -> dict[str, str]:
        return {"path": self.path, "name": self.name}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __del__(self) -> None:
        descriptor = self.__dict__.pop("_descriptor", None)
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> None:
        with open_for_reading(self.path) as file:
            dataset = file[self.name]
            self.shape, self.dtype = tuple(dataset.shape), np.dtype(dataset.dtype)
            self._layout = None if file.userblock_size else _layout(dataset)
        self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._lock = threading.Lock()
        self._row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def read(self, first: int, last: int) -> AnyArray:
        """Read the elements (rows) from `first` up to `last`, exclusive."""
        first, last = max(first, 0), min(last, self.shape[0])
        if self._layout is None:
            return self._through_h5py(first, last)
        if self._layout.offset is not None:
            out = np.empty((last - first, *self.shape[1:]), dtype=self.dtype)
            self._fill(out.reshape(-1).view(np.uint8), self._layout.offset + first * self._row)
            return out
        return self._from_chunks(self._layout, first, last)

    def _through_h5py(self, first: int, last: int) -> AnyArray:
        with self._lock, open_for_reading(self.path) as file:
            return np.asarray(file[self.name][first:last])

    def _from_chunks(self, layout: _Layout, first: int, last: int) -> AnyArray:
        """Read elements from chunks; chunks that are adjacent in the file are read at once."""
        out = np.zeros(last - first, dtype=self.dtype)  # a chunk that was never written contains zeros
        if last <= first:
            return out
        if not layout.filters:
            self._copy_chunks(layout, first, last, out)
            return out
        numbers = np.arange(first // layout.chunk, (last - 1) // layout.chunk + 1)
        numbers = numbers[layout.sizes[numbers] > 0]
        starts, ends = layout.starts[numbers], layout.starts[numbers] + layout.sizes[numbers]
        hole = starts[1:] - ends[:-1]
        for run in np.split(np.arange(len(numbers)), np.flatnonzero((hole < 0) | (hole > _GAP)) + 1):
            if len(run) == 0:
                continue
            start = int(starts[run[0]])
            raw = np.empty(int(ends[run[-1]]) - start, dtype=np.uint8)
            self._fill(raw, start)
            for i in run.tolist():
                number = int(numbers[i])
                packed = raw[int(starts[i]) - start : int(ends[i]) - start]
                values = self._unpack(packed, layout, number)
                lo = number * layout.chunk
                a, b = max(lo, first), min(lo + layout.chunk, last)
                if len(values) < b - lo:
                    raise self._damaged(f"chunk {number} has {len(values)} values instead of {layout.chunk}")
                out[a - first : b - first] = values[a - lo : b - lo]
        return out

    def _copy_chunks(self, layout: _Layout, first: int, last: int, out: AnyArray) -> None:
        """Read elements from chunks without filters, whose bytes in the file are those of the elements."""
        size = self.dtype.itemsize
        numbers = np.arange(first // layout.chunk, (last - 1) // layout.chunk + 1)
        numbers = numbers[layout.sizes[numbers] > 0]
        cut_off = numbers[layout.sizes[numbers] < layout.chunk * size]
        if len(cut_off):
            n = int(layout.sizes[cut_off[0]]) // size
            raise self._damaged(f"chunk {cut_off[0]} has {n} values instead of {layout.chunk}")
        jumps = (np.diff(numbers) != 1) | (np.diff(layout.starts[numbers]) != layout.chunk * size)
        for run in np.split(numbers, np.flatnonzero(jumps) + 1):
            if len(run) == 0:
                continue
            begin, end = int(run[0]) * layout.chunk, (int(run[-1]) + 1) * layout.chunk
            a, b = max(begin, first), min(end, last)
            place = out[a - first : b - first].view(np.uint8)
            self._fill(place, int(layout.starts[run[0]]) + (a - begin) * size)

    def _unpack(self, packed: AnyArray, layout: _Layout, number: int) -> AnyArray:
        mask = int(layout.masks[number])
        data: Any = packed
        for place in reversed(range(len(layout.filters))):
            if mask >> place & 1:
                continue
            if layout.filters[place] == _DEFLATE:
                try:
                    data = zlib.decompress(data)
                except zlib.error as error:
                    raise self._damaged(f"chunk {number} cannot be decompressed ({error})") from error
            else:
                size = self.dtype.itemsize
                block = np.frombuffer(data, dtype=np.uint8)
                whole = len(block) // size * size
                data = np.ascontiguousarray(block[:whole].reshape(size, -1).T).reshape(-1)
        n = len(data) // self.dtype.itemsize
        return np.frombuffer(data, dtype=self.dtype, count=n)

    def _fill(self, buffer: AnyArray, offset: int) -> None:
        """Fill `buffer` from the file, without holding Python's lock."""
        view, done = buffer.data, 0
        while done < len(view):
            try:
                n = os.preadv(self._descriptor, [view[done : done + (1 << 30)]], offset + done)
            except OSError as error:
                raise self._damaged(f"reading at byte {offset + done:,} failed ({error.strerror})") from error
            if n == 0:
                size = os.fstat(self._descriptor).st_size
                raise self._damaged(f"it needs bytes up to {offset + len(view):,}, but the file has {size:,}")
            done += n

    def _damaged(self, what: str) -> InputError:
        return InputError(
            f"{self.path} is damaged or truncated: {self.name}: {what}. Nothing was written; use an intact copy of "
            "the file"
        )


def _layout(dataset: Any) -> _Layout | None:
    """Return the position of the bytes, or None if they cannot be read directly."""
    import h5py

    if dataset.dtype.kind not in "biuf" or dataset.id.get_type().get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        return None
    plist = dataset.id.get_create_plist()
    nothing = np.zeros(0, dtype=np.int64)
    if plist.get_layout() == h5py.h5d.CONTIGUOUS and plist.get_external_count() == 0:
        offset = dataset.id.get_offset()
        return None if offset is None else _Layout(int(offset), 0, nothing, nothing, nothing, ())
    if dataset.chunks is None or dataset.ndim != 1 or dataset.fillvalue != 0:
        return None
    filters = tuple(int(plist.get_filter(i)[0]) for i in range(plist.get_nfilters()))
    if not set(filters) <= {_DEFLATE, _SHUFFLE} or not hasattr(dataset.id, "chunk_iter"):
        return None
    chunk = int(dataset.chunks[0])
    found: list[tuple[int, int, int, int]] = []

    def note(info: Any) -> None:
        found.append((info.chunk_offset[0] // chunk, info.byte_offset, info.size, info.filter_mask))

    dataset.id.chunk_iter(note)
    starts, sizes, masks = (np.zeros(-(-dataset.shape[0] // chunk), dtype=np.int64) for _ in range(3))
    if found:
        table = np.array(found, dtype=np.int64)
        starts[table[:, 0]], sizes[table[:, 0]], masks[table[:, 0]] = table[:, 1], table[:, 2], table[:, 3]
    return _Layout(None, chunk, starts, sizes, masks, filters)


class readable:
    """Context that translates h5py's errors about a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError | KeyError | RuntimeError) and not isinstance(error, FileNotFoundError):
            raise InputError(
                f"{self._path} cannot be read as an AnnData: {error}. It must be a complete file from "
                "AnnData.write_h5ad; if it is truncated or damaged, use an intact copy"
            ) from error


@contextmanager
def open_for_reading(path: str) -> Iterator[Any]:
    """Open an HDF5 file while no process writes to it, including pending results of an interrupted run."""
    import h5py

    place = Path(path).resolve()
    busy = f"{path} is open for writing in another program; close it there, or wait until that program has ended"
    with gate(place, alone=False, busy=busy), readable(path):
        try:
            held = view(place)
        except InputError:
            held = None  # the file as it is; the note was given when it was opened
        with h5py.File(path if held is None else held, "r") as file:
            yield file
