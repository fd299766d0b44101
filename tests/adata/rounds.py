"""Run processes that write results into one file at the same time and are killed at random.

``python tests/adata/rounds.py 200`` runs 200 rounds with two and with three writers for each kind of file. A round has

* two or three writers, each with its own key or all with the same key; half of them are killed at a random moment;
* a reader that reads earlier results all the time;
* checks at the end: the file opens, the matrix has not changed, every result with a confirmed write is complete,
  and the next writer leaves no files beside the data file.

The processes are forked from one that has imported all packages, so that a round takes a fraction of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

warnings.simplefilter("ignore")

import anndata as ad  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import scipy.sparse as sp  # noqa: E402

from sc_glmm._adata import journal  # noqa: E402
from sc_glmm._adata.store import Store, recover  # noqa: E402

KINDS = ("replaced", "in place", "zarr")
N_GENES = 300


def results(key: str, token: int) -> ad.AnnData:
    """Make results under a key in the format of a run, with a token that identifies them."""
    genes = pd.Index([f"g{i}" for i in range(N_GENES)])
    adata = ad.AnnData(obs=pd.DataFrame(index=["a", "b", "c"]), var=pd.DataFrame(index=genes))
    values = np.full(N_GENES, float(token))
    table = {"variable": list(genes), "contrast": ["b vs a"] * N_GENES, "p_value": values, "log_fc": values}
    adata.varm[key] = pd.DataFrame({"status": ["ok"] * N_GENES, "mean": values}, index=genes)
    adata.varm[f"{key}_x"] = pd.DataFrame(table, index=genes)
    adata.uns[key] = {"params": {"varm": [f"{key}_x"], "token": token}, "log_sizes": values.copy()}
    return adata


def data(path: Path) -> None:
    counts = sp.random(3, N_GENES, 0.5, format="csr", random_state=1, dtype=np.float32)
    whole = ad.AnnData(counts, obs=pd.DataFrame(index=["a", "b", "c"]), var=results("base", 0).var)
    (whole.write_zarr if path.suffix == ".zarr" else whole.write_h5ad)(path)
    Store(path).write_results(results("base", 0), "base")


def token_in(read: ad.AnnData, key: str) -> int | None:
    """Read the token of the results under a key, None without results; raise an error for a mixture."""
    if key not in read.uns and key not in read.varm and f"{key}_x" not in read.varm:
        return None
    numbers = {int(read.uns[key]["params"]["token"]), *map(int, read.uns[key]["log_sizes"])}
    for name in (key, f"{key}_x"):
        numbers |= set(map(int, read.varm[name].select_dtypes("number").to_numpy().ravel()))
    if len(numbers) != 1:
        raise AssertionError(f"a mixture of results {numbers} under {key}")
    return numbers.pop()


def child(work: object, report: Path) -> int:
    """Run `work` in a forked process, and write its result or error to a file."""
    pid = os.fork()
    if pid == 0:
        try:
            try:
                message = {"ok": work()}
            except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, AssertionError) as error:
                message = {"error": f"{type(error).__name__}: {error}", "where": traceback.format_exc()[-900:]}
            report.with_suffix(".tmp").write_text(json.dumps(message))
            report.with_suffix(".tmp").rename(report)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return pid


def one_round(kind: str, source: Path, folder: Path, rng: random.Random, n_writers: int, duration: float) -> Counter:
    path = folder / source.name
    (shutil.copytree if path.suffix == ".zarr" else shutil.copy)(source, path)
    journal.COPY_BYTES = 0 if kind == "in place" else 1 << 28
    before = (ad.read_zarr if path.suffix == ".zarr" else ad.read_h5ad)(path).X.toarray()
    same, count = rng.random() < 0.5, Counter(rounds=1)
    keys = ["base" if same else f"k{i}" for i in range(n_writers)]
    stop = folder / "stop"

    def reads() -> dict[str, object]:
        seen: Counter = Counter()
        foreign = ad.read_zarr if path.suffix == ".zarr" else ad.read_h5ad
        while not stop.exists():
            if token_in(Store(path).results("base"), "base") is None:
                raise AssertionError("the results were gone")
            seen["reads"] += 1
            try:
                token_in(foreign(path), "base")
                seen["reads by anndata"] += 1
            except Exception as error:
                if kind == "replaced":
                    raise
                seen[f"refusals of anndata ({type(error).__name__})"] += 1
        return dict(seen)

    def writes(i: int) -> str:
        Store(path).write_results(results(keys[i], i + 1), keys[i])
        return "written"

    reader = child(reads, folder / "reader.json")
    writers = [child(lambda i=i: writes(i), folder / f"writer{i}.json") for i in range(n_writers)]
    start, victims = time.monotonic(), [pid for pid in writers if rng.random() < 0.5]
    moments = sorted((rng.random() * duration * n_writers, pid) for pid in victims)
    for moment, pid in moments:
        time.sleep(max(0.0, start + moment - time.monotonic()))
        os.kill(pid, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in writers]
    if not {*codes} <= {0, -signal.SIGKILL}:
        raise AssertionError(f"writers ended with {codes}")
    killed = [code != 0 for code in codes]
    stop.touch()
    os.waitpid(reader, 0)
    message = json.loads((folder / "reader.json").read_text())
    if "ok" not in message:
        raise AssertionError(f"the reader: {message}")
    count.update(message["ok"])
    reports = [folder / f"writer{i}.json" for i in range(n_writers)]
    said_ok = []
    for i, report in enumerate(reports):
        words = json.loads(report.read_text()) if report.exists() else {}
        if "error" in words:
            raise AssertionError(f"writer {i}: {words}")
        said_ok.append("ok" in words)
    count["killed"], count["said ok"] = sum(k and not o for k, o in zip(killed, said_ok, strict=True)), sum(said_ok)
    lying = [p for p in folder.iterdir() if p.name.startswith(path.name) and p != path]
    count["left to be put in"] = len(lying)
    # a reader alone, a recovery, and the next writer
    for step in ("read", "recover", "write"):
        if step == "recover":
            recover(path)
        if step == "write":
            Store(path).write_results(results("last", 99), "last")
        read = Store(path).with_results()
        for i, key in enumerate(keys):
            token = token_in(read, key)
            allowed = {0, *range(1, n_writers + 1)} if same else {None, i + 1}
            if token not in allowed or (said_ok[i] and token in (None, 0)):
                raise AssertionError(f"after {step}: {key} holds {token}; said ok: {said_ok}")
    whole = (ad.read_zarr if path.suffix == ".zarr" else ad.read_h5ad)(path)
    if token_in(whole, "last") != 99 or not np.array_equal(whole.X.toarray(), before):
        raise AssertionError("the file is not what it should be")
    beside = sorted(p.name for p in folder.iterdir() if p.suffix != ".json" and p not in (path, stop))
    if beside:
        raise AssertionError(f"left beside the file: {beside}")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for kind in options.kinds:
            source = Path(name) / ("data.zarr" if kind == "zarr" else "data.h5ad")
            data(source) if not source.exists() else None
            trial = Path(name) / "trial" / source.name
            trial.parent.mkdir(exist_ok=True)
            (shutil.copytree if kind == "zarr" else shutil.copy)(source, trial)
            start = time.monotonic()
            Store(trial).write_results(results("base", 1), "base")
            duration = time.monotonic() - start
            for n_writers in (2, 3):
                total: Counter = Counter()
                for number in range(options.rounds):
                    folder = Path(name) / f"{kind} {n_writers} {number}"
                    folder.mkdir()
                    rng = random.Random(f"{options.seed} {folder.name}")
                    try:
                        total += one_round(kind, source, folder, rng, n_writers, duration)
                    except AssertionError as error:
                        raise SystemExit(f"round {number} of {n_writers} writers, {kind}: {error}") from error
                    shutil.rmtree(folder)
                print(f"{kind}, {n_writers} writers: {dict(total)}", flush=True)


if __name__ == "__main__":
    main()
