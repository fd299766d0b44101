"""Show messages to the user: the logger, and warnings about changes of an analysis."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import TextIO

from .._errors import ScGlmmWarning

logger = logging.getLogger("sc_glmm")
# Lines about the progress of a run. The command shows only these messages.
progress_logger = logger.getChild("progress")


class _Stream(logging.StreamHandler[TextIO]):
    """Write to the current ``sys.stderr``, or to ``sys.stdout`` in a notebook, which shows the other in red."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Current stream for messages."""
        return sys.stdout if in_notebook() else sys.stderr


def in_notebook() -> bool:
    """Check whether this process is the kernel of a notebook."""
    if "ipykernel" not in sys.modules:
        return False
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _attach_handler() -> None:
    """Show messages at level INFO; neither the root logger nor a logger that is already configured is changed."""
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
    """Merge equal notes of several groups of cells; each note begins with the names of its groups.

    Parameters
    ----------
    notes
        Pairs of the name of a group, or an empty string for all groups, and a note.
    n_groups
        Number of groups.
    groupby
        The column that defines the groups.
    """
    groups_of: dict[str, list[str]] = {}
    for name, note in notes:
        groups_of.setdefault(note, []).append(name)
    out = []
    for note, names in groups_of.items():
        names = list(dict.fromkeys(names))
        if "" in names:
            out.append(note)
        elif len(names) == n_groups > 1:
            out.append(f"all {n_groups} levels of {groupby!r}: {note}")
        else:
            out.append(f"{some_names(names)}: {note}")
    return out


def some_names(names: Sequence[str], most: int = 4) -> str:
    """List the first names and the number of the others: ``a, b, c, d and 3 more``."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(n: int, groupby: str) -> str:
    """Write the number of levels of a column: ``5 cell types``, or ``5 levels of 'X'`` if its name is not a noun."""
    if groupby.isascii() and groupby.islower() and groupby[-1] not in "s_0123456789" and len(groupby) > 3:
        return f"{n} {groupby.replace('_', ' ')}{'' if n == 1 else 's'}"
    return f"{n} level{'' if n == 1 else 's'} of {groupby!r}"
