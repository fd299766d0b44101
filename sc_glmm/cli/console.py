"""Print errors and warnings of the commands, and write files safely."""

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

# Ends of the messages of the loader if a library does not fit into memory.
_LOADER_OUT_OF_MEMORY = ("failed to map segment from shared object", "annot allocate memory")
# Address space in bytes that the packages need; measured were 690 MB with one thread of BLAS.
_BYTES_TO_LOAD = 700 << 20
_DEPRECATIONS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


@contextmanager
def report_errors(quiet: bool = False) -> Iterator[None]:
    """Print errors of the package and exit with code 2; print warnings as notes.

    Other errors keep their traceback. With `quiet`, only errors are printed.
    """
    _check_address_space()
    from .._display import logger, progress_logger

    levels = [(each, each.level) for each in (logger, progress_logger)]
    # The log describes an AnnData; the commands print their own summary.
    logger.setLevel(logging.ERROR if quiet else logging.WARNING)
    progress_logger.setLevel(logging.ERROR if quiet else logging.INFO)
    with warnings.catch_warnings(), ending_cleanly():
        warnings.simplefilter("ignore" if quiet else "always", ScGlmmWarning)
        # Deprecation warnings of other packages do not concern users of the command line.
        for deprecation in _DEPRECATIONS:
            warnings.simplefilter("ignore", deprecation)
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
            # with a limit on the address space, a library may not fit
            if isinstance(error, ImportError) and not str(error).rstrip().endswith(_LOADER_OUT_OF_MEMORY):
                raise
            fail(
                f"there is not enough memory ({str(error) or 'an array could not be allocated'}); nothing was "
                "written. Request more memory for the job, or use a smaller --memory-limit, fewer threads (--n-jobs) "
                "or chunks"
            )
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        finally:
            for each, level in levels:
                each.setLevel(level)


def _check_address_space() -> None:
    """Exit with an error if the address space is too small for the packages.

    This check comes before the packages are loaded, because OpenBLAS requests memory again and again.
    """
    if address_space() is None or "numpy" in sys.modules:
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread needs a buffer
    problem = shortage(_BYTES_TO_LOAD, "loading the numerical packages")
    if problem is not None:
        fail(problem)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    # packages may replace the filters, so deprecations are ignored here again
    if issubclass(category, _DEPRECATIONS):
        return
    word = "note" if issubclass(category, ScGlmmWarning) else "warning"
    typer.echo(f"{word}: {message}", err=True)


def fail(message: str) -> NoReturn:
    """Print a message and exit with code 2."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


@contextmanager
def atomically(out: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `out` at the end; if an error occurs, the old file stays intact."""
    target = out.resolve()  # replace the target of a link, and not the link
    with temporary_beside(target, target.suffix) as temporary:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
