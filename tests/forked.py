"""Run code in forks of one process that has already imported the package, which takes 3 s of processor time."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = """
import atexit, json, os, sys, traceback
sys.path.insert(0, "")  # as with python -c
import logging, warnings
import anndata, h5py, numba, scipy.stats, zipfile
import sc_glmm_command, sc_glmm.cli.chunks, sc_glmm.tl, sc_glmm.pl
from sc_glmm._run.parts import chunks, combine

logging.getLogger("sc_glmm").setLevel("ERROR")
warnings.simplefilter("ignore")
small = sc_glmm.datasets.simulate(n_samples=6, n_cells=60, n_genes=12, seed=0)
sc_glmm.tl.test(small, "counts ~ disease + (1|sample)", n_jobs=1, progress=False)  # loads the kernels
logging.getLogger("sc_glmm").setLevel("INFO")
warnings.resetwarnings()

while line := sys.stdin.readline():
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        for name, descriptor in (("out", 1), ("err", 2)):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["-c", *job["arguments"]]
        if job["limit"] is not None:
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], job["limit"]))
        code = 0
        try:
            exec(compile(job["code"], "<string>", "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # to end the interpreter takes a second
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """A process that waits for code and runs it in forks of itself."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, code: str, *arguments: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run code as ``python -c`` does; `limit` is the largest size of a file in bytes."""
        if self._process is None:
            command = [sys.executable, "-c", SERVER]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            words = [str(word) for word in arguments]
            job = {"code": code, "arguments": words, "limit": limit, "out": str(out), "err": str(err)}
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            code_of_exit = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(words, code_of_exit, out.read_text(), err.read_text())

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()
