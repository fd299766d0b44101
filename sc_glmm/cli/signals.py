"""How Ctrl-C and SIGTERM end a command: at once while there is nothing to clean up, else by an exception.

Schedulers of clusters send SIGTERM before they kill a job. It ends a command as Ctrl-C does: files are whole or were
not there, parts that are finished are kept, and the same command goes on from there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a shell reports for a command that a signal ended.
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM; whatever cleans up after Ctrl-C cleans up after it."""


@contextmanager
def ending_at_once() -> Iterator[None]:
    """A signal ends the process with its code: for imports, which leave nothing behind."""
    with _handled_by(_end):
        yield


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """The first signal raises :class:`KeyboardInterrupt` or :class:`Terminated`, a second one ends the process."""
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
