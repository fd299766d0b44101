"""Handle Ctrl-C and SIGTERM: exit at once if there is nothing to clean up, otherwise raise an exception.

Cluster schedulers send SIGTERM before they kill a job. It has the same effect as Ctrl-C: files are complete or absent,
finished parts are kept, and the same command continues from there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Exit codes that a shell reports for a command ended by a signal.
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled in the same way as Ctrl-C."""


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Exit at once on a signal, for imports, which leave nothing to clean up."""
    with _handled_by(_end):
        yield


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Raise :class:`KeyboardInterrupt` or :class:`Terminated` on the first signal, and exit on the second."""
    with _handled_by(_raise):
        yield


@contextmanager
def _handled_by(handler: object) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, handler) for number in _SIGNALS}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)


def _end(number: int, _: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


def _raise(number: int, _: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, _end)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
