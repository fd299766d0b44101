"""What the commands share: how they speak to the user, and how they write files."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from .._adata.leftovers import temporary_beside
from .._errors import ScGlmmError, ScGlmmWarning
from .signals import INTERRUPTED, TERMINATED, Terminated, ending_cleanly

# The ends of what the loader says about a library for which there is no room.
_NO_ROOM = ("failed to map segment from shared object", "annot allocate memory")
_PLANS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn our errors into a message and exit code 2, and our warnings into notes; a bug keeps its traceback."""
    from .._display import logger

    level = logger.level
    # The log speaks of slots of an AnnData; the commands say in their own words what was done.
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings(), ending_cleanly():
        warnings.simplefilter("always", ScGlmmWarning)
        # Other packages' plans for the future do not concern users of the command line.
        for plan in _PLANS:
            warnings.simplefilter("ignore", plan)
        warnings.showwarning = _show_warning
        try:
            yield
        except ScGlmmError as error:
            fail(str(error))
        except KeyboardInterrupt as error:
            word, code = ("terminated", TERMINATED) if isinstance(error, Terminated) else ("interrupted", INTERRUPTED)
            typer.echo(f"{word}: every file is whole; run the same command again to go on", err=True)
            raise typer.Exit(code) from None
        except (MemoryError, ImportError) as error:
            # a library that does not fit under the limit of the address space
            if isinstance(error, ImportError) and not str(error).rstrip().endswith(_NO_ROOM):
                raise
            fail(
                f"there is not enough memory ({str(error) or 'an array could not be made'}); nothing was written. Give "
                "the process more, or run with a smaller --memory-limit, fewer threads (--n-jobs), or in chunks"
            )
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        finally:
            logger.setLevel(level)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    # some packages bring filters of their own
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
    """A path beside `out` that becomes `out` when all went well; whatever was there before stays whole until then."""
    target = out.resolve()  # a link stays a link, its target is replaced
    with temporary_beside(target, target.suffix) as temporary:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
