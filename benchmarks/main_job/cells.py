"""Measure the cost per gene by number of cells, with 20 samples: compression grows with the counts, fitting does not.

    python benchmarks/main_job/cells.py [--genes 200] [--repeats 3]

The number of samples and the depth of the cells stay the same. CPU milliseconds per gene on one core, the best of some
runs. The pass over the matrix (which also finds the range of the size factors and checks the nodes) is shown
separately.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings

from speed import measure_ours

import sc_glmm

FORMULA = "counts ~ disease + (1|sample)"
CELLS = (5_000, 20_000, 50_000, 200_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore", sc_glmm.ScGlmmWarning)
    logging.getLogger("sc_glmm").setLevel(logging.WARNING)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs; CPU ms per gene\n")
    print(f"| cells | nodes per sample | fit | profiles | fit + profiles | compression | {'rest':4s} |")
    print("|---|---|---|---|---|---|---|")
    for n_cells in CELLS:
        # few genes, with the same abundance as among 2,000
        adata = sc_glmm.datasets.simulate(20, n_cells, args.genes, depth=0.12 * args.genes, depth_sd=0.4, seed=2)
        if n_cells == CELLS[0]:
            measure_ours(adata, FORMULA, "nb", "eb_lr", 1)
        t = measure_ours(adata, FORMULA, "nb", "eb_lr", args.repeats)
        nodes = adata.uns["glmm"]["params"]["n_nodes"] / 20
        fitting = t["fit"] + t["profile"]
        rest = t["cpu"] - fitting - t["compress"]
        print(
            f"| {n_cells:,} | {nodes:.1f} | {t['fit']:.2f} | {t['profile']:.2f} | {fitting:.2f} | {t['compress']:.2f} "
            f"| {rest:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
