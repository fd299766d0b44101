"""Names of unfinished files, which tell whose they are, and the removal of those whose process is gone."""

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

# Unfinished files of another machine are left alone until nobody has written to them for a day.
_SECONDS_ELSEWHERE = 86_400.0
_ROOMS = ("new", "copy", "old")


@contextmanager
def temporary_beside(path: Path, suffix: str = "", room: str = "new") -> Iterator[Path]:
    """A hidden name beside `path`, for what becomes `path` when it is complete; removed if it does not.

    Parameters
    ----------
    path
        The final name.
    suffix
        What the hidden name must end in.
    room
        ``"new"``, ``"copy"`` or ``"old"``: keeps two unfinished files of one process apart.
    """
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{room}.{_host()}-{os.getpid()}.tmp{suffix}")
    remove(temporary)
    try:
        yield temporary
    finally:
        remove(temporary)


def remove_leftovers(path: Path) -> None:
    """Remove what processes that are gone have left beside `path`; what cannot be removed stays."""
    # what was laid beside an unfinished file, such as its lock, begins with the name of that file
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
    """Remove a file or a folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # of another user, or on a file system that became read-only


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())
