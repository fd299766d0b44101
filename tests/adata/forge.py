"""Forge every stored element of a result in several ways, and let every reader read it.

Run as ``python tests/adata/forge.py data.h5ad`` for a file with results. A reader must end in an error of the package
that names the file and the element, or return the numbers of the intact file.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import matplotlib
import numpy as np
import pandas as pd

import sc_glmm
from sc_glmm import InputError

matplotlib.use("agg")
import matplotlib.pyplot as plt

Forgery = Callable[[h5py.File, str], bool]
KINDS: dict[str, Forgery] = {}
HUGE = 10**13


def forgery(function: Forgery) -> Forgery:
    KINDS[function.__name__] = function
    return function


def put(file: h5py.File, name: str, value: Any) -> bool:
    """Another value with the attributes that anndata gives to it."""
    del file[name]
    if isinstance(value, np.ndarray) and value.dtype == object:
        file.create_dataset(name, data=value, dtype=h5py.string_dtype())
    else:
        file[name] = value
    kind = "string" if file[name].dtype.kind in "OS" else "numeric-scalar"
    if file[name].shape:
        kind = "string-array" if kind == "string" else "array"
    file[name].attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})
    return True


def is_array(file: h5py.File, name: str) -> bool:
    return isinstance(file[name], h5py.Dataset) and file[name].shape is not None


def is_number(file: h5py.File, name: str) -> bool:
    return is_array(file, name) and file[name].dtype.kind in "iuf"


@forgery
def missing(file: h5py.File, name: str) -> bool:
    del file[name]
    return True


@forgery
def another_kind(file: h5py.File, name: str) -> bool:
    """Text in place of numbers, numbers in place of text, an array in place of a group."""
    held = file[name]
    if not is_array(file, name):
        return put(file, name, np.arange(3.0))
    if held.dtype.kind in "iufb":
        return put(file, name, np.full(held.shape, "x", dtype=object) if held.shape else "x")
    return held.dtype.kind == "O" and put(file, name, np.full(held.shape, 7.5) if held.shape else 7.5)


@forgery
def a_group(file: h5py.File, name: str) -> bool:
    if not is_array(file, name):
        return False
    del file[name]
    file.create_group(name).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    return True


def _resized(file: h5py.File, name: str, change: Callable[[Any], Any]) -> bool:
    if not is_array(file, name) or not file[name].shape or file[name].dtype.kind not in "iufO":
        return False
    return put(file, name, change(file[name][()]))


@forgery
def longer(file: h5py.File, name: str) -> bool:
    return _resized(file, name, lambda v: np.concatenate([v, v[:1]]) if len(v) else np.zeros(1))


@forgery
def shorter(file: h5py.File, name: str) -> bool:
    return is_array(file, name) and file[name].size > 0 and _resized(file, name, lambda v: v[:-1])


@forgery
def deeper(file: h5py.File, name: str) -> bool:
    return _resized(file, name, lambda v: v[None])


@forgery
def scalar(file: h5py.File, name: str) -> bool:
    return is_number(file, name) and bool(file[name].shape) and put(file, name, np.float64(0.5))


@forgery
def nan(file: h5py.File, name: str) -> bool:
    return is_number(file, name) and put(file, name, np.full(file[name].shape, np.nan))


@forgery
def negative(file: h5py.File, name: str) -> bool:
    return is_number(file, name) and put(file, name, np.full(file[name].shape, -3, dtype=file[name].dtype))


@forgery
def enormous(file: h5py.File, name: str) -> bool:
    value = 1e300 if is_number(file, name) and file[name].dtype.kind == "f" else 2**62
    return is_number(file, name) and put(file, name, np.full(file[name].shape, value))


@forgery
def claims_a_huge_size(file: h5py.File, name: str) -> bool:
    if not is_array(file, name) or file[name].dtype.kind not in "iufO":
        return False
    kind, attrs = file[name].dtype, dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, shape=(HUGE,), chunks=(1000,), dtype=kind).attrs.update(attrs)
    file[name].attrs["encoding-type"] = "array" if kind.kind in "iuf" else "string-array"
    return True


@forgery
def words(file: h5py.File, name: str) -> bool:
    """Other text."""
    if not is_array(file, name) or file[name].dtype.kind != "O":
        return False
    return put(file, name, np.full(file[name].shape, "~", dtype=object) if file[name].shape else '{"a": [1')


@forgery
def nested_json(file: h5py.File, name: str) -> bool:
    held = file[name]
    return is_array(file, name) and held.shape == () and held.dtype.kind == "O" and put(file, name, "[" * 10**5)


@forgery
def json_of_others(file: h5py.File, name: str) -> bool:
    held = file[name]
    text = is_array(file, name) and held.shape == () and held.dtype.kind == "O" and held.asstr()[()].startswith("{")
    return text and put(file, name, '{"a": {"b": [[1, "x"], []]}, "disease": [["y"]], "s01": null}')


def elements(path: Path, key: str) -> list[str]:
    """Everything that a run stores under a key."""
    out: list[str] = []
    mine = (f"uns/{key}", f"uns/{key}_results", f"varm/{key}")
    with h5py.File(path) as file:
        file.visititems(lambda name, _: out.append(name) if name.startswith(mine) else None)
    return [name for name in out if "params/checksums" not in name]


def readers(gene: str, key: str, group: str | None) -> dict[str, Callable[[Path], Any]]:
    """Everything that reads results from a file, by name."""

    def drawn(figure: Callable[..., Any], **more: Any) -> Callable[[Path], Any]:
        def draw(path: Path) -> None:
            data = path if figure is sc_glmm.pl.samples else sc_glmm_adata(path)
            figure(data, key=key, **more)
            plt.close("all")

        return draw

    one = {} if group is None else {"group": group}
    return {
        "results": lambda path: sc_glmm.get.results(path, key, columns="all"),
        "fit_info": lambda path: sc_glmm.get.fit_info(path, key),
        "describe": lambda path: sc_glmm.get.describe(path, key),
        "fractions": lambda path: sc_glmm.get.variance_fractions(path, key),
        "refit": lambda path: sc_glmm.tl.refit(path, gene, key=key, group=group).test,
        "power": lambda path: sc_glmm.power(path, key=key, n_samples=4, cells_per_sample=50, **one).overall,
        **({"details": lambda path: sc_glmm.get.details(path, key)} if group else {}),
        "volcano": drawn(sc_glmm.pl.volcano, **one),
        "dispersion": drawn(sc_glmm.pl.dispersion, what="sample", **one),
    }


def sc_glmm_adata(path: Path) -> Any:
    from sc_glmm._adata.mudata import checked
    from sc_glmm._adata.store import Store

    adata = Store(path).with_results()
    return checked(adata, path, list(adata.uns))


def outcomes(
    path: Path, name: str, kind: str, read: dict[str, Callable[[Path], Any]], expected: dict[str, Any], sealed: bool
) -> Iterator[tuple[str, str]]:
    """What each reader makes of a forged copy: ``"error"``, ``"same"``, or what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, Path(folder) / path.name))
        with h5py.File(copy, "r+") as file:
            if not sealed:
                for key in file["uns"]:
                    if f"uns/{key}/params/checksums" in file:
                        del file[f"uns/{key}/params/checksums"]
            if not KINDS[kind](file, name):
                return
        stopped = False
        # every reader checks the same elements: after an error, one more reader is tried, in turn
        turn = sum(map(ord, name + kind)) % len(read)
        for i, (label, reader) in enumerate(read.items()):
            if stopped and i != turn:
                continue
            what = _outcome(reader, copy, name, kind, expected.get(label), sealed)
            stopped |= what == "error"
            yield label, what


_VALUES = ("nan", "negative", "enormous", "words")


def _outcome(reader: Callable[[Path], Any], copy: Path, name: str, kind: str, expected: Any, sealed: bool) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = reader(copy)
        except InputError as error:
            last = name.split("/")[1]
            known = str(copy) in str(error) or f"key={last!r}" in str(error)
            return "error" if known else f"an error without the file: {error}"
        except Exception:  # noqa: BLE001 (any other error is what is looked for)
            return traceback.format_exc(limit=-3)
    # a number of a table that is possible cannot be told from another
    of_table = name.startswith("varm/") or "_results/" in name or "/details/" in name
    if isinstance(found, pd.DataFrame) and expected is not None and sealed and not (of_table and kind in _VALUES):
        own = name.split("/")[-1]
        free = [c for c in found if str(c) == own or own in (f"{c}_codes",)]
        try:
            pd.testing.assert_frame_equal(found.drop(columns=free), expected.drop(columns=free), check_dtype=False)
        except (AssertionError, KeyError) as error:
            return f"other numbers: {str(error)[:200]}"
    return "same"


def run(
    path: Path, key: str, gene: str, group: str | None, kinds: list[str], sealed: bool
) -> tuple[Counter, list[str]]:
    """Forge everything; the counts of what happened, and what must not happen."""
    read = readers(gene, key, group)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {label: reader(path) for label, reader in read.items()}
    count: Counter = Counter()
    wrong = []
    for name in elements(path, key):
        for kind in kinds:
            for label, what in outcomes(path, name, kind, read, expected, sealed):
                count[what if what in ("error", "same") else "wrong"] += 1
                if what not in ("error", "same"):
                    wrong.append(f"{name}, {kind}, {label}: {what}")
                    print(wrong[-1], flush=True)
    return count, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--key", default="glmm")
    parser.add_argument("--gene", default="gene_01")
    parser.add_argument("--group")
    parser.add_argument("--unsealed", action="store_true", help="Remove the checksums, as a forger can.")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    options = parser.parse_args()
    count, wrong = run(options.path, options.key, options.gene, options.group, options.kinds, not options.unsealed)
    print(f"{len(wrong)} readers did something else")
    print(dict(count))


if __name__ == "__main__":
    main()
