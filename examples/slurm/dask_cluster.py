"""Run a test whose Dask workers are SLURM jobs, with dask-jobqueue.

    python dask_cluster.py IN.h5ad "counts ~ disease + (1|sample)" --jobs 4 --cores 8 --memory 32GB --csv results.csv

Requirements: ``pip install 'sc-glmm[cluster]'``, and the file under the same path on all nodes. This process itself
does little work and needs about 2 GB of memory, but it must run until all jobs have finished; start it in a job of its
own. The results are written into the file.
"""

from __future__ import annotations

import argparse

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

import sc_glmm


def main() -> None:
    """Start the jobs, run the test, and end the jobs."""
    parser = argparse.ArgumentParser(description="Run tl.test with SLURM jobs as workers.")
    parser.add_argument("file", help="an .h5ad file or a zarr store")
    parser.add_argument("formula", help="such as 'counts ~ disease + (1|sample)'")
    parser.add_argument("--groupby", help="column of obs; each of its levels is tested separately")
    parser.add_argument("--csv", help="also write the table of results to this file")
    parser.add_argument("--jobs", type=int, default=4, help="number of SLURM jobs")
    parser.add_argument("--cores", type=int, default=8, help="processors per job; each is a worker")
    parser.add_argument("--memory", default="32GB", help="memory per job")
    parser.add_argument("--walltime", default="02:00:00", help="time limit of a job")
    parser.add_argument("--queue", help="partition")
    parser.add_argument("--account", help="SLURM account that is charged")
    args = parser.parse_args()

    cluster = SLURMCluster(
        cores=args.cores,
        processes=args.cores,
        memory=args.memory,
        walltime=args.walltime,
        queue=args.queue,
        account=args.account,
        # each worker uses one thread; by default, BLAS would use more
        job_script_prologue=["export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1"],
    )
    with cluster, Client(cluster) as client:
        cluster.scale(jobs=args.jobs)
        client.wait_for_workers(1)  # other workers can join during the run
        print(f"{len(client.nthreads())} workers so far: {cluster.dashboard_link}", flush=True)
        sc_glmm.tl.test(args.file, args.formula, groupby=args.groupby)
    results = sc_glmm.get.results(args.file, columns="all")
    if args.csv is not None:
        results.to_csv(args.csv, index=False)
    print(results.nsmallest(10, "p_value")[["variable", "contrast", "log_fc", "p_value", "adj_p_value"]].to_string())


if __name__ == "__main__":
    main()
