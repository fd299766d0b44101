"""One run whose workers are jobs of SLURM, by dask-jobqueue.

    python dask_cluster.py IN.h5ad "counts ~ disease + (1|sample)" --jobs 4 --cores 8 --memory 32GB --csv results.csv

Needs ``pip install 'sc-glmm[cluster]'``, and the file under the same path on all nodes. The process itself does little
(it wants 2 GB of memory); run it where it may run for as long as the jobs do, such as in a job of its own. The results
are written into the file.
"""

from __future__ import annotations

import argparse

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

import sc_glmm


def main() -> None:
    """Ask for the jobs, run, and give them back."""
    parser = argparse.ArgumentParser(description="tl.test with jobs of SLURM as workers.")
    parser.add_argument("file", help="an .h5ad file or a zarr store")
    parser.add_argument("formula", help="such as 'counts ~ disease + (1|sample)'")
    parser.add_argument("--groupby", help="column of obs, each of its levels is tested by itself")
    parser.add_argument("--csv", help="also write the table of results to this file")
    parser.add_argument("--jobs", type=int, default=4, help="jobs of SLURM")
    parser.add_argument("--cores", type=int, default=8, help="processors of a job, each of which is a worker")
    parser.add_argument("--memory", default="32GB", help="memory of a job")
    parser.add_argument("--walltime", default="02:00:00", help="longest time of a job")
    parser.add_argument("--queue", help="partition")
    parser.add_argument("--account", help="whom SLURM is to charge")
    args = parser.parse_args()

    cluster = SLURMCluster(
        cores=args.cores,
        processes=args.cores,
        memory=args.memory,
        walltime=args.walltime,
        queue=args.queue,
        account=args.account,
        # fits use one thread each; BLAS would take more
        job_script_prologue=["export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1"],
    )
    with cluster, Client(cluster) as client:
        cluster.scale(jobs=args.jobs)
        client.wait_for_workers(1)  # others join while it runs
        print(f"{len(client.nthreads())} workers so far: {cluster.dashboard_link}", flush=True)
        sc_glmm.tl.test(args.file, args.formula, groupby=args.groupby)
    results = sc_glmm.get.results(args.file, columns="all")
    if args.csv is not None:
        results.to_csv(args.csv, index=False)
    print(results.nsmallest(10, "p_value")[["variable", "contrast", "log_fc", "p_value", "adj_p_value"]].to_string())


if __name__ == "__main__":
    main()
