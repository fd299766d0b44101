"""The digest of all kernel sources that :mod:`sc_glmm._engine.entry` carries.

``python -m sc_glmm._engine.digest`` rewrites it.

Run it after every change of a file in `_families` or `_engine` (the pre-commit hook does): without it numba may go on
using the kernels it compiled before the change.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

ENTRY = Path(__file__).with_name("entry.py")
_LINE = re.compile(r'^KERNEL_DIGEST = "[^"]*"$', flags=re.MULTILINE)


def kernel_digest() -> str:
    """Sixteen hexadecimal digits that change with any source that the entries are compiled from."""
    folders = (ENTRY.parent, ENTRY.parent.parent / "_families")
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        text = _LINE.sub("", path.read_text(encoding="utf-8")) if path == ENTRY else path.read_text(encoding="utf-8")
        digest.update(f"{path.name}\n{text}\n".encode())
    return digest.hexdigest()[:16]


def rewrite() -> bool:
    """Bring the constant up to date; returns whether it was out of date."""
    text = ENTRY.read_text(encoding="utf-8")
    new = _LINE.sub(f'KERNEL_DIGEST = "{kernel_digest()}"', text)
    if new != text:
        ENTRY.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    print("rewritten" if rewrite() else "up to date")
