"""Stage results for a zarr store in a folder next to it, whose entries are moved into the store one by one.

The folder is complete before it gets its name. Its list states which entries of ``varm`` and ``uns`` are added and
removed, with a digest of each. No other entries are moved or removed, whatever the list contains. Readers of a store
with such a folder see its entries instead of those in the store. They read under the gate (:mod:`.lock`), which is
held alone during the moves.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import InputError
from .journal import sync_folder
from .leftovers import temporary_beside
from .lock import gate, undisturbed

_LIST = "sc-glmm.json"
_REPLACED = ".replaced"
_GROUPS = ("varm", "uns")


def is_slot(name: object) -> bool:
    """Check whether a name is ``varm/<name>`` or ``uns/<name>``, the only places for results."""
    if not isinstance(name, str):
        return False
    group, _, entry = name.partition("/")
    return group in _GROUPS and entry not in ("", ".", "..") and not any(c in entry for c in "/\\\0")


def stage_path(path: Path) -> Path:
    """Return the path of the stage of a store."""
    return path.with_name(f"{path.name}.sc-glmm-new")


@dataclass(frozen=True)
class Stage:
    """Complete stage.

    Attributes
    ----------
    folder
        Folder of the stage.
    added
        Names such as ``varm/glmm``, and a digest of each.
    removed
        Names of removed entries.
    """

    folder: Path
    added: Mapping[str, str]
    removed: tuple[str, ...]

    def waiting(self) -> list[str]:
        """Return the entries that have not been moved yet."""
        return [name for name in self.added if (self.folder / name).is_dir()]


class StagedRoot:
    """Root of a store as it will be after its stage is moved in; opened for reading."""

    def __init__(self, path: str, stage: Stage) -> None:
        import zarr

        # the copy of the metadata at the root may not contain the moved entries yet
        self._root: Any = zarr.open_group(path, mode="r", use_consolidated=False)
        self._new: Any = zarr.open_group(str(stage.folder), mode="r")
        self._waiting = set(stage.waiting())
        self._gone = set(stage.removed)

    def _slot(self, name: str) -> str:
        return "/".join(name.split("/")[:2])

    def __contains__(self, name: str) -> bool:
        slot = self._slot(name)
        if slot in self._gone:
            return False
        return name in (self._new if slot in self._waiting else self._root)

    def __getitem__(self, name: str) -> Any:
        return (self._new if self._slot(name) in self._waiting else self._root)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._root)

    def names(self, group: str) -> list[str]:
        """Return the names of the entries of ``varm`` or ``uns``."""
        there = list(self._root[group]) if group in self._root else []
        new = [name.partition("/")[2] for name in self._waiting if name.startswith(f"{group}/")]
        return [name for name in dict.fromkeys([*there, *new]) if f"{group}/{name}" not in self._gone]


def lay_stage(path: Path, fill: Any, names: list[str], removed: list[str], version: int) -> None:
    """Write a stage next to a store; the caller is its only writer, and has moved in an earlier stage.

    Parameters
    ----------
    path
        The store.
    fill
        Function that is called with the open root group of the stage and writes the entries.
    names
        Names of the written entries.
    removed
        Names of the entries to remove.
    version
        Version of the zarr format.
    """
    stage = stage_path(path)
    with temporary_beside(stage) as unfinished:
        _write_at_once(unfinished, fill, version)
        content = {"added": {name: _digest(unfinished / name) for name in names}, "removed": removed}
        (unfinished / _LIST).write_bytes(_sealed(content))
        _sync_tree(unfinished)
        unfinished.rename(stage)
    sync_folder(stage.parent)


def _write_at_once(folder: Path, fill: Any, version: int) -> None:
    """Fill a store in memory, and then write its files; zarr takes three times as long to write into a folder."""
    import zarr
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    fill(zarr.open_group(MemoryStore(files), mode="w", zarr_format=version))
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.to_bytes())


def _sealed(content: Mapping[str, Any]) -> bytes:
    body = json.dumps(content, sort_keys=True)
    return json.dumps({"content": body, "digest": hashlib.sha256(body.encode()).hexdigest()}).encode()


def pending_stage(path: Path) -> Stage | None:
    """Return the pending stage of a store; None if there is none.

    Raises
    ------
    InputError
        If it was not written by this program, is damaged, or would change anything except results.
    """
    stage = stage_path(path)
    if not os.path.lexists(stage):
        return None
    try:
        if stage.is_symlink() or not stage.is_dir():
            raise ValueError("it is not a folder")
        sealed = json.loads((stage / _LIST).read_bytes())
        if hashlib.sha256(sealed["content"].encode()).hexdigest() != sealed["digest"]:
            raise ValueError("its list does not match the digest")
        content = json.loads(sealed["content"])
        added, removed = dict(content["added"]), tuple(content["removed"])
        wrong = next((name for name in (*added, *removed) if not is_slot(name)), None)
        if wrong is not None:
            raise ValueError(f"its list contains {wrong!r}, but results are only in varm/<name> and uns/<name>")
        for group in _GROUPS:
            for folder in (path / group, stage / group):
                if folder.is_symlink():
                    raise ValueError(f"{folder} is a link")
        found = Stage(stage, added, removed)
        for name in found.waiting():
            if _digest(stage / name) != added[name]:
                raise ValueError(f"{name} does not match its digest")
    # the exception depends on the content of the folder
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{_LIST} is missing" if isinstance(error, FileNotFoundError) else str(error)
        raise InputError(
            f"{stage} does not contain complete results of an interrupted run for {path.name} ({what}); nothing was "
            "moved. If the store opens, remove that folder"
        ) from error
    return found


def move_in(path: Path, busy: str) -> None:
    """Move a stage into its store; entries that were already moved are skipped. The caller is the only writer."""
    import zarr

    with gate(path, alone=True, busy=busy), undisturbed():
        stage = pending_stage(path)
        if stage is None:
            return
        replaced = stage.folder / _REPLACED
        replaced.mkdir(exist_ok=True)
        for number, name in enumerate([*stage.removed, *stage.waiting()]):
            target, new = path / name, stage.folder / name
            if target.is_symlink():
                target.unlink()
            elif target.exists():
                old = replaced / f"{os.getpid()}-{number}"
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
            if name in stage.added:
                target.parent.mkdir(exist_ok=True)
                new.rename(target)
        if (path / ".zmetadata").exists() or _consolidated(path):
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # zarr warns that other programs may not be able to read the existing content of this store
                zarr.consolidate_metadata(str(path))
        for group in _GROUPS:
            _sync_tree(path / group)
        # remove its name first, so that a half-removed folder is not taken for a stage
        with temporary_beside(stage.folder, room="old") as done:
            stage.folder.rename(done)
    sync_folder(path.parent)


def _consolidated(path: Path) -> bool:
    """Check whether the store has a copy of all metadata at its root (zarr 3)."""
    root = path / "zarr.json"
    return root.exists() and json.loads(root.read_text()).get("consolidated_metadata") is not None


def _digest(folder: Path) -> str:
    """Compute a digest of the names and contents of all files below a folder; links raise an error."""
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in [*folders, *sorted(files)]:
            file = Path(place, name)
            if file.is_symlink():
                raise ValueError(f"{file} is a link")
            digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
            if file.is_file():
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _sync_tree(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        for name in files:
            descriptor = os.open(os.path.join(place, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(place))
