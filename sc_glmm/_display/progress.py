"""Show the progress of a run: one bar for all groups and stages, or a line every half minute without a terminal."""

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
# Seconds between lines.
LINE_EVERY = 30.0
# Seconds before a bar appears in a notebook. Bars are saved in its file, so short runs should not have one.
_BAR_AFTER = 3.0
# Expected share of reading a matrix from disk in a run, and of the fits in the stages of a group.
_READING, _FITS = 0.2, 0.45


class Run:
    """Progress of one run.

    Parameters
    ----------
    progress
        Whether to show a bar; None shows a bar in terminals and notebooks, and lines elsewhere.
    reading
        Whether the matrix is read from disk first.
    """

    def __init__(self, progress: bool | None, reading: bool) -> None:
        self._bar: Any = _bar() if wants_progress(progress) else None
        self._lines = progress is None and self._bar is None and progress_logger.isEnabledFor(logging.INFO)
        self._done, self._base, self._share, self._words, self._drawn = 0.0, 0.0, 0.0, "", ""
        self._start = self._last_line = time.monotonic()
        self._reading = _READING if reading else 0.0

    def read(self, words: str) -> None:
        """Begin a pass over the matrix; the number of passes is unknown, so each gets half of the remaining share."""
        self._base = self._done
        self._begin(words, 0.5 * max(self._reading - self._done, 0.0))

    def stage(self, words: str, i: int, n_groups: int, *, fits: bool, only: bool) -> None:
        """Begin a stage of group `i`: its fits, or the stages after them; `only` if the group has no other stage."""
        share = 1.0 if only else _FITS if fits else 1.0 - _FITS
        self._base = self._reading + (1.0 - self._reading) * (i + (0.0 if fits else _FITS)) / n_groups
        self._begin(words, (1.0 - self._reading) * share / n_groups)

    def _begin(self, words: str, share: float) -> None:
        self._words, self._share = words, share
        self.at(0.0)

    def at(self, part: float) -> None:
        """Show that the fraction `part` of the stage is finished."""
        self._done = max(self._done, self._base + self._share * min(part, 1.0))
        if self._bar is not None:
            self._bar.update(round(1000 * self._done) - self._bar.n)
            if self._drawn != self._words:  # compared here, because a bar disabled by TQDM_DISABLE has no description
                self._bar.set_description(self._words)
                self._drawn = self._words
        elif self._lines and time.monotonic() - self._last_line >= LINE_EVERY:
            self._last_line = time.monotonic()
            progress_logger.info(
                "%.0f %% after %s: %s", 100 * self._done, _duration(self._last_line - self._start), self._words
            )

    def close(self) -> None:
        """Close the bar at the end of the run."""
        if self._bar is not None:
            self._bar.close()


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def progress_of_run(progress: bool | None, reading: bool) -> Iterator[Run]:
    """Show one bar for all work inside the context."""
    run = Run(progress, reading)
    token = _RUN.set(run)
    try:
        yield run
    finally:
        _RUN.reset(token)
        run.close()


def current_run() -> Run | None:
    """Return the progress of the current run, or None outside of a run."""
    return _RUN.get()


def wants_progress(progress: bool | None) -> bool:
    """Decide whether to draw a bar: `progress`, or by default in terminals and notebooks that show INFO messages."""
    if progress is not None:
        return progress
    return (sys.stderr.isatty() or in_notebook()) and progress_logger.isEnabledFor(logging.INFO)


def progress_over(sizes: Iterable[tuple[int, T]], total: int, desc: str, progress: bool | None) -> Iterator[T]:
    """Yield the results while a bar counts genes; each result comes with its number of genes."""
    bar = _PartOfRun(total) if _RUN.get() else _bar_of_stage(total, desc, "gene", progress)
    for n, item in sizes:
        if bar is not None:
            bar.update(n)
        yield item
    if bar is not None:
        bar.close()


def bar_of_pass(total: int, desc: str, unit: str, progress: bool | None) -> Any:
    """Create a counter of the cells or genes of a pass over a matrix on disk, for ``update(n)``; None without a bar."""
    run = _RUN.get()
    if run is None:
        return _bar_of_stage(total, desc, unit, progress)
    run.read(desc)
    return _PartOfRun(total)


class _PartOfRun:
    """Part of the bar of a run, with the methods of a bar."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, max(total, 1)

    def update(self, n: int) -> None:
        """Count `n` more items."""
        self._done += n
        run = _RUN.get()
        if run is not None:
            run.at(self._done / self._total)

    def close(self) -> None:
        """Do nothing: the bar belongs to the run."""


def _bar_of_stage(total: int, desc: str, unit: str, progress: bool | None) -> Any:
    if not wants_progress(progress):
        return None
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=desc, unit=unit, unit_scale=unit != "gene", file=sys.stderr)


def _bar() -> Any:
    """Create a bar with 1000 steps: a widget if the notebook has widgets, otherwise text, which is not red there."""
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
