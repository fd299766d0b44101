"""Changes of a file that are complete or have not happened, whenever the process is killed.

HDF5 writes in place and in no promised order: a process that is killed while it does so can leave a file that nothing
can open. So HDF5 writes into memory here. What it would change is first written to a journal beside the file, old bytes
and new ones, and brought to the disk; only then is the file changed. Whoever opens a file with a journal beside it
finishes the work first; doing so twice does no harm.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import InputError

try:
    import fcntl
except ImportError:  # not on Windows: there two processes that write the same file at the same time are not kept apart
    fcntl = None  # type: ignore[assignment]

_MAGIC = b"sc-glmm journal 1\n"
_PAGE = 1 << 14


class Overlay(io.RawIOBase):
    """A file that can be written to without being changed: writes stay in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.old_size = self.size = os.fstat(self._descriptor).st_size
        self._pages: dict[int, bytearray] = {}
        self._place = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Set the size that the file will have."""
        self.size = self._place if size is None else size
        return self.size

    def readinto(self, buffer: Any) -> int:
        """Read what has been written here, and the file elsewhere."""
        view = memoryview(buffer).cast("B")
        n = max(min(len(view), self.size - self._place), 0)
        done = 0
        while done < n:
            page, start = divmod(self._place + done, _PAGE)
            step = min(_PAGE - start, n - done)
            if page in self._pages:
                view[done : done + step] = self._pages[page][start : start + step]
            else:
                # a run of untouched pages at once
                while done + step < n and (self._place + done + step) // _PAGE not in self._pages:
                    step = min(step + _PAGE, n - done)
                view[done : done + step] = self._old(self._place + done, step)
            done += step
        self._place += n
        return n

    def write(self, data: Any) -> int:
        """Keep what is written."""
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
        """Forget everything."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _old(self, offset: int, n: int) -> bytes:
        """Bytes of the file, zeros beyond its end."""
        data = b""
        while len(data) < n:
            more = os.pread(self._descriptor, n - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data.ljust(n, b"\0")

    def changes(self) -> list[Change]:
        """What the file would have to be changed in, by pages."""
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


@dataclass(frozen=True)
class Change:
    """Bytes from `offset` on as they are and as they will be; `old` is shorter where the file grows."""

    offset: int
    old: bytes
    new: bytes


def journal_path(path: Path) -> Path:
    """Where the journal of a file lies."""
    return path.with_name(f"{path.name}.sc-glmm-journal")


def commit(path: Path, overlay: Overlay) -> None:
    """Lay a journal of the changes beside the file, then change the file.

    Raises
    ------
    OSError
        If the journal cannot be written, such as on a full disk: the file is as it was. If the file cannot be changed
        after that: the journal is kept, and :func:`recover` finishes the work.
    """
    changes = overlay.changes()
    journal = journal_path(path)
    header = {
        "old_size": overlay.old_size,
        "new_size": overlay.size,
        "changes": [[c.offset, len(c.old), len(c.new)] for c in changes],
    }
    body = json.dumps(header).encode() + b"\n" + b"".join(c.old + c.new for c in changes)
    digest = hashlib.sha256(body).digest()
    temporary = journal.with_name(f"{journal.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_MAGIC + struct.pack("<Q", len(body)) + digest + body)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(journal)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(journal.parent)
    _apply(path, overlay.old_size, overlay.size, changes)
    journal.unlink()
    sync_folder(journal.parent)


def recover(path: Path) -> bool:
    """Finish what a process began that was killed; whether there was anything to do.

    Raises
    ------
    InputError
        If the file was changed by something else meanwhile, or the journal is damaged.
    """
    journal = journal_path(path)
    try:
        data = journal.read_bytes()
    except FileNotFoundError:
        return False
    start = len(_MAGIC) + 8 + 32
    body = data[start:]
    sound = (
        data[: len(_MAGIC)] == _MAGIC
        and len(data) >= start
        and struct.unpack("<Q", data[len(_MAGIC) : len(_MAGIC) + 8])[0] == len(body)
        and hashlib.sha256(body).digest() == data[len(_MAGIC) + 8 : start]
    )
    if not sound:
        raise InputError(
            f"{journal} is no whole journal of this program, so that it cannot say how {path.name} is to be finished; "
            "if the file opens, remove the journal"
        )
    line, _, rest = body.partition(b"\n")
    header = json.loads(line)
    changes = []
    for offset, n_old, n_new in header["changes"]:
        changes.append(Change(offset, rest[:n_old], rest[n_old : n_old + n_new]))
        rest = rest[n_old + n_new :]
    _refuse_strange(path, journal, header["old_size"], header["new_size"], changes)
    _apply(path, header["old_size"], header["new_size"], changes)
    journal.unlink()
    sync_folder(journal.parent)
    return True


def _refuse_strange(path: Path, journal: Path, old_size: int, new_size: int, changes: list[Change]) -> None:
    """Every byte must be the old one or the new one: else somebody else wrote here."""
    size = path.stat().st_size
    strange = not min(old_size, new_size) <= size <= max(old_size, new_size)
    with path.open("rb") as file:
        for change in changes if not strange else ():
            file.seek(change.offset)
            now = np.frombuffer(file.read(len(change.old)), dtype=np.uint8)
            old, new = (np.frombuffer(b[: len(now)], dtype=np.uint8) for b in (change.old, change.new))
            both = min(len(old), len(new))
            strange |= bool(((now[:both] != old[:both]) & (now[:both] != new[:both])).any())
    if strange:
        raise InputError(
            f"{path} was changed after the results of an interrupted run were laid beside it ({journal.name}), so that "
            f"they cannot be put in any more; if the file is as it should be, remove {journal.name} and run again"
        )


def _apply(path: Path, old_size: int, new_size: int, changes: list[Change]) -> None:
    """Bring the changes to the disk: room first, then what lies beyond the old end, then the rest."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    try:
        _lock(descriptor, path)
        if new_size > os.fstat(descriptor).st_size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, new_size)
        for beyond in (True, False):
            for change in changes:
                if (change.offset >= old_size) == beyond:
                    _write(descriptor, change.new, change.offset)
            os.fsync(descriptor)
        os.ftruncate(descriptor, new_size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def _lock(descriptor: int, path: Path) -> None:
    """Keep others from writing, until the file is closed."""
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"{path} is open somewhere else, so that the results cannot be written into it; they lie beside it in "
            f"{journal_path(path).name}. Close the other program, and the next run on this file, or "
            "sc_glmm.recover(path), puts them in"
        ) from error
    except OSError:
        pass  # a file system without locks


def sync_folder(folder: Path) -> None:
    """Bring a new or renamed entry of a folder to the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
