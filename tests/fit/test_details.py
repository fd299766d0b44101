"""Check the counts of samples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sc_glmm._fit.details import SEPARATOR, count_samples, samples_of
from sc_glmm._formula import parse_formula


def test_levels_of_nested_numeric_and_missing_factors(rng):
    n = 300
    frame = pd.DataFrame(
        {
            "a": pd.Categorical(rng.choice(list("xyz"), n), categories=list("zyxw")),
            "b": rng.choice(np.array(["p", "q", None], dtype=object), n),
            "n": rng.integers(0, 5, n) * 1.5,
            "d": rng.choice(["u", "v"], n),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    formula = parse_formula("y ~ d + (1|b/a) + (1|n) + (1|elsewhere)")
    found = samples_of(formula, frame)
    assert list(found) == ["a:b", "n", "b"]
    for columns, levels in ((["b", "a"], found["a:b"]), (["n"], found["n"]), (["b"], found["b"])):
        for row, level in zip(frame[columns].itertuples(index=False), levels, strict=True):
            assert pd.isna(level) if pd.isna(list(row)).any() else level == SEPARATOR.join(map(str, row))
    nested = {tuple(row) for row in frame[["b", "a"]].dropna().itertuples(index=False)}
    counts = count_samples(formula, frame)
    assert counts["n_a:b"] == len(nested) and counts["n_n"] == 5
    assert counts["n_a:b[d: u]"] == len(frame[frame["d"] == "u"][["b", "a"]].dropna().drop_duplicates())
    frame["a"] = None
    assert samples_of(formula, frame)["a:b"].isna().all()
