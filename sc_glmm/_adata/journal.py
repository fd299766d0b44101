"""Atomic changes of an .h5ad file: complete or absent, whenever the process is killed.

HDF5 writes in place and in no fixed order, so a process that is killed while writing can leave a file that cannot be
opened. Here, HDF5 therefore writes into memory (:class:`.overlay.Overlay`). A small file is replaced by a changed copy
in one rename, and readers see the old or the new file. For a large file, the changes (old and new bytes) are first
written to a journal next to it and synced; only then is the file itself changed. Readers of a file with a journal see
the new content. The next writer, or :func:`recover`, applies the journal; applying it twice is harmless.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._errors import InputError
from .leftovers import temporary_beside
from .lock import gate, undisturbed
from .overlay import Change, Overlay

_MAGIC = b"sc-glmm journal 1\n"
# Files up to this size are replaced by a changed copy; larger files are changed in place.
COPY_BYTES = 1 << 28


def journal_path(path: Path) -> Path:
    """Return the path of the journal of a file."""
    return path.with_name(f"{path.name}.sc-glmm-journal")


@dataclass(frozen=True)
class Journal:
    """Pending changes of a file."""

    old_size: int
    new_size: int
    changes: Sequence[Change]

    def to_bytes(self) -> bytes:
        """Convert the journal to the bytes that are stored on disk."""
        header = {
            "old_size": self.old_size,
            "new_size": self.new_size,
            "changes": [[c.offset, len(c.old), len(c.new)] for c in self.changes],
        }
        body = json.dumps(header).encode() + b"\n" + b"".join(c.old + c.new for c in self.changes)
        return _MAGIC + struct.pack("<Q", len(body)) + hashlib.sha256(body).digest() + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Journal | None:
        """Read the journal from its bytes; return None if it is incomplete."""
        start = len(_MAGIC) + 8 + 32
        body = data[start:]
        sound = (
            data[: len(_MAGIC)] == _MAGIC
            and len(data) >= start
            and struct.unpack("<Q", data[len(_MAGIC) : len(_MAGIC) + 8])[0] == len(body)
            and hashlib.sha256(body).digest() == data[len(_MAGIC) + 8 : start]
        )
        if not sound:
            return None
        line, _, rest = body.partition(b"\n")
        changes, place = [], 0
        try:
            header = json.loads(line)
            for offset, n_old, n_new in header["changes"]:
                middle, end = place + n_old, place + n_old + n_new
                if min(offset, n_old, n_new) < 0 or offset + n_new > header["new_size"]:
                    return None
                changes.append(Change(offset, rest[place:middle], rest[middle:end]))
                place = end
            return cls(int(header["old_size"]), int(header["new_size"]), changes)
        except (ValueError, KeyError, TypeError):
            return None

    def fits(self, path: Path) -> bool:
        """Check that every byte of the file is the old or the new one; otherwise another program has written to it."""
        size = path.stat().st_size
        if not min(self.old_size, self.new_size) <= size <= max(self.old_size, self.new_size):
            return False
        with path.open("rb") as file:
            for change in self.changes:
                file.seek(change.offset)
                now = np.frombuffer(file.read(len(change.old)), dtype=np.uint8)
                old, new = (np.frombuffer(b[: len(now)], dtype=np.uint8) for b in (change.old, change.new))
                both = min(len(old), len(new))
                if ((now[:both] != old[:both]) & (now[:both] != new[:both])).any():
                    return False
        return True


def commit(path: Path, overlay: Overlay) -> None:
    """Write the changes to the file; the caller is its only writer (:func:`.lock.writing`).

    Raises
    ------
    InputError
        If another program has changed the file since the overlay was opened, or still uses it. In the first case the
        file is not changed; in the second, the journal is kept.
    OSError
        If the journal cannot be written, for example because the disk is full; the file is then not changed. Or if the
        file cannot be changed after that; the journal is then kept, and :func:`recover` applies it.
    """
    result = Journal(overlay.old_size, overlay.size, overlay.changes())
    if _can_be_replaced(path):
        busy = (
            f"{path} is open for writing in another program, so the results were not written, and the file was not "
            "changed. Close it there and run again"
        )
        with gate(path, alone=False, busy=busy):
            _refuse_changed(path, overlay, result)
            try:
                _replace(path, result)
                return
            except OSError:
                pass  # no space for a copy: a journal is smaller
    journal = journal_path(path)
    with temporary_beside(journal) as temporary:
        with temporary.open("wb") as file:
            file.write(result.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(journal)
    sync_folder(journal.parent)
    with gate(path, alone=False, busy=_kept_beside(path)):
        try:
            _refuse_changed(path, overlay, result)
        except InputError:
            journal.unlink()
            raise
    _finish(path, result)


def _kept_beside(path: Path) -> str:
    return (
        f"{path} is open in another program, so the results cannot be written into it; they are stored next to it in "
        f"{journal_path(path).name}. Close the other program. The next run that writes into this file, or "
        "sc_glmm.recover(path), then adds them"
    )


def _can_be_replaced(path: Path) -> bool:
    """Check whether a copy may replace the file: it is small, has one name, and keeps its owner."""
    state = path.stat()
    own = not hasattr(os, "geteuid") or os.geteuid() in (state.st_uid, 0)
    return state.st_size <= COPY_BYTES and state.st_nlink == 1 and own


def _refuse_changed(path: Path, overlay: Overlay, made: Journal) -> None:
    """Raise an error if another program has written to the file since the overlay was opened."""
    state = path.stat()
    if (state.st_size, state.st_mtime_ns) != (overlay.old_size, overlay.changed_at) or not made.fits(path):
        raise InputError(
            f"{path} was changed by another program while the results were being written. They were not added, and "
            "the changes of that program are kept. Run again when no other program writes to the file"
        )


def _replace(path: Path, made: Journal) -> None:
    """Replace the file by a changed copy."""
    state = path.stat()
    with temporary_beside(path, room="copy") as temporary:
        shutil.copyfile(path, temporary)
        _change(temporary, made, beyond=True, sync=False)
        _change(temporary, made, beyond=False)
        shutil.copystat(path, temporary)
        if hasattr(os, "chown") and os.geteuid() == 0:
            os.chown(temporary, state.st_uid, state.st_gid)
        os.utime(temporary)
        os.replace(temporary, path)
    sync_folder(path.parent)


def _finish(path: Path, made: Journal) -> None:
    """Apply the journal; readers are excluded only while bytes change."""
    with undisturbed():
        with gate(path, alone=False, busy=_kept_beside(path)):
            _change(path, made, beyond=True)
        with gate(path, alone=True, busy=_kept_beside(path)):
            if not made.fits(path):
                raise _does_not_fit(path)
            _change(path, made, beyond=False, sync=False)
        _change(path, made, beyond=None)
        journal_path(path).unlink()
        sync_folder(path.parent)


def pending(path: Path) -> Journal | None:
    """Return the pending changes of a file; None if there are none.

    Raises
    ------
    InputError
        If another program has changed the file meanwhile, or if the journal is damaged.
    """
    journal = journal_path(path)
    try:
        data = journal.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{journal} cannot be read ({error.strerror}); it contains results for {path.name}") from error
    found = Journal.from_bytes(data)
    if found is None:
        raise InputError(
            f"{journal} is not a complete journal of this program, so it cannot be applied to {path.name}. "
            "If that file opens, remove the journal"
        )
    if not found.fits(path):
        raise _does_not_fit(path)
    return found


def _does_not_fit(path: Path) -> InputError:
    journal = journal_path(path)
    return InputError(
        f"{path} was changed after an interrupted run had stored results next to it ({journal.name}), so "
        f"they can no longer be added. If the file is correct, remove {journal.name} and run again"
    )


def view(path: Path) -> Overlay | None:
    """Return the file as :func:`recover` would leave it; None without pending changes. The caller holds the gate."""
    found = pending(path)
    return None if found is None else Overlay(path, found.changes, found.new_size)


def recover(path: Path) -> bool:
    """Apply the pending changes of a killed process; return whether there were any. The caller is the only writer.

    Raises
    ------
    InputError
        If another program has changed the file meanwhile, if the journal is damaged, or if the file is in use.
    """
    found = pending(path)
    if found is None:
        return False
    try:
        _finish(path, found)
    except OSError as error:
        raise InputError(
            f"{journal_path(path)} contains results of an interrupted run, which cannot be added to {path} "
            f"({error.strerror}); make the file writable, or free disk space, and run again"
        ) from error
    return True


def _change(path: Path, made: Journal, *, beyond: bool | None, sync: bool = True) -> None:
    """Write the part beyond the old end of the file (reserving space first), or the part before it (None: no part)."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    try:
        if beyond and made.new_size > os.fstat(descriptor).st_size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, made.new_size)
        for change in made.changes:
            if (change.offset >= made.old_size) is beyond:
                _write(descriptor, change.new, change.offset)
        if beyond is False:
            os.ftruncate(descriptor, made.new_size)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def sync_folder(folder: Path) -> None:
    """Sync a new or renamed entry of a folder to disk, if the file system supports it."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # nothing to sync
    finally:
        os.close(descriptor)
