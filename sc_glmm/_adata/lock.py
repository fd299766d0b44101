"""Locks between processes: one writer of a file at a time, and no reader while the file changes.

A writer holds a lock file next to the data, from before it reads the file until the change is complete. The *gate* is a
second lock on the data themselves (the .h5ad file, or the metadata of `obs` in a zarr store). Readers share it. A
writer holds it alone, and only while bytes change. HDF5 takes the same lock on a file that it opens, so the gate also
excludes other programs.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._display import logger
from .._errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Seconds to wait for another writer, and for programs that have the file open.
WRITER_PATIENCE = 600.0
GATE_PATIENCE = 60.0
_STEP = 0.005
# Seconds before the user is informed about waiting.
_SILENT = 0.5


def lock_path(path: Path) -> Path:
    """Return the lock file of the writers of `path`; it exists only while one of them works (or was killed)."""
    return path.with_name(f".{path.name}.sc-glmm-lock")


def _claim_path(path: Path) -> Path:
    """Return the file that replaces the lock file on a file system without locks."""
    return path.with_name(f".{path.name}.sc-glmm-claim")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make this process the only writer of `path`.

    Raises
    ------
    InputError
        If another process writes for longer than :data:`WRITER_PATIENCE`, or if the lock cannot be created.
    """
    held = _wait_for_lock(path)
    try:
        yield
    finally:
        # removed while it is held: waiting processes notice that their file is gone, and start again
        (_claim_path(path) if held is None else lock_path(path)).unlink(missing_ok=True)
        if held is not None:
            os.close(held)


def _wait_for_lock(path: Path) -> int | None:
    """Wait for the lock and return its descriptor; None if the file system has no locks and the claim succeeded."""
    start, reported = time.monotonic(), False
    while True:
        try:
            done, held = _try_lock(lock_path(path))
            if not done and held == _NO_LOCKS:
                done, held = _try_claim(path), None
        except OSError as error:
            raise InputError(
                f"the results could not be written into {path}: the lock file {lock_path(path)} cannot be created "
                f"({error.strerror}), and the data were not changed. Make the folder writable, or choose another "
                "output"
            ) from error
        if done:
            return held
        waited = time.monotonic() - start
        if waited > _SILENT and not reported:
            reported = True
            logger.warning("%s: waiting for %s, which writes results into it", path.name, _holder(path))
        if waited > WRITER_PATIENCE:
            raise InputError(
                f"{path}: {_holder(path)} has been writing into it for more than {WRITER_PATIENCE:.0f} s. These "
                "results were not written, and the data were not changed; run again when that process has ended"
            )
        time.sleep(_STEP)


_NO_LOCKS = -1


def _try_lock(file: Path) -> tuple[bool, int | None]:
    """Try to lock; return success and the descriptor (``_NO_LOCKS`` if the file system has no locks)."""
    if fcntl is None:
        return False, _NO_LOCKS
    flags = getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except PermissionError:  # left by a killed process of another user
        if not file.exists():
            raise
        descriptor = os.open(file, os.O_RDONLY | flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False, None
    except OSError:
        os.close(descriptor)
        file.unlink(missing_ok=True)
        return False, _NO_LOCKS
    if not _is_still(descriptor, file):
        os.close(descriptor)
        return False, None
    try:
        os.write(descriptor, f"{_ourselves():<100}".encode())  # overwrite the text of a killed process
    except OSError:
        pass  # the text is only information for waiting processes
    return True, descriptor


def _is_still(descriptor: int, file: Path) -> bool:
    """Check whether an open file still has its name."""
    try:
        now = os.stat(file)
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino)


def _try_claim(path: Path) -> bool:
    """Try to create the claim, as only one process can; the user must remove the claim of an ended process."""
    claim = _claim_path(path)
    try:
        descriptor = os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        words = _holder(path).split()
        if words[-1] == socket.gethostname() and words[1].isdigit() and not is_alive(int(words[1])):
            raise InputError(
                f"{path}: {' '.join(words)} was killed while it wrote results. The file system has no locks that end "
                f"with a process, so the results were not written. Remove {claim} and run again"
            ) from None
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(_ourselves())
    return True


def _ourselves() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _holder(path: Path) -> str:
    """Return the name of the process that holds the lock."""
    for file in (_claim_path(path), lock_path(path)):
        try:
            words = file.read_text().split()
        except (OSError, UnicodeDecodeError):
            continue
        if len(words) == 4 and words[0] == "process":
            return " ".join(words)
    return "another process"


def is_alive(pid: int) -> bool:
    """Check whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # owned by another user
    return True


def gate_file(path: Path) -> Path:
    """Return the file that is locked as the gate of an .h5ad file or a zarr store."""
    if not path.is_dir():
        return path
    known = [path / "obs" / name for name in ("zarr.json", ".zgroup", ".zattrs")]
    return next((file for file in known if file.exists()), known[0])


@contextmanager
def gate(path: Path, *, alone: bool, busy: str) -> Iterator[None]:
    """Hold the gate, shared or `alone`; this has no effect on file systems without locks.

    Parameters
    ----------
    path
        The .h5ad file or the zarr store.
    alone
        Whether to exclude all other processes.
    busy
        Message if the gate is not free within :data:`GATE_PATIENCE`.
    """
    descriptor = _wait_at_gate(path, alone, busy)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait_at_gate(path: Path, alone: bool, busy: str) -> int | None:
    if fcntl is None:
        return None
    start, reported, file = time.monotonic(), False, gate_file(path)
    kind = (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB
    while True:
        try:
            descriptor = os.open(file, (os.O_RDWR if alone else os.O_RDONLY) | getattr(os, "O_CLOEXEC", 0))
        except OSError:
            return None  # the error appears when it is opened
        try:
            fcntl.flock(descriptor, kind)
        except BlockingIOError:
            os.close(descriptor)
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        else:
            if _is_still(descriptor, file):
                return descriptor
            os.close(descriptor)
            continue
        waited = time.monotonic() - start
        if waited > GATE_PATIENCE:
            raise InputError(busy)
        if waited > _SILENT and not reported:
            reported = True
            logger.warning("%s: waiting for programs that have it open", path.name)
        time.sleep(_STEP)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM to the end of the context, while a file changes."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals only interrupt the main thread
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = {number: signal.signal(number, lambda came_now, _: came.append(came_now)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for late in came:
            signal.raise_signal(late)
