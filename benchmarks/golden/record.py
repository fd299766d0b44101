"""Record all results that a change of the code must not change, and compare the records of two trees.

The record has about eighty runs of public functions: ``tl.test`` over families, designs, tests, contrasts, formats and
ways to run; ``tl.refit``; ``lmer`` and ``glmer`` on the reference tables. It takes a few minutes, mostly compilation.

Record the tree whose environment runs the script, then compare two records::

    python benchmarks/golden/record.py record after.json.gz
    python benchmarks/golden/record.py record some.json.gz --only 'lmer_*' 'paired*'
    python benchmarks/golden/record.py compare before.json.gz after.json.gz

``compare`` requires relative differences of at most 1e-10 (``--rtol``), and equal text, column names and row labels. It
lists differences by run, frame and column, counts the columns in which all bits agree, and exits with 1 if anything
differs. It names runs that only one record has; they do not count if the other was made with ``--only``.
A number close to zero is compared at a thousandth of the median size of its column.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import json
import logging
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import frames
import genes
import numpy as np
import pandas as pd

Record = dict[str, Any]


def _column(values: pd.Series) -> list[Any]:
    """Convert numbers without a change (JSON keeps every bit), other values to text, missing values to None."""
    if values.dtype.kind in "fiub" or isinstance(values.dtype, pd.BooleanDtype):
        return [None if pd.isna(x) else float(x) for x in values]
    return [None if pd.isna(x) else x if isinstance(x, float | int) else str(x) for x in values]


def _plain(frame: pd.DataFrame) -> Record:
    """Convert a frame to lists. Columns are a list of pairs, because names may repeat."""
    index = [str(i) for i in frame.index]
    return {
        "index": index,
        "columns": [[str(frame.columns[j]), _column(frame.iloc[:, j])] for j in range(frame.shape[1])],
    }


def record(path: Path, only: list[str]) -> None:
    """Execute the runs and write the record."""
    result: Record = {"python": platform.python_version(), "numpy": np.__version__, "only": only, "runs": {}}
    for name, run in (*genes.runs(), *frames.runs()):
        if only and not any(fnmatch.fnmatch(name, pattern) for pattern in only):
            continue
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result["runs"][name] = {key: _plain(frame) for key, frame in run().items()}
                error_text = ""
            except Exception as error:  # noqa: BLE001 (a run that fails is part of the record)
                error_text = f"{type(error).__name__}: {error}"
                result["runs"][name] = {"error": {"index": [""], "columns": [["message", [error_text]]]}}
        print(f"{time.process_time() - start:7.1f} s  {name}  {error_text}", flush=True)
    text = json.dumps(result, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def read(path: Path) -> Record:
    """Read a record from a file."""
    data = path.read_bytes()
    result: Record = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return result


def _numbers(values: list[Any]) -> np.ndarray | None:
    if any(isinstance(x, str) for x in values):
        return None
    return np.array([np.nan if x is None else x for x in values], dtype=np.float64)


def compare_column(old: list[Any], new: list[Any], rtol: float) -> str:
    """Describe the difference in a column; empty if there is none."""
    if len(old) != len(new):
        return f"{len(old)} rows, now {len(new)}"
    a, b = _numbers(old), _numbers(new)
    if a is None or b is None:
        other = [(x, y) for x, y in zip(old, new, strict=True) if x != y]
        return f"{len(other)} of {len(old)} words, such as {other[0][0]!r}, now {other[0][1]!r}" if other else ""
    missing = np.isnan(a) != np.isnan(b)
    if missing.any():
        return f"{missing.sum()} of {len(a)} numbers are missing in one of the two"
    differ = ~np.isnan(a) & (a != b)
    if not differ.any():
        return ""
    a, b = a[differ], b[differ]
    size = np.array([x for x in old if x is not None and np.isfinite(x)])
    floor = 1e-3 * np.median(np.abs(size)) if len(size) else 0.0
    with np.errstate(invalid="ignore"):
        off = np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), floor)
    off = np.where(np.isnan(off), np.inf, off)
    worst = int(np.argmax(off))
    if off[worst] <= rtol:
        return ""
    count = int(np.sum(off > rtol))
    return f"{count} of {len(old)} numbers, worst {off[worst]:.1e}: {float(a[worst])!r}, now {float(b[worst])!r}"


def differences(old: Record, new: Record, rtol: float) -> tuple[list[str], int, int]:
    """List differences; also count the compared columns, and those that agree to the last bit."""
    lines: list[str] = []
    n_columns = n_same = 0
    for run in old["runs"].keys() | new["runs"].keys():
        if run not in old["runs"] or run not in new["runs"]:
            side = new if run in old["runs"] else old
            if not side["only"]:
                lines.append(f"{run}: only in the {'first' if run in old['runs'] else 'second'} record")
            continue
        first, second = old["runs"][run], new["runs"][run]
        if first.keys() != second.keys():
            lines.append(f"{run}: frames {sorted(first)}, now {sorted(second)}")
        for key in first.keys() & second.keys():
            a, b = first[key], second[key]
            if a["index"] != b["index"]:
                lines.append(f"{run}/{key}: {compare_column(a['index'], b['index'], rtol)} (labels of rows)")
            names, now = [c for c, _ in a["columns"]], [c for c, _ in b["columns"]]
            if names != now:
                gone, added = [c for c in names if c not in now], [c for c in now if c not in names]
                lines.append(f"{run}/{key}: columns gone {gone}, added {added}, or in another order")
            columns = dict(b["columns"])
            for name, values in a["columns"]:
                if name in columns:
                    n_columns += 1
                    n_same += values == columns[name]
                    difference = compare_column(values, columns[name], rtol)
                    lines += [f"{run}/{key}/{name}: {difference}"] if difference else []
    return sorted(lines), n_columns, n_same


def compare(first: Path, second: Path, rtol: float) -> bool:
    """Print the differences; return whether there are none."""
    lines, n_columns, n_same = differences(read(first), read(second), rtol)
    print("\n".join(lines))
    print(f"{n_columns} columns, {n_same} equal to the last bit; {len(lines)} differences beyond {rtol:g}")
    return not lines


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("record")
    making.add_argument("path", type=Path)
    making.add_argument("--only", nargs="*", default=[])
    comparing = commands.add_parser("compare")
    comparing.add_argument("first", type=Path)
    comparing.add_argument("second", type=Path)
    comparing.add_argument("--rtol", type=float, default=1e-10)
    args = parser.parse_args()
    if args.command == "record":
        record(args.path, args.only)
        return 0
    return 0 if compare(args.first, args.second, args.rtol) else 1


if __name__ == "__main__":
    logging.getLogger("sc_glmm").setLevel(logging.ERROR)
    sys.exit(main())
