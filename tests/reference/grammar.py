"""Generate random models and data from a grammar; the arbiter's columns of each word are written by hand.

The package is not used: no formula is parsed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from tests.oracle import Family, Floats, Method, Model, Term
from tests.reference import build

FIXED = ("1", "x", "f", "x + f", "x * f", "x + z", "0 + f", "x:f")
RANDOM = (
    "(1 | g)",
    "(x | g)",
    "(0 + x | g)",
    "(x || g)",
    "(1 | g) + (1 | h)",
    "(1 | g / k)",
    "(1 | g:k)",
    "(x | g) + (1 | h)",
    "(1 | g) + (0 + x | h)",
)
COUNTS = ("usual", "sparse", "large", "one positive", "constant", "all zero", "zero in a group", "zero in a level of f")


@dataclass(frozen=True)
class Problem:
    """A data frame, a formula for it, and the settings of the fit."""

    formula: str
    data: pd.DataFrame
    fixed: str
    random: str
    family: Family
    method: Method
    n_agq: int

    def __repr__(self) -> str:
        options = f"family={self.family!r}, method={self.method!r}, n_agq={self.n_agq}"
        return f"fit_frame({self.formula!r}, pd.DataFrame({self.data.to_dict('list')}), {options})"


def make_data(seed: int, n_groups: int, per_group: int, n_f: int, counts: str, x_kind: str) -> pd.DataFrame:
    """Make groups g (with sub-groups k) crossed with h, covariates x and z, factor f, offset o, counts y."""
    rng = np.random.default_rng(seed)
    n = n_groups * per_group
    g = np.repeat(np.arange(n_groups), per_group)
    x = {
        "cell": lambda: rng.normal(size=n),
        "group": lambda: rng.normal(size=n_groups)[g],
        "binary": lambda: rng.integers(0, 2, size=n).astype(float),
        "far": lambda: 40.0 + 3.0 * rng.normal(size=n),
    }[x_kind]()
    f = rng.integers(0, n_f, size=n)
    o = 0.5 * rng.normal(size=n)
    eta = o + 0.6 * rng.normal(size=n_groups)[g] + 0.3 * (x - x.mean()) + 0.4 * f
    level = {"sparse": -2.0, "large": 5.5}.get(counts, 0.7)
    y = rng.poisson(np.exp(np.minimum(eta + level, 9.0)) * rng.gamma(3.0, 1 / 3.0, size=n))
    if counts == "one positive":
        y = np.zeros(n, dtype=int)
        y[rng.integers(n)] = 3
    elif counts == "constant":
        y = np.full(n, 2)
    elif counts == "all zero":
        y = np.zeros(n, dtype=int)
    elif counts == "zero in a group":
        y[g == 0] = 0
    elif counts == "zero in a level of f":
        y[f == n_f - 1] = 0
    return pd.DataFrame(
        {
            "y": y,
            "x": x,
            "z": rng.normal(size=n),
            "f": pd.Categorical([f"f{i}" for i in f], [f"f{i}" for i in range(n_f)]),
            "g": [f"g{i}" for i in g],
            "h": rng.integers(1, 4, size=n),
            "k": [f"k{i}" for i in np.arange(n) % 2],
            "o": o,
        }
    )


def fixed_matrix(fixed: str, data: pd.DataFrame) -> Floats:
    """Build the columns of the fixed effects without empty and dependent columns, as in the package."""
    one = np.ones(len(data))
    x, z = data["x"].to_numpy(), data["z"].to_numpy()
    levels = [(data["f"] == level).to_numpy(float) for level in data["f"].cat.categories]
    levels = [v for v in levels if v.any()]
    columns = {
        "1": [one],
        "x": [one, x],
        "f": [one, *levels[1:]],
        "x + f": [one, x, *levels[1:]],
        "x * f": [one, x, *levels[1:], *(x * v for v in levels[1:])],
        "x + z": [one, x, z],
        "0 + f": levels,
        "x:f": [one, *(x * v for v in levels)],
    }[fixed]
    kept: list[Floats] = []
    for column in columns:
        candidate = np.column_stack([*kept, column])
        scaled = candidate / np.maximum(np.linalg.norm(candidate, axis=0), 1e-300)
        if np.linalg.svd(scaled, compute_uv=False)[-1] > 1e-7:
            kept.append(column)
    return np.column_stack(kept)


def codes(*columns: pd.Series) -> np.ndarray:
    label = columns[0].astype(str)
    for c in columns[1:]:
        label = label + ":" + c.astype(str)
    return pd.Categorical(label).codes.astype(np.int64)


def random_terms(random: str, data: pd.DataFrame) -> list[tuple[str, list[int], Term]]:
    """List (name of the grouping factor in the package, columns in its block, term)."""
    one, x = np.ones(len(data)), data["x"].to_numpy()
    both = np.column_stack([one, x])
    g, h, gk = codes(data["g"]), codes(data["h"]), codes(data["g"], data["k"])
    nested = "k:g"
    return {
        "(1 | g)": [("g", [0], Term(one, g))],
        "(x | g)": [("g", [0, 1], Term(both, g))],
        "(0 + x | g)": [("g", [0], Term(x, g))],
        "(x || g)": [("g", [0], Term(one, g)), ("g", [1], Term(x, g))],
        "(1 | g) + (1 | h)": [("g", [0], Term(one, g)), ("h", [0], Term(one, h))],
        "(1 | g / k)": [("g", [0], Term(one, g)), (nested, [0], Term(one, gk))],
        "(1 | g:k)": [("g:k", [0], Term(one, gk))],
        "(x | g) + (1 | h)": [("g", [0, 1], Term(both, g)), ("h", [0], Term(one, h))],
        "(1 | g) + (0 + x | h)": [("g", [0], Term(one, g)), ("h", [0], Term(x, h))],
    }[random]


def arbiter(problem: Problem, fit: Any) -> tuple[Model, Floats]:
    """Build the arbiter's model, and convert our estimates (beta from the predictor, because bases may differ)."""
    data = problem.data
    terms = random_terms(problem.random, data)
    X = fixed_matrix(problem.fixed, data)
    model = Model(problem.family, data["y"].to_numpy(float), X, tuple(t for *_, t in terms), data["o"].to_numpy())
    psi: list[float] = []
    if problem.method == "ml":
        psi += list(np.linalg.lstsq(X, design_at(problem, fit) @ fit.beta, rcond=None)[0])
    for group, columns, _ in terms:
        corr = np.nan_to_num(fit.re_corr[group])
        psi += build.theta_of(fit.re_sd[group][columns], corr[np.ix_(columns, columns)])
    if problem.family in ("nb", "gaussian"):
        psi.append(float(np.log(fit.dispersion)))
    return model, np.array(psi)


def design_at(problem: Problem, fit: Any) -> Floats:
    """Build our columns from their names, so that beta can be used without the matrix of the package."""
    data = problem.data
    out = []
    for name in fit.names:
        column = np.ones(len(data))
        for part in [] if name == "Intercept" else name.split(":"):
            if part.startswith("f["):
                column = column * (data["f"] == part[2:-1].removeprefix("T.")).to_numpy(float)
            else:
                column = column * data[part].to_numpy()
        out.append(column)
    return np.column_stack(out)


def separated(problem: Problem) -> bool:
    """Check whether a combination of the fixed effects can go to minus infinity on zero counts only.

    Linear programming: find d with X d = 0 where y > 0 and X d <= 0 where y = 0, but not zero everywhere.
    """
    X, positive = fixed_matrix(problem.fixed, problem.data), (problem.data["y"] > 0).to_numpy()
    X = X / np.abs(X).max(axis=0)
    cost = X[~positive].sum(axis=0)
    if len(cost) == 0 or positive.all():
        return False
    result = optimize.linprog(
        cost,
        A_ub=X[~positive],
        b_ub=np.zeros((~positive).sum()),
        A_eq=X[positive] if positive.any() else None,
        b_eq=np.zeros(positive.sum()) if positive.any() else None,
        bounds=(-1, 1),
    )
    return bool(result.fun < -1e-7)
