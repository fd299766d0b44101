"""Checksums of the parameters, grids and priors of a run, which reveal later changes.

They do not depend on how a file stores a value. The checksum is the same for a list of one word and the word itself,
for a whole number and the same number as a float, and for a value that is None and one that is absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

# Not sealed, because the names of the tables may change when results are moved to another file.
_NOT_SEALED = ("varm", "checksums")
SEALED = ("params", "grids", "priors", "variances")


def seal(entry: Mapping[str, Any]) -> dict[str, str]:
    """Compute the checksum of each part of the entry in ``uns``, by the name of the part."""
    out = {}
    for part in SEALED:
        if part in entry:
            digest = hashlib.sha256()
            _add(digest, {k: v for k, v in entry[part].items() if k not in _NOT_SEALED})
            out[part] = digest.hexdigest()[:32]
    return out


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for name in sorted(map(str, value)):
            if _is_empty(value[name]):
                continue
            digest.update(b"{" + name.encode() + b"\0")
            _add(digest, value[name])
        digest.update(b"}")
        return
    held = np.asarray(value).reshape(-1)
    if held.dtype.kind in "biuf":
        digest.update(b"#" + np.ascontiguousarray(held, dtype="<f8").tobytes())
    else:
        digest.update(b"'" + b"\0".join(str(each).encode() for each in held.tolist()))


def _is_empty(value: Any) -> bool:
    return value is None or (not isinstance(value, Mapping | str) and np.size(value) == 0)
