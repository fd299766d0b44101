"""Write the compact reference files of this folder from a folder of full R fits.

    python extract.py REFERENCE            write the CSV, SCHEMA.json and one JSON per model
    python extract.py --take FOLDER NAME   add models that only make_reference.R or make_lmer.R fitted
    python extract.py --check FOLDER       compare the stored JSON with what the R scripts wrote into FOLDER

REFERENCE holds ``csv/`` (data sets with their SCHEMA.json) and ``fits/`` (complete dumps of the fits, 15 significant
digits). The compact files have: fixed effects, their covariance, standard deviations, correlations and modes of the
random effects, log dispersion (log phi with ``var = mu + phi mu^2``), log likelihood. The log likelihood of glmer with
nAGQ > 1 is relative to the saturated model; here the saturated log likelihood is added, so that all values are
comparable. ``--take`` added glmmTMB_grouseticks_poisson_ML, glmmTMB_epil2_poisson_slope, and all files of make_lmer.R
(``lmer_*``, ``mer_*``, ``trials_*``, ``tests_lmer``).
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATA = (
    "grouseticks",
    "Owls",
    "Salamanders",
    "epil2",
    "sleepstudy",
    "Dyestuff",
    "Dyestuff2",
    "Penicillin",
    "Pastes",
    "cake",
    "cbpp",
)
# 73,421 rows: only the columns that the tests use, compressed
LARGE = {"InstEval": ("s", "d", "service", "dept", "y")}
GLMER = (
    "grouseticks",
    "grouseticks_2re",
    "owls_poisson_offset",
    "owls_poisson_offset_nAGQ9",
    "epil2_poisson",
    "epil2_poisson_nAGQ9",
    "epil2_poisson_slope",
)
GLMMTMB = (
    *(f"{d}_{f}_{m}" for d in ("salamanders", "owls", "epil2") for f in ("poisson", "nbinom2") for m in ("ML", "REML")),
    "owls_nbinom2_slope",
)
EXACT = ("owls_pois", "owls_nb", "epil2_pois", "epil2_nb")
FAMILY = {"poisson": "poisson", "nbinom2": "nb", "pois": "poisson", "nb": "nb"}
DATA_OF = {
    "owls": "Owls",
    "epil2": "epil2",
    "salamanders": "Salamanders",
    "grouseticks": "grouseticks",
    "IL1B": "sc_IL1B",
    "SLC3A2": "sc_SLC3A2",
}

Record = dict[str, Any]


def as_list(x: Any) -> list[Any]:
    return x if isinstance(x, list) else [x]


def random_blocks(varcorr: Record, ranef: Record) -> list[Record]:
    return [
        {
            "group": group,
            "names": as_list(ranef[group]["terms"]),
            "sd": as_list(varcorr[group]["sd"]),
            "corr": varcorr[group]["corr"],
            "levels": ranef[group]["levels"],
            "mode": ranef[group]["mode"],
        }
        for group in ranef
    ]


def common(name: str, full: Record, family: str, method: str, n_agq: int) -> Record:
    return {
        "name": name,
        "data": DATA_OF[name.split("_")[1]],
        "formula": full["formula"],
        "family": family,
        "method": method,
        "n_agq": n_agq,
        "nobs": full["nobs"],
    }


def fixed(coef: Record) -> Record:
    return {
        "names": coef["rows"],
        "estimate": [row[0] for row in coef["values"]],
        "se": [row[1] for row in coef["values"]],
    }


def saturated_poisson(y: list[float]) -> float:
    return sum((v * math.log(v) if v > 0 else 0.0) - v - math.lgamma(v + 1.0) for v in y)


def from_glmer(name: str, full: Record, y: list[float]) -> Record:
    loglik = full["logLik"] + (saturated_poisson(y) if full["nAGQ"] > 1 else 0.0)
    return {
        **common(name, full, "poisson", "ml", full["nAGQ"]),
        "fixef": fixed(full["coef"]),
        "vcov": full["vcov"]["values"],
        "vcov_given_variances": full["vcov_no_hessian"]["values"],
        "re": random_blocks(full["varcorr"], full["ranef"]),
        "log_dispersion": None,
        "log_dispersion_se": None,
        "loglik": loglik,
        "warnings": as_list(full["warnings"]),
    }


def from_glmmtmb(name: str, full: Record) -> Record:
    family = FAMILY[full["family"]]
    p = len(full["coef"]["cond"]["rows"])
    vcov = full["vcov_full"]["values"]
    place = full["vcov_full"]["rows"].index("d~(Intercept)") if family == "nb" else None
    variance = None if place is None else vcov[place][place]
    return {
        **common(name, full, family, "reml" if full["REML"] else "ml", 1),
        "fixef": fixed(full["coef"]["cond"]),
        "vcov": [row[:p] for row in vcov[:p]],
        "vcov_given_variances": None,
        "re": random_blocks(full["varcorr_cond"], full["ranef"]["cond"]),
        "log_dispersion": None if place is None else -math.log(full["sigma"]),
        "log_dispersion_se": None if variance is None else math.sqrt(variance),
        "loglik": -full["objective"],
        "warnings": as_list(full["warnings"]),
    }


def from_exact(name: str, full: Record) -> Record:
    data = DATA_OF[name.split("_")[1]]
    group = {"Owls": "+ offset(logBroodSize) + (1 | Nest)", "epil2": "+ (1 | subject)"}[data]

    def part(x: Record) -> Record:
        return {
            "loglik": -x["minus_logLik"],
            "estimate": list(x["beta"].values()),
            "se": list(x["se"].values()),
            "re_sd": math.sqrt(x["var_re"]),
            "log_dispersion": None if x["nb_size"] is None else -math.log(x["nb_size"]),
        }

    return {
        "name": name,
        "data": data,
        "formula": f"{full['formula']} {group}",
        "family": FAMILY[full["family"]],
        "names": list(full["laplace_observed"]["beta"]),
        "laplace": part(full["laplace_observed"]),
        "agq61": part(full["agq61"]),
    }


def write(path: Path, record: Record) -> None:
    """Write one line per key, so that files are small and a diff shows which number changed."""
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in record.items())
    path.write_text("{\n" + lines + "\n}\n")


def extract(reference: Path) -> None:
    schema = json.loads((reference / "csv" / "SCHEMA.json").read_text())
    kept_columns = {name: {c: schema[name][c] for c in columns} for name, columns in LARGE.items()}
    write(HERE / "SCHEMA.json", {**{name: schema[name] for name in DATA}, **kept_columns})
    for name, columns in LARGE.items():
        rows = csv.DictReader((reference / "csv" / f"{name}.csv").read_text().splitlines())
        table = [",".join(columns), *(",".join(row[c] for c in columns) for row in rows)]
        # without a time in the header, the bytes are always the same
        (HERE / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join(table).encode() + b"\n", mtime=0))
    responses = {}
    for name in DATA:
        text = (reference / "csv" / f"{name}.csv").read_text()
        (HERE / f"{name}.csv").write_text(text)
        responses[name] = list(csv.DictReader(text.splitlines()))
    column = {"Owls": "SiblingNegotiation", "epil2": "y", "grouseticks": "TICKS"}

    def load(name: str) -> Record:
        record: Record = json.loads((reference / "fits" / f"{name}.json").read_text())
        return record

    versions = {}
    for short in GLMER:
        name = f"glmer_{short}"
        data = DATA_OF[short.split("_")[0]]
        y = [float(row[column[data]]) for row in responses[data]]
        write(HERE / f"{name}.json", from_glmer(name, load(name), y))
        versions = load(name)["provenance"]
    for short in GLMMTMB:
        name = f"glmmTMB_{short}"
        write(HERE / f"{name}.json", from_glmmtmb(name, load(name)))
    for short in EXACT:
        name = f"exact_{short}"
        write(HERE / f"{name}.json", from_exact(name, load(name)))
    kept = ("R", "lme4", "glmmTMB", "TMB", "blas")
    (HERE / "VERSIONS").write_text("".join(f"{k}: {versions[k]}\n" for k in kept))


def differences(path: str, a: Any, b: Any) -> list[tuple[str, float]]:
    """List every pair of different numbers, as (place, |a - b| / max(1, |a|))."""
    if isinstance(a, dict):
        if set(a) != set(b):
            raise SystemExit(f"{path}: keys {sorted(set(a) ^ set(b))} on one side only")
        return [d for k in a for d in differences(f"{path}.{k}", a[k], b[k])]
    if isinstance(a, list):
        if len(a) != len(b):
            raise SystemExit(f"{path}: lengths {len(a)} and {len(b)}")
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(f"{path}[{i}]", x, y)]
    if isinstance(a, int | float) and isinstance(b, int | float):
        return [(path, abs(a - b) / max(1.0, abs(a)))]
    if a != b:
        raise SystemExit(f"{path}: {a!r} here, {b!r} there")
    return []


def check(folder: Path) -> None:
    """Print the largest difference of each model; exact to rounding on the versions of VERSIONS."""
    for path in sorted(HERE.glob("*.json")):
        if path.name == "SCHEMA.json":
            continue
        stored = json.loads(path.read_text())
        result = json.loads((folder / path.name).read_text())
        for record in (stored, result):
            record.pop("warnings", None)
        place, worst = max(differences(path.stem, stored, result), key=lambda d: d[1])
        print(f"{path.stem:40s} {worst:.1e}  {place if worst > 0 else ''}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--check", folder]:
            check(Path(folder))
        case ["--take", folder, *names] if names:
            for name in names:
                write(HERE / f"{name}.json", json.loads((Path(folder) / f"{name}.json").read_text()))
        case [reference]:
            extract(Path(reference))
        case _:
            raise SystemExit(__doc__)
