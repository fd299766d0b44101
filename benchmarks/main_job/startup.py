"""Measure the time of first steps: import, first test after an installation, first test of a later process.

Every number is measured in a separate process. Processor time is that of one process with one thread. On a busy
machine, use the processor time, because wall time depends on other jobs.

    python benchmarks/main_job/startup.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

IMPORT = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import anndata
middle = time.perf_counter(), time.process_time()
import sc_glmm
bare = time.perf_counter(), time.process_time()
sc_glmm.tl.test
end = time.perf_counter(), time.process_time()
print(middle[0] - wall, middle[1] - cpu)
print(bare[0] - middle[0], bare[1] - middle[1])
print(end[0] - middle[0], end[1] - middle[1])
"""

TEST = """
import sys, time
import sc_glmm
adata = sc_glmm.datasets.simulate(n_samples=12, n_cells=1200, n_genes=200, seed=0)
wall, cpu = time.perf_counter(), time.process_time()
sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", test=sys.argv[1], n_jobs=1, progress=False)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def run(code: str, *args: str, cache: str) -> list[list[float]]:
    """Return the lines of numbers that a new Python process prints."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *args],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise SystemExit(process.stderr)
    return [[float(word) for word in line.split()] for line in process.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repeats", type=int, default=5, help="number of processes; the best is shown (compilation: one process)"
    )
    args = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n")
    print(f"{'':62s} {'CPU s':>7s} {'wall s':>7s}")

    def show(label: str, runs: list[list[float]]) -> None:
        print(f"{label:62s} {min(r[1] for r in runs):7.2f} {min(r[0] for r in runs):7.2f}", flush=True)

    with tempfile.TemporaryDirectory() as cache:
        imports = [run(IMPORT, cache=cache) for _ in range(args.repeats)]
        show("import anndata", [r[0] for r in imports])
        show("import sc_glmm, after it", [r[1] for r in imports])
        show("import sc_glmm and its main job, after it", [r[2] for r in imports])
        show("first test='t' after an installation (compiles)", run(TEST, "t", cache=cache))
        show("first test='eb_lr' after that (compiles the profiles)", run(TEST, "eb_lr", cache=cache))
        for test in ("t", "eb_lr"):
            later = [run(TEST, test, cache=cache)[0] for _ in range(args.repeats)]
            show(f"test={test!r}, 200 genes, in a later process", later)


if __name__ == "__main__":
    main()
