"""Fit the models of the stored records; each is fitted once."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from sc_glmm._errors import ScGlmmWarning
from sc_glmm.models import GlmmFit, LmmFit, glmer, lmer
from tests.reference import load


@cache
def record(name: str) -> dict[str, Any]:
    return load.record(name)


def data(ref: dict[str, Any]) -> pd.DataFrame:
    frame = load.frame(ref["data"])
    if ref.get("subset") == "seven":
        frame = frame[(np.arange(len(frame)) + 1) % 7 != 0]
    if ref["data"] == "sleepstudy":
        frame = frame.assign(w=0.5 + (np.arange(1, 181) % 4) / 2)
    if ref["data"] == "cbpp":
        frame = frame.assign(obs=pd.Categorical([str(i + 1) for i in range(len(frame))]))
    return frame


@cache
def lmm(name: str) -> LmmFit:
    ref = record(f"lmer_{name}")
    weighted = name == "sleepstudy_weights"
    offset = 0.5 * data(ref)["Days"] if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScGlmmWarning)
        # ^ is the power in R, but exclusive or in Python
        return lmer(
            ref["formula"].replace("^", "**"),
            data(ref),
            reml=ref["reml"],
            weights="w" if weighted else None,
            offset=offset,
        )


@cache
def trials(name: str) -> GlmmFit:
    ref = record(f"trials_{name}")
    return glmer(ref["formula"], data(ref), family="binomial", n_agq=ref["n_agq"])


@cache
def mer(name: str) -> GlmmFit:
    ref = record(f"mer_{name}")
    return glmer(ref["formula"], data(ref), family=ref["family"], n_agq=ref["n_agq"])


def order(fit: LmmFit | GlmmFit, names: list[str]) -> list[int]:
    """Find the position of each of R's coefficients in our fit."""
    ours = [load.plain_name(n.replace(" ** ", "^")) for n in fit.names]
    return [ours.index(load.plain_name(n)) for n in names]


def column(table: dict[str, Any], name: str) -> np.ndarray:
    """Read a column of one of R's tables; missing numbers are NaN."""
    j = table["cols"].index(name)
    return np.array([np.nan if row[j] is None else float(row[j]) for row in table["values"]])
