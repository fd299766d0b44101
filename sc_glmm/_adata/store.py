"""An .h5ad file or a zarr store: tables in memory, matrices on disk, results written into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .._display import logger, warn_notes
from .._errors import InputError
from . import journal
from .abundance import MARK
from .claims import at, read_checked, shape_of_column
from .hdf5 import open_for_reading, readable
from .leftovers import remove_leftovers
from .lock import gate, writing
from .slots import OF_GENES, is_own_table, with_free_names
from .sources import source_in_file
from .stage import StagedRoot, is_slot, lay_stage, move_in, pending_stage, stage_path
from .tables import Columns, read_labels, read_table

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from .._compress.source import Source

T = TypeVar("T")


class Store:
    """AnnData on disk.

    Parameters
    ----------
    path
        An .h5ad file or the folder of a zarr store. Pending results of an interrupted run are shown as part of it; only
        :meth:`write_results` and :func:`recover` add them to it.

    Raises
    ------
    InputError
        If the file does not exist, or is not an AnnData.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _place(path)
        if not self.path.exists():
            raise InputError(f"there is no file {self.path}; give the path of an .h5ad file or a zarr store")
        self.is_zarr = self.path.is_dir()
        # several links can point to one file, so locks and journals are next to that file
        self._place = self.path.resolve()
        self._tell_of_interrupted_run()
        with self._open() as root:
            missing = self._read("the root group", lambda: [key for key in ("obs", "var") if key not in root])
            if missing:
                raise InputError(
                    f"{self.path} cannot be read as an AnnData: it contains {sorted(root)} but not {missing[0]!r}; "
                    "use a file from AnnData.write_h5ad or write_zarr"
                )
            self.layers = self._read("layers", lambda: tuple(at(root, "layers")) if "layers" in root else ())
            self.has_x = self._read("X", lambda: "X" in root and self._is_matrix(at(root, "X")))

    def _tell_of_interrupted_run(self) -> None:
        beside = stage_path(self._place) if self.is_zarr else journal.journal_path(self._place)
        if not os.path.lexists(beside):
            return
        with gate(self._place, alone=False, busy=f"{self.path} is being written; try again"):
            try:
                found = pending_stage(self._place) if self.is_zarr else journal.pending(self._place)
            except InputError as error:
                warn_notes([f"{error}. {self.path.name} is read without these results"])
                return
        if found is not None:
            warn_notes(
                [
                    f"results of an interrupted run are stored next to {self.path} in {beside.name}. They are shown "
                    "as part of it, and the next run that writes into it, or sc_glmm.recover(path), adds them"
                ]
            )

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if not self.is_zarr:
            with open_for_reading(str(self.path)) as file:
                yield file
            return
        import zarr

        with gate(
            self._place, alone=False, busy=f"another process has been writing to {self.path} for too long; try again"
        ):
            try:
                root: Any = zarr.open_group(str(self.path), mode="r")
            except Exception as error:  # the exception of zarr depends on the content
                raise InputError(f"{self.path} is a folder, but not a zarr store: {error}") from error
            try:
                stage = pending_stage(self._place)
            except InputError:
                stage = None  # the note was given when the store was opened
            yield root if stage is None else StagedRoot(str(self.path), stage)

    def _is_matrix(self, element: Any) -> bool:
        """Check whether an element is a matrix; anndata writes an empty element if there is no X."""
        return str(element.attrs.get("encoding-type", "")) != "null"

    def other_entry(self, key: str, grouped: bool) -> str | None:
        """Return the location of other content under `key`; None if there is none."""
        with self._open() as root:
            if f"uns/{key}" in root and f"uns/{key}/params" not in root:
                return f"uns/{key}"
            if f"uns/{key}" not in root and f"varm/{key}" in root:
                columns = self._read(
                    f"varm/{key}",
                    lambda: {str(name) for name in at(root, f"varm/{key}").attrs.get("column-order", ())},
                )
                if not set(OF_GENES) <= columns:
                    return f"varm/{key}"
            return f"uns/{key}_results" if grouped and f"uns/{key}_results/params" in root else None

    def tables(self, columns: Columns | None = None) -> AnnData:
        """Read an AnnData with `obs` (all columns, or some) and `var`, without a matrix.

        A table of samples keeps all columns and its mark in ``uns``.
        """
        from anndata import AnnData

        with self._open() as root:
            mark = f"uns/{MARK}"
            marked = mark in root
            obs = self._read("obs", lambda: read_table(at(root, "obs"), None if marked else columns))
            var = self._read("var", lambda: read_table(at(root, "var")))
            made = self._read("obs and var", lambda: AnnData(obs=obs, var=var))
            if marked:
                made.uns[MARK] = self._read(mark, lambda: read_checked(at(root, mark)))
            return made

    def labels(self) -> pd.DataFrame:
        """Read the columns of cells with categories or whole numbers; damaged ones are left out."""
        with self._open() as root:
            return self._read("obs", lambda: read_labels(at(root, "obs")))

    def with_results(self) -> AnnData:
        """Read the tables with `varm` and `uns`, which contain the results."""
        from anndata import AnnData

        with self._open() as root:
            parts: dict[str, Any] = {key: self._read(key, partial(_read_at, root, key)) for key in ("obs", "var")}
            for group in ("varm", "uns"):
                parts[group] = {
                    name: self._read(f"{group}/{name}", partial(_read_at, root, f"{group}/{name}"))
                    for name in self._read(group, partial(_names_in, root, group))
                }
        return self._read("the tables", lambda: AnnData(**parts))

    def results(self, key: str) -> AnnData:
        """Read an AnnData with `var`, the names of the cells, and the results under `key` in `varm` and `uns`."""
        from anndata import AnnData

        with self._open() as root:
            obs = self._read("obs", lambda: read_table(at(root, "obs"), Columns(frozenset())))
            result = AnnData(obs=obs, var=self._read("var", lambda: read_table(at(root, "var"))))
            for name in self._read(f"uns/{key}", lambda: _results_in(root, key)):
                place, _, entry = name.partition("/")
                value = self._read(name, partial(_read_at, root, name))
                self._read(name, partial(getattr(result, place).__setitem__, entry, value))
        return result

    def _read(self, what: str, read: Callable[[], T]) -> T:
        """Read one element; anndata and HDF5 raise various exceptions for a damaged one."""
        try:
            return read()
        except (InputError, MemoryError):
            raise
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            raise InputError(
                f"{self.path}: {what} cannot be read ({type(error).__name__}: {first}). It is damaged, or was "
                "written by an unsupported version of anndata. Use an intact copy of the file"
            ) from error

    def matrix(self, layer: str | None) -> Source:
        """Return a layer, or X, as a source that reads it chunk by chunk."""
        key, name = ("X", "X") if layer is None else (f"layers/{layer}", f"layers[{layer!r}]")
        with self._open() as root:
            source = self._read(name, lambda: source_in_file(root, str(self.path), key, name))
            shape = tuple(self._read(table, partial(_n_rows, root, table)) for table in ("obs", "var"))
        if source.shape != shape:
            raise InputError(
                f"{self.path}: {name} has shape {source.shape}, but obs and var have {shape[0]:,} cells and "
                f"{shape[1]:,} genes. It is damaged; use an intact copy of the file"
            )
        return source

    def write_results(self, adata: AnnData, key: str) -> None:
        """Write the results under `key` in `adata` into the file; older results under this key are removed.

        Only ``varm`` and ``uns`` are changed; the matrices are not rewritten. If the process is killed, the file is
        unchanged or has a journal next to it, which the next writer or :func:`recover` applies.
        """
        entries = results_of(adata, key)
        wrong = next((name for name in entries if not is_slot(name)), None)
        if wrong is not None:
            raise InputError(f"key={key!r}: {wrong!r} cannot be the name of an entry; choose a word without '/'")
        with writing(self._place):
            for beside in (self._place, journal.journal_path(self._place), stage_path(self._place)):
                remove_leftovers(beside)
            _recover(self._place)
            self._refuse_other_genes(adata)
            other = self.other_entry(key, f"uns/{key}_results" in entries)
            if other is not None:
                raise InputError(
                    f"key={key!r}: another program has written {other} into {self.path} meanwhile, which would be "
                    "lost. The results were not written; run again with another key"
                )
            with self._open() as root:
                mine = self._read(f"uns/{key}", partial(_results_in, root, key))
                taken = {
                    name for name in self._read("varm", partial(_names_in, root, "varm")) if f"varm/{name}" not in mine
                }
                if not self.is_zarr:
                    self._refuse_aliases(root)
            entries = with_free_names(entries, key, taken)
            try:
                (_write_zarr if self.is_zarr else _write_h5ad)(self._place, entries, key)
            except OSError as error:
                raise InputError(
                    f"the results could not be written into {self.path} ({error.strerror or error}); "
                    f"{_state(self._place, self.is_zarr)}"
                ) from error

    def _refuse_aliases(self, root: Any) -> None:
        """Raise an error if changes of ``varm`` or ``uns`` would change other parts of the file, or other files."""
        import h5py

        for group in ("varm", "uns"):
            if group not in root:
                continue
            link = root.get(group, getlink=True)
            if not isinstance(link, h5py.HardLink) or h5py.h5o.get_info(root[group].id).rc != 1:
                raise InputError(
                    f"{self.path}: {group} is a link to another element, which would be changed together with it. The "
                    "results were not written; copy the data into a new file with anndata"
                )

    def _refuse_other_genes(self, adata: AnnData) -> None:
        """Raise an error if another program has replaced the file during the run."""
        with self._open() as root:
            there = self._read("var", lambda: read_table(at(root, "var"), Columns(frozenset()))).index
        if not there.equals(adata.var_names):
            raise InputError(
                f"{self.path} now has other genes ({len(there)}) than when it was read ({adata.n_vars}), because "
                "another program has changed it. The results were not written; run again"
            )


def _state(path: Path, is_zarr: bool) -> str:
    """Describe the state of the file after a failed attempt to write."""
    if os.path.lexists(stage_path(path) if is_zarr else journal.journal_path(path)):
        return (
            "the results are stored next to it, and the next run that writes into it, or "
            "sc_glmm.recover(path), adds them"
        )
    return "the file was not changed"


def results_of(adata: AnnData, key: str) -> dict[str, Any]:
    """Return the results as paths such as ``varm/glmm`` and their content."""
    entry = adata.uns[key]
    names = [key, *map(str, entry["params"].get("varm", []))]
    entries: dict[str, Any] = {f"varm/{name}": adata.varm[name] for name in names if name in adata.varm}
    entries |= {f"uns/{name}": adata.uns[name] for name in (key, f"{key}_results") if name in adata.uns}
    return entries


def _results_in(root: Any, key: str) -> list[str]:
    """Return the paths of the results of the run under `key`; from the file, only names of entries are used."""
    old = [f"varm/{key}", f"uns/{key}"]
    if f"uns/{key}_results/params" not in root:  # a run with that key
        old.append(f"uns/{key}_results")
    place = f"uns/{key}/params/varm"
    if place in root:
        names: Any = read_checked(at(root, place))
        old += [f"varm/{name}" for name in np.atleast_1d(names) if _is_own(root, f"varm/{name}")]
    return [name for name in dict.fromkeys(old) if is_slot(name) and name in root]


def _is_own(root: Any, name: str) -> bool:
    """Check whether an entry that a file lists as a table of a run has the columns of such a table."""
    if not is_slot(name) or name not in root:
        return False
    columns = {str(column) for column in at(root, name).attrs.get("column-order", ())}
    return is_own_table(columns)


def _n_rows(root: Any, name: str) -> int:
    """Return the number of rows of ``obs`` or ``var``, without reading it."""
    table = at(root, name)
    return int((shape_of_column(table, str(table.attrs["_index"])) if hasattr(table, "keys") else table.shape)[0])


def _names_in(root: Any, group: str) -> list[str]:
    """Return the names of the entries of ``varm`` or ``uns``."""
    if isinstance(root, StagedRoot):
        return root.names(group)
    return list(at(root, group)) if group in root else []


def _read_at(root: Any, place: str) -> Any:
    return read_checked(at(root, place))


def _write_h5ad(path: Path, entries: Mapping[str, Any], key: str) -> None:
    import h5py
    from anndata.io import write_elem

    with journal.Overlay(path) as overlay:
        with readable(str(path)), h5py.File(overlay, "r+") as file:
            for name in _results_in(file, key):
                del file[name]
            for group in ("varm", "uns"):
                if group not in file:
                    write_elem(file, group, {})
            _write_entries(file, entries)
        journal.commit(path, overlay)


def _write_entries(root: Any, entries: Mapping[str, Any]) -> None:
    from anndata.io import write_elem

    for place, value in entries.items():
        group, _, name = place.partition("/")
        write_elem(root[group], name, value)


def _write_zarr(path: Path, entries: Mapping[str, Any], key: str) -> None:
    import zarr
    from anndata.io import write_elem

    def fill(root: Any) -> None:
        for group in ("varm", "uns"):
            write_elem(root, group, {})
        _write_entries(root, entries)

    old = zarr.open_group(str(path), mode="r")
    removed = sorted(set(_results_in(old, key)) - set(entries))
    lay_stage(path, fill, list(entries), removed, old.metadata.zarr_format)
    move_in(path, _busy(path))


def _busy(path: Path) -> str:
    return (
        f"{path} is being read by another program, so the results cannot be moved into it; they are stored next to "
        f"it in {stage_path(path).name}. The next run that writes into this store, or sc_glmm.recover(path), adds "
        "them"
    )


def recover(path: str | os.PathLike[str]) -> bool:
    """Add the results that an interrupted run has stored next to a file.

    Every run that writes into a file does this first. Call this function to do only this.

    Parameters
    ----------
    path
        An .h5ad file or a zarr store.

    Returns
    -------
    bool
        Whether there were pending results.

    Raises
    ------
    InputError
        If another program has changed the file meanwhile, if the file is in use, or if the pending results are damaged.
    """
    place = _place(path).resolve()
    if not os.path.lexists(stage_path(place) if place.is_dir() else journal.journal_path(place)):
        return False
    with writing(place):
        return _recover(place)


def _place(path: str | os.PathLike[str]) -> Path:
    """Return the path, if it is a valid file name."""
    text = os.fspath(path)
    if not text or "\0" in text or any(0xD800 <= ord(char) < 0xDC80 for char in text):
        raise InputError(f"there is no file {text!r}; give the path of an .h5ad file or a zarr store")
    return Path(text)


def _recover(path: Path) -> bool:
    """Do the work of :func:`recover` as the only writer."""
    if path.is_dir():
        if pending_stage(path) is None:
            return False
        move_in(path, _busy(path))
    elif not journal.recover(path):
        return False
    logger.info("%s: finished writing the results of an interrupted run", path.name)
    return True
