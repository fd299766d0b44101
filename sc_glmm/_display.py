"""Output during a run: the logger, warnings, progress bars."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, TypeVar

from ._errors import ScGlmmWarning

logger = logging.getLogger("sc_glmm")
T = TypeVar("T")


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to the current ``sys.stderr``, which notebooks and test runners replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current standard error."""
        return sys.stderr


def _attach_handler() -> None:
    """Show messages of level INFO without changing the root logger or a logger that is already configured."""
    if logger.handlers or logger.level != logging.NOTSET:
        return
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


_attach_handler()


def warn_notes(notes: Iterable[str], stacklevel: int = 3) -> None:
    """Emit each note once as a :class:`ScGlmmWarning`, attributed to the caller of the public function."""
    for note in dict.fromkeys(notes):
        warnings.warn(note, ScGlmmWarning, stacklevel=stacklevel)


def wants_progress(progress: bool | None) -> bool:
    """Whether to show a progress bar: as requested, or else in a terminal or notebook that shows INFO messages."""
    if progress is not None:
        return progress
    interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
    return interactive and logger.isEnabledFor(logging.INFO)


def progress_over(sizes: Iterable[tuple[int, T]], total: int, desc: str, progress: bool | None) -> Iterator[T]:
    """Yield the results and advance a bar of genes; each item comes with the number of its genes."""
    if not wants_progress(progress):
        for _, item in sizes:
            yield item
        return
    from tqdm.auto import tqdm

    bar: Any = tqdm(total=total, desc=desc, unit="gene", file=sys.stderr)
    with bar:
        for n, item in sizes:
            bar.update(n)
            yield item
