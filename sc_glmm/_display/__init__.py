"""Show messages, warnings and progress to the user during a run."""

from .messages import by_note, counted, in_notebook, logger, progress_logger, some_names, warn_notes
from .progress import bar_of_pass, current_run, progress_of_run, progress_over, wants_progress

__all__ = [
    "bar_of_pass",
    "by_note",
    "counted",
    "current_run",
    "in_notebook",
    "logger",
    "progress_logger",
    "progress_of_run",
    "progress_over",
    "some_names",
    "wants_progress",
    "warn_notes",
]
