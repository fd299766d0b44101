"""Measure time, processor time and memory of each stage of the default test on a file.

    python benchmarks/scale/run.py FILE.h5ad [--jobs 2] [--formula "X ~ disease + (1|sample)"] [--key VALUE ...]

Times are wall-clock seconds and seconds of all processors (the operating system counts threads and worker processes),
and the largest resident memory of the process so far. "reading" is a pass over the file that does
nothing with the values. The results are not written.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import resource
import time
import warnings

import sc_glmm
from sc_glmm._adata.store import Store
from sc_glmm._compress.source import read_chunks
from sc_glmm._run import conductor, memory

REPORT: dict[str, list[float]] = {}


def peak_memory() -> float:
    """Return the largest resident memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def timed(module, name: str, label: str) -> None:
    """Wrap a function so that it records its times."""
    function = getattr(module, name)

    def call(*args, **kwargs):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function(*args, **kwargs)
        before = REPORT.get(label, [0.0, 0.0])
        REPORT[label] = [before[0] + time.perf_counter() - wall, before[1] + time.process_time() - cpu, peak_memory()]
        return result

    setattr(module, name, call)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--formula", default="X ~ disease + (1|sample)")
    parser.add_argument("--groupby", default=None)
    parser.add_argument("--size-factors", default=None)
    parser.add_argument("--memory-limit", default=None)
    parser.add_argument("--test", default=None)
    parser.add_argument("--contrasts", default=None)
    parser.add_argument("--within", default=None, help='"homogeneous": no random slopes of covariates of cells')
    parser.add_argument(
        "--read", action="store_true", help="read the file once before the run, to measure reading alone"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
    logging.getLogger("sc_glmm").setLevel(logging.WARNING)
    test = importlib.import_module("sc_glmm.tl._test")
    warm_up = sc_glmm.datasets.simulate(12, 240, 60, depth=600)
    sc_glmm.tl.test(warm_up, "counts ~ disease + (1|sample)", n_jobs=1, progress=False)
    if args.read:
        source = Store(args.file).matrix(None)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in read_chunks(source, source.spans()):
            pass
        REPORT["reading"] = [time.perf_counter() - wall, time.process_time() - cpu, peak_memory()]
    timed(test, "open_data", "tables")
    timed(test, "library_sums", "library sizes")
    timed(memory, "compress_groups", "statistics")
    timed(conductor, "fit_range", "fits")
    timed(conductor, "profile_all", "profiles")
    timed(conductor, "finish", "prior and tests")
    wall, cpu = time.perf_counter(), time.process_time()
    result = test.test(
        args.file,
        args.formula,
        reference={"disease": "ctl"},
        groupby=args.groupby,
        size_factors=args.size_factors,
        memory_limit=args.memory_limit,
        test=args.test,
        contrasts=args.contrasts,
        **({} if args.within is None else {"within": args.within}),
        n_jobs=args.jobs,
        copy=True,
        progress=False,
    )
    REPORT["all"] = [time.perf_counter() - wall, time.process_time() - cpu, peak_memory()]
    print(f"{args.file}: {result.n_obs:,} cells x {result.n_vars:,} genes, {args.jobs} threads")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n")
    print("| stage | wall time, s | CPU time, s | memory, GB |\n|---|---|---|---|")
    for label, (wall, cpu, peak) in REPORT.items():
        print(f"| {label} | {wall:.1f} | {cpu:.1f} | {peak:.2f} |")
    print(json.dumps({"file": args.file, "jobs": args.jobs, **REPORT}))


if __name__ == "__main__":
    main()
