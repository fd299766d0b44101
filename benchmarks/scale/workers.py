"""Measure how much faster two Dask workers with one thread each are than one worker.

    python benchmarks/scale/workers.py FILE.h5ad [--workers 1 2] [--rounds 3] [--formula "X ~ disease + (1|sample)"]

The compute part is between the tables and the tests: statistics, fits and profiles, including the work of the client
process meanwhile. Starting the cluster and compiling (or loading) the kernels on the workers is not included: every
worker runs a small data set first. BLAS has one thread everywhere. Rounds alternate between the numbers of workers, and
the fastest of each counts, because the machine may run other jobs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import warnings

from dask.distributed import Client, LocalCluster
from threadpoolctl import threadpool_limits

import sc_glmm
from sc_glmm._run import conductor, memory

PARTS = {
    (memory, "compress_groups"): "statistics",
    (conductor, "fit_range"): "fits",
    (conductor, "profile_all"): "profiles",
}


def warm_up() -> float:
    """Load or compile the kernels of this process."""
    warnings.simplefilter("ignore")
    adata = sc_glmm.datasets.simulate(12, 240, 60, depth=600)
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", n_jobs=1, progress=False)
    return time.perf_counter()


def once(file: str, formula: str, n_workers: int) -> dict[str, float]:
    """Measure wall-clock seconds of every part, and processor seconds of this process (scheduler and client)."""
    seconds: dict[str, float] = {}
    originals = {part: getattr(*part) for part in PARTS}

    def timed(part):
        def call(*args, **kwargs):
            wall, cpu = time.perf_counter(), time.process_time()
            result = originals[part](*args, **kwargs)
            seconds[PARTS[part]] = time.perf_counter() - wall
            seconds["here"] = seconds.get("here", 0.0) + time.process_time() - cpu
            return result

        return call

    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(n_workers)
        client.run(warm_up)
        try:
            for part in PARTS:
                setattr(*part, timed(part))
            sc_glmm.tl.test(file, formula, reference={"disease": "ctl"}, copy=True, progress=False)
        finally:
            for part, function in originals.items():
                setattr(*part, function)
    return {**seconds, "compute": sum(seconds[part] for part in PARTS.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--formula", default="X ~ disease + (1|sample)")
    args = parser.parse_args()
    warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
    logging.getLogger("sc_glmm").setLevel(logging.WARNING)
    threadpool_limits(limits=1, user_api="blas")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # for the processes that start from here
    warm_up()
    best: dict[int, dict[str, float]] = {}
    for _ in range(args.rounds):
        for n in args.workers:
            result = once(args.file, args.formula, n)
            print(json.dumps({"workers": n, **result}), flush=True)
            if n not in best or result["compute"] < best[n]["compute"]:
                best[n] = result
    first = best[args.workers[0]]
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n")
    print("| workers | " + " | ".join(first) + f" | times {args.workers[0]} |")
    print("|---" * (len(first) + 2) + "|")
    for n, result in best.items():
        cells = " | ".join(f"{value:.1f}" for value in result.values())
        print(f"| {n} | {cells} | {first['compute'] / result['compute']:.2f} |")


if __name__ == "__main__":
    main()
