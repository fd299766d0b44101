"""What all parts of a run have in common, and the refusal of those that have not."""

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
    """A run in chunks.

    Attributes
    ----------
    options
        What is fitted and tested; those that matter for numbers are kept.
    fingerprint
        Digest of the matrix and its names (:func:`.fingerprint.matrix_fingerprint`).
    shape
        Cells, genes.
    layout
        ``"cells"``: chunks are cut from the cells first, and from the genes after; ``"genes"``: from the genes.
    n_chunks
        Number of chunks.
    versions
        Of everything that may change a number.
    data
        Path of the file; not part of what must agree.
    key
        Name under which the results are stored; not part of what must agree.
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
        """What parts must agree in, in words that a message can use."""
        options = {**self.options.plain(), "genes": _short(self.options.genes)}
        return {
            "format of the folder": FORMAT,
            **{f"version of {name}": number for name, number in self.versions.items()},
            **{_WORDS.get(name, name): value for name, value in options.items()},
            "fingerprint of the data": self.fingerprint,
            "number of chunks": self.n_chunks,
        }

    def digest(self) -> str:
        """A short name of the run, the same for runs that agree in :meth:`facts`."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()[:16]

    def header(self, stage: str, chunk: int | None = None, **more: Any) -> dict[str, Any]:
        """Header of a part."""
        return {"run": self.digest(), "stage": stage, "chunk": chunk, "facts": self.facts(), **more}


def _short(genes: Any) -> str | None:
    """A column by its name, a list of names by their number and digest: every part holds it."""
    if genes is None or isinstance(genes, str):
        return genes
    return f"{len(genes)} named, {hashlib.sha256(chr(10).join(sorted(genes)).encode()).hexdigest()[:8]}"


_WORDS = {"n_agq": "number of quadrature nodes", "min_counts": "least number of counts"}


def current_versions() -> dict[str, str]:
    """Versions of this process."""
    from ..._engine.entry import KERNEL_DIGEST

    return {**package_versions(), "the kernels": KERNEL_DIGEST[:16]}


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """In what two runs differ: ``formula 'a' and not 'b'``, at most three of them."""
    names = [name for name in dict.fromkeys([*theirs, *ours]) if theirs.get(name) != ours.get(name)]
    return "; ".join(f"{name}: {theirs.get(name)!r} and not {ours.get(name)!r}" for name in names[:3])


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a run; several processes may do so at once, with the same content."""
    content = {"run": manifest.digest(), **vars(manifest), "options": manifest.options.plain()}

    def fill(file: IO[bytes]) -> None:
        file.write(json.dumps(content, indent=2).encode() + b"\n")

    write_atomically(folder / MANIFEST, fill)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, None if it has none.

    Raises
    ------
    InputError
        If it is damaged.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_bytes())
        written = values.pop("run")
        options = RunOptions.from_plain(values.pop("options"))
        manifest = Manifest(options=options, **{**values, "shape": tuple(values["shape"])})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove the folder {folder} and run all chunks again"
        ) from error
    if manifest.digest() != written:
        raise InputError(
            f"{path} was changed by hand, or comes from another version of sc_glmm: its content does not fit its "
            f"digest; remove the folder {folder} and run all chunks again"
        )
    return manifest


def check_same_run(folder: Path, found: Manifest, wanted: Manifest) -> None:
    """Refuse a folder that holds another run."""
    if found.digest() != wanted.digest():
        raise InputError(
            f"{folder} holds the parts of another run, with {differences(found.facts(), wanted.facts())}; give this "
            "run a folder of its own, or remove that one"
        )


def check_part(part: Part, manifest: Manifest, stage: str, chunk: int | None) -> None:
    """Refuse a part of another run, or one that is not what its name says."""
    header = part.header
    if header.get("run") != manifest.digest():
        found = differences(header.get("facts", {}), manifest.facts()) or "an unknown origin"
        raise InputError(
            f"{part.path} is a part of another run, with {found}; remove it and run its chunk again, in this run"
        )
    if (header.get("stage"), header.get("chunk")) != (stage, chunk):
        raise InputError(
            f"{part.path} holds chunk {header.get('chunk')} of stage {header.get('stage')!r}, not what its name says: "
            "it was renamed or copied; remove it and run its chunk again"
        )
