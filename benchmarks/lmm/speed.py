"""Measure the time of linear mixed models from formula and data frame to fit, compared with lme4 and Python packages.

    python speed.py [--limit SECONDS] [--repeat N]

Each package runs in its own process, after one call that is not counted (imports, compilation), one after the other on
the same machine. Packages that are not installed are skipped; those above the time limit are called slow. Printed are
CPU and wall-clock seconds (the smallest of the repeats), the ratio to lme4, and the REML criterion, which shows whether
the same model was fitted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "tests" / "reference"
MODELS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "InstEval": "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
}
PACKAGES = ("sc_glmm", "sc_glmm engine", "lme4", "glmm", "mixedlm", "statsmodels")


def read(name: str) -> pd.DataFrame:
    path = DATA / f"{name}.csv"
    data = pd.read_csv(path if path.exists() else DATA / f"{name}.csv.gz")
    return data.astype({c: "category" for c in ("Subject", "s", "d", "dept", "service") if c in data})


def sc_glmm(formula: str, data: pd.DataFrame) -> Callable[[], float]:
    from sc_glmm import lmer

    return lambda: lmer(formula, data).remlcrit()


def sc_glmm_engine(formula: str, data: pd.DataFrame) -> Callable[[], float]:
    """Time cross-products and optimisation, without formula and data frame."""
    from sc_glmm import lmer

    fit = lmer(formula, data)
    return lambda: fit.refit(fit.y).remlcrit()


def glmm(formula: str, data: pd.DataFrame) -> Callable[[], float]:
    import glmm as package

    columns = {c: data[c].astype(str).tolist() if data[c].dtype == "category" else data[c].to_numpy() for c in data}
    return lambda: -2.0 * float(package.fit(columns, formula, satterthwaite=False).loglik)


def mixedlm(formula: str, data: pd.DataFrame) -> Callable[[], float]:
    import mixedlm as package

    plain = data.assign(**{c: data[c].astype(str) for c in data if data[c].dtype == "category"})
    return lambda: float(package.REMLcrit(package.lmer(formula, plain)))


def statsmodels(formula: str, data: pd.DataFrame) -> Callable[[], float]:
    """Fit models with one grouping factor only: crossed factors would need one dense block of all of them."""
    import statsmodels.formula.api as smf

    if "Subject" not in data:
        raise NotImplementedError("crossed grouping factors")
    model = smf.mixedlm("Reaction ~ Days", data, groups="Subject", re_formula="~ Days")
    return lambda: -2.0 * float(model.fit(reml=True).llf)


def measure(package: str, model: str, repeat: int) -> dict[str, Any]:
    """Measure the times of one package in this process."""
    warnings.simplefilter("ignore")
    run = globals()[package.replace(" ", "_")](MODELS[model], read(model))
    run()
    cpu, wall, value = [], [], float("nan")
    for _ in range(repeat):
        c, w = time.process_time(), time.perf_counter()
        value = run()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    return {"cpu": min(cpu), "wall": min(wall), "criterion": value}


def run_one(package: str, model: str, repeat: int, limit: float) -> dict[str, Any]:
    """Run one package in its own process."""
    if package == "lme4":
        if shutil.which("Rscript") is None:
            return {"why": "R is not installed"}
        command = ["Rscript", str(HERE / "lme4.R"), model, str(repeat)]
    else:
        command = [sys.executable, __file__, "--one", package, model, str(repeat)]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=HERE.parents[1])
    except subprocess.TimeoutExpired:
        return {"why": f"slow: more than {limit:g} s"}
    if process.returncode != 0:
        return {"why": (process.stderr.strip().splitlines() or ["failed"])[-1][:100]}
    out: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--one", nargs=3, metavar=("PACKAGE", "MODEL", "REPEAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        package, model, repeat = arguments.one
        print(json.dumps(measure(package, model, int(repeat))))
        return
    for model in MODELS:
        repeat = arguments.repeat if model == "InstEval" else 10 * arguments.repeat
        results = {p: run_one(p, model, repeat, arguments.limit) for p in PACKAGES}
        base = results["lme4"].get("cpu")
        print(f"\n{model}: {MODELS[model]}")
        print(f"{'':16s}{'CPU s':>10s}{'wall s':>10s}{'CPU / lme4':>12s}  REML criterion")
        for package, r in results.items():
            if "why" in r:
                print(f"{package:16s}  {r['why']}")
                continue
            ratio = f"{r['cpu'] / base:.2f}" if base else ""
            print(f"{package:16s}{r['cpu']:10.4f}{r['wall']:10.4f}{ratio:>12s}  {r['criterion']:.6f}")


if __name__ == "__main__":
    main()
