"""Writable view of a file that keeps changes in memory until they are committed."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PAGE = 1 << 14


@dataclass(frozen=True)
class Change:
    """Old and new bytes from position `offset` onwards; `old` is shorter if the file grows."""

    offset: int
    old: bytes
    new: bytes


class Overlay(io.RawIOBase):
    """File object that can be written to without changing the file: writes stay in memory.

    Parameters
    ----------
    path
        The file.
    changes, size
        Initial changes to its bytes, and the resulting size; None for the size of the file.
    """

    def __init__(self, path: Path, changes: Sequence[Change] = (), size: int | None = None) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        state = os.fstat(self._descriptor)
        self.old_size = self.size = state.st_size
        self.changed_at = state.st_mtime_ns
        self._pages: dict[int, bytearray] = {}
        self._place = 0
        for change in changes:
            self.seek(change.offset)
            self.write(change.new)
        self.size = self.size if size is None else size
        self.seek(0)

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position in the file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """Return the position in the file."""
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the resulting file."""
        self.size = self._place if size is None else size
        return self.size

    def readinto(self, buffer: Any) -> int:
        """Read written bytes from memory, and all others from the file."""
        view = memoryview(buffer).cast("B")
        n = max(min(len(view), self.size - self._place), 0)
        done = 0
        while done < n:
            page, start = divmod(self._place + done, _PAGE)
            step = min(_PAGE - start, n - done)
            if page in self._pages:
                view[done : done + step] = self._pages[page][start : start + step]
            else:
                # read a run of unchanged pages at once
                while done + step < n and (self._place + done + step) // _PAGE not in self._pages:
                    step = min(step + _PAGE, n - done)
                view[done : done + step] = self._old(self._place + done, step)
            done += step
        self._place += n
        return n

    def write(self, data: Any) -> int:
        """Store the written bytes."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            page, start = divmod(self._place + done, _PAGE)
            step = min(_PAGE - start, len(view) - done)
            if page not in self._pages:
                self._pages[page] = bytearray(self._old(page * _PAGE, _PAGE))
            self._pages[page][start : start + step] = view[done : done + step]
            done += step
        self._place += len(view)
        self.size = max(self.size, self._place)
        return len(view)

    def close(self) -> None:
        """Discard all changes."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _old(self, offset: int, n: int) -> bytes:
        """Read bytes of the file, with zeros beyond its end."""
        data = b""
        while len(data) < n:
            more = os.pread(self._descriptor, n - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data.ljust(n, b"\0")

    def changes(self) -> list[Change]:
        """Return the changes relative to the file, by pages."""
        out = []
        for page in sorted(self._pages):
            offset = page * _PAGE
            n = min(_PAGE, self.size - offset)
            if n > 0:
                old = self._old(offset, max(min(n, self.old_size - offset), 0)) if offset < self.old_size else b""
                new = bytes(self._pages[page][:n])
                if old != new:
                    out.append(Change(offset, old, new))
        return out
