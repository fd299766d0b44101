"""Name unfinished files after their process, and remove those of ended processes."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .lock import is_alive

# Unfinished files of another machine are kept until they have not been written to for a day.
_SECONDS_ELSEWHERE = 86_400.0
_ROOMS = ("new", "copy", "old")


@contextmanager
def temporary_beside(path: Path, suffix: str = "", room: str = "new") -> Iterator[Path]:
    """Provide a hidden name next to `path` for a file that replaces `path` once complete; remove the file otherwise.

    Parameters
    ----------
    path
        The final name.
    suffix
        Suffix of the hidden name.
    room
        ``"new"``, ``"copy"`` or ``"old"``; distinguishes the unfinished files of one process.
    """
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{room}.{_host()}-{os.getpid()}.tmp{suffix}")
    remove(temporary)
    try:
        yield temporary
    finally:
        remove(temporary)


def remove_leftovers(path: Path) -> None:
    """Remove the unfinished files of ended processes next to `path`; files that cannot be removed are kept."""
    # files that belong to an unfinished file, such as its lock, begin with its name
    pattern = re.compile(rf"\.+{re.escape(path.name)}\.(?:{'|'.join(_ROOMS)})\.(?P<host>.+?)-(?P<pid>\d+)\.tmp.*")
    try:
        names = os.listdir(path.parent)
    except OSError:
        return
    for name in names:
        match = pattern.fullmatch(name)
        if match is not None and _is_abandoned(path.with_name(name), match["host"], int(match["pid"])):
            remove(path.with_name(name))


def _is_abandoned(file: Path, host: str, pid: int) -> bool:
    if host == _host():
        return not is_alive(pid)
    try:
        return time.time() - file.stat().st_mtime > _SECONDS_ELSEWHERE
    except OSError:
        return False


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # owned by another user, or on a read-only file system


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())
