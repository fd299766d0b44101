"""Write the results of the commands to files and to the terminal."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import InputError
from .console import atomically

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

ALPHA = 0.05
_TOP = 10


def check_output(out: Path, source: Path | None = None) -> None:
    """Raise an error before the work starts if the output cannot be written."""
    if source is not None and _is_same(out, source):
        if not os.access(source, os.W_OK):
            raise InputError(f"The input {source} is not writable; choose another output.")
        from .._adata.store import recover

        recover(source)
        return
    if source is not None and out.suffix == ".h5ad" and source.is_dir():
        raise InputError(
            f"The input {source} is a zarr store, but the output {out} ends in .h5ad; use the store itself, or .csv."
        )
    if out.suffix not in _WRITERS:
        raise InputError(f"The output {out} ends in {out.suffix!r}; it must end in .h5ad, .csv or .parquet.")
    folder = out.resolve().parent
    if not folder.is_dir():
        raise InputError(f"The folder of the output, {folder}, does not exist; create it first.")
    if out.is_dir():
        raise InputError(f"The output {out} is a folder; it must be a file.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"The folder of the output, {folder}, is not writable; choose another one.")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise InputError("Writing .parquet needs pyarrow: run pip install 'sc-glmm[parquet]', or use .csv.")


def _write_h5ad(adata: AnnData, _: pd.DataFrame, path: Path) -> None:
    adata.write_h5ad(path)


def _write_csv(_: AnnData, results: pd.DataFrame, path: Path) -> None:
    results.to_csv(path, index=False)


def _write_parquet(_: AnnData, results: pd.DataFrame, path: Path) -> None:
    results.to_parquet(path, index=False)


_WRITERS = {".h5ad": _write_h5ad, ".csv": _write_csv, ".parquet": _write_parquet}


def _is_same(out: Path, source: Path) -> bool:
    return out.exists() and out.samefile(source)


def write_beside(source: Path, adata: AnnData, key: str, results: pd.DataFrame, out: Path) -> None:
    """Write the results of a run into the input file, into a copy of it, or as a table."""
    from .._adata.store import Store

    if _is_same(out, source):
        Store(source).write_results(adata, key)
    elif out.suffix == ".h5ad":
        with atomically(out) as path:
            shutil.copyfile(source, path)
            Store(path).write_results(adata, key)
    else:
        write(adata, results, out)


def write(adata: AnnData, results: pd.DataFrame, out: Path) -> None:
    """Write the data or the table, depending on the suffix of `out`."""
    with atomically(out) as path:
        _WRITERS[out.suffix](adata, results, path)


def top(results: pd.DataFrame, groupby: str | None = None) -> str:
    """Write a table of the genes with the smallest p-values for the terminal."""
    columns = [
        "variable",
        groupby,
        "contrast",
        "log_fc",
        "log_fc_se",
        "p_value",
        "adj_p_value",
        "true_log_fc",
        "status",
    ]
    if results["contrast"].nunique() == 1:
        columns.remove("contrast")
    shown = results.sort_values("p_value", kind="stable").head(_TOP)[[c for c in columns if c in results]]
    return shown.to_string(index=False, float_format=lambda value: f"{value:.3g}", na_rep="-")


def summary(results: pd.DataFrame, seconds: float, groupby: str | None = None) -> list[str]:
    """Write the summary for the terminal: number of genes, time, statuses, significant genes."""
    # A gene has one fit per group, and one row for each contrast of this fit.
    fits = results.drop_duplicates(["variable", groupby] if groupby in results else ["variable"])
    ms_per_gene = 1e3 * seconds / max(len(fits), 1)
    genes = f"{len(fits):,} genes"
    if groupby in results:
        n_levels = results[groupby].nunique()
        genes = f"{len(fits):,} genes in {n_levels} level{'s' if n_levels != 1 else ''} of {groupby!r}"
    lines = [f"{genes} in {seconds:.1f} s ({ms_per_gene:.2f} ms per gene)"]
    counts = [(str(word).replace("_", " "), n) for word, n in fits["status"].astype(str).value_counts().items()]
    for words, rows in results.groupby("contrast", sort=False, observed=True):
        counts.append((f"{words}, FDR {100 * ALPHA:g} %", int((rows["adj_p_value"] < ALPHA).sum())))
    return lines + [line(*count) for count in counts]


def line(words: str, n: int) -> str:
    """Write a label and a number in aligned columns."""
    return f"  {words:<36}{n:>7,}"
