"""An .h5ad file or a zarr store: its tables in memory, its matrices where they are, results written into it."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .._display import logger
from .._errors import InputError
from . import journal
from .hdf5 import readable
from .sources import source_in_file
from .tables import Columns, read_table

if TYPE_CHECKING:
    from anndata import AnnData

    from .._compress.source import Source

T = TypeVar("T")

# Beside a zarr store: new entries that are to be moved in.
_STAGE = ".sc-glmm-new"


class Store:
    """An AnnData on disk.

    Parameters
    ----------
    path
        An .h5ad file or the folder of a zarr store. What an interrupted run has left beside it is put in first.

    Raises
    ------
    InputError
        If there is no such file, or it is no AnnData.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(f"there is no file {self.path}; give the path of an .h5ad file or a zarr store")
        if recover(self.path):
            logger.info("%s: finished writing the results of an interrupted run", self.path.name)
        self.is_zarr = self.path.is_dir()
        with self._open() as root:
            missing = [key for key in ("obs", "var") if key not in root]
            if missing:
                raise InputError(
                    f"{self.path} cannot be read as an AnnData: it holds {sorted(root)} and no {missing[0]!r}; "
                    "give a file that AnnData.write_h5ad or write_zarr wrote"
                )
            self.layers = tuple(root["layers"]) if "layers" in root else ()
            self.has_x = "X" in root and self._is_matrix(root["X"])

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if self.is_zarr:
            import zarr

            try:
                root = zarr.open_group(str(self.path), mode="r")
            except (OSError, KeyError, ValueError) as error:
                raise InputError(f"{self.path} is a folder and no zarr store: {error}") from error
            yield root
            return
        import h5py

        with readable(str(self.path)), h5py.File(self.path, "r") as file:
            yield file

    def _is_matrix(self, element: Any) -> bool:
        """Anndata writes an empty element where there is no X."""
        return str(element.attrs.get("encoding-type", "")) != "null"

    def tables(self, columns: Columns | None = None) -> AnnData:
        """An AnnData with `obs` (all of its columns, or some) and `var` and no matrix."""
        from anndata import AnnData

        with self._open() as root:
            obs = self._read("obs", lambda: read_table(root["obs"], columns))
            return AnnData(obs=obs, var=self._read("var", lambda: read_table(root["var"])))

    def with_results(self) -> AnnData:
        """The tables with `varm` and `uns`, which hold the results."""
        from anndata import AnnData
        from anndata.io import read_elem

        with self._open() as root:
            parts: dict[str, Any] = {
                key: self._read(key, partial(read_elem, root[key])) for key in ("obs", "var", "varm", "uns")
            }
        return AnnData(**parts)

    def results(self, key: str) -> AnnData:
        """An AnnData with `var`, the names of the cells, and of `varm` and `uns` what a run wrote under `key`."""
        from anndata import AnnData
        from anndata.io import read_elem

        with self._open() as root:
            obs = self._read("obs", lambda: read_table(root["obs"], Columns(frozenset())))
            made = AnnData(obs=obs, var=self._read("var", lambda: read_table(root["var"])))
            for name in _results_in(root, key):
                place, _, entry = name.partition("/")
                getattr(made, place)[entry] = self._read(name, partial(read_elem, root[name]))
        return made

    def _read(self, what: str, read: Callable[[], T]) -> T:
        try:
            return read()
        # what anndata raises for damaged tables depends on what it finds there
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(f"{self.path}: {what} cannot be read: {error}. Get a sound copy of the file") from error

    def matrix(self, layer: str | None) -> Source:
        """A layer, or X: a source that reads it chunk by chunk."""
        key, name = ("X", "X") if layer is None else (f"layers/{layer}", f"layers[{layer!r}]")
        with self._open() as root:
            return source_in_file(root, str(self.path), key, name)

    def write_results(self, adata: AnnData, key: str) -> None:
        """Write the results under `key` in `adata` into the file; older ones under this key are removed.

        Only ``varm`` and ``uns`` are touched, the matrices are not rewritten. A process that is killed leaves the file
        as it was, or with a journal beside it that the next call of :class:`Store` or :func:`recover` puts in.
        """
        entries = results_of(adata, key)
        if self.is_zarr:
            _write_zarr(self.path, entries, key)
        else:
            _write_h5ad(self.path, entries, key)


def results_of(adata: AnnData, key: str) -> dict[str, Any]:
    """Paths such as ``varm/glmm`` and what belongs there."""
    entry = adata.uns[key]
    names = [key, *map(str, entry["params"].get("varm", []))]
    entries: dict[str, Any] = {f"varm/{name}": adata.varm[name] for name in names if name in adata.varm}
    entries |= {f"uns/{name}": adata.uns[name] for name in (key, f"{key}_results") if name in adata.uns}
    return entries


def _results_in(root: Any, key: str) -> list[str]:
    """Paths of what a run wrote under `key`."""
    from anndata.io import read_elem

    old = [f"varm/{key}", f"uns/{key}", f"uns/{key}_results"]
    place = f"uns/{key}/params/varm"
    if place in root:
        names: Any = read_elem(root[place])
        old += [f"varm/{name}" for name in map(str, names)]
    return [name for name in old if name in root]


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
        try:
            journal.commit(path, overlay)
        except OSError as error:
            state = "the results lie beside it and will be put in by the next run on it, or by sc_glmm.recover(path)"
            if not journal.journal_path(path).exists():
                state = "it is as it was"
            raise InputError(f"the results could not be written into {path} ({error.strerror}); {state}") from error


def _write_entries(root: Any, entries: Mapping[str, Any]) -> None:
    from anndata.io import write_elem

    for place, value in entries.items():
        group, _, name = place.partition("/")
        write_elem(root[group], name, value)


def _stage(path: Path) -> Path:
    return path.with_name(f"{path.name}{_STAGE}")


def _write_zarr(path: Path, entries: Mapping[str, Any], key: str) -> None:
    """Write a whole store with the results beside the old one, then move its entries in, one rename each."""
    import zarr
    from anndata.io import write_elem

    stage, unfinished = _stage(path), path.with_name(f"{path.name}{_STAGE}.{os.getpid()}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    old = zarr.open_group(str(path), mode="r")
    version = old.metadata.zarr_format
    try:
        root = zarr.open_group(str(unfinished), mode="w", zarr_format=version)
        for group in ("varm", "uns"):
            write_elem(root, group, {})
        _write_entries(root, entries)
        removed = sorted(set(_results_in(old, key)) - set(entries))
        (unfinished / "sc-glmm.txt").write_text("\n".join([*(f"+{n}" for n in entries), *(f"-{n}" for n in removed)]))
        _sync_tree(unfinished)
        shutil.rmtree(stage, ignore_errors=True)  # what is left there has been moved in
        unfinished.rename(stage)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise InputError(
            f"the results could not be written into {path} ({error.strerror or error}); it is as it was"
        ) from error
    journal.sync_folder(stage.parent)
    _move_in(path)


def _move_in(path: Path) -> None:
    """Move the entries of a finished stage into the store; what has been moved already is left alone."""
    import zarr

    stage = _stage(path)
    for line in (stage / "sc-glmm.txt").read_text().splitlines():
        name, target = line[1:], path / line[1:]
        if line[0] == "-":
            shutil.rmtree(target, ignore_errors=True)
        elif (stage / name).exists():
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            (stage / name).rename(target)
    if (path / ".zmetadata").exists() or _consolidated(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr says that other programs may not read what this store has already
            zarr.consolidate_metadata(str(path))
    _sync_tree(path / "varm")
    _sync_tree(path / "uns")
    shutil.rmtree(stage)
    journal.sync_folder(path.parent)


def _consolidated(path: Path) -> bool:
    """Whether the store keeps a copy of all metadata at its root (zarr 3)."""
    import json

    root = path / "zarr.json"
    return root.exists() and json.loads(root.read_text()).get("consolidated_metadata") is not None


def _sync_tree(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        for name in files:
            descriptor = os.open(os.path.join(place, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        journal.sync_folder(Path(place))


def recover(path: str | os.PathLike[str]) -> bool:
    """Put in the results that an interrupted run has laid beside a file.

    Every run on a file does this first; call it to do only this.

    Parameters
    ----------
    path
        An .h5ad file or a zarr store.

    Returns
    -------
    bool
        Whether there was anything to do.

    Raises
    ------
    InputError
        If the file was changed by another program meanwhile.
    """
    path = Path(path)
    if path.is_dir():
        if not (_stage(path) / "sc-glmm.txt").exists():
            return False
        _move_in(path)
        return True
    return journal.recover(path)
