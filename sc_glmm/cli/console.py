"""Messages of the commands to the user, and safe writing of files."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from .._adata.leftovers import temporary_beside
from .._errors import ScGlmmError, ScGlmmWarning
from .._limits import address_space, shortage
from .signals import INTERRUPTED, TERMINATED, Terminated, ending_cleanly

# Ends of the loader's messages about a library that does not fit into memory.
_NO_ROOM = ("failed to map segment from shared object", "annot allocate memory")
# Bytes of address space that the packages take, measured: 690 MB with one thread of BLAS.
_ROOM_TO_LOAD = 700 << 20
_PLANS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


@contextmanager
def report_errors(quiet: bool = False) -> Iterator[None]:
    """Print errors of the package and exit with code 2, print warnings as notes; other errors keep their traceback.

    With `quiet`, only errors are printed.
    """
    _make_room()
    from .._display import logger, progress_logger

    levels = [(each, each.level) for each in (logger, progress_logger)]
    # The log mentions slots of an AnnData; the commands report in their own words.
    logger.setLevel(logging.ERROR if quiet else logging.WARNING)
    progress_logger.setLevel(logging.ERROR if quiet else logging.INFO)
    with warnings.catch_warnings(), ending_cleanly():
        warnings.simplefilter("ignore" if quiet else "always", ScGlmmWarning)
        # Deprecation warnings of other packages do not concern users of the command line.
        for plan in _PLANS:
            warnings.simplefilter("ignore", plan)
        warnings.showwarning = _show_warning
        try:
            yield
        except ScGlmmError as error:
            fail(str(error))
        except KeyboardInterrupt as error:
            word, code = ("terminated", TERMINATED) if isinstance(error, Terminated) else ("interrupted", INTERRUPTED)
            typer.echo(f"{word}: all files are intact; run the same command again to continue", err=True)
            raise typer.Exit(code) from None
        except (MemoryError, ImportError) as error:
            # a library that does not fit below the limit of the address space
            if isinstance(error, ImportError) and not str(error).rstrip().endswith(_NO_ROOM):
                raise
            fail(
                f"there is not enough memory ({str(error) or 'an array could not be allocated'}); nothing was "
                "written. Give the process more memory, or use a smaller --memory-limit, fewer threads (--n-jobs), "
                "or chunks"
            )
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        finally:
            for each, level in levels:
                each.setLevel(level)


def _make_room() -> None:
    """Refuse an address space that is too small before anything is loaded: OpenBLAS would ask for memory forever."""
    if address_space() is None or "numpy" in sys.modules:
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread takes a buffer
    problem = shortage(_ROOM_TO_LOAD, "loading the numerical packages")
    if problem is not None:
        fail(problem)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    # some packages add their own filters
    if issubclass(category, _PLANS):
        return
    word = "note" if issubclass(category, ScGlmmWarning) else "warning"
    typer.echo(f"{word}: {message}", err=True)


def fail(message: str) -> NoReturn:
    """End the command with a message and exit code 2."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


@contextmanager
def atomically(out: Path) -> Iterator[Path]:
    """A temporary path that replaces `out` if all goes well; until then, the old file stays intact."""
    target = out.resolve()  # a link remains a link; its target is replaced
    with temporary_beside(target, target.suffix) as temporary:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
