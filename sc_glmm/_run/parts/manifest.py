"""Read and write the settings that all parts of a run share, and raise errors for parts of another run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..._errors import InputError
from ..._parallel.dask import package_versions
from ..options import RunOptions
from .files import Part, write_atomically

MANIFEST = "manifest.json"
# Version of the layout of the folder.
FORMAT = 3


@dataclass(frozen=True)
class Manifest:
    """The settings of a run in chunks.

    Attributes
    ----------
    options
        The options of the run. Parts must agree in those that affect numbers.
    fingerprint
        Digest of the matrix and its names (:func:`.fingerprint.matrix_fingerprint`).
    shape
        Numbers of cells and genes.
    layout
        ``"cells"`` if chunks are split by cells first and then by genes; ``"genes"`` if only by genes.
    n_chunks
        Number of chunks.
    versions
        Versions of the packages and the digest of the kernels, which may change numbers.
    data
        Path of the file; it may differ between parts.
    key
        Name under which the results are stored; it may differ between parts.
    """

    options: RunOptions
    fingerprint: str
    shape: tuple[int, int]
    layout: str
    n_chunks: int
    versions: Mapping[str, str]
    data: str
    key: str

    def facts(self) -> dict[str, Any]:
        """Return the settings in which parts must agree, with names for messages."""
        options = {**self.options.to_json(), "genes": _short(self.options.genes)}
        return {
            "format of the folder": FORMAT,
            **{f"version of {name}": number for name, number in self.versions.items()},
            **{_LABELS.get(name, name): value for name, value in options.items()},
            "fingerprint of the data": self.fingerprint,
            "number of chunks": self.n_chunks,
        }

    def digest(self) -> str:
        """Compute a short name of the run, which is the same for runs that agree in :meth:`facts`."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()[:16]

    def header(self, stage: str, chunk: int | None = None, **more: Any) -> dict[str, Any]:
        """Create the header of a part."""
        return {"run": self.digest(), "stage": stage, "chunk": chunk, "facts": self.facts(), **more}


def _short(genes: Any) -> str | None:
    """Shorten a list of genes to its length and digest, because every part stores it; a column keeps its name."""
    if genes is None or isinstance(genes, str):
        return genes
    return f"{len(genes)} named, {hashlib.sha256(chr(10).join(sorted(genes)).encode()).hexdigest()[:8]}"


_LABELS = {"n_agq": "number of quadrature nodes", "min_counts": "minimum number of counts"}


def current_versions() -> dict[str, str]:
    """Return the versions of the packages and kernels in this process."""
    from ..._engine.entry import KERNEL_DIGEST

    return {**package_versions(), "the kernels": KERNEL_DIGEST[:16]}


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Write at most three differences between two runs: ``formula: 'a' instead of 'b'``."""
    names = [name for name in dict.fromkeys([*theirs, *ours]) if theirs.get(name) != ours.get(name)]
    return "; ".join(f"{name}: {theirs.get(name)!r} instead of {ours.get(name)!r}" for name in names[:3])


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a run; several processes may write the same content at the same time."""
    content = {"run": manifest.digest(), **vars(manifest), "options": manifest.options.to_json()}

    def fill(file: IO[bytes]) -> None:
        file.write(json.dumps(content, indent=2).encode() + b"\n")

    write_atomically(folder / MANIFEST, fill)


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder; None if there is none.

    Raises
    ------
    InputError
        If the manifest is damaged or was changed.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_bytes())
        written = values.pop("run")
        options = RunOptions.from_json(values.pop("options"))
        manifest = Manifest(options=options, **{**values, "shape": tuple(values["shape"])})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove the folder {folder} and run all chunks again"
        ) from error
    if manifest.digest() != written:
        raise InputError(
            f"{path} was edited, or comes from another version of sc_glmm: its content does not match its "
            f"digest; remove the folder {folder} and run all chunks again"
        )
    return manifest


def check_same_run(folder: Path, found: Manifest, wanted: Manifest) -> None:
    """Raise an error if the folder contains another run."""
    if found.digest() != wanted.digest():
        raise InputError(
            f"{folder} contains the parts of another run ({differences(found.facts(), wanted.facts())}); use another "
            "folder for this run, or remove that folder"
        )


def check_part(part: Part, manifest: Manifest, stage: str, chunk: int | None) -> None:
    """Raise an error for a part of another run, or a part whose content does not match its name."""
    header = part.header
    if header.get("run") != manifest.digest():
        found = differences(header.get("facts", {}), manifest.facts()) or "unknown origin"
        raise InputError(f"{part.path} is a part of another run ({found}); remove it and run its chunk again")
    if (header.get("stage"), header.get("chunk")) != (stage, chunk):
        raise InputError(
            f"{part.path} contains chunk {header.get('chunk')} of stage {header.get('stage')!r}, which does not "
            "match its name, so it was renamed or copied; remove it and run its chunk again"
        )
