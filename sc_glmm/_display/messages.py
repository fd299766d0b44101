"""What the user reads while something runs: the logger, warnings about what changes an analysis."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import TextIO

from .._errors import ScGlmmWarning

logger = logging.getLogger("sc_glmm")
# Lines on how far a run is. The command shows them, and none of the others.
progress_logger = logger.getChild("progress")


class _Stream(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at the moment; in a notebook to ``sys.stdout``, as the other is shown in red."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current stream for messages."""
        return sys.stdout if in_notebook() else sys.stderr


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    if "ipykernel" not in sys.modules:
        return False
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _attach_handler() -> None:
    """Show messages at level INFO without touching the root logger; a logger that somebody configured is left alone."""
    if logger.handlers or logger.level != logging.NOTSET:
        return
    handler = _Stream()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


_attach_handler()


def warn_notes(notes: Iterable[str], stacklevel: int = 3) -> None:
    """Emit each note once as a :class:`ScGlmmWarning`, attributed to the caller of the public function."""
    for note in dict.fromkeys(notes):
        warnings.warn(note, ScGlmmWarning, stacklevel=stacklevel)


def by_note(notes: Iterable[tuple[str, str]], n_groups: int, groupby: str | None) -> list[str]:
    """Notes of groups of cells, each once, with the groups that it is about.

    Parameters
    ----------
    notes
        Name of a group, or an empty string for all, and note.
    n_groups
        How many groups there are.
    groupby
        The column whose levels they are.
    """
    having: dict[str, list[str]] = {}
    for name, note in notes:
        having.setdefault(note, []).append(name)
    out = []
    for note, names in having.items():
        names = list(dict.fromkeys(names))
        if "" in names:
            out.append(note)
        elif len(names) == n_groups > 1:
            out.append(f"all {n_groups} levels of {groupby!r}: {note}")
        else:
            out.append(f"{some_names(names)}: {note}")
    return out


def some_names(names: Sequence[str], most: int = 4) -> str:
    """The first names, and how many there are more."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(n: int, groupby: str) -> str:
    """How many levels of a column: ``5 cell types``, or ``5 levels of 'X'`` where its name is not like a noun."""
    if groupby.isascii() and groupby.islower() and groupby[-1] not in "s_0123456789" and len(groupby) > 3:
        return f"{n} {groupby.replace('_', ' ')}{'' if n == 1 else 's'}"
    return f"{n} level{'' if n == 1 else 's'} of {groupby!r}"
