"""Replace ``sbatch`` and ``scancel`` without SLURM: jobs run on this machine, in the order of their submission.

A command of ``--wrap`` runs to its end before the script returns, once for each task of an array. A job whose
``--dependency=afterok`` has failed does not run. A script is copied and runs in the background until it is cancelled.
The state is in the folder ``FAKE_SLURM``: one JSON file per job.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM"])


def tell(job: int, **facts: object) -> None:
    (STATE / f"{job}.json").write_text(json.dumps(facts))


def next_number() -> int:
    """Reserve the first free number; several processes may do so at the same time."""
    for number in itertools.count(1):
        try:
            (STATE / f"{number}.json").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    raise AssertionError


def run_tasks(job: int, args: argparse.Namespace) -> int:
    after = re.findall(r"\d+", args.dependency or "")
    if any(json.loads((STATE / f"{number}.json").read_text())["code"] for number in after):
        tell(job, name=args.job_name, code=1, tasks=0)
        return 1
    first, _, last = (args.array or "0").partition("-")
    code = 0
    for task in range(int(first), int(last or first) + 1):
        out = (args.output or "slurm-%j-%a.out").replace("%a", str(task)).replace("%j", str(job))
        env = {**os.environ, "SLURM_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(task), "SLURM_CPUS_PER_TASK": "1"}
        with open(out, "wb") as log:
            process = subprocess.run(["bash", "-c", args.wrap], env=env, stdout=log, stderr=subprocess.STDOUT)
        code = code or process.returncode
    tell(job, name=args.job_name, code=code, tasks=int(last or first) - int(first) + 1)
    return code


def sbatch() -> int:
    parser = argparse.ArgumentParser()
    for flag in ("--parsable", "--wait"):
        parser.add_argument(flag, action="store_true")
    for option in ("--wrap", "--array", "--dependency", "--job-name", "--output"):
        parser.add_argument(option)
    args, rest = parser.parse_known_args()
    job = next_number()
    print(job if args.parsable else f"Submitted batch job {job}")
    if args.wrap is not None:
        code = run_tasks(job, args)
        return code if args.wait else 0
    script = shutil.copy(rest[-1], STATE / f"{job}.sh")
    with (STATE / f"{job}.log").open("wb") as log:
        process = subprocess.Popen(["bash", script], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    tell(job, pid=process.pid)
    return 0


def scancel() -> int:
    for job in sys.argv[1:]:
        facts = json.loads((STATE / f"{job}.json").read_text())
        os.killpg(facts["pid"], signal.SIGTERM)
        tell(int(job), **facts, cancelled=True)
    return 0


if __name__ == "__main__":
    sys.exit(scancel() if Path(sys.argv[0]).name == "scancel" else sbatch())
