"""Read the reference data: data frames with R's factor levels, and records with R's estimates."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

HERE = Path(__file__).parent


@cache
def _schema() -> dict[str, Any]:
    out: dict[str, Any] = json.loads((HERE / "SCHEMA.json").read_text())
    return out


def frame(name: str) -> pd.DataFrame:
    """Read a data set, with R's factors as categoricals in R's order. The single-cell tables stay in `shared`."""
    if name.startswith("sc_"):
        data = pd.read_csv(shared_folder("reference", "csv", f"{name}_table.csv"), dtype={"donor": str})
        return data.astype({"stim": pd.CategoricalDtype(["ctrl", "stim"]), "donor": "category", "sample": "category"})
    schema = _schema()[name]
    factors = [c for c, s in schema.items() if "levels" in s]
    plain = HERE / f"{name}.csv"
    path = plain if plain.exists() else HERE / f"{name}.csv.gz"
    data = pd.read_csv(path, dtype=dict.fromkeys(factors, str))
    for column in factors:
        data[column] = pd.Categorical(data[column], categories=schema[column]["levels"])
    return data


def record(name: str) -> dict[str, Any]:
    """Read the stored numbers of one fit; see extract.py for the fields."""
    out: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text())
    return out


def names(prefix: str) -> list[str]:
    return sorted(p.stem for p in HERE.glob(f"{prefix}*.json"))


def shared_folder(*parts: str) -> Path:
    """Find a path in the folder `shared` beside the repository, which has large files; skip the test without it."""
    path = Path(__file__).resolve().parents[3].joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not in the shared folder")
    return path


def plain_name(name: str) -> frozenset[str]:
    """Normalise a coefficient's name: R writes FoodTreatmentSatiated, formulaic FoodTreatment[T.Satiated]."""
    name = name.replace("(Intercept)", "Intercept").replace("[T.", "").replace("]", "")
    return frozenset(name.split(":"))
