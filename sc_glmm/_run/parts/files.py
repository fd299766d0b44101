"""Write and read files of arrays with a header, so that a file is either complete or absent.

A file is written under a temporary name, synced to the disk, and renamed.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..._adata.journal import sync_folder
from ..._adata.leftovers import temporary_beside
from ..._errors import InputError

# The fastest level is enough, because statistics are mostly zeros; it takes less time than writing uncompressed data.
_LEVEL = 1
_HEADER = "header"
# Errors of zipfile and numpy for files with a damaged directory, stream or header.
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, NotImplementedError)


def write_atomically(path: Path, fill: Callable[[IO[bytes]], None]) -> None:
    """Write a file that gets its name only after it is completely on disk.

    Parameters
    ----------
    path
        Path of the file; an existing file is replaced.
    fill
        Function that writes the content.

    Raises
    ------
    InputError
        If the file cannot be written, for example because the disk is full; the unfinished file is removed.
    """
    try:
        with temporary_beside(path) as temporary:
            with open(temporary, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}); the unfinished file was removed, and files "
            "that were finished before are intact. Free some space (or use a writable folder) and run the same "
            "command again"
        ) from error


def write_part(path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write numeric arrays (no pickles) with a header of plain values."""
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)

    def fill(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            for name, array in {_HEADER: text, **arrays}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    npy.write_array(member, np.ascontiguousarray(array), allow_pickle=False)

    write_atomically(path, fill)


class Part:
    """A part opened for reading; arrays are read, and their checksums verified, on first use.

    Parameters
    ----------
    path
        The file.
    remedy
        Advice if the part is damaged: ``"run chunk 3 again"``.

    Raises
    ------
    InputError
        If the file is damaged; the message contains its path.
    """

    def __init__(self, path: Path, remedy: str) -> None:
        self.path = path
        self._remedy = remedy
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise
        except (OSError, *_DAMAGED) as error:
            raise self.damaged(error) from error
        self.header: dict[str, Any] = self._read_header()

    def __enter__(self) -> Part:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._archive.close()

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._archive.NameToInfo

    def __getitem__(self, name: str) -> NDArray[Any]:
        self.shape(name)
        try:
            with self._archive.open(f"{name}.npy") as member:
                array: NDArray[Any] = npy.read_array(member, allow_pickle=False)
                # the checksum is compared at the end of the member
                if member.read(1):
                    raise ValueError(f"{name} is longer than its header states")
            return array
        except (OSError, *_DAMAGED) as error:
            raise self.damaged(error) from error

    def shape(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Return the kind of the numbers and the shape of an array without reading it."""
        try:
            with self._archive.open(f"{name}.npy") as member:
                version = npy.read_magic(member)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(member)
            n_bytes = self._archive.getinfo(f"{name}.npy").file_size
            if math.prod(shape) * dtype.itemsize > n_bytes:
                raise ValueError(f"{name} has shape {shape} in its header, but the file has only {n_bytes} bytes of it")
        except (OSError, *_DAMAGED) as error:
            raise self.damaged(error) from error
        return dtype.kind, shape

    def wrong(self, name: str, problem: str) -> InputError:
        """Return the error about an array: ``"is missing"``."""
        return self.damaged(ValueError(f"{name} {problem}"))

    def verify(self) -> None:
        """Read the whole file and compare the checksums."""
        try:
            bad = self._archive.testzip()
        except (OSError, *_DAMAGED) as error:
            raise self.damaged(error) from error
        if bad is not None:
            raise self.damaged(ValueError(f"wrong checksum of {bad}"))

    def _read_header(self) -> dict[str, Any]:
        try:
            header = json.loads(self[_HEADER].tobytes())
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise self.damaged(error) from error
        if not isinstance(header, dict):
            raise self.damaged(ValueError("the header is not a dictionary"))
        return header

    def damaged(self, error: BaseException) -> InputError:
        """Return the error about this part."""
        return InputError(
            f"{self.path} is damaged or truncated ({type(error).__name__}: {error}); remove it and {self._remedy}"
        )
