"""Build the arbiter's model and parameters for each stored record; fixed and random columns are written by hand.

No code here reads a formula, so the tests of the formula code do not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tests.oracle import Floats, Model, Term
from tests.reference import load


def dummy(data: pd.DataFrame, column: str) -> dict[str, Floats]:
    """Code R's treatment contrasts: one indicator per level except the first."""
    return {f"{column}{level}": (data[column] == level).to_numpy(float) for level in data[column].cat.categories[1:]}


def fixed_columns(name: str, data: pd.DataFrame) -> dict[str, Floats]:
    """Build the columns of X by R's names, in R's order."""
    out = {"(Intercept)": np.ones(len(data))}
    if name == "grouseticks":
        out |= dummy(data, "YEAR") | {"cHEIGHT": data["cHEIGHT"].to_numpy(float)}
    elif name == "Owls":
        food, sex = dummy(data, "FoodTreatment"), dummy(data, "SexParent")
        out |= food | sex
        out["FoodTreatmentSatiated:SexParentMale"] = food["FoodTreatmentSatiated"] * sex["SexParentMale"]
    elif name == "Salamanders":
        out |= dummy(data, "mined") | dummy(data, "spp")
    elif name == "epil2":
        base, treated = data["Base"].to_numpy(float), dummy(data, "trt")
        out |= {"Base": base} | treated
        out |= {"Age": data["Age"].to_numpy(float), "Visit": data["Visit"].to_numpy(float)}
        out["Base:trtprogabide"] = base * treated["trtprogabide"]
    elif name.startswith("sc_"):
        out |= dummy(data, "stim")
    else:
        raise KeyError(name)
    return out


RESPONSE = {"grouseticks": "TICKS", "Owls": "SiblingNegotiation", "Salamanders": "count", "epil2": "y"}
OFFSET = {"Owls": "logBroodSize", "sc_IL1B": "logn", "sc_SLC3A2": "logn"}


def codes(data: pd.DataFrame, group: str, levels: list[str]) -> np.ndarray:
    return pd.Categorical(data[group].astype(str), categories=levels).codes.astype(np.int64)


def random_columns(data: pd.DataFrame, names: list[str], fixed: dict[str, Floats]) -> Floats:
    return np.column_stack([fixed[n] for n in names])


def theta_of(sd: list[float] | Floats, corr: list[list[float]] | Floats) -> list[float]:
    """Compute the lower triangle of the Cholesky factor, by columns, of a covariance that may be singular."""
    k = len(sd)
    cov = np.array(corr).reshape(k, k) * np.outer(sd, sd)
    L = np.zeros((k, k))
    for j in range(k):
        L[j, j] = np.sqrt(max(cov[j, j] - L[j, :j] @ L[j, :j], 0.0))
        for i in range(j + 1, k):
            L[i, j] = (cov[i, j] - L[i, :j] @ L[j, :j]) / L[j, j] if L[j, j] > 0 else 0.0
    return [L[i, j] for j in range(k) for i in range(j, k)]


def model_of(ref: dict[str, Any]) -> Model:
    """Build the model of a glmer or glmmTMB record, with terms in the order of the record."""
    data = load.frame(ref["data"])
    fixed = fixed_columns(ref["data"], data)
    if list(fixed) != ref["fixef"]["names"]:
        raise ValueError(f"columns {list(fixed)}, R has {ref['fixef']['names']}")
    terms = tuple(
        Term(random_columns(data, block["names"], fixed), codes(data, block["group"], block["levels"]))
        for block in ref["re"]
    )
    offset = data[OFFSET[ref["data"]]].to_numpy(float) if ref["data"] in OFFSET else np.zeros(len(data))
    y = data[RESPONSE.get(ref["data"], "y")].to_numpy(float)
    return Model(ref["family"], y, np.column_stack(list(fixed.values())), terms, offset)


def at_reference(ref: dict[str, Any]) -> tuple[Model, Floats]:
    """Build the model and psi = (beta under ML, theta, log phi) at R's estimates."""
    psi = list(ref["fixef"]["estimate"]) if ref["method"] == "ml" else []
    for block in ref["re"]:
        psi += theta_of(block["sd"], block["corr"])
    if ref["log_dispersion"] is not None:
        psi.append(ref["log_dispersion"])
    return model_of(ref), np.array(psi)


def at_exact(ref: dict[str, Any], part: str) -> tuple[Model, Floats]:
    """Do the same for a record of `exact_*.json`."""
    data = load.frame(ref["data"])
    group = {"Owls": "Nest", "epil2": "subject"}[ref["data"]]
    levels = [str(v) for v in dict.fromkeys(data[group])]
    block = {"group": group, "names": ["(Intercept)"], "levels": levels}
    model = model_of({**ref, "fixef": {"names": ref["names"]}, "re": [block]})
    est = ref[part]
    phi = [] if est["log_dispersion"] is None else [est["log_dispersion"]]
    return model, np.array([*est["estimate"], est["re_sd"], *phi])
