"""How far a run is: one bar for all groups and stages, or a line every half minute where there is no terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any, TypeVar

from .messages import in_notebook, progress_logger

T = TypeVar("T")
# Seconds between lines, and before a bar is shown in a notebook, where it stays in the file.
LINE_EVERY = 30.0
_BAR_AFTER = 3.0
# Shares of a run: reading a matrix from disk; the fits, among the stages of a group.
_READING, _FITS = 0.2, 0.45


class Run:
    """How far one run is.

    Parameters
    ----------
    progress
        Whether to show a bar; None for a bar in terminals and notebooks, else lines.
    reading
        Whether the matrix is read from disk first.
    """

    def __init__(self, progress: bool | None, reading: bool) -> None:
        self._bar: Any = _bar() if wants_progress(progress) else None
        self._lines = progress is None and self._bar is None and progress_logger.isEnabledFor(logging.INFO)
        self._done, self._base, self._share, self._words, self._drawn = 0.0, 0.0, 0.0, "", ""
        self._start = self._said = time.monotonic()
        self._reading = _READING if reading else 0.0

    def read(self, words: str) -> None:
        """A pass over the matrix begins; how many there will be is not known."""
        self._base = self._done
        self._begin(words, 0.5 * max(self._reading - self._done, 0.0))

    def stage(self, words: str, i: int, n_groups: int, *, fits: bool, only: bool) -> None:
        """A stage of group `i` begins: its fits, or what follows them, unless they are the `only` stage."""
        share = 1.0 if only else _FITS if fits else 1.0 - _FITS
        self._base = self._reading + (1.0 - self._reading) * (i + (0.0 if fits else _FITS)) / n_groups
        self._begin(words, (1.0 - self._reading) * share / n_groups)

    def _begin(self, words: str, share: float) -> None:
        self._words, self._share = words, share
        self.at(0.0)

    def at(self, part: float) -> None:
        """So much of the stage is done."""
        self._done = max(self._done, self._base + self._share * min(part, 1.0))
        if self._bar is not None:
            self._bar.update(round(1000 * self._done) - self._bar.n)
            if self._drawn != self._words:  # a bar that TQDM_DISABLE switches off does not know its own words
                self._bar.set_description(self._words)
                self._drawn = self._words
        elif self._lines and time.monotonic() - self._said >= LINE_EVERY:
            self._said = time.monotonic()
            progress_logger.info(
                "%.0f %% after %s: %s", 100 * self._done, _duration(self._said - self._start), self._words
            )

    def close(self) -> None:
        """The run is over."""
        if self._bar is not None:
            self._bar.close()


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def progress_of_run(progress: bool | None, reading: bool) -> Iterator[Run]:
    """One bar for all that runs inside."""
    run = Run(progress, reading)
    token = _RUN.set(run)
    try:
        yield run
    finally:
        _RUN.reset(token)
        run.close()


def current_run() -> Run | None:
    """The run that this is a part of, if it has a bar for all of it."""
    return _RUN.get()


def wants_progress(progress: bool | None) -> bool:
    """Whether to draw a bar: as asked, else on a terminal (or notebook) that shows messages of level INFO."""
    if progress is not None:
        return progress
    return (sys.stderr.isatty() or in_notebook()) and progress_logger.isEnabledFor(logging.INFO)


def progress_over(sizes: Iterable[tuple[int, T]], total: int, desc: str, progress: bool | None) -> Iterator[T]:
    """Pass the results on while a bar counts genes: each item comes with how many it stands for."""
    bar = _PartOfRun(total) if _RUN.get() else _bar_of_stage(total, desc, "gene", progress)
    for n, item in sizes:
        if bar is not None:
            bar.update(n)
        yield item
    if bar is not None:
        bar.close()


def bar_of_pass(total: int, desc: str, unit: str, progress: bool | None) -> Any:
    """What counts the cells (or genes) of a pass over a matrix on disk, by ``update(n)``; None if nobody looks."""
    run = _RUN.get()
    if run is None:
        return _bar_of_stage(total, desc, unit, progress)
    run.read(desc)
    return _PartOfRun(total)


class _PartOfRun:
    """Counts for the bar of the run, as a bar of its own would."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, max(total, 1)

    def update(self, n: int) -> None:
        """So many more are done."""
        self._done += n
        run = _RUN.get()
        if run is not None:
            run.at(self._done / self._total)

    def close(self) -> None:
        """All are done."""


def _bar_of_stage(total: int, desc: str, unit: str, progress: bool | None) -> Any:
    if not wants_progress(progress):
        return None
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=desc, unit=unit, unit_scale=unit != "gene", file=sys.stderr)


def _bar() -> Any:
    """A bar in thousandths: of widgets where a notebook has them, else of text, which a notebook does not show red."""
    form = "{desc}{percentage:3.0f}%|{bar:30}| {elapsed}<{remaining}"
    options: dict[str, Any] = {"total": 1000, "leave": False}
    if not in_notebook():
        from tqdm.std import tqdm

        return tqdm(bar_format=form, file=sys.stderr, dynamic_ncols=True, **options)
    if find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm as widget

        return widget(bar_format="{l_bar}{bar}| {elapsed}<{remaining}", delay=_BAR_AFTER, **options)
    from tqdm.std import tqdm

    return tqdm(bar_format=form, file=sys.stdout, delay=_BAR_AFTER, ncols=100, **options)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
