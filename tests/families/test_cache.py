"""Check that kernels are stored even if the folder contains an index that cannot be read."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path

import numba
import pytest

SOURCE = "from sc_glmm._families.cache import cached\n\n\n@cached()\ndef twice(x):\n    return 2 * x\n"


def kernel(path: Path):
    spec = importlib.util.spec_from_file_location("kernel_of_a_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.twice


@pytest.mark.parametrize("damage", ["module", "cut", "empty"])
def test_an_index_that_cannot_be_read_is_replaced(tmp_path, monkeypatch, damage):
    # numba reads the environment again after a change
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "kernels.py"
    path.write_text(SOURCE)
    assert kernel(path)(3) == 6
    index = next((tmp_path / "cache").rglob("*.nbi"))
    content = index.read_bytes()
    if damage == "module":
        # an index of an older version of the package, with a module that no longer exists
        gone = b"csc_glmm._engine.a_module_that_is_gone\nthing\n."
        index.write_bytes(pickle.dumps(pickle.loads(content), protocol=-1) + gone)
    else:
        index.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    assert not kernel(path)._cache.holds_code()
    assert kernel(path)(3) == 6
    assert kernel(path)._cache.holds_code()
