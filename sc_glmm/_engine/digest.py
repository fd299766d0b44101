"""Digest of all kernel sources, which is stored in the files with cached entries.

``python -m sc_glmm._engine.digest`` rewrites it.

Run it after every change of a file in `_families` or `_engine` (the pre-commit hook does). Otherwise numba may use the
kernels that it compiled before the change.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_HERE = Path(__file__).parent
ENTRIES = tuple(_HERE / name for name in ("entry.py", "profile.py", "gaussian/entry.py"))
_LINE = re.compile(r'^KERNEL_DIGEST = "[^"]*"$', flags=re.MULTILINE)


def sources() -> list[Path]:
    """List all sources that the entries may be compiled from."""
    folders = (_HERE, _HERE.parent / "_families")
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def kernel_digest() -> str:
    """Compute sixteen hexadecimal digits that change with any of the sources."""
    digest = hashlib.sha256()
    for path in sources():
        text = _LINE.sub("", path.read_text(encoding="utf-8"))
        digest.update(f"{path.relative_to(_HERE.parent).as_posix()}\n{text}\n".encode())
    return digest.hexdigest()[:16]


def rewrite() -> bool:
    """Update the constants. Returns whether one of them was out of date."""
    digest, changed = kernel_digest(), False
    for path in ENTRIES:
        text = path.read_text(encoding="utf-8")
        new = _LINE.sub(f'KERNEL_DIGEST = "{digest}"', text)
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed = True
    return changed


if __name__ == "__main__":
    print("rewritten" if rewrite() else "up to date")
